"""Verifying `store.json`, the catalogue, and the metadata of arrays and groups."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from store.arrays.shards import GROUP_METADATA, ArraySpec, array_identity, array_metadata, group_names
from store.catalog import CAPTIONS_NAME, VIDEOS_NAME, Catalog
from store.errors import StoreFormatError, StoreMissingError
from store.feature_arrays import MAX_DIM, dtype_in
from store.feature_dtypes import FeatureDtype
from store.formats.seal import is_sealed
from store.json_values import differences
from store.places.folder import StoreFolder
from store.remedies import FROM_COPY, PREPROCESS_AGAIN, REBUILD_CATALOG
from store.stages import FRAMES_STAGE, command_of
from store.store import MANIFEST_NAME, Manifest, Store, no_store
from store.verify.findings import CHANGED, MISSING, Finding, Kind, Repair

CATALOG_REMEDY = f"{FROM_COPY}, or {REBUILD_CATALOG}"


def read_manifest(folder: StoreFolder) -> Manifest | Finding:
    """The manifest of a store, or a finding if it is damaged.

    Raises:
        StoreMissingError: There is no store.
        StoreFormatError: It is intact, and was written by another version.
    """
    if folder.num_bytes(MANIFEST_NAME) is None:
        raise no_store(folder)
    content = folder.read(MANIFEST_NAME)
    if is_sealed(content):
        return Manifest.from_bytes(content, folder.place)
    return Finding(
        Kind.MANIFEST_DAMAGED,
        MANIFEST_NAME,
        "it was changed since it was written, or is of a newer fda: its checksum is wrong. The rest cannot be checked",
        f"{FROM_COPY}, or rebuild the store in another folder",
    )


def verify_catalog(store: Store) -> tuple[Catalog | None, list[Finding]]:
    """The rows of the catalogue that the manifest counts, and findings; None if it cannot be used."""
    found = [*_seals(store.folder)]
    if found:
        return None, found
    digest = store.manifest.dataset.get("digest")
    try:
        everything = Catalog.read(store.folder)
        num_videos, num_captions = everything.video_rows.num_rows, everything.caption_rows.num_rows
        catalog = everything.first(store.manifest.splits)
        its_digest = catalog.digest()
    except StoreFormatError as error:
        return None, [_disagrees(VIDEOS_NAME, str(error).removesuffix(f": {REBUILD_CATALOG}"))]
    # The digest is over every row, in order. If it fits, the rows are those that the writer wrote: whether they are
    # numbered from 0, and ids are unique, is checked by tests of the writer.
    if digest != its_digest:
        return None, [_disagrees(VIDEOS_NAME, f"its digest is not that of {MANIFEST_NAME} ({digest})")]
    more_videos, more_captions = num_videos - catalog.num_rows[0], num_captions - catalog.num_rows[1]
    if more_videos or more_captions:
        name, more = (
            (VIDEOS_NAME, f"{more_videos:,} videos") if more_videos else (CAPTIONS_NAME, f"{more_captions:,} captions")
        )
        what = f"it has {more} more than {MANIFEST_NAME}: a run was killed while the store grew"
        found.append(Finding(Kind.UNFINISHED, name, what, PREPROCESS_AGAIN))
    return catalog, found


def _seals(folder: StoreFolder) -> Iterator[Finding]:
    # `VIDEOS_NAME` is what the making of a store ends with; the first commit comes after it.
    is_begun = folder.num_bytes(VIDEOS_NAME) is None and not folder.folders("commits")
    for name in (VIDEOS_NAME, CAPTIONS_NAME):
        try:
            content = folder.read(name)
        except StoreMissingError:
            if is_begun:
                what = "it is missing, and nothing is committed: a run was killed while it made the store"
                yield Finding(Kind.UNFINISHED, name, what, PREPROCESS_AGAIN)
            else:
                yield Finding(Kind.CATALOG_DAMAGED, name, MISSING, CATALOG_REMEDY)
            continue
        if not is_sealed(content):
            yield Finding(Kind.CATALOG_DAMAGED, name, CHANGED, CATALOG_REMEDY)


def _disagrees(name: str, what: str) -> Finding:
    return Finding(Kind.CATALOG_DISAGREES, name, what, CATALOG_REMEDY)


def verify_groups(folder: StoreFolder, arrays: Collection[str], listed: Mapping[str, int]) -> Iterator[Finding]:
    """Check the groups above arrays. Their metadata are always the same, so `--repair` can write them."""
    for name in sorted({group for array in arrays for group in group_names(array)}):
        if name not in listed or folder.read(name) != GROUP_METADATA:
            what = MISSING if name not in listed else "it is not the metadata of a group of a store"
            yield Finding(
                Kind.GROUP_DAMAGED,
                name,
                what,
                "`fda verify --repair` writes it",
                repair=Repair(write=((name, GROUP_METADATA),)),
            )


def verify_array(
    store: Store, spec: ArraySpec, split: str, stage: str, listed: Mapping[str, int], its_files: Sequence[str]
) -> Finding | None:
    """Check the metadata of one array.

    Args:
        store: The store.
        spec: How the array should be.
        split: Its split.
        stage: Its stage.
        listed: The files of the store.
        its_files: Records and data of the stage. The options of masks and features are recorded in this metadata only,
            so without it all of the stage is rebuilt. The options of frames are in the manifest too.
    """
    name = f"{spec.name}/zarr.json"
    is_clip = stage == FRAMES_STAGE
    wanted = array_metadata(spec, {"software": dict(store.manifest.software), "options": dict(store.manifest.options)})
    if name not in listed:
        if not any(its.startswith("commits/") for its in its_files):
            return None  # nothing of it is committed: the next run of its command writes the metadata first
        what: str | None = MISSING
    else:
        content = store.folder.read(name)
        try:
            what = _wrong(content, wanted, spec, is_clip=is_clip)
            # Metadata that are wrong in something else say nothing of the length.
            num_rows = spec.num_rows if what is not None else json.loads(content)["shape"][0]
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):  # whose seal is right
            what, num_rows = "it is not the metadata of an array", spec.num_rows
        if num_rows < spec.num_rows:
            what = "the store has grown since it was written: the array has fewer rows than the catalogue"
            again = f"run {command_of(stage)} again"
            return Finding(Kind.UNFINISHED, name, what, again, split=split, stage=stage)
        if num_rows > spec.num_rows:
            what = "the array has more rows than the catalogue"
    if what is None:
        return None
    if is_clip:
        repair, remedy = Repair(write=((name, wanted),)), f"`fda verify --repair` writes it, from {MANIFEST_NAME}"
    else:
        repair = Repair(remove=(*its_files, *([name] if name in listed else [])))
        remedy = (
            f"{FROM_COPY}; else `fda verify --repair` removes {stage} of split {split!r}, as the options "
            f"that made it are lost, and {command_of(stage)} rebuilds it"
        )
    return Finding(Kind.ARRAY_DAMAGED, name, what, remedy, split=split, stage=stage, repair=repair)


def _wrong(content: bytes, wanted: bytes, spec: ArraySpec, *, is_clip: bool) -> str | None:
    if not is_sealed(content):
        return CHANGED
    found, expected = (dict(array_identity(json.loads(metadata))) for metadata in (content, wanted))
    if not is_clip:  # only the command knows their attributes
        found, expected = {"array": found["array"]}, {"array": expected["array"]}
    other = differences(found, expected)
    return f"it is of another array than {spec.name}: {other}".rstrip(".") if other else None


def dimension_of(folder: StoreFolder, names: Collection[str]) -> int:
    """Size of the vectors of a feature set, from the first of its arrays with intact metadata; 1 if there is none."""
    return next((metadata["shape"][-1] for _, metadata in _whole(folder, names)), 1)


def types_of(folder: StoreFolder, names: Collection[str]) -> set[str]:
    """Types of the arrays with intact metadata."""
    return {str(metadata["data_type"]) for _, metadata in _whole(folder, names)}


def vector_dtypes(folder: StoreFolder, names: Collection[str]) -> dict[str, FeatureDtype]:
    """What the arrays of a feature set with intact metadata are kept in, by their names."""
    return {name: dtype_in(metadata) for name, metadata in _whole(folder, names)}


def _whole(folder: StoreFolder, names: Collection[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Names and metadata of the arrays whose metadata can be believed."""
    for name in names:
        try:
            content = folder.read(f"{name}/zarr.json")
            metadata = json.loads(content) if is_sealed(content) else {}
            # Callers read the other two as well: metadata that lack one of them are left out here.
            dim, _, _ = metadata["shape"][-1], metadata["data_type"], dtype_in(metadata)
        except (StoreMissingError, ValueError, LookupError, TypeError, RecursionError):
            continue  # `verify_array` reports it
        if type(dim) is int and 0 < dim <= MAX_DIM:
            yield name, metadata
