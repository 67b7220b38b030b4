"""Videos that are not where they are looked for: a run with a wrong folder stops before it records them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pipeline.datasets.reading.files import first_few
from pipeline.errors import PipelineError
from pipeline.frames.preprocess import NUM_LOOKING, videos_to_decode
from pipeline.run.limits import Limit
from pipeline.run.plan import Plan, Tally
from store.schema import VideoStatus
from store.stages import FRAMES_STAGE
from store.store import Store

LOOKED_AT = 50_000
"""Videos of a larger set: so many, evenly spaced, stand for all."""

Item = TypeVar("Item")


class VideosMissingError(PipelineError, FileNotFoundError):
    """More videos are missing than the user allows."""


def require_found(paths: Sequence[str], root: Path, limit: Limit, *, num_pending: int, num_videos: int) -> None:
    """Look for the videos that a run would decode.

    Args:
        paths: Of these videos, or of a sample of them, relative to `root`.
        root: The folder of the videos.
        limit: How many may be missing.
        num_pending: Number of these videos.
        num_videos: Of the whole run, those of earlier runs among them: what a share is of.

    Raises:
        VideosMissingError: More are missing.
    """
    there = in_parallel(lambda path: (root / path).exists(), paths)
    missing = [path for path, is_there in zip(paths, there, strict=True) if not is_there]
    # Of a sample, as many of all as of it.
    if not missing or len(missing) / len(paths) * num_pending <= limit(num_videos):
        return
    some_of = "" if len(paths) == num_pending else f" that were looked for, of {num_pending:,},"
    raise VideosMissingError(
        f"{len(paths) - len(missing):,} of {len(paths):,} videos{some_of} were found below {root}, and "
        f"{len(missing):,} are missing: {first_few(missing)}. Name their folder with --videos, or raise --max-missing "
        f"({limit}) to record them as missing"
    )


def sampled(items: Sequence[Item], num_videos: int) -> Sequence[Item]:
    """All items that stand for `num_videos` videos, or evenly spaced ones for some `LOOKED_AT` of them.

    >>> sampled("abcdef", 6), sampled("abcdef", 3 * LOOKED_AT)
    ('abcdef', 'ad')
    """
    return items[:: max(1, -(-num_videos // LOOKED_AT))]


def pending_paths(store: Store, plan: Plan) -> tuple[list[str], int]:
    """Paths of the videos that a plan decodes, relative to the folder of the videos; if there are many, of some.

    Also returns how many it decodes: masks alone are made from stored frames, and need no video.
    """
    decoded = [pending for pending in plan.pending if FRAMES_STAGE in pending.stages]
    num_pending = sum(pending.shard.num_rows - len(pending.kept_rows) for pending in decoded)
    return [video.path for video in videos_to_decode(store, sampled(decoded, num_pending))], num_pending


def found_again(store: Store, tally: Tally, root: Path) -> tuple[int, int]:
    """How many videos were missing when they were to be decoded, and how many of them are there now."""
    missing = [failure for failure in tally.failures if failure.status == VideoStatus.MISSING]
    paths_of = {split: store.catalog.split_videos(split)["path"] for split in {failure.split for failure in missing}}
    paths = [root / paths_of[failure.split][failure.row].as_py() for failure in missing]
    return len(missing), sum(in_parallel(Path.is_file, paths))


def in_parallel(look: Callable[[Item], bool], items: Sequence[Item]) -> Iterator[bool]:
    """What `look` says of each file; False where it cannot be asked for."""

    def safely(item: Item) -> bool:
        try:
            return look(item)
        except (OSError, ValueError):  # no permission, a name that is too long: decoding says which
            return False

    with ThreadPoolExecutor(NUM_LOOKING, thread_name_prefix="fda-look") as pool:
        yield from pool.map(safely, items)
