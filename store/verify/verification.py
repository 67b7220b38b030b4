"""Finding everything that is wrong in a store, with the remedy, and removing what the next run can rebuild.

Every file is checked once. Data files are compared with the size and the XXH3 checksum in the commit record of their
shard; small files have a seal; the metadata of groups are always the same. All other files are reported.

What only a bug in our own writer could cause is not looked for here. `draft_frames` and `draft_shard` refuse it, and
tests of the writer look for it (`test_what_verify_takes_from_the_writer`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice, starmap

from store.arrays.shards import ArraySpec
from store.catalog import CAPTIONS_NAME, VIDEOS_NAME, Catalog
from store.claims.holding import Claim, claims_on
from store.claims.processes import is_running
from store.clips.layout import clips_name, frame_index_spec, frames_spec, masks_spec, next_grey_spec, pts_spec
from store.feature_arrays import in_dtype
from store.features import caption_shards, feature_specs
from store.formats.parquet import max_rows
from store.own_files import OwnFile, Part, own_among, own_name, remove_own
from store.places.folder import CLAIMS_FOLDER, StoredFile, StoreFolder
from store.stages import FRAMES_STAGE, features_stage, masks_stage
from store.store import Store
from store.verify.catalog import (
    dimension_of,
    read_manifest,
    types_of,
    vector_dtypes,
    verify_array,
    verify_catalog,
    verify_groups,
)
from store.verify.findings import Finding, Kind
from store.verify.odd import OddNames, find_odd
from store.verify.rest import foreign, verify_rest
from store.verify.shards import ShardVerdict, ShardVerifier, Stage, num_shards

LOCAL_THREADS, OBJECT_THREADS = 4, 16
"""Threads that read data. On a disk more of them wait for it or for memory; an object store answers many at a time."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found in a store."""

    findings: tuple[Finding, ...]
    pending: Mapping[tuple[str, str], int]
    """(split, stage) -> number of pending shards, which are not an error."""
    num_files: int
    """All files of the store."""
    num_bytes_read: int
    """Bytes of data that were read; 0 if `is_quick`."""
    live: tuple[Claim, ...]
    """Runs that are, or may be, active: what they are writing may look wrong."""

    @property
    def num_wrong(self) -> int:
        """Findings that are not harmless."""
        return sum(not finding.kind.is_harmless for finding in self.findings)

    @property
    def counts(self) -> dict[Kind, int]:
        """How many findings of each kind there are."""
        return dict(Counter(finding.kind for finding in self.findings))


def ignore_progress(num_done: int, num_shards: int) -> None:
    """A listener that does nothing."""


def verify(
    folder: StoreFolder, *, is_quick: bool = False, listener: Callable[[int, int], None] = ignore_progress
) -> Verification:
    """Check every file of a store; nothing is changed.

    Args:
        folder: The store.
        is_quick: Whether to check only names, sizes and small files.
        listener: Called with the number of shards done, and of all shards.

    Raises:
        StoreMissingError: There is no store.
        StoreFormatError: Another version made it.
    """
    manifest = read_manifest(folder)
    found = folder.scan()
    own = {file.name: file for file in own_among(folder, starmap(StoredFile, found.files.items()))}
    findings = find_odd(found, own.values(), () if isinstance(manifest, Finding) else manifest.splits)
    odd = OddNames(frozenset(finding.name for finding in findings if not finding.kind.is_harmless))
    own_claims = () if odd.hide(CLAIMS_FOLDER) else claims_on(folder)
    # Not the claim of this very run, which `--repair` has.
    live = tuple(claim for claim in own_claims if claim.id != folder.claim and _may_be_alive(claim))
    if isinstance(manifest, Finding):
        return Verification((manifest, *findings), {}, len(found.files), 0, live)
    store, catalog = Store(folder, manifest), None
    if not (odd.hide(VIDEOS_NAME) or odd.hide(CAPTIONS_NAME)):
        catalog, of_catalog = verify_catalog(store)
        findings = [*of_catalog, *findings]
    # The number of shards follows from the manifest alone then: it may be anything, and each shard takes memory.
    if catalog is None and manifest.num_rows > max_rows(sum(found.files.values())):
        return Verification(tuple(findings), {}, len(found.files), 0, live)  # more than there can be
    findings += [foreign(name) for name in sorted(found.files) if name not in own and not odd.hide(name)]
    whole = _Whole(store, catalog, own, odd, live)
    verified = whole.verify(findings, len(found.files), is_quick=is_quick, listener=listener)
    if any(finding.kind is Kind.CATALOG_DISAGREES for finding in findings):
        # Either of the two may be an old one, by which whole data would seem to be of no shard: nothing is removed.
        return replace(verified, findings=tuple(replace(finding, repair=None) for finding in verified.findings))
    return verified


def repair(folder: StoreFolder, findings: Iterable[Finding]) -> tuple[int, int]:
    """Remove and write the files that the findings name. Call it with a claim on everything.

    They are removed in the order of `remove_own`: records before their data, and data before the metadata that vouch
    for them. If the process is killed at any point, `verify` finds what is left.

    Returns:
        Files removed, and files written.
    """
    repairs = [finding.repair for finding in findings if finding.repair is not None]
    names = sorted({name for fix in repairs for name in fix.remove})
    sizes = ((name, folder.num_bytes(name)) for name in names)
    # leftovers were removed when the claim was taken
    there = [own for name, size in sizes if size is not None and (own := own_name(StoredFile(name, size))) is not None]
    remove_own(folder, there)
    contents = {name: content for fix in repairs for name, content in fix.write}
    for name, content in contents.items():
        folder.write(name, content)
    return len(there), len(contents)


def _may_be_alive(claim: Claim) -> bool:
    return claim.is_damaged or is_running(claim.process) is not False


@dataclass(frozen=True, slots=True)
class _Whole:
    """A store whose manifest can be used."""

    store: Store
    catalog: Catalog | None
    """None if it cannot be used: then it is not known which row is which video."""
    own: Mapping[str, OwnFile]
    """By name."""
    odd: OddNames
    live: tuple[Claim, ...]

    def verify(
        self, findings: list[Finding], num_files: int, *, is_quick: bool, listener: Callable[[int, int], None]
    ) -> Verification:
        """Check everything else, and add to the findings."""
        store, listed = self.store, {name: own.num_bytes for name, own in self.own.items()}
        accounted: set[str] = set()
        arrays: set[str] = set()
        pending: Counter[tuple[str, str]] = Counter()
        num_bytes = num_done = 0
        verifier = ShardVerifier(store, self.catalog, listed, self.odd, is_quick, bool(self.live))
        by_split = {split: _stages(store, split, listed) for split in store.manifest.splits}
        by_folder = _by_folder(listed)
        num_all = sum(num_shards(group) for groups in by_split.values() for group in groups)
        for split, groups in by_split.items():
            for group in groups:
                for stage in group:
                    arrays |= {spec.name for spec in stage.specs}
                    findings += self._seen(_array_findings(store, split, stage, listed, by_folder))
                for verdict in _verdicts(verifier, group):
                    findings += verdict.findings
                    pending.update((split, stage_name) for stage_name, _ in verdict.pending)
                    num_bytes += verdict.num_bytes
                    accounted.update(verdict.names)
                    num_done += 1
                    listener(num_done, num_all)
        with_metadata = {array for array in arrays if f"{array}/zarr.json" in listed}
        findings += self._seen(verify_groups(store.folder, with_metadata, listed))
        accounted |= {f"{array}/zarr.json" for array in with_metadata}
        accounted |= {name for name in listed if name.endswith("/zarr.json") and _is_group_of(name, arrays)}
        if store.folder.claim is not None:  # `--repair` looks at the store under its own claim
            accounted |= {name for name, own in self.own.items() if own.part in (Part.CLAIM, Part.PARTIAL)}
        findings += verify_rest(store.folder, self.own, accounted, arrays, self.live)
        return Verification(tuple(findings), dict(pending), num_files, num_bytes, self.live)

    def _seen(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Without those about files that something else hides, which is a finding already."""
        return (finding for finding in findings if not self.odd.hide(finding.name))


def _is_group_of(name: str, arrays: Iterable[str]) -> bool:
    folder = name.removesuffix("zarr.json")
    return any(array.startswith(folder) for array in arrays)


def _verdicts(verifier: ShardVerifier, stages: Sequence[Stage]) -> Iterator[ShardVerdict]:
    """The verdict of every shard, in order; some shards are checked at a time."""
    shards = iter(range(num_shards(stages)))
    num_threads = LOCAL_THREADS if verifier.store.folder.is_local else OBJECT_THREADS
    with ThreadPoolExecutor(num_threads, thread_name_prefix="fda-verify") as pool:
        # `map` hands over all that it is given at once: of millions of shards, too much to wait in memory.
        while batch := list(islice(shards, 16 * num_threads)):
            yield from pool.map(lambda index: verifier.verify(index, stages), batch)


def _array_findings(
    store: Store, split: str, stage: Stage, listed: Mapping[str, int], by_folder: Mapping[str, Sequence[str]]
) -> Iterator[Finding]:
    folders = (f"commits/{split}/{stage.name}", *(spec.name for spec in stage.specs))
    its_files = [name for folder in folders for name in by_folder.get(folder, ()) if not name.endswith("/zarr.json")]
    for spec in stage.specs:
        found = verify_array(store, spec, split, stage.name, listed, its_files)
        if found is not None:
            yield found


def _by_folder(listed: Iterable[str]) -> dict[str, list[str]]:
    """Folder -> the files directly in it: records of a stage, or chunks of an array."""
    folders: dict[str, list[str]] = {}
    for name in listed:
        folders.setdefault(name.rpartition("/")[0], []).append(name)
    return folders


def _stages(store: Store, split: str, listed: Mapping[str, int]) -> tuple[tuple[Stage, ...], ...]:
    """The stages that a split has files of, over videos and over captions, in the order in which they build up."""
    # Not `stages_of`, which goes by the metadata of arrays. A set whose `zarr.json` was lost is one of the things to be
    # found, so here any of its records or chunks shows that it exists.
    shards = store.shards(split)
    neighbours = (next_grey_spec(store, split),) if store.manifest.neighbours else ()
    clips = (frames_spec(store, split), *neighbours, pts_spec(store, split), frame_index_spec(store, split))
    over_videos = [Stage(FRAMES_STAGE, clips, shards)]
    masks = _names(
        listed,
        rf"{re.escape(clips_name(split, 'masks'))}/([^/]+)/(?:zarr\.json|c\..+)",
        rf"commits/{re.escape(split)}/masks/([^/]+)/[0-9]+\.parquet",
    )
    over_videos += [Stage(masks_stage(name), (_masks_spec(store, split, name, listed),), shards) for name in masks]
    over_captions = []
    for name in _names(
        listed,
        rf"features\.zarr/([^/]+)/{re.escape(split)}/(?:video|frame|text|alpha_cosine)/(?:zarr\.json|c\..+)",
        rf"commits/{re.escape(split)}/features/([^/]+)/(?:video|text)/[0-9]+\.parquet",
    ):
        video, text = (_feature_specs(store, name, split, part, listed) for part in ("video", "text"))
        over_videos.append(Stage(features_stage(name, "video"), video, shards))
        over_captions.append(
            Stage(features_stage(name, "text"), text, caption_shards(store, split), has_outcomes=False)
        )
    return tuple(over_videos), tuple(over_captions)


def _masks_spec(store: Store, split: str, name: str, listed: Collection[str]) -> ArraySpec:
    """The array as it should be, soft or not by its own metadata."""
    array = clips_name(split, f"masks/{name}")
    is_soft = f"{array}/zarr.json" in listed and "uint8" in types_of(store.folder, [array])
    return masks_spec(store, split, name, soft=is_soft)


def _feature_specs(store: Store, name: str, split: str, part: str, listed: Collection[str]) -> tuple[ArraySpec, ...]:
    """The arrays as they should be, with the vector size and type from their own metadata."""
    # For their names only, so any size of vectors will do; those of single numbers tell nothing about it.
    specs = [spec for spec in feature_specs(store, name, split, part, 1) if spec.item_shape]
    arrays = [spec.name for spec in specs if f"{spec.name}/zarr.json" in listed]
    dtypes = vector_dtypes(store.folder, arrays)
    wanted = feature_specs(store, name, split, part, dimension_of(store.folder, arrays))
    return tuple(in_dtype(spec, dtypes[spec.name]) if spec.name in dtypes else spec for spec in wanted)


def _names(listed: Iterable[str], *patterns: str) -> list[str]:
    """The group of the pattern in each file name that matches one, sorted."""
    matched = (re.fullmatch(pattern, name) for name in listed for pattern in patterns)
    return sorted({match[1] for match in matched if match})
