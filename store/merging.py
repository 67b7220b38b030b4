"""The catalogue of a store and that of its data set, which has grown or changed, become one.

Rows are matched by hashes of their ids and compared a part at a time: as Python objects, ten million videos of both
would take 12 GB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from store.catalog import Catalog
from store.catalog_rows import CatalogRows
from store.errors import StoreMismatchError
from store.formats.columns import integers
from store.formats.parquet import GROUP_ROWS
from store.remedies import START_OVER

NAMED = 3
"""At most so many videos are named in an error."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What changed in a store when its data set was read again."""

    new_videos: Mapping[str, int]
    """Split -> videos that were added to it."""
    num_moved: int = 0
    """Videos whose files have a new path."""
    num_recaptioned: int = 0
    """Videos of the store whose captions have changed."""
    num_captioned: int = 0
    """Videos of the store that had no caption, and have some now."""
    rebuilt: str | None = None
    """Why the catalogue was rebuilt from the commit records and the data set; None if it was whole."""

    @property
    def num_new_videos(self) -> int:
        """Over all splits."""
        return sum(self.new_videos.values())


def merged(existing: Catalog, wanted: Catalog, place: str) -> tuple[Catalog, Growth]:
    """The catalogue of a store with the new videos of a data set, each split's after its existing ones.

    Args:
        existing: Of the store.
        wanted: Of the data set.
        place: For errors.

    Raises:
        StoreMismatchError: A video of the store is missing, has moved to another split, is another part of its file, or
            is there twice.
    """
    found = positions(existing.video_rows, wanted.video_rows, place)
    _check_same_splits(existing, wanted.video_rows, found, place)
    order, new_videos, start = dict[str, NDArray[np.int64]](), dict[str, int](), 0
    is_new = np.ones(wanted.num_rows[0], np.bool_)
    is_new[found] = False
    for split in dict.fromkeys((*existing.splits, *wanted.splits)):
        span, num_kept = wanted.video_rows.spans.get(split, range(0)), existing.video_rows.count(split)
        added = span.start + np.flatnonzero(is_new[span.start : span.stop])
        # Existing videos in their rows, then new ones in the order of the data set.
        order[split] = np.concatenate([found[start : start + num_kept], added])
        start += num_kept
        if len(added):
            new_videos[split] = len(added)
    grown = wanted.arranged(order)
    num_moved = _videos_compared(existing, grown, place)
    num_recaptioned, num_captioned = _captions_compared(existing, grown)
    return grown, Growth(new_videos, num_moved, num_recaptioned, num_captioned)


def positions(rows: CatalogRows, among: CatalogRows, place: str) -> NDArray[np.int64]:
    """Where the videos of a store are in the catalogue of its data set, shape (rows.num_rows,).

    Two ids have one hash in one of a hundred thousand of the largest data sets: such ids are looked up as texts.

    Args:
        rows: Of the store.
        among: Of the data set, whose every row counts.
        place: For errors.

    Raises:
        StoreMismatchError: A video is not there, or an id is there twice.
    """
    theirs, mine = _hashes(among), _hashes(rows)  # 8 bytes each: as texts, ids take ten times as much
    order = np.argsort(theirs)
    ordered = theirs[order]
    # A hash above all others is searched for behind the last: it is compared with the last, and found missing.
    places = np.minimum(np.searchsorted(ordered, mine), len(ordered) - 1)
    found, is_missing = order[places], ordered[places] != mine
    # Hashes that two rows of the data set have: one id twice, or two ids by chance. Texts tell which.
    doubtful = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    exact: dict[str, int] = {}
    for position, video_id in enumerate(_ids(among)) if doubtful else ():
        if hash(video_id) in doubtful and exact.setdefault(video_id, position) != position:
            raise _twice(video_id, place)
    for number, video_id in enumerate(_ids(rows)) if doubtful else ():
        if hash(video_id) in doubtful:
            found[number], is_missing[number] = exact.get(video_id, 0), video_id not in exact
    if is_missing.any():
        raise _missing([video_id for video_id, is_one in zip(_ids(rows), is_missing, strict=True) if is_one], place)
    known, counts = np.unique(found, return_counts=True)
    # Two videos of the store are one of the data set.
    if len(known) != len(found):
        raise _twice(
            among.file.rows(range(first := int(known[counts > 1][0]), first + 1))["video_id"][0].as_py(), place
        )
    return found


def _hashes(rows: CatalogRows) -> NDArray[np.int64]:
    return np.fromiter(map(hash, _ids(rows)), np.int64, rows.num_rows)


def _ids(rows: CatalogRows) -> Iterator[str]:
    for table in rows.parts(columns=("video_id",)):
        yield from table["video_id"].to_pylist()


def _check_same_splits(existing: Catalog, wanted: CatalogRows, found: NDArray[np.int64], place: str) -> None:
    start = 0
    for split in existing.splits:
        its, span = found[start : start + existing.video_rows.count(split)], wanted.spans.get(split, range(0))
        moved = np.flatnonzero((its < span.start) | (its >= span.stop))
        if len(moved):
            position = int(its[moved[0]])
            now = next(other for other, rows in wanted.spans.items() if position in rows)
            video_id = existing.video_ids(split, int(moved[0]), int(moved[0]) + 1)[0]
            raise _changed(video_id, "split", (split, now), place)
        start += len(its)


def _videos_compared(existing: Catalog, grown: Catalog, place: str) -> int:
    """How many videos of a store have a new path, if nothing else of them has changed."""
    num_moved = 0
    for split in existing.splits:
        parts = existing.video_rows.parts(split)
        theirs = grown.video_rows.first({split: existing.video_rows.count(split)}).parts()
        for before, now in zip(parts, theirs, strict=True):
            gone = [before["video_id"][number].as_py() for number in _different(before["video_id"], now["video_id"])]
            if gone:  # the hash of each is that of another
                raise _missing(gone, place)
            for key in ("start_seconds", "end_seconds"):
                for number in _different(before[key], now[key])[:1]:
                    values = (before[key][number].as_py(), now[key][number].as_py())
                    raise _changed(before["video_id"][number].as_py(), key, values, place)
            num_moved += len(_different(before["path"], now["path"]))
    return num_moved


def _captions_compared(existing: Catalog, grown: Catalog) -> tuple[int, int]:
    """How many videos of a store have changed captions, and how many have some that had none."""
    num_recaptioned = num_captioned = 0
    for split in existing.splits:
        before = existing.captions_of_each(split)
        now = grown.captions_of_each(split)[: len(before)]
        num_captioned += int(np.count_nonzero((before == 0) & (now > 0)))
        num_recaptioned += int(np.count_nonzero((before > 0) & (before != now)))
        starts = [0, 0]
        for start in range(0, len(before), GROUP_ROWS):
            counts = [of_each[start : start + GROUP_ROWS] for of_each in (before, now)]
            is_same = counts[0] == counts[1]  # the others are counted above, and need no look at their texts
            texts = []
            for number, rows in enumerate((existing.caption_rows, grown.caption_rows)):
                stop = starts[number] + int(counts[number].sum())
                span = rows.spans.get(split, range(0))[starts[number] : stop]
                found = pa.concat_tables([pa.Table.from_batches([], rows.file.schema), *rows.file.parts(span)])["text"]
                texts.append(found.take(integers(np.flatnonzero(np.repeat(is_same, counts[number])))))
                starts[number] = stop
            video_of = np.repeat(np.arange(len(is_same)), np.where(is_same, counts[0], 0))
            num_recaptioned += len(np.unique(video_of[_different(*texts)]))
    return num_recaptioned, num_captioned


def _different(before: pa.ChunkedArray, now: pa.ChunkedArray) -> list[int]:
    """Where two columns differ; a value that is missing is as good as any other."""
    if before.equals(now):
        return []
    pairs = zip(before.to_pylist(), now.to_pylist(), strict=True)
    return [number for number, (one, other) in enumerate(pairs) if one != other]


def _missing(video_ids: Sequence[str], place: str) -> StoreMismatchError:
    return StoreMismatchError(
        f"{_named(video_ids)} of {place} {'is' if len(video_ids) == 1 else 'are'} no longer in the data set. "
        f"A store only grows: put back what was removed, or {START_OVER}"
    )


def _changed(video_id: str, key: str, values: tuple[object, object], place: str) -> StoreMismatchError:
    return StoreMismatchError(
        f"video {video_id!r} of {place} has changed: its {key} is {values[0]!r} in the store and {values[1]!r} now. "
        f"Give it another video_id, or {START_OVER}"
    )


def _twice(video_id: str, place: str) -> StoreMismatchError:
    return StoreMismatchError(f"video {video_id!r} is twice in the catalogue of {place} or its data set: {START_OVER}")


def _named(video_ids: Sequence[str]) -> str:
    """A few videos by name.

    >>> _named(["a"]), _named(["a", "b", "c", "d"])
    ("video 'a'", "4 videos ('a', 'b', 'c' and others)")
    """
    if len(video_ids) == 1:
        return f"video {video_ids[0]!r}"
    others = " and others" if len(video_ids) > NAMED else ""
    return f"{len(video_ids)} videos ({', '.join(map(repr, video_ids[:NAMED]))}{others})"
