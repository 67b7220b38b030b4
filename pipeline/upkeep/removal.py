"""Remove mask sets, feature sets and splits from a store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from pipeline.errors import InputError
from store.clips.mask_sets import mask_set_names, remove_mask_set
from store.commits import WITHDRAWN_FOLDER
from store.errors import NotInStoreError, StoreMissingError
from store.failures import read_failures, write_failures
from store.features import feature_names, remove_features
from store.json_values import JSON
from store.places.folder import StoreFolder
from store.stages import masks_stage
from store.store import MANIFEST_NAME, Store


@dataclass(frozen=True, slots=True)
class Removal:
    """Mask sets, feature sets and splits to remove, and the size of their files."""

    masks: tuple[str, ...]
    features: tuple[str, ...]
    splits: tuple[str, ...]
    num_files: int
    num_bytes: int

    def to_dict(self) -> dict[str, JSON]:
        """The fields as plain values, for JSON."""
        return asdict(self)


def find_removal(
    store: Store, *, masks: Sequence[str] = (), features: Sequence[str] = (), splits: Sequence[str] = ()
) -> Removal:
    """Find the files that a removal would delete; nothing is changed.

    Files that a killed removal left behind are found as well.

    Raises:
        NotInStoreError: The store has no mask set, feature set or split of that name.
        ValueError: No split would be left.
    """
    for kind, names, known in (
        ("masks", masks, _all_mask_names(store)),
        ("features", features, _all_feature_names(store)),
        ("split", splits, _all_splits(store)),
    ):
        for name in names:
            if name not in known:
                listed = ", ".join(map(repr, known)) or "none"
                raise NotInStoreError(f"no {kind} {name!r} in {store.place}: there are {listed}")
    if set(store.manifest.splits) <= set(splits):
        raise InputError(f"{store.place} has no other split: remove the folder itself, or --overwrite it")
    folders = [
        *(folder for name in masks for folder in _mask_folders(store, name)),
        *(folder for name in features for folder in _feature_folders(store, name)),
        *(folder for split in splits for folder in _split_folders(store, split)),
    ]
    files = {stored.name: stored.num_bytes for folder in folders for stored in store.folder.walk(folder)}
    return Removal(tuple(masks), tuple(features), tuple(splits), len(files), sum(files.values()))


def remove(store: Store, removal: Removal) -> None:
    """Delete the files. If the process is killed, call it again: leftovers are found by name."""
    for name in removal.features:
        for split in _all_splits(store):
            remove_features(store.folder, name, split)
        store.folder.remove_tree(f"features.zarr/{name}")
    for name in removal.masks:
        remove_mask_set(store, name)
    if removal.splits:
        _remove_splits(store, removal.splits)


def _remove_splits(store: Store, splits: Sequence[str]) -> None:
    """Remove commit records first, then the splits from the manifest and the catalogue, then the arrays.

    In this order a kill leaves a split that is pending, or files of no split; never a record without its data.
    """
    folder = store.folder
    layouts = {split: layout for split, layout in store.manifest.splits.items() if split not in splits}
    # What can be found damaged is read before anything is removed: without records, nothing can be rebuilt from them.
    catalog = store.catalog.first(layouts)
    failures = None
    with suppress(StoreMissingError):  # there is no table of failures before all frames were complete once
        failures = [failed for failed in read_failures(folder) if failed.split in layouts]
    for split in splits:
        folder.remove_tree(f"commits/{split}")
    if failures is not None:
        write_failures(folder, failures, layouts)
    dataset = {**store.manifest.dataset, "digest": catalog.digest()}
    folder.write(MANIFEST_NAME, replace(store.manifest, splits=layouts, dataset=dataset).to_bytes())
    catalog.write(folder)
    for split in splits:
        for left in _split_folders(store, split):
            folder.remove_tree(left)


def _mask_folders(store: Store, name: str) -> Iterator[str]:
    for split in store.manifest.splits:
        yield f"commits/{split}/{masks_stage(name)}"
        yield f"clips.zarr/{split}/masks/{name}"


def _feature_folders(store: Store, name: str) -> Iterator[str]:
    yield from (f"commits/{split}/features/{name}" for split in store.manifest.splits)
    yield f"features.zarr/{name}"


def _split_folders(store: Store, split: str) -> Iterator[str]:
    yield f"commits/{split}"
    yield f"{WITHDRAWN_FOLDER}/{split}"
    yield f"clips.zarr/{split}"
    yield from (f"{folder}/{split}" for folder in store.folder.folders("features.zarr"))


def _all_splits(store: Store) -> tuple[str, ...]:
    """The splits of the manifest, and those with files left by a killed removal."""
    parents = ["commits", WITHDRAWN_FOLDER, "clips.zarr", *store.folder.folders("features.zarr")]
    left = [split for parent in parents for split in _names(store.folder, parent)]
    return tuple(dict.fromkeys([*store.manifest.splits, *left]))


def _all_mask_names(store: Store) -> tuple[str, ...]:
    """The mask sets of all splits, and those with files left by a killed removal."""
    left = [name for split in store.manifest.splits for name in _names(store.folder, f"clips.zarr/{split}/masks")]
    return tuple(dict.fromkeys([*mask_set_names(store), *left]))


def _all_feature_names(store: Store) -> tuple[str, ...]:
    """The feature sets of all splits, and those with files left by a killed removal."""
    there = [name for split in store.manifest.splits for name in feature_names(store, split)]
    return tuple(dict.fromkeys([*there, *_names(store.folder, "features.zarr")]))


def _names(folder: StoreFolder, parent: str) -> list[str]:
    return [name.rsplit("/", 1)[1] for name in folder.folders(parent)]
