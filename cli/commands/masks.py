"""`fda masks`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

import fda
from cli.options.files import Place
from cli.options.masks import MASK_OPTIONS
from cli.options.names import complete_masks
from cli.options.shared import add_options, progress_option, shared_options
from cli.options.workers import run_options, workers_option
from cli.output.printing import print_json, say
from cli.output.progress import progress_listener
from cli.output.tables import print_table
from pipeline.frames.named import named_masks
from pipeline.run.options import RunOptions
from pipeline.run.words import percent, plural

if TYPE_CHECKING:
    from pipeline.masks.overlap import MaskOverlap
    from pipeline.masks.pending import MasksResult
    from pipeline.masks.summary import SplitMasks


def _mask_options(function: Callable[..., None]) -> Callable[..., None]:
    return add_options(function, MASK_OPTIONS)


@click.command("masks")
@click.argument("store_place", metavar="STORE", type=Place(path_type=str))
@click.option(
    "--masks",
    "name",
    required=True,
    metavar="NAME",
    shell_complete=complete_masks,
    help="Name of the mask set.",
)
@click.option(
    "--against",
    metavar="NAME",
    shell_complete=complete_masks,
    help="Also print how well the masks cover those of another set, such as imported truth.",
)
@_mask_options
@workers_option(
    "Worker processes; 0 works in this process alone.  [default: the number of cores, or fewer if memory is short; 0 "
    "for a few seconds of work]"
)
@run_options(
    "Remove the mask set of this name first, if there is one.",
    "With --overwrite: also where features were made from these masks, which are then out of date.",
)
@progress_option
@shared_options
def command(
    store_place: str, name: str, against: str | None, run: RunOptions, as_json: bool, progress: bool, **flags: Any
) -> None:
    """Make another mask set from the frames of STORE, without decoding, under a name.

    The paper's masks are the default. If it is interrupted, run the same command again: it resumes. Masks of the
    same name are never mixed: if the options differ, the command refuses and names what differs. If a
    mask set is rebuilt with other options, `fda encode` refuses the features that were made from it; with --overwrite
    --yes it rebuilds them.

    The table has, for each split and before --when-empty and --when-full: the mean share of the picture that moves,
    the masks that are empty and full, and the videos whose camera moved. With --difference auto it also has the share
    of the videos for which each kind was picked. --against adds a table of the overlap with another mask set: the mean
    over videos of the intersection over the union, of precision and of recall.
    """
    # By the same function as in `fda preprocess`: equal flags give an equal mask set.
    options = named_masks(flags)
    with progress_listener("masks", progress) as listener:
        result = fda.make_masks(store_place, name, options, against=against, run=run, listener=listener)
    print_json(result.to_dict()) if as_json else print_masks(result)


def _print_overlaps(overlaps: Sequence[MaskOverlap]) -> None:
    rows = [
        [
            one.split,
            percent(one.mean_iou),
            percent(one.mean_precision),
            percent(one.mean_recall),
            percent(one.mean_coverage),
        ]
        for one in overlaps
    ]
    first = overlaps[0]
    print_table(
        f"masks {first.masks} against {first.against}", ["split", "IoU", "precision", "recall", "coverage"], rows
    )


def print_masks(result: MasksResult) -> None:
    """The table of a mask set, and how fast it was made."""
    columns = ["split", "videos with masks", "coverage", "empty", "full", "camera moves"]
    # Columns that would have dashes alone are left out.
    is_compensated = any(split.num_unregistered_pairs is not None for split in result.splits)
    if is_compensated:
        columns.append("pairs not registered")
    is_picked = any(split.picked_share is not None for split in result.splits)
    if is_picked:
        columns.append("picked")
    rows = [
        [
            split.split,
            f"{split.num_videos_masked:,} of {split.num_videos:,}",
            percent(split.mean_coverage),
            percent(split.empty_share),
            percent(split.full_share),
            percent(split.camera_motion_share),
            *([_of_pairs(split)] if is_compensated else []),
            *([_picked(split)] if is_picked else []),
        ]
        for split in result.splits
    ]
    print_table(f"masks {result.masks}", columns, rows)
    for split in result.splits:
        if 0 < split.num_camera_known < split.num_videos_masked:
            known = plural(split.num_camera_known, "video")
            say(f"{split.split}: whether the camera moves is known for {known}")
    made = result.num_videos_made
    # Of a run that found all there, a speed would be none.
    if result.num_shards_made:
        say(f"{plural(made, 'video')} in {result.seconds:.1f} s: {made / result.seconds:.1f} videos/s")
    if result.overlaps:
        _print_overlaps(result.overlaps)


def _of_pairs(split: SplitMasks) -> str:
    if split.num_unregistered_pairs is None:
        return "-"
    return f"{split.num_unregistered_pairs:,} in {plural(split.num_compared_frames or 0, 'frame')}"


def _picked(split: SplitMasks) -> str:
    """Such as `background 15.1%, registered 84.9%`."""
    return ", ".join(f"{kind} {percent(share)}" for kind, share in (split.picked_share or {}).items())
