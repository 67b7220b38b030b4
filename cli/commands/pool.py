"""`fda pool`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import fda
from cli.options.files import Place
from cli.options.names import complete_features, complete_splits
from cli.options.shared import (
    add_options,
    device_option,
    on_this_machine,
    progress_option,
    seed_option,
    shared_options,
    wait_option,
)
from cli.output.printing import print_json, show
from cli.output.progress import progress_listener
from cli.output.tables import print_table
from encoders.errors import SettingError
from encoders.temporal.options import TemporalOptions
from pipeline.pooling.options import PoolOptions
from pipeline.run.words import plural

if TYPE_CHECKING:
    from pipeline.pooling.run import PoolResult

_DEFAULTS, _POOLING = TemporalOptions(), PoolOptions("features", "pooled")
_OPTIONS = (
    click.option(
        "--features",
        required=True,
        metavar="NAME",
        shell_complete=complete_features,
        help="Name of the feature set whose cached frames are read.",
    ),
    click.option("--to", required=True, metavar="NAME", help="Name of the feature set that is written."),
    click.option(
        "--split",
        "splits",
        multiple=True,
        shell_complete=complete_splits,
        help="Write this split; may be repeated.  [default: all that have the features]",
    ),
    click.option("--train-split", default=_POOLING.train_split, show_default=True, help="Train on this split."),
    click.option(
        "--val-split",
        help="Choose the best epoch by this split.  "
        "[default: val; if there is none, --hold-out of the training videos]",
    ),
    click.option(
        "--hold-out",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        default=_POOLING.hold_out_share,
        show_default=True,
        help="Part of the training videos that is held out where there is no --val-split.",
    ),
    click.option(
        "--captions",
        type=click.Choice(["all", "one"]),
        default=_POOLING.captions,
        show_default=True,
        help="Pairs of an epoch: every caption, or one of each video at random.",
    ),
    click.option(
        "--layers", type=click.IntRange(1, 64), default=_DEFAULTS.layers, show_default=True, help="Transformer blocks."
    ),
    click.option(
        "--epochs", type=click.IntRange(min=1), default=_DEFAULTS.epochs, show_default=True, help="Epochs at most."
    ),
    click.option(
        "--patience",
        type=click.IntRange(min=1),
        default=_DEFAULTS.patience,
        show_default=True,
        help="Epochs without a better validation R@1 after which training stops.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(min=2),
        default=_DEFAULTS.batch_size,
        show_default=True,
        help="Pairs a step.",
    ),
    click.option(
        "--lr", type=click.FloatRange(min=0, min_open=True), default=_DEFAULTS.lr, show_default=True, help="Peak rate."
    ),
    seed_option,
    device_option,
    click.option(
        "--overwrite",
        is_flag=True,
        help="Remove the checkpoint and the written features first; needs --yes if there are any.",
    ),
    click.option("--yes", is_flag=True, help="With --overwrite: remove weights and features that are there."),
)


def _pool_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that make up `PoolOptions`, and hand them on as that one value."""

    @functools.wraps(function)
    def with_options(*, splits: Sequence[str], hold_out: float, **others: Any) -> None:
        of_training = ("layers", "epochs", "patience", "batch_size", "lr")
        names = ("features", "to", "train_split", "val_split", "captions", "seed", "device", "overwrite", "yes")
        try:
            temporal = TemporalOptions(**{name: others.pop(name) for name in of_training})
        # An error of the encoders, which knows of no command line: here it is wrong usage.
        except SettingError as error:
            raise click.UsageError(str(error)) from error
        options = PoolOptions(
            splits=tuple(splits),
            hold_out_share=hold_out,
            temporal=temporal,
            **{name: others.pop(name) for name in names},
        )
        function(options=options, **others)

    return add_options(with_options, _OPTIONS)


@click.command("pool")
@click.argument("store_place", metavar="STORE", type=Place(path_type=str))
@click.argument("checkpoint", type=Place(file_okay=False, path_type=Path), callback=on_this_machine)
@_pool_options
@wait_option
@progress_option
@shared_options
def command(
    store_place: str, checkpoint: Path, options: PoolOptions, wait: bool, progress: bool, as_json: bool
) -> None:
    """Train a small transformer on cached features of frames, and write what it makes of them as a feature set.

    It is CLIP4Clip's seqTransf, on features that stay as they are: nothing is decoded or encoded. The weights of the
    epoch with the best R@1 on the validation videos go into the folder CHECKPOINT. Before the first epoch it is
    unit-mean pooling; if no epoch is better than that, it stays so.

    \b
    fda encode STORE --features mine --checkpoint OUT
    fda pool STORE pooling --features mine --to mine-seq
    fda compare STORE mine mine-seq
    """
    with progress_listener("pool", progress) as listener:
        result = fda.pool_features(store_place, checkpoint, options, wait=wait, listener=listener)
    print_json(result.to_dict()) if as_json else _print(result)


def _print(result: PoolResult) -> None:
    history = result.history
    rows = [
        [
            f"{one.epoch or 'untrained'}{' (kept)' if one.epoch == history.best_epoch else ''}",
            "-" if one.mean_loss is None else f"{one.mean_loss:.4f}",
            f"{one.validation_r1:.1f}",
            f"{one.validation_mean_rank:.1f}",
        ]
        for one in history.epochs
    ]
    print_table(str(result.checkpoint), ["epoch", "mean loss", "validation T2V R@1", "mean rank"], rows)
    if result.was_trained:
        show(f"{result.checkpoint} was trained to the end with these inputs before")
    show(
        f"trained on {plural(history.num_train_videos, 'video')}, chosen on {history.num_val_videos:,} "
        f"({history.validation})"
    )
    written = [
        [one.split, f"{one.num_videos:,} of {one.num_videos_expected:,}", f"{one.num_captions:,}"]
        for one in result.splits
    ]
    print_table(
        f"features {result.features}, from {result.source}", ["split", "videos with features", "captions"], written
    )
