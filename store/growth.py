"""Making a store, and letting it grow: videos keep their rows, and new videos come after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow.compute as pc

from store.catalog import Catalog
from store.errors import NotInStoreError, StoreFormatError, StoreMismatchError, StoreMissingError
from store.places.folder import StoreFolder
from store.rebuilding import rebuilt_catalog
from store.remedies import REBUILD_CATALOG, START_OVER
from store.schema import Video
from store.store import MANIFEST_NAME, Manifest, Store, check_empty

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


NO_GROWTH = Growth({})


def create_store(
    folder: StoreFolder,
    manifest: Manifest,
    catalog: Catalog,
    *,
    update_captions: bool = False,
    is_cleared: bool = False,
) -> tuple[Store, Growth]:
    """Make a store, or open the one that was made with the same options, and add the videos that are new.

    In an empty folder the manifest is written first: from then on the folder is known as a store, and the same call
    finishes it. When a store grows the manifest is written last: from then on the new rows of the catalogue count. If
    the process is killed at any point, call this again.

    Args:
        folder: The store's folder.
        manifest: As it should be, with the counts of `catalog`.
        catalog: Every video and caption of the data set.
        update_captions: Whether captions of videos of the store may have changed.
        is_cleared: Whether the store was cleared (`clear_store`), so that its manifest is to be replaced.

    Raises:
        StoreMismatchError: The store was made with other options, or videos of it are missing or changed.
        StoreFormatError: The folder contains something else.
    """
    if folder.num_bytes(MANIFEST_NAME) is None:
        check_empty(folder)
    elif not is_cleared:
        existing = Manifest.from_bytes(folder.read(MANIFEST_NAME), folder.place)
        existing.check_same(manifest, folder.place)
        manifest = replace(manifest, software=existing.software)
        store = Store(folder, existing)
        try:
            return _grow(store, _catalog_to_grow(store), manifest, catalog, update_captions=update_captions)
        except CatalogLostError as lost:
            whole = rebuilt_catalog(store, catalog, update_captions=update_captions)
            if whole is not None:
                whole.write(folder)
                store, growth = _grow(store, whole, manifest, catalog, update_captions=update_captions)
                return store, replace(growth, rebuilt=str(lost))
    folder.write(MANIFEST_NAME, manifest.to_bytes())
    catalog.write(folder)
    return Store(folder, manifest), NO_GROWTH


def _grow(
    store: Store, existing: Catalog, manifest: Manifest, catalog: Catalog, *, update_captions: bool
) -> tuple[Store, Growth]:
    dataset = {**manifest.dataset, "name": store.manifest.dataset["name"]}
    # If they differ, a run was killed between the catalogue and the manifest: the manifest is still to be written.
    is_recorded = dataset == store.manifest.dataset
    if is_recorded and existing.videos.equals(catalog.videos) and existing.captions.equals(catalog.captions):
        return store, NO_GROWTH
    grown, growth = merged(existing, catalog, store.place)
    if growth.num_recaptioned and not update_captions:
        raise StoreMismatchError(
            f"changed captions: {growth.num_recaptioned:,} of the videos of {store.place} have some: give "
            "--update-captions to use them (text features of changed captions are encoded again), or use another "
            "store folder"
        )
    layouts = {
        split: replace(
            manifest.splits[split],
            num_videos=grown.split_videos(split).num_rows,
            num_captions=grown.split_captions(split).num_rows,
        )
        for split in grown.splits
    }
    wanted = replace(manifest, dataset={**dataset, "digest": grown.digest()}, splits=layouts)
    if wanted != store.manifest:
        grown.write(store.folder)
        store.folder.write(MANIFEST_NAME, wanted.to_bytes())
    return Store(store.folder, wanted), growth


class CatalogLostError(Exception):
    """The catalogue of a store is missing, damaged, or has fewer rows than the manifest counts."""


def _catalog_to_grow(store: Store) -> Catalog:
    """The rows of the catalogue that count.

    If a run was killed while it updated captions, the catalogue has more or fewer of them than the manifest says. Here
    the videos count with the captions that the catalogue has of them, so that the update can be finished.

    Raises:
        CatalogLostError: There is no such catalogue.
    """
    try:
        written = Catalog.read(store.folder)
        layouts = {
            split: replace(layout, num_captions=_num_captions(written, split, layout.num_videos))
            for split, layout in store.manifest.splits.items()
        }
        return written.first(layouts)
    except (StoreMissingError, StoreFormatError, NotInStoreError) as error:
        raise CatalogLostError(str(error).removesuffix(f": {REBUILD_CATALOG}")) from error


def _num_captions(catalog: Catalog, split: str, num_videos: int) -> int:
    """Captions of the first videos of a split."""
    video_ids = catalog.split_videos(split)["video_id"].slice(0, num_videos)
    counted: int | None = pc.sum(pc.is_in(catalog.split_captions(split)["video_id"], value_set=video_ids)).as_py()
    return counted or 0


def merged(existing: Catalog, wanted: Catalog, place: str) -> tuple[Catalog, Growth]:
    """The catalogue of a store with the new videos of a data set, each split's after its existing ones.

    Args:
        existing: Of the store.
        wanted: Of the data set.
        place: For errors.

    Raises:
        StoreMismatchError: A video of the store is missing, has moved to another split, or is another part of its file.
    """
    old, new = existing.by_id(), wanted.by_id()
    _check_none_missing(old, new, place)
    old_texts, new_texts = existing.texts(), wanted.texts()
    kept: dict[str, list[str]] = {split: [] for split in (*existing.splits, *wanted.splits)}
    added: dict[str, list[str]] = {split: [] for split in kept}
    for video_id, video in old.items():
        kept[video.split].append(video_id)
    for video_id, video in new.items():
        if video_id not in old:
            added[video.split].append(video_id)
    growth = Growth(
        new_videos={split: len(ids) for split, ids in added.items() if ids},
        num_moved=sum(old[video_id].path != new[video_id].path for video_id in old),
        num_recaptioned=sum(one in old_texts and old_texts[one] != new_texts.get(one) for one in old),
        num_captioned=sum(one not in old_texts and one in new_texts for one in old),
    )
    return wanted.arranged({split: [*kept[split], *added[split]] for split in kept}), growth


def _check_none_missing(old: Mapping[str, Video], new: Mapping[str, Video], place: str) -> None:
    missing = [video_id for video_id in old if video_id not in new]
    if missing:
        raise StoreMismatchError(
            f"{_named(missing)} of {place} {'is' if len(missing) == 1 else 'are'} no longer in the data set. "
            f"A store only grows: put back what was removed, or {START_OVER}"
        )
    for video_id, video in old.items():
        for key in ("split", "start_seconds", "end_seconds"):
            before, now = getattr(video, key), getattr(new[video_id], key)
            if before != now:
                raise StoreMismatchError(
                    f"video {video_id!r} of {place} has changed: its {key} is {before!r} in the store and "
                    f"{now!r} now. Give it another video_id, or {START_OVER}"
                )


def _named(video_ids: Sequence[str]) -> str:
    """A few videos by name.

    >>> _named(["a"]), _named(["a", "b", "c", "d"])
    ("video 'a'", "4 videos ('a', 'b', 'c' and others)")
    """
    if len(video_ids) == 1:
        return f"video {video_ids[0]!r}"
    others = " and others" if len(video_ids) > NAMED else ""
    return f"{len(video_ids)} videos ({', '.join(map(repr, video_ids[:NAMED]))}{others})"
