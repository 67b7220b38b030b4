"""`fda finetune`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from cli.models import load
from cli.options import (
    alpha_option,
    device_option,
    local_path,
    mask_option,
    model_options,
    seed_option,
    shared_options,
)
from cli.output import print_json, print_table, say
from cli.progress import progress_listener
from encoders.recipes import load_preset, preset_names
from encoders.training import TrainOptions
from pipeline.alpha import AlphaSource
from pipeline.checkpoint import FinetuneResult, is_finished, read_history, remove_checkpoint
from pipeline.finetune import FinetuneOptions, checkpoint_identity, finetune
from pipeline.runs import RunClock, recorded_run
from store.arrays import JSON
from store.store import Store


@click.command("finetune")
@click.argument("store_place", metavar="STORE", type=click.Path(path_type=str))
@click.argument("checkpoint", type=click.Path(file_okay=False, path_type=Path), callback=local_path)
@click.option(
    "--preset",
    default="fda-clip",
    show_default=True,
    help=f"A model and how to train it: {', '.join(preset_names())}, or a TOML file of the same form.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a [finetune] value of the preset.")
@model_options
@mask_option
@alpha_option
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
    mask_name: str,
    alpha: str,
    seed: int,
    device: str,
    overwrite: bool,
    as_json: bool,
    progress: bool | None,
) -> None:
    """Train Alpha-CLIP on the split `train` of STORE, and keep the best epoch's weights in the folder CHECKPOINT.

    The best epoch is the one with the highest text-to-video R@1 on the split `val`; where there is none, a tenth of
    `train` is held out. CHECKPOINT holds model.safetensors, config.json and history.json.
    """
    clock = RunClock()
    recipe = load_preset(preset)
    options = FinetuneOptions(
        train=_with_settings(recipe.train, settings), mask_name=mask_name, alpha=AlphaSource(alpha), seed=seed
    )
    store = Store.open(store_place)
    loaded = load(model or recipe.model, pretrained or recipe.pretrained, alpha_checkpoint, seed=seed, device=device)
    say(f"weights: {loaded.report.summary()}")
    identity = checkpoint_identity(store, loaded, options)
    if overwrite:
        remove_checkpoint(checkpoint)
    if is_finished(checkpoint, identity):
        say(f"nothing to do: {checkpoint} was trained to the end with these inputs")
        result = read_history(checkpoint)
    else:
        with (
            recorded_run(store.folder, "finetune", clock, identity) as run,
            progress_listener("finetune", progress) as listener,
        ):
            result = finetune(store, loaded, checkpoint, options, listener)
            run.result = _summary(checkpoint, result)
    if as_json:
        print_json({**_summary(checkpoint, result), "seconds": round(clock.seconds, 3)})
    else:
        _print(checkpoint, result)


def _with_settings(options: TrainOptions, settings: Sequence[str]) -> TrainOptions:
    values: dict[str, object] = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise click.BadParameter(f"{setting!r} is not of the form KEY=VALUE", param_hint="--set")
        try:
            values[key.strip()] = json.loads(text)
        except ValueError as error:
            raise click.BadParameter(f"{setting!r}: {text!r} is not a number", param_hint="--set") from error
    return TrainOptions.from_dict({**asdict(options), **values}, "--set")


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
    click.echo(
        f"best: epoch {result.best_epoch}, R@1 {result.best_validation_r1:.1f} on {result.num_val_videos} videos "
        f"({result.validation}); trained on {result.num_train_videos}"
    )
