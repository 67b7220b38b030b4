"""Making a store, and letting it grow: videos keep their rows, and new videos come after them."""

from __future__ import annotations

from dataclasses import replace

from store.catalog import Catalog
from store.errors import NotInStoreError, StoreFormatError, StoreMismatchError, StoreMissingError
from store.merging import Growth, merged
from store.places.folder import StoreFolder
from store.rebuilding import rebuilt_catalog
from store.remedies import REBUILD_CATALOG
from store.schema import SplitLayout
from store.store import MANIFEST_NAME, Manifest, Store, check_empty

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
        # A difference of versions is accepted, and does not make the manifest another one.
        manifest = replace(manifest, software=existing.software)
        store = Store(folder, existing)
        try:
            return _grow(store, _catalog_to_grow(store), manifest, catalog, update_captions=update_captions)
        except CatalogLostError as lost:
            whole = rebuilt_catalog(store, catalog, update_captions=update_captions)
            # Else no clip is committed: everything is made from the start, below.
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
    if is_recorded and existing.equals(catalog):
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
            num_videos=grown.video_rows.count(split),
            num_captions=grown.caption_rows.count(split),
        )
        for split in grown.splits
    }
    wanted = replace(manifest, dataset={**dataset, "digest": grown.digest()}, splits=layouts)
    # Rows alone differ if a run was killed before it wrote the manifest of new captions, and now they are the old ones.
    if wanted != store.manifest or not existing.equals(grown):
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
            split: replace(layout, num_captions=_num_captions(written, split, layout))
            for split, layout in store.manifest.splits.items()
        }
        return written.first(layouts)
    except (StoreMissingError, StoreFormatError, NotInStoreError) as error:
        raise CatalogLostError(str(error).removesuffix(f": {REBUILD_CATALOG}")) from error


def _num_captions(catalog: Catalog, split: str, layout: SplitLayout) -> int:
    """Captions of the first videos of a split, as many as the manifest counts."""
    found = (catalog.video_rows.count(split), catalog.caption_rows.count(split))
    if found == (layout.num_videos, layout.num_captions):
        return layout.num_captions
    return int(catalog.captions_of_each(split)[: layout.num_videos].sum())
