"""Remove mask sets, feature sets and splits from a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from pipeline.errors import InputError
from pipeline.run.events import Listener, Phase, ignore_events
from store.catalog import Catalog
from store.errors import NotInStoreError, StoreMissingError
from store.failures import FailedVideo, read_failures, write_failures
from store.inventory import features_from_features, features_from_masks
from store.json_values import JSON
from store.own_files import OwnFile, Part, own_files, remove_own
from store.schema import SplitLayout
from store.store import MANIFEST_NAME, Store


@dataclass(frozen=True, slots=True)
class Removal:
    """Mask sets, feature sets and splits to remove, what goes with them, and the size of their files."""

    masks: tuple[str, ...]
    features: tuple[str, ...]
    splits: tuple[str, ...]
    masks_of_splits: tuple[str, ...]
    """Mask sets that lose what they have of these splits."""
    features_of_splits: tuple[str, ...]
    features_out_of_date: tuple[str, ...]
    """Feature sets that stay, and cannot be read any more: they were made from what is removed."""
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
    files = own_files(store.folder)
    for kind, names, known in (
        ("masks", masks, _set_names(files, "masks")),
        ("features", features, _set_names(files, "features")),
        # Splits that are in the manifest no more, and of which a killed removal left files.
        ("split", splits, dict.fromkeys([*store.manifest.splits, *(own.split for own in files if own.split)])),
    ):
        for name in names:
            if name not in known:
                listed = ", ".join(map(repr, known)) or "none"
                raise NotInStoreError(f"no {kind} {name!r} in {store.place}: there are {listed}")
    if set(store.manifest.splits) <= set(splits):
        raise InputError(f"{store.place} has no other split: remove the folder itself, or --overwrite it")
    chosen = _chosen(files, masks, features, splits)
    of_splits = [own for own in chosen if own.split in splits]
    return Removal(
        masks=tuple(masks),
        features=tuple(features),
        splits=tuple(splits),
        masks_of_splits=tuple(name for name in _set_names(of_splits, "masks") if name not in masks),
        features_of_splits=tuple(name for name in _set_names(of_splits, "features") if name not in features),
        features_out_of_date=tuple(
            name
            for name in dict.fromkeys((*features_from_masks(store, masks), *features_from_features(store, features)))
            if name not in features
        ),
        num_files=len(chosen),
        num_bytes=sum(own.num_bytes for own in chosen),
    )


def remove(store: Store, removal: Removal, listener: Listener = ignore_events) -> None:
    """Delete the files. If the process is killed, call it again: leftovers are found by name.

    Commit records go first, then the splits from the manifest and the catalogue, then the arrays. In this order a kill
    leaves something that is pending, or files of no split; never a record without its data.
    """
    chosen = _chosen(own_files(store.folder), removal.masks, removal.features, removal.splits)
    # What can be found damaged is read before anything is removed: without records, nothing can be rebuilt from them.
    kept = _Kept.without(store, removal.splits) if removal.splits else None
    tell = Phase("files", len(chosen), listener).done
    remove_own(store.folder, [own for own in chosen if own.part is Part.RECORD], tell)
    if kept is not None:
        kept.write(store)
    remove_own(store.folder, [own for own in chosen if own.part is not Part.RECORD], tell)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a store says of itself without some of its splits."""

    layouts: Mapping[str, SplitLayout]
    catalog: Catalog
    failures: tuple[FailedVideo, ...] | None
    """None if there is no table of failures, as before all frames are complete for the first time."""

    @classmethod
    def without(cls, store: Store, splits: Sequence[str]) -> _Kept:
        layouts = {split: layout for split, layout in store.manifest.splits.items() if split not in splits}
        failures = None
        with suppress(StoreMissingError):
            failures = tuple(failed for failed in read_failures(store.folder) if failed.split in layouts)
        return cls(layouts, store.catalog.first(layouts), failures)

    def write(self, store: Store) -> None:
        folder = store.folder
        if self.failures is not None:
            write_failures(folder, self.failures, self.layouts)
        dataset = {**store.manifest.dataset, "digest": self.catalog.digest()}
        folder.write(MANIFEST_NAME, replace(store.manifest, splits=self.layouts, dataset=dataset).to_bytes())
        self.catalog.write(folder)


def _chosen(
    files: Sequence[OwnFile], masks: Sequence[str], features: Sequence[str], splits: Sequence[str]
) -> list[OwnFile]:
    names = {"masks": masks, "features": features}
    return [own for own in files if own.split in splits or own.set_name in names.get(own.kind or "", ())]


def _set_names(files: Sequence[OwnFile], kind: str) -> dict[str, None]:
    """The mask sets or feature sets that have any file, those that a killed removal left behind among them."""
    return {own.set_name: None for own in files if own.kind == kind and own.set_name is not None}
