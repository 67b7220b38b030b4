"""Verifying the shards of a split: each record, the files that it lists, and its inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from store.arrays.shards import ArraySpec
from store.catalog import Catalog
from store.commits import OUTCOME_FIELDS, CommitRecord, commit_name, withdrawn_name
from store.completion import input_digest, other_videos
from store.errors import StoreFormatError, StoreMissingError
from store.remedies import REBUILD
from store.schema import Shard
from store.stages import command_of
from store.store import Store
from store.verify.findings import CHANGED, Finding, Kind, Repair
from store.verify.odd import OddNames
from store.verify.reading import read_through


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a split, with its arrays."""

    name: str
    specs: tuple[ArraySpec, ...]
    shards: tuple[Shard, ...]
    has_outcomes: bool = True
    """Whether its rows are videos."""


@dataclass(frozen=True, slots=True)
class ShardVerdict:
    """The findings of one shard in all stages over its rows."""

    findings: tuple[Finding, ...]
    pending: tuple[tuple[str, Shard], ...]
    """Stages in which the shard is pending."""
    num_bytes: int
    names: tuple[str, ...]
    """Files that belong to the shard."""


@dataclass(frozen=True, slots=True)
class ShardVerifier:
    """Verifies one shard after the other; threads may share it."""

    store: Store
    catalog: Catalog | None
    """None if it cannot be used: then all is checked but which row is of which video, and by which captions."""
    listed: Mapping[str, int]
    """Name -> size of every file of the store."""
    odd: OddNames
    is_quick: bool
    """Whether no data are read."""
    is_written: bool
    """Whether a run may be active: data without a record are then being written."""

    def verify(self, shard_index: int, stages: Sequence[Stage]) -> ShardVerdict:
        """Check all stages of one shard, in the order in which they build on each other."""
        state = _State()
        for stage in stages:
            if shard_index < len(stage.shards):
                self._verify_stage(stage, stage.shards[shard_index], state)
        return ShardVerdict(tuple(state.findings), tuple(state.pending), state.num_bytes, tuple(state.names))

    def _verify_stage(self, stage: Stage, shard: Shard, state: _State) -> None:
        name = commit_name(shard, stage.name)
        data = tuple(spec.shard_name(shard.index) for spec in stage.specs)
        existing = tuple(file for file in data if file in self.listed)
        state.names += [name, *existing]
        if any(map(self.odd.hide, (name, *data))):  # a finding already, and nothing may be concluded from what is left
            return
        if name not in self.listed:
            state.pending.append((stage.name, shard))
            if existing and not self.is_written:
                state.findings += [finding.of(shard, stage.name) for finding in _uncommitted(existing, stage.name)]
            return
        repair = Repair((name, *existing, *self._withdrawn(shard, stage.name)))
        try:
            content = self.store.folder.read(name)
            record = CommitRecord.from_bytes(content, name, OUTCOME_FIELDS)  # its seal covers the others too
        except (StoreFormatError, StoreMissingError) as error:
            what = f"it {str(error).removesuffix(f': {REBUILD}').removeprefix(name).lstrip()}"
            found = [Finding(Kind.RECORD_DAMAGED, name, what, REBUILD, repair=repair)]
        else:
            found = [*self._record_findings(stage, shard, record, name, repair)]
            if not found:
                # Of a record that is wrong itself, neither files nor inputs are believed; the repair is the same for
                # all.
                found = [*self._data_findings(record, data, repair, state)]
            if not found:
                # Only of a record whose files are right: what was made from it, a later stage of this shard, is
                # compared with it.
                state.digests[name] = hashlib.sha256(content).hexdigest()
                found = [*self._input_findings(stage, shard, record, repair, state)]
            if record.shard != shard and not found:
                state.pending.append((stage.name, shard))  # it has grown since: the next run keeps its clips
        state.findings += [finding.of(shard, stage.name) for finding in found]

    def _withdrawn(self, shard: Shard, stage: str) -> tuple[str, ...]:
        name = withdrawn_name(shard, stage)
        return (name,) if name in self.listed else ()

    def _record_findings(
        self, stage: Stage, shard: Shard, record: CommitRecord, name: str, repair: Repair
    ) -> Iterator[Finding]:
        """Check that a record is of this shard, and fits the catalogue and the arrays."""
        mine, its = shard, record.shard
        if (its.split, its.index, its.start) != (mine.split, mine.index, mine.start) or record.stage != stage.name:
            what = f"it is the record of shard {its.key} of {record.stage}"
            yield Finding(Kind.RECORD_MISPLACED, name, what, REBUILD, repair=repair)
            return
        disagreement = self._disagreement(stage, shard, record)
        if disagreement:
            yield Finding(Kind.RECORD_DISAGREES, name, disagreement, REBUILD, repair=repair)

    def _disagreement(self, stage: Stage, shard: Shard, record: CommitRecord) -> str | None:
        its = record.shard
        if not its.start < its.stop <= shard.stop:
            return f"it is of rows {its.start} to {its.stop - 1}, and the shard has {shard.start} to {shard.stop - 1}"
        names = [written.name for written in record.files]
        allowed = {spec.shard_name(shard.index) for spec in stage.specs}
        if not set(names) <= allowed:
            return f"it lists files that its shard does not have: {sorted(set(names) - allowed)[:1]}"
        if not stage.has_outcomes:
            return None
        return None if self.catalog is None else other_videos(self.catalog, record)

    def _data_findings(
        self, record: CommitRecord, data: Sequence[str], repair: Repair, state: _State
    ) -> Iterator[Finding]:
        """Check that the files of a shard are those that its record lists."""
        for written in record.files:
            size = self.listed.get(written.name)
            if size is None:
                what = "it is missing, and its commit record exists"
                yield Finding(Kind.CHUNK_MISSING, written.name, what, REBUILD, repair=repair)
            elif size != written.num_bytes:
                what = f"it has {size:,} bytes, and {written.num_bytes:,} in its commit record"
                yield Finding(Kind.CHUNK_SIZE, written.name, what, REBUILD, repair=repair)
            elif not self.is_quick:
                state.num_bytes += size
                read = read_through(self.store.folder, written.name)
                if read != (written.num_bytes, written.xxh128):
                    yield Finding(Kind.CHUNK_DAMAGED, written.name, CHANGED, REBUILD, repair=repair)
        recorded = {written.name for written in record.files}
        for name in data:
            if name in self.listed and name not in recorded:
                what = "its commit record has no such file, because all its values are the fill value"
                yield Finding(Kind.CHUNK_FOREIGN, name, what, REBUILD, repair=repair)

    def _input_findings(
        self, stage: Stage, shard: Shard, record: CommitRecord, repair: Repair, state: _State
    ) -> Iterator[Finding]:
        """Check that a shard is not out of date. If an input is pending, so is the shard, and not out of date."""
        for its, sha256 in record.inputs.items():
            # Captions cannot be compared without a catalogue, and that is a finding already.
            if its.startswith("captions[") and self.catalog is None:
                continue
            if its.startswith("commits/"):
                digest = state.digests.get(its)
                # The input itself is pending, damaged or removed: that is one finding already, or none. Once it is
                # rebuilt, this shard will be too, so it is pending, and not out of date as well.
                if digest is None and (its in state.names or its not in self.listed):
                    state.pending.append((stage.name, shard))
                    return
            else:
                digest = self._other_digest(its)
            if digest != sha256:
                what = f"{its} has changed since it was made"
                remedy = f"run {command_of(stage.name)} again, which rebuilds it"
                yield Finding(Kind.STALE, commit_name(shard, stage.name), what, remedy, repair=repair)
                return

    def _other_digest(self, name: str) -> str | None:
        try:
            return input_digest(self.store, name) if name.startswith("captions[") else None
        except (ValueError, KeyError):
            return None


@dataclass(slots=True)
class _State:
    """What is collected while the stages of one shard are checked."""

    findings: list[Finding] = field(default_factory=list)
    pending: list[tuple[str, Shard]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    """Name -> sha256 of the intact records of this shard."""
    num_bytes: int = 0


def _uncommitted(names: Sequence[str], stage: str) -> Iterator[Finding]:
    for name in names:
        yield Finding(
            Kind.UNCOMMITTED,
            name,
            "it has no commit record: a run was killed before it wrote one, or the record is missing",
            f"nothing reads it: the next run of {command_of(stage)} rewrites it",
            repair=Repair((name,)),
        )


def num_shards(stages: Sequence[Stage]) -> int:
    """Number of shards of the stage that has most."""
    return max((len(stage.shards) for stage in stages), default=0)
