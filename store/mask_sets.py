"""Mask sets as a whole: which ones a store has, and how one is removed."""

from __future__ import annotations

from store.clips import mask_names
from store.commits import masks_stage
from store.files import check_name
from store.store import Store


def mask_set_names(store: Store) -> tuple[str, ...]:
    """The mask sets of a store, complete or not."""
    return tuple(sorted({name for split in store.manifest.splits for name in mask_names(store, split)}))


def remove_mask_set(store: Store, name: str) -> None:
    """Remove a mask set of all splits: commit records first, so that nothing half-removed counts.

    Features that were made from it are then older than their masks, which their records show.

    Raises:
        ValueError: This cannot be the name of a mask set.
    """
    check_name("mask set", name)
    folders = [f"commits/{split}/{masks_stage(name)}" for split in store.manifest.splits]
    folders += [f"clips.zarr/{split}/masks/{name}" for split in store.manifest.splits]
    for folder in folders:
        store.folder.remove_tree(folder)
