"""Mask sets as a whole: which ones a store has, and the files of one."""

from __future__ import annotations

from store.arrays.shards import attributes_of, open_array
from store.clips.layout import clips_name
from store.errors import NotInStoreError
from store.json_values import JSON
from store.names import check_name
from store.own_files import OwnFile, own_files
from store.stages import masks_stage
from store.store import Store


def mask_set_names(store: Store) -> tuple[str, ...]:
    """The mask sets of a store, complete or not."""
    return tuple(sorted({name for split in store.manifest.splits for name in mask_names(store, split)}))


def mask_set_files(store: Store, name: str) -> tuple[OwnFile, ...]:
    """The files of a mask set of all splits, to be removed (`remove_own`).

    Features that were made from it are then out of date, as their records show.

    Raises:
        ValueError: This cannot be the name of a mask set.
    """
    check_name("mask set", name)
    splits = store.manifest.splits
    records = [f"commits/{split}/{masks_stage(name)}" for split in splits]
    return own_files(store.folder, *records, *(clips_name(split, f"masks/{name}") for split in splits))


def mask_names(store: Store, split: str) -> list[str]:
    """The mask sets that a split has arrays of, complete or not, sorted."""
    folders = store.folder.folders(clips_name(split, "masks"))
    return [folder.rsplit("/", 1)[1] for folder in folders if store.folder.num_bytes(f"{folder}/zarr.json") is not None]


def mask_attributes(store: Store, split: str, name: str) -> dict[str, JSON]:
    """What made a mask set.

    Raises:
        NotInStoreError: There is no such split or mask set.
    """
    store.layout(split)
    if store.folder.num_bytes(f"{clips_name(split, f'masks/{name}')}/zarr.json") is None:
        existing = mask_names(store, split)
        raise NotInStoreError(
            f"no masks {name!r} for split {split!r} in {store.place}: there are "
            f"{', '.join(map(repr, existing)) or 'none'}. `fda masks --masks {name}` makes them"
        )
    return attributes_of(open_array(store.folder, clips_name(split, f"masks/{name}")))
