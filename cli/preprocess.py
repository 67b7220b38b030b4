"""`fda preprocess`."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click

from cli.options import Limit, num_cores, shared_options
from cli.output import DONE, OVER_LIMIT, plural, print_json, print_table, say
from cli.progress import progress_listener
from pipeline.datasets import LAYOUTS, guess_layout, read_dataset
from pipeline.executors import Executor, local_dask, run_synchronously
from pipeline.masks import MaskOptions
from pipeline.plan import Tally
from pipeline.preprocess import PreprocessOptions, PreprocessResult, open_store, plan_preprocess, preprocess
from pipeline.runs import RunClock, record_run
from pipeline.software import FRAME_SOFTWARE, software_versions
from store.arrays import JSON
from store.schema import VideoStatus
from store.store import Store, remove_store

FAILURES_SHOWN = 20
_DEFAULTS = PreprocessOptions()


_COUNT = click.IntRange(1, 1024)
_OPTIONS = (
    click.option(
        "--train-frames",
        type=_COUNT,
        default=_DEFAULTS.train_frames,
        show_default=True,
        help="Frames a clip on `train`.",
    ),
    click.option(
        "--eval-frames", type=_COUNT, default=_DEFAULTS.eval_frames, show_default=True, help="Frames a clip, elsewhere."
    ),
    click.option(
        "--image-size",
        type=click.IntRange(16, 1024),
        default=_DEFAULTS.image_size,
        show_default=True,
        help="Side of the frames, pixels.",
    ),
    click.option("--shard-size", type=_COUNT, default=_DEFAULTS.shard_size, show_default=True, help="Videos a shard."),
    click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        default=_DEFAULTS.timeout_seconds,
        show_default=True,
        help="Seconds a video may take.",
    ),
    click.option("--masks", default=_DEFAULTS.mask_name, show_default=True, metavar="NAME", help="Name of the masks."),
    click.option(
        "--threshold",
        type=click.FloatRange(0, 255),
        default=_DEFAULTS.masks.threshold,
        show_default=True,
        help="Grey levels (0..255): a pixel moves where two frames differ by more.",
    ),
    click.option(
        "--kernel-size",
        type=_COUNT,
        default=_DEFAULTS.masks.kernel_size,
        show_default=True,
        help="Diameter of the ellipse of closing and opening, pixels; odd.",
    ),
    click.option(
        "--min-area",
        type=click.IntRange(min=0),
        default=_DEFAULTS.masks.min_area,
        show_default=True,
        help="Connected components of fewer pixels are dropped.",
    ),
)


def preprocess_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that make up `PreprocessOptions`, and hand them on as that one value."""

    @functools.wraps(function)
    def with_options(
        *,
        train_frames: int,
        eval_frames: int,
        image_size: int,
        shard_size: int,
        timeout: float,
        masks: str,
        threshold: float,
        kernel_size: int,
        min_area: int,
        **others: object,
    ) -> None:
        mask_options = MaskOptions(threshold=threshold, kernel_size=kernel_size, min_area=min_area)
        options = PreprocessOptions(
            train_frames=train_frames,
            eval_frames=eval_frames,
            image_size=image_size,
            shard_size=shard_size,
            timeout_seconds=timeout,
            mask_name=masks,
            masks=mask_options,
        )
        function(options=options, **others)

    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options


@click.command("preprocess")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("store_place", metavar="STORE", type=click.Path(path_type=str))
@click.option(
    "--dataset",
    "layout",
    type=click.Choice(["auto", *LAYOUTS]),
    default="auto",
    show_default=True,
    help="How SOURCE is laid out.",
)
@click.option(
    "--videos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the videos, where it is not that of SOURCE.",
)
@click.option("--path-key", metavar="KEY", help="jsonl: the key of a video's path.  [default: path]")
@preprocess_options
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Worker processes; 0 works in this process alone.  [default: the number of cores]",
)
@click.option(
    "--max-failed",
    type=Limit(),
    default="10%",
    show_default=True,
    help="Exit with code 3 where more videos than this gave no clip.",
)
@click.option("--retry-failed", is_flag=True, help="Decode again the videos that gave no clip, and only them.")
@click.option("--overwrite", is_flag=True, help="Remove the store first, if there is one.")
@shared_options
def command(
    source: Path,
    store_place: str,
    options: PreprocessOptions,
    layout: str,
    videos: Path | None,
    path_key: str | None,
    workers: int | None,
    max_failed: Callable[[int], float],
    retry_failed: bool,
    overwrite: bool,
    as_json: bool,
    progress: bool | None,
) -> None:
    """Decode the videos of SOURCE once, and keep frames and motion masks in STORE.

    \b
    SOURCE is one of
      jsonl   a file with one line a video: video_id, path, captions, optional split (default: test)
      folder  videos, each with a text file of the same name, one caption a line
      msvd    train_list.txt, val_list.txt, test_list.txt and raw-captions.pkl or AllVideoDescriptions.txt

    Killed at any moment and started again, the same command goes on where it was. A video that cannot be read is
    recorded with the reason, and its slot stays empty. Where a name begins with `-`, write `./` before it.
    """
    clock = RunClock()
    dataset = read_dataset(guess_layout(source) if layout == "auto" else layout, source, videos, path_key=path_key)
    if overwrite:
        remove_store(store_place)
    store = open_store(dataset, store_place, options)
    plan = plan_preprocess(store, options, retry_failed=retry_failed)
    num_workers = min(num_cores() if workers is None else workers, len(plan.owed))
    with ExitStack() as stack:
        listener = stack.enter_context(progress_listener("preprocess", progress))
        executor: Executor = stack.enter_context(local_dask(num_workers)) if num_workers > 0 else run_synchronously
        result = preprocess(store, dataset.root, plan, options, executor, listener)
    summary = _summary(store, result, clock, num_workers)
    if plan.owed:
        made_with = {**asdict(options), "source": str(source), "software": dict(software_versions(FRAME_SOFTWARE))}
        summary["run"] = record_run(store.folder, "preprocess", clock, made_with, summary)
    if as_json:
        print_json(summary)
    else:
        _print(store, result, clock, num_workers, dataset.root)
    failed = len(result.tally.failures)
    limit = max_failed(result.tally.num_videos)
    if failed > limit:
        say(f"{failed} of {plural(result.tally.num_videos, 'video')} gave no clip, over --max-failed ({limit:g})")
    click.get_current_context().exit(OVER_LIMIT if failed > limit else DONE)


def _summary(store: Store, result: PreprocessResult, clock: RunClock, num_workers: int) -> dict[str, JSON]:
    tally = result.tally
    return {
        "store": str(store.folder.root),
        "num_videos": tally.num_videos,
        "num_clips": tally.num_videos - len(tally.failures),
        "num_clips_truncated": tally.num_truncated,
        "num_shards": result.plan.num_shards,
        "num_shards_made": len(result.plan.owed),
        "num_videos_made": result.plan.num_videos_owed,
        "num_frames_made": result.num_frames,
        "source_bytes_read": result.num_source_bytes,
        "workers": num_workers,
        "seconds": round(clock.seconds, 3),
        "videos_per_second": round(result.plan.num_videos_owed / clock.seconds, 3),
        "failures": [
            {"video_id": failure.video_id, "status": str(failure.status), "reason": failure.reason}
            for failure in tally.failures
        ],
    }


def _print(store: Store, result: PreprocessResult, clock: RunClock, num_workers: int, root: Path) -> None:
    tally, made = result.tally, result.plan.num_videos_owed
    if made:
        rate = made / clock.seconds
        source_mb = result.num_source_bytes / 1e6
        where = f"by {plural(num_workers, 'worker')}" if num_workers else "in this process"
        say(
            f"{plural(made, 'video')} in {clock.seconds:.1f} s {where}: "
            f"{rate:.1f} videos/s, {source_mb / clock.seconds:.1f} MB/s of video"
        )
    else:
        say(f"nothing to do: {plural(result.plan.num_shards, 'shard')}, all done")
    rows = [
        [split, f"{layout.num_videos:,}", f"{layout.num_captions:,}", str(layout.num_frames)]
        for split, layout in store.manifest.splits.items()
    ]
    print_table(str(store.folder.root), ["split", "videos", "captions", "frames"], rows)
    _print_failures(tally, root)


def _print_failures(tally: Tally, root: Path) -> None:
    num_clips = tally.num_videos - len(tally.failures)
    truncated = f", {tally.num_truncated} of them from files that are cut off" if tally.num_truncated else ""
    if not tally.failures:
        click.echo(f"{plural(num_clips, 'clip')}{truncated}; no video failed")
        return
    counts = Counter(str(failure.status) for failure in tally.failures)
    by_status = ", ".join(f"{number} {status}" for status, number in counts.most_common())
    click.echo(f"{plural(num_clips, 'clip')}{truncated}; {plural(len(tally.failures), 'video')} failed: {by_status}")
    for failure in tally.failures[:FAILURES_SHOWN]:
        click.echo(f"  {failure.video_id}  {failure.status}: {failure.reason}")
    if len(tally.failures) > FAILURES_SHOWN:
        click.echo(f"  and {len(tally.failures) - FAILURES_SHOWN} more: --json and the commit records name all")
    if any(failure.status == VideoStatus.MISSING for failure in tally.failures):
        say(f"missing videos were looked for below {root}: --videos names another folder")
    say("once videos are mended or found, --retry-failed decodes them, and only them")
