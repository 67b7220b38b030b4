"""`fda preprocess`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import fda
from cli.options.files import ExistingPath, Place
from cli.options.frames import FRAME_OPTIONS
from cli.options.masks import MASK_OPTIONS
from cli.options.names import complete_masks
from cli.options.shared import LimitType, max_failed_option, preset_option, progress_option, shared_options
from cli.options.source import source_options
from cli.options.workers import run_options, workers_option
from cli.output.failures import exit_by_failures, print_failures
from cli.output.masks import masks_line
from cli.output.printing import print_json, say, show
from cli.output.progress import progress_listener
from cli.output.tables import print_table
from pipeline.datasets.options import SourceOptions
from pipeline.frames.named import CLIP_NAMES, named_clips
from pipeline.frames.options import DecodingOptions, PreprocessOptions
from pipeline.run.limits import Limit
from pipeline.run.options import RunOptions, SourceCheck
from pipeline.run.partition import WHOLE
from pipeline.run.resources import DECODER_MEMORY_MIB
from pipeline.run.words import plural

if TYPE_CHECKING:
    from pipeline.frames.run import PreprocessResult

_DEFAULTS = PreprocessOptions()

_OPTIONS: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...] = (
    *FRAME_OPTIONS,
    click.option(
        "--masks",
        default=_DEFAULTS.mask_name,
        show_default=True,
        metavar="NAME",
        shell_complete=complete_masks,
        help="Name of the mask set.",
    ),
    *MASK_OPTIONS,
)
_DECODING = (
    click.option(
        "--decoder-memory",
        type=click.IntRange(min=64),
        default=DECODER_MEMORY_MIB,
        show_default=True,
        metavar="MIB",
        help="Memory that decoding one video may take; a video that needs more is recorded as unsupported.",
    ),
    click.option("--retry-failed", is_flag=True, help="Decode the failed videos again, and only them."),
    click.option(
        "--check-videos",
        type=click.Choice([str(check) for check in SourceCheck]),
        default=str(SourceCheck.SIZE),
        show_default=True,
        help="How changed videos are found; these are decoded again. content reads every file.",
    ),
    click.option("--update-captions", is_flag=True, help="Take changed captions of the store's videos from SOURCE."),
    click.option(
        "--max-missing",
        type=LimitType(),
        default=str(DecodingOptions().max_missing),
        show_default=True,
        help="Stop before decoding if more videos than this are missing: --videos may be wrong.",
    ),
)


def _preprocess_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that make up `PreprocessOptions` and `DecodingOptions`, and hand them on as two values."""

    @functools.wraps(function)
    def with_options(
        *,
        decoder_memory: int,
        retry_failed: bool,
        check_videos: str,
        update_captions: bool,
        max_missing: Limit,
        **others: Any,
    ) -> None:
        options = named_clips({name: others.pop(name) for name in CLIP_NAMES})
        check = SourceCheck(check_videos)
        decoding = DecodingOptions(decoder_memory, retry_failed, check, update_captions, max_missing)
        function(options=options, decoding=decoding, **others)

    decorated: Callable[..., None] = with_options
    for option in (*reversed(_DECODING), *reversed(_OPTIONS)):
        decorated = option(decorated)
    return decorated


@click.command("preprocess")
@click.argument("source", type=ExistingPath())
@click.argument("store_place", metavar="STORE", type=Place(path_type=str))
@source_options
@preset_option
@_preprocess_options
@workers_option(
    "Number of workers, each a decoder process; if there are fewer shards, they share them. 0: one video at a time.  "
    "[default: the number of cores, or fewer if memory is short; 0 for a few seconds of work]"
)
@max_failed_option
@run_options(
    "Remove the store first, if there is one: what fda wrote, and no other file. It prints what it removes.",
    "With --overwrite: remove feature sets as well.",
)
@progress_option
@shared_options
def command(
    source: Path,
    store_place: str,
    options: PreprocessOptions,
    how: SourceOptions,
    decoding: DecodingOptions,
    run: RunOptions,
    max_failed: Limit,
    as_json: bool,
    progress: bool,
) -> None:
    """Decode the videos of SOURCE once, and keep frames and motion masks in STORE.

    \b
    SOURCE is one of
      jsonl          a file with one line a video: video_id, path, captions, optional split (default: test)
      csv            a file with a header and one row a caption: video_id, path, caption, split
      video          one video file
      folder         videos, each with a text file of the same name, one caption a line
      msvd           train_list.txt, val_list.txt, test_list.txt and raw-captions.pkl, or the like
      msrvtt         MSRVTT_data.json, MSRVTT_JSFUSION_test.csv, MSRVTT_train.9k.csv, or the like
      activitynet    train.json, val_1.json: a paragraph a video
      didemo         train_data.json, val_data.json, test_data.json: a paragraph a video
      lsmdc          LSMDC16_annos_training.csv, LSMDC16_challenge_1000_publictect.csv
      vatex          vatex_training_v1.0.json and others, train_list.txt and others
      video2dataset  00000.tar, 00000.parquet, ...: see --extract-to

    Captions may be missing: they are needed by `fda encode`, and can be added later. Videos and captions are counted
    against the published numbers. Warnings name what would spoil results: missing captions and files, training videos
    in other splits, captions that several test videos share.

    If it is interrupted, run the same command again: it resumes. A video that cannot be read is recorded with
    the reason, and its slot stays empty. Where a name begins with `-`, write `./` before it.
    """
    with progress_listener("preprocess", progress) as listener:
        result = fda.preprocess(
            source, store_place, options, reading=how, decoding=decoding, run=run, listener=listener
        )
    if as_json:
        print_json(result.to_dict())
    else:
        _print(result)
    exit_by_failures(result.tally, max_failed)


def _print(result: PreprocessResult) -> None:
    made, seconds = result.num_videos_made, result.seconds
    if made:
        where = f"by {plural(result.num_workers, 'worker')}" if result.num_workers else "in this process"
        source_mb = result.num_source_bytes / 1e6
        say(
            f"{plural(made, 'video')} in {seconds:.1f} s {where}: {made / seconds:.1f} videos/s, "
            f"{source_mb / seconds:.1f} MB/s of video"
        )
    rows = [
        [split, f"{layout.num_videos:,}", f"{layout.num_captions:,}", str(layout.num_frames)]
        for split, layout in result.splits.items()
    ]
    print_table(result.store, ["split", "videos", "captions", "frames"], rows)
    if result.partition != WHOLE:
        show(f"of part {result.partition} alone:")
    for masks in result.masks:
        if masks.num_videos_masked:
            show(masks_line(result.mask_name, masks))
    print_failures(result.tally, result.videos_root)
    if result.partition != WHOLE:
        say(f"this was part {result.partition}: run `fda finalise {result.store}` when all parts have ended")
