"""`fda finetune`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from cli.commands.preprocess import command as preprocess_command
from cli.options.models import load, model_source
from cli.options.shared import (
    alpha_option,
    device_option,
    local_path,
    mask_option,
    model_options,
    seed_option,
    shared_options,
)
from cli.output.printing import FAILED, print_json, print_table, say
from cli.output.progress import progress_listener
from encoders.devices import find_device
from encoders.training.processes import Processes, joined_processes
from pipeline.clips.options import AlphaSource
from pipeline.run.events import Listener, ignore_events
from pipeline.run.records import RunClock, recorded_run
from pipeline.training.checkpoint import FinetuneResult, is_finished, locked, moved, read_history, remove_checkpoint
from pipeline.training.finetune import checkpoint_identity, finetune
from pipeline.training.options import TrainingRecipe
from pipeline.training.presets import Preset, clip_differences, load_preset, preset_folder, preset_names
from store.clips.mask_sets import mask_attributes
from store.json_values import JSON
from store.store import Store


def _print_preset(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    if value not in preset_names():
        raise click.BadParameter(f"{value!r} is none of {', '.join(preset_names())}", ctx, param)
    click.echo((preset_folder() / f"{value}.toml").read_text(encoding="utf-8"), nl=False)
    ctx.exit()


@click.command("finetune")
@click.argument("store_place", metavar="STORE", type=click.Path(path_type=str))
@click.argument("checkpoint", type=click.Path(file_okay=False, path_type=Path), callback=local_path)
@click.option(
    "--preset",
    default="fda-clip",
    show_default=True,
    help=f"A model and how to train it: {', '.join(preset_names())}, or a TOML file of the same form.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a value of the preset's [finetune] or [batches].",
)
@click.option(
    "--print-preset",
    metavar="NAME",
    is_eager=True,
    expose_value=False,
    callback=_print_preset,
    help="Print a preset to copy and edit, and end.",
)
@model_options
@mask_option
@alpha_option
@click.option("--train-split", default="train", show_default=True, help="Train on this split.")
@click.option(
    "--val-split",
    help="Choose the best epoch by this split.  [default: val; where there is none, --hold-out of the training videos]",
)
@click.option(
    "--hold-out",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Part of the training videos that is held out where there is no --val-split.",
)
@click.option(
    "--choose-on-test",
    is_flag=True,
    help="Allow --val-split or --train-split to be a test split (CLIP4Clip chooses so): stamped on the checkpoint and "
    "on what it makes.",
)
@click.option(
    "--save-minutes",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Between two states that training can be resumed at; there is one after each epoch, too.",
)
@seed_option
@device_option
@click.option("--overwrite", is_flag=True, help="Remove the checkpoint first, if there is one.")
@shared_options
def command(
    store_place: str,
    checkpoint: Path,
    preset: str,
    settings: Sequence[str],
    model: str | None,
    pretrained: str | None,
    alpha_checkpoint: Path | None,
    activation: str | None,
    mask_name: str | None,
    alpha: str | None,
    train_split: str,
    val_split: str | None,
    hold_out: float,
    choose_on_test: bool,
    save_minutes: float,
    seed: int,
    device: str,
    overwrite: bool,
    as_json: bool,
    progress: bool | None,
) -> None:
    """Train Alpha-CLIP on STORE, and keep the best epoch's weights in the folder CHECKPOINT.

    Killed at any moment and started again, the same command goes on from the last state, and on the same machine ends
    with the very same weights. Several GPUs train together: `torchrun --nproc-per-node N -m cli.main finetune ...`.

    The best epoch is the one with the highest text-to-video R@1 on the split `val`; where there is none, a tenth of
    `train` is held out, and training.json says which videos. log.jsonl and tensorboard/ have every step.
    """
    clock = RunClock()
    recipe = load_preset(preset)
    try:
        recipe = recipe.with_settings(_parsed(settings), "--set")
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    options = TrainingRecipe(
        train=recipe.train,
        batches=recipe.batches,
        train_split=train_split,
        val_split=val_split or "val",
        hold_out_share=hold_out,
        mask_name=mask_name or "default",
        alpha=AlphaSource(alpha or recipe.alpha),
        seed=seed,
    )
    if options.chosen_on_test and not choose_on_test:
        raise click.UsageError(
            f"--train-split {options.train_split} and --val-split {options.val_split} would train, or choose the best "
            "epoch, on the videos that are scored, which flatters the scores: add --choose-on-test to do it anyway"
        )
    _check_preprocess_table(recipe, preset)
    source = model_source(
        None, model or recipe.model, pretrained or recipe.pretrained, alpha_checkpoint, activation, seed=seed
    )
    store = Store.open(store_place)
    if val_split is not None:
        store.layout(val_split)
    with joined_processes(find_device(device)) as ranks:
        ready = load(source, device, is_quiet=not ranks.is_first)
        identity = checkpoint_identity(store, ready.loaded, options, ranks)
        with ExitStack() as stack:
            with _in_step(ranks):
                if ranks.is_first:
                    _say_differences(store, recipe, options)
                    stack.enter_context(locked(checkpoint))
                    if overwrite:
                        remove_checkpoint(checkpoint)
                is_done = ranks.is_first and is_finished(checkpoint, identity)
                if ranks.is_first and not is_done and (moved_from := moved(checkpoint, identity)):
                    say(f"warning: what was begun goes on elsewhere, and may end with other weights: {moved_from}")
            is_done = ranks.collect(is_done)[0]
            if is_done:
                result = read_history(checkpoint)
            else:
                listener: Listener = ignore_events
                if ranks.is_first:
                    run = stack.enter_context(recorded_run(store.folder, "finetune", clock, identity))
                    listener = stack.enter_context(progress_listener("finetune", progress))
                result = finetune(
                    store, ready.loaded, checkpoint, options, listener, ranks=ranks, save_seconds=60 * save_minutes
                )
                if ranks.is_first:
                    run.result = _summary(checkpoint, result)
    if not ranks.is_first:
        return
    if is_done:
        say(f"nothing to do: {checkpoint} was trained to the end with these inputs")
    if as_json:
        print_json({**_summary(checkpoint, result), "seconds": round(clock.seconds, 3)})
    else:
        _print(checkpoint, result)


@contextmanager
def _in_step(ranks: Processes) -> Iterator[None]:
    """Do what the first process may refuse to do: then the others end as well, and leave it to the first to say why."""
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    is_refused = ranks.collect(error is not None)
    if error is not None:
        raise error
    if any(is_refused):
        sys.exit(FAILED)


def _check_preprocess_table(recipe: Preset, name: str) -> None:
    """Refuse names in the [preprocess] table that `fda preprocess` does not know.

    Raises:
        ValueError: There are some.
    """
    known = {option.name for option in preprocess_command.params}
    unknown = sorted(key for key in recipe.preprocess if key.replace("-", "_") not in known)
    if unknown:
        raise ValueError(f"[preprocess] of preset {name!r} has unknown keys: {', '.join(unknown)}")


def _say_differences(store: Store, recipe: Preset, options: TrainingRecipe) -> None:
    masks = mask_attributes(store, options.train_split, options.mask_name)["options"]
    made_with: list[Mapping[str, object]] = [store.manifest.options]
    if options.alpha is AlphaSource.MASKS and isinstance(masks, Mapping):
        made_with.append(masks)
    for difference in clip_differences(recipe, made_with):
        say(f"warning: {difference}")


def _parsed(settings: Sequence[str]) -> dict[str, object]:
    """Values are JSON, and what is no JSON is a text: `lr=3e-6`, `captions=all`."""
    values: dict[str, object] = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise click.BadParameter(f"{setting!r} is not of the form KEY=VALUE", param_hint="--set")
        try:
            values[key.strip()] = json.loads(text)
        except ValueError:
            values[key.strip()] = text
    return values


def _summary(checkpoint: Path, result: FinetuneResult) -> dict[str, JSON]:
    return {"checkpoint": str(checkpoint), **asdict(result)}


def _print(checkpoint: Path, result: FinetuneResult) -> None:
    rows = [
        [
            f"{epoch.epoch}{' (kept)' if epoch.epoch == result.best_epoch else ''}",
            f"{epoch.mean_loss:.4f}",
            f"{epoch.validation_r1:.1f}",
        ]
        for epoch in result.epochs
    ]
    print_table(str(checkpoint), ["epoch", "mean loss", "validation T2V R@1"], rows)
    stamp = "; CHOSEN ON TEST VIDEOS" if result.chosen_on_test else ""
    click.echo(
        f"best: epoch {result.best_epoch}, R@1 {result.best_validation_r1:.1f} on {result.num_val_videos} videos "
        f"({result.validation}); trained on {result.num_train_videos}{stamp}"
    )
