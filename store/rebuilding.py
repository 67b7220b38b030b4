"""Rebuilding a catalogue that is damaged or lost.

The commit records say which video is in which row, and the data set says the rest. That the result is what was lost,
and not the catalogue of a data set that has changed since, is shown by the digest of all rows in the manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from store.catalog import Catalog, read_captions, read_videos
from store.catalog_rows import CatalogRows
from store.commits import WITHDRAWN_FOLDER, read_record
from store.completion import map_many
from store.errors import StoreFormatError, StoreMismatchError, StoreMissingError
from store.remedies import FROM_COPY, START_OVER
from store.schema import SplitLayout
from store.stages import FRAMES_STAGE
from store.store import Store


def rebuilt_catalog(store: Store, catalog: Catalog, *, update_captions: bool = False) -> Catalog | None:
    """The rows of a lost catalogue that the manifest counts. Nothing is written.

    Args:
        store: Its catalogue is missing or damaged, whole or in part.
        catalog: Every video and caption of the data set.
        update_captions: Whether other captions than those that were lost are accepted.

    Returns:
        The catalogue; None if there are no clips yet whose ids it could mix up, so that any order of rows will do.

    Raises:
        StoreMismatchError: Videos, times, paths or captions of the data set are not those that were lost.
    """
    layouts = store.manifest.splits
    recorded = {split: _recorded(store, split) for split in layouts}
    if not any(recorded.values()):
        return None
    videos = _whole_videos(store)
    if videos is None:
        order = {split: _order(store, split, recorded[split], catalog) for split in layouts}
    else:
        order = {split: videos.of(split, 0, its.num_videos)["video_id"].to_pylist() for split, its in layouts.items()}
    row_of = {video_id: row for row, video_id in enumerate(catalog.videos["video_id"].to_pylist())}
    _check_known(store, chain.from_iterable(order.values()), row_of)
    rebuilt = catalog.arranged({split: np.array([row_of[one] for one in ids], int) for split, ids in order.items()})
    captions = _whole_captions(store)
    whole = Catalog(
        rebuilt.video_rows if videos is None else videos,
        rebuilt.caption_rows if captions is None else captions,
    )
    try:
        # Files that are whole as they are, and what is rebuilt for the others: the digest tells whether they fit
        # together.
        found = whole.first(layouts)
    except StoreFormatError:
        found = rebuilt
    if found.digest() == store.manifest.dataset["digest"]:
        return found
    if videos is not None and update_captions:
        return Catalog(videos, rebuilt.caption_rows).first(_counted(layouts, rebuilt))
    remedy = "; if only captions have changed, give --update-captions" if videos is not None else ""
    raise _not_the_same(store, f"its times, paths or captions are not those of the catalogue that is lost{remedy}")


def _recorded(store: Store, split: str) -> dict[int, str]:
    """Row -> id of the videos of a split in all commit records of frames that can be read."""
    names = [
        stored.name
        for folder in ("commits", WITHDRAWN_FOLDER)
        for stored in store.folder.walk(f"{folder}/{split}/{FRAMES_STAGE}")
    ]
    recorded: dict[int, str] = {}

    def rows(name: str) -> Mapping[int, str]:
        try:
            record = read_record(store.folder, name)
        except StoreFormatError:  # that shard will be rebuilt, so it does not matter in which rows its videos come
            return {}
        return {outcome.row: outcome.video_id for outcome in record.outcomes} if record is not None else {}

    for found in map_many(store.folder, rows, names):
        # Records that count come first: one that was kept aside only adds rows that they lack.
        recorded |= {row: video_id for row, video_id in found.items() if row not in recorded}
    return recorded


def _order(store: Store, split: str, recorded: Mapping[int, str], catalog: Catalog) -> Sequence[str]:
    """The ids of a split by row: those of the records, and between them the others in the order of the data set."""
    ids = catalog.split_videos(split)["video_id"].to_pylist() if split in catalog.splits else []
    _check_known(store, recorded.values(), ids)
    num_rows, taken = store.layout(split).num_videos, set(recorded.values())
    if num_rows > len(ids):
        raise _not_the_same(store, f"it has {len(ids):,} videos of split {split!r}, and the store {num_rows:,}")
    others = iter([video_id for video_id in ids if video_id not in taken])
    order = (recorded.get(row) or next(others, None) for row in range(num_rows))
    return [video_id for video_id in order if video_id is not None]


def _check_known(store: Store, wanted: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a data set that lacks a video of the store."""
    ids = set(known)
    gone = next((video_id for video_id in wanted if video_id not in ids), None)
    if gone is not None:
        raise _not_the_same(store, f"video {gone!r} is not in it")


def _whole_videos(store: Store) -> CatalogRows | None:
    """The videos of the catalogue, if that file is whole and has as many as the manifest counts."""
    try:
        videos = read_videos(store.folder)
    except (StoreFormatError, StoreMissingError):
        return None
    enough = (videos.count(split) >= layout.num_videos for split, layout in store.manifest.splits.items())
    return videos if all(enough) else None


def _whole_captions(store: Store) -> CatalogRows | None:
    try:
        return read_captions(store.folder)
    except (StoreFormatError, StoreMissingError):
        return None


def _counted(layouts: Mapping[str, SplitLayout], catalog: Catalog) -> dict[str, SplitLayout]:
    """The layouts with as many captions as the catalogue has."""
    counts = catalog.caption_rows.count
    return {split: replace(layout, num_captions=counts(split)) for split, layout in layouts.items()}


def _not_the_same(store: Store, what: str) -> StoreMismatchError:
    return StoreMismatchError(
        f"the catalogue of {store.place} is damaged or lost, and cannot be rebuilt from this data set: {what}. Give "
        f"the data set that the store was made of, or {FROM_COPY}, or {START_OVER}"
    )
