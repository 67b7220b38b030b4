"""The names in a store, from its folders alone, in milliseconds: for a shell that completes. Nothing is checked."""

from __future__ import annotations

from dataclasses import dataclass

from store.errors import StoreNameError
from store.names import check_name
from store.places.folder import StoreFolder


@dataclass(frozen=True, slots=True)
class StoreNames:
    """The names in a store, each sorted."""

    splits: tuple[str, ...]
    mask_sets: tuple[str, ...]
    """Of any split."""
    feature_sets: tuple[str, ...]
    """Of any split."""


def names_in(folder: StoreFolder) -> StoreNames:
    """The names of splits, mask sets and feature sets, complete or not; none where there is no store.

    Raises:
        StoreError: It cannot be read.
    """
    splits = folder.folders("clips.zarr")
    masks = [name for split in splits for name in folder.folders(f"{split}/masks")]
    return StoreNames(_names(splits), _names(masks), _names(folder.folders("features.zarr")))


def _names(folders: list[str]) -> tuple[str, ...]:
    """The last parts that could be names: a store may come from anybody, and these words go into a command line."""
    return tuple(sorted({name for folder in folders if _is_name(name := folder.rsplit("/", 1)[1])}))


def _is_name(name: str) -> bool:
    try:
        check_name("folder", name)
    except StoreNameError:
        return False
    return True
