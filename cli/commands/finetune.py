"""`fda finetune`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import fda
from cli.options.files import Place
from cli.options.names import complete_presets
from cli.options.settings import parsed_settings
from cli.options.shared import (
    add_options,
    alpha_option,
    device_option,
    mask_option,
    model_options,
    on_this_machine,
    progress_option,
    seed_option,
    shared_options,
)
from cli.output.printing import FAILED, print_json, show
from cli.output.progress import progress_listener
from cli.output.tables import print_table
from encoders.options import Activation
from pipeline.clips.options import AlphaSource
from pipeline.errors import RefusedError
from pipeline.run.words import plural
from pipeline.training.options import FinetuneOptions
from pipeline.training.presets import chosen_preset, preset_folder, preset_names

if TYPE_CHECKING:
    from pipeline.training.run import FinetuneResult


def _print_preset(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    if value not in preset_names():
        raise click.BadParameter(f"{value!r} is none of {', '.join(preset_names())}", ctx, param)
    click.echo((preset_folder() / f"{value}.toml").read_text(encoding="utf-8"), nl=False)
    ctx.exit()


_DEFAULTS = FinetuneOptions()
_OPTIONS = (
    click.option(
        "--preset",
        shell_complete=complete_presets,
        default=_DEFAULTS.preset,
        show_default=True,
        help=f"A model and how to train it: {', '.join(preset_names())}, or a TOML file of the same form.",
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change a value of the preset's [finetune] or [batches].",
    ),
    click.option(
        "--print-preset",
        metavar="NAME",
        is_eager=True,
        expose_value=False,
        callback=_print_preset,
        help="Print a preset to copy and edit, and end.",
    ),
    mask_option,
    alpha_option,
    click.option("--train-split", default=_DEFAULTS.train_split, show_default=True, help="Train on this split."),
    click.option(
        "--val-split",
        help="Choose the best weights by this split.  "
        "[default: the preset's, or val; if there is none, --hold-out of the training videos]",
    ),
    click.option(
        "--watch-split",
        help="Score this split, test for example, at every evaluation, and record it. Nothing is chosen by it.",
    ),
    click.option(
        "--hold-out",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        default=_DEFAULTS.hold_out_share,
        show_default=True,
        help="Part of the training videos that is held out where there is no --val-split.",
    ),
    click.option(
        "--choose-on-test",
        is_flag=True,
        help="Allow --val-split or --train-split to be a test split, as CLIP4Clip does: the checkpoint and what it "
        "makes are marked.",
    ),
    click.option(
        "--resize-frames",
        is_flag=True,
        help="Resize frames and masks that are stored at another size than the model reads: bicubic, masks by area. "
        "`fda encode` then does the same.",
    ),
    click.option(
        "--save-minutes",
        type=click.FloatRange(min=0),
        default=_DEFAULTS.save_seconds / 60,
        show_default=True,
        help="Minutes between saved training states. A state is also saved after each evaluation.",
    ),
    seed_option,
    device_option,
    click.option(
        "--overwrite", is_flag=True, help="Remove the checkpoint first, if there is one; needs --yes if it has weights."
    ),
    click.option("--yes", is_flag=True, help="With --overwrite: remove weights and states of training that are there."),
)


def _finetune_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that make up `FinetuneOptions`, and hand them on as that one value."""

    @functools.wraps(function)
    def with_options(
        *,
        settings: Sequence[str],
        alpha: str | None,
        activation: str | None,
        hold_out: float,
        save_minutes: float,
        **others: Any,
    ) -> None:
        names = (
            *("preset", "model", "pretrained", "alpha_checkpoint", "mask_name", "train_split", "val_split"),
            *("watch_split", "choose_on_test", "resize_frames", "seed", "device", "overwrite", "yes"),
        )
        options = FinetuneOptions(
            settings=parsed_settings(settings),
            alpha=None if alpha is None else AlphaSource(alpha),
            activation=None if activation is None else Activation(activation),
            hold_out_share=hold_out,
            save_seconds=60 * save_minutes,
            **{name: others.pop(name) for name in names},
        )
        function(options=options, **others)

    return add_options(with_options, (*_OPTIONS, model_options))


@click.command("finetune")
@click.argument("store_place", metavar="STORE", type=Place(path_type=str))
@click.argument("checkpoint", type=Place(file_okay=False, path_type=Path), callback=on_this_machine)
@_finetune_options
@progress_option
@shared_options
def command(store_place: str, checkpoint: Path, options: FinetuneOptions, as_json: bool, progress: bool) -> None:
    """Train Alpha-CLIP on STORE, and keep the best weights in the folder CHECKPOINT.

    If it is interrupted, run the same command again: it resumes from the last state, and on the same machine ends
    with the very same weights. Several GPUs train together: `torchrun --nproc-per-node N -m cli.main finetune ...`.

    The best weights have the highest text-to-video R@1 on the split `val`, evaluated after each epoch or, as the preset
    says, more often. Where there is no `val`, a tenth of `train` is held out, and training.json lists these videos.
    log.jsonl and tensorboard/ have every step.
    """
    chosen_preset(options)  # refused before torch is loaded, which takes seconds
    with progress_listener("finetune", progress) as listener:
        try:
            result = fda.finetune(store_place, checkpoint, options, listener=listener)
        except RefusedError:  # the first process prints why
            sys.exit(FAILED)
    if not result.is_first_process:
        return
    print_json(result.to_dict()) if as_json else _print(result)


def _print(result: FinetuneResult) -> None:
    history = result.history
    is_windowed = any(one.window_r1 != one.validation_r1 for one in history.evaluations)
    chosen_by = history.validation if history.chosen_on_test else "validation"
    header = ["epoch", "step", "mean loss", f"{chosen_by} T2V R@1", *(["its last mean"] if is_windowed else [])]
    if history.watch_split is not None:
        header += [f"{history.watch_split}, watched: T2V R@1", "V2T R@1"]
    rows = [
        [
            f"{one.epoch}{' (kept)' if one is history.best else ''}",
            f"{one.step:,}",
            f"{one.mean_loss:.4f}",
            f"{one.validation_r1:.1f}",
            *([f"{one.window_r1:.1f}"] if is_windowed else []),
            *(f"{score:.1f}" for score in (one.watched_t2v_r1, one.watched_v2t_r1) if score is not None),
        ]
        for one in history.evaluations
    ]
    print_table(str(result.checkpoint), header, rows)
    stamp = "; CHOSEN ON TEST VIDEOS" if history.chosen_on_test else ""
    show(
        f"best: epoch {history.best_epoch}, R@1 {history.best_validation_r1:.1f} on "
        f"{plural(history.num_val_videos, 'video')} ({history.validation}); trained on "
        f"{history.num_train_videos:,}{stamp}"
    )
