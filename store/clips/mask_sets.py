"""Mask sets as a whole: which ones a store has, and the files of one."""

from __future__ import annotations

from store.arrays.shards import ArraySpec, attributes_of, open_array, type_of_array
from store.clips.layout import clips_name, masks_spec
from store.errors import NotInStoreError, StoreFormatError
from store.json_values import JSON
from store.names import check_name
from store.own_files import OwnFile, own_files
from store.remedies import REBUILD
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


def stored_masks_spec(store: Store, split: str, name: str) -> ArraySpec:
    """How the array of a mask set that is there is laid out: whether it is soft, its metadata say.

    Raises:
        NotInStoreError: There is no such split or mask set.
        StoreFormatError: Its metadata are damaged, or not those of masks.
    """
    _require(store, split, name)
    its_name = clips_name(split, f"masks/{name}")
    data_type = type_of_array(store.folder, its_name)
    if data_type not in ("bool", "uint8"):
        raise StoreFormatError(f"{store.place}/{its_name}/zarr.json is of type {data_type}, not of masks: {REBUILD}")
    return masks_spec(store, split, name, soft=data_type == "uint8")


def mask_attributes(store: Store, split: str, name: str) -> dict[str, JSON]:
    """What made a mask set.

    Raises:
        NotInStoreError: There is no such split or mask set.
    """
    _require(store, split, name)
    return attributes_of(open_array(store.folder, clips_name(split, f"masks/{name}")))


def _require(store: Store, split: str, name: str) -> None:
    store.layout(split)
    if store.folder.num_bytes(f"{clips_name(split, f'masks/{name}')}/zarr.json") is None:
        existing = mask_names(store, split)
        raise NotInStoreError(
            f"no masks {name!r} for split {split!r} in {store.place}: there are "
            f"{', '.join(map(repr, existing)) or 'none'}. `fda masks --masks {name}` makes them"
        )
