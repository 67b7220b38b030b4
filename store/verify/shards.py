"""Verifying the shards of a split: each record, the files it vouches for, and what it was made from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from store.arrays.reading import read_shard
from store.arrays.shards import NOT_STORED, ArraySpec, checksum_of
from store.catalog import Catalog
from store.commits import CommitRecord, commit_name, withdrawn_name
from store.completion import input_digest
from store.errors import ShardDamagedError, StoreFormatError, StoreMissingError
from store.schema import Shard
from store.stages import FRAMES_STAGE, command_of
from store.store import Store
from store.verify.findings import REPAIR, Finding, Kind, Repair
from store.verify.reading import read_through

_COLUMNS = ("video_id", "row", "status", "filled", "checksum")
"""Of the outcomes in a record; all of it is vouched for by its seal."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a split, with the arrays that it makes."""

    name: str
    specs: tuple[ArraySpec, ...]
    shards: tuple[Shard, ...]
    has_outcomes: bool = True
    """Whether its rows are videos."""


@dataclass(frozen=True, slots=True)
class ShardVerdict:
    """What was found of one shard in the stages that share its rows."""

    findings: tuple[Finding, ...]
    pending: tuple[tuple[str, Shard], ...]
    """Stages that owe it."""
    num_bytes: int
    names: tuple[str, ...]
    """Files that are accounted for."""


@dataclass(frozen=True, slots=True)
class ShardVerifier:
    """Verifies one shard after the other; threads may share it."""

    store: Store
    catalog: Catalog
    listed: Mapping[str, int]
    """Name -> size of every file of the store."""
    is_quick: bool
    """Whether no data are read."""
    is_written: bool
    """Whether some run may be writing: data without a record are then its."""

    def verify(self, shard_index: int, stages: Sequence[Stage]) -> ShardVerdict:
        """All stages of one shard, in the order in which they build upon each other."""
        state = _State()
        for stage in stages:
            if shard_index < len(stage.shards):
                self._verify_stage(stage, stage.shards[shard_index], state)
        return ShardVerdict(tuple(state.findings), tuple(state.pending), state.num_bytes, tuple(state.names))

    def _verify_stage(self, stage: Stage, shard: Shard, state: _State) -> None:
        name = commit_name(shard, stage.name)
        data = {spec.shard_name(shard.index): spec for spec in stage.specs}
        there = tuple(one for one in data if one in self.listed)
        state.names += [name, *there]
        if name not in self.listed:
            state.pending.append((stage.name, shard))
            if there and not self.is_written:
                state.findings += [finding.of(shard, stage.name) for finding in _uncommitted(there, stage.name)]
            return
        repair = Repair((name, *there, *self._withdrawn(shard, stage.name)))
        try:
            content = self.store.folder.read(name)
            record = CommitRecord.from_bytes(content, name, _COLUMNS)
        except (StoreFormatError, StoreMissingError) as error:
            what = str(error).removeprefix(f"{name} ").partition(". ")[0]
            found = [Finding(Kind.RECORD_DAMAGED, name, what, REPAIR, repair=repair)]
        else:
            found = [*self._record_findings(stage, shard, record, name, repair)]
            if not found:
                found = [*self._data_findings(stage, record, data, repair, state)]
            if not found:
                state.digests[name] = hashlib.sha256(content).hexdigest()
                found = [*self._input_findings(stage, shard, record, name, repair, state)]
            if record.shard != shard and not found:
                state.pending.append((stage.name, shard))  # it has grown since: its rows are kept
        state.findings += [finding.of(shard, stage.name) for finding in found]

    def _withdrawn(self, shard: Shard, stage: str) -> tuple[str, ...]:
        name = withdrawn_name(shard, stage)
        return (name,) if name in self.listed else ()

    def _record_findings(
        self, stage: Stage, shard: Shard, record: CommitRecord, name: str, repair: Repair
    ) -> Iterator[Finding]:
        """Whether a record is of this shard, and fits the catalogue and the arrays."""
        mine, its = shard, record.shard
        if (its.split, its.index, its.start) != (mine.split, mine.index, mine.start) or record.stage != stage.name:
            what = f"it is the record of shard {its.key} of {record.stage}"
            yield Finding(Kind.RECORD_MISPLACED, name, what, REPAIR, repair=repair)
            return
        disagreement = self._disagreement(stage, shard, record)
        if disagreement:
            yield Finding(Kind.RECORD_DISAGREES, name, disagreement, REPAIR, repair=repair)

    def _disagreement(self, stage: Stage, shard: Shard, record: CommitRecord) -> str | None:
        its = record.shard
        if not its.start < its.stop <= shard.stop:
            return f"it is of rows {its.start} to {its.stop}, and the shard has {shard.start} to {shard.stop}"
        names = [written.name for written in record.files]
        allowed = {spec.shard_name(shard.index) for spec in stage.specs}
        if len(set(names)) != len(names) or not set(names) <= allowed:
            return f"it vouches for other files than its shard has: {sorted(set(names) - allowed)[:1] or names}"
        if not stage.has_outcomes:
            return f"it has {len(record.outcomes)} videos, and is of captions" if record.outcomes else None
        if [outcome.row for outcome in record.outcomes] != list(range(its.start, its.stop)):
            return f"its rows are not {its.start} to {its.stop - 1}, one a video"
        rows = self.catalog.split_videos(shard.split)["video_id"].slice(its.start, its.num_rows)
        for outcome, video_id in zip(record.outcomes, rows.to_pylist(), strict=True):
            if outcome.video_id != video_id:
                return f"row {outcome.row} is video {outcome.video_id!r}, and {video_id!r} in the catalogue"
        return None

    def _data_findings(
        self, stage: Stage, record: CommitRecord, data: Mapping[str, ArraySpec], repair: Repair, state: _State
    ) -> Iterator[Finding]:
        """Whether the files of a shard are those that its record vouches for."""
        for written in record.files:
            size = self.listed.get(written.name)
            if size is None:
                what = "it is gone, and its commit record is there"
                yield Finding(Kind.CHUNK_MISSING, written.name, what, REPAIR, repair=repair)
            elif size != written.num_bytes:
                what = f"it has {size:,} bytes, and its commit record says {written.num_bytes:,}"
                yield Finding(Kind.CHUNK_SIZE, written.name, what, REPAIR, repair=repair)
            elif not self.is_quick:
                state.num_bytes += size
                spec = data[written.name]
                num_tail_bytes = 16 * spec.chunks_per_shard + 4
                read = read_through(self.store.folder, written.name, num_tail_bytes)
                if read is None or (read.num_bytes, read.xxh128) != (written.num_bytes, written.xxh128):
                    what = "its bytes are not those that were written: its checksum is wrong"
                    yield Finding(Kind.CHUNK_DAMAGED, written.name, what, REPAIR, repair=repair)
                else:
                    yield from self._slot_findings(spec, record, read.tail, repair)
        vouched = {written.name for written in record.files}
        for name in data:
            if name in self.listed and name not in vouched:
                what = "its commit record says that there is no such file, since nothing but fill values is in it"
                yield Finding(Kind.CHUNK_FOREIGN, name, what, REPAIR, repair=repair)
            elif name not in vouched and not self.is_quick:
                yield from self._slot_findings(data[name], record, b"", repair)
        if stage.name == FRAMES_STAGE and not self.is_quick:
            yield from self._frame_index_findings(stage, record, repair)

    def _slot_findings(self, spec: ArraySpec, record: CommitRecord, tail: bytes, repair: Repair) -> Iterator[Finding]:
        """A slot without a video is not stored; one with a video is, but where all its values are the fill value."""
        if spec.chunk_rows != 1 or not record.outcomes:
            return
        name = commit_name(record.shard, record.stage)
        if tail and (len(tail) != 16 * spec.chunks_per_shard + 4 or checksum_of(tail[:-4]) != tail[-4:]):
            what = f"{spec.shard_name(record.shard.index)} has no index, and is just what the record vouches for"
            yield Finding(Kind.RECORD_DISAGREES, name, what, REPAIR, repair=repair)
            return
        index = np.frombuffer(tail[:-4], dtype="<u8").reshape(-1, 2)[:, 0]
        for outcome in record.outcomes:
            is_stored = bool(tail) and bool(index[outcome.row - record.shard.start] != NOT_STORED)
            is_black = not is_stored and outcome.checksum == _black(math.prod(spec.item_shape))
            if is_stored and not outcome.filled:
                what = f"it says that row {outcome.row} holds no video, and {spec.name} has one there"
            elif not is_stored and outcome.filled and record.stage == FRAMES_STAGE and not is_black and _is_main(spec):
                what = f"it says that row {outcome.row} holds a video, and {spec.name} has none there"
            else:
                continue
            yield Finding(Kind.RECORD_DISAGREES, name, what, REPAIR, repair=repair)
            return

    def _frame_index_findings(self, stage: Stage, record: CommitRecord, repair: Repair) -> Iterator[Finding]:
        """A video has a first frame, and a slot without a video has none."""
        spec = next(one for one in stage.specs if one.dtype == "int64")
        name = commit_name(record.shard, record.stage)
        try:
            frame_index = np.asarray(read_shard(self.store.folder, spec, record.shard), dtype=np.int64)
        except ShardDamagedError:  # the checksum of its file has been found wrong as well
            return
        for outcome, has_frames in zip(record.outcomes, (frame_index[:, 0] >= 0).tolist(), strict=True):
            if has_frames != outcome.filled:
                holds = ("no video", "a video")
                what = (
                    f"it says that row {outcome.row} holds {holds[outcome.filled]}, and frame_index {holds[has_frames]}"
                )
                yield Finding(Kind.RECORD_DISAGREES, name, what, REPAIR, repair=repair)
                return

    def _input_findings(
        self, stage: Stage, shard: Shard, record: CommitRecord, name: str, repair: Repair, state: _State
    ) -> Iterator[Finding]:
        """Whether a shard is older than what it was made from. Where that itself is pending, it waits for it."""
        for its, sha256 in record.inputs.items():
            if its.startswith("commits/"):
                digest = state.digests.get(its)
                if digest is None and (its in state.names or its not in self.listed):
                    state.pending.append((stage.name, shard))
                    return
            else:
                digest = self._other_digest(its)
            if digest != sha256:
                what = f"it was made from another {its} than the one that is there now"
                remedy = f"run {command_of(stage.name)} again, which rebuilds it"
                yield Finding(Kind.STALE, name, what, remedy, repair=repair)
                return

    def _other_digest(self, name: str) -> str | None:
        try:
            return input_digest(self.store, name) if name.startswith("captions[") else None
        except (ValueError, KeyError):
            return None


@dataclass(slots=True)
class _State:
    """What is gathered while the stages of one shard are verified."""

    findings: list[Finding] = field(default_factory=list)
    pending: list[tuple[str, Shard]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    """Name -> sha256 of the records of this shard that are sound."""
    num_bytes: int = 0


@cache
def _black(num_bytes: int) -> str:
    """Checksum of a slot of frames that is nothing but zeros."""
    return hashlib.sha256(bytes(num_bytes)).hexdigest()


def _is_main(spec: ArraySpec) -> bool:
    """Whether outcomes have the checksums of this array's slots."""
    return spec.name.endswith("/frames")


def _uncommitted(names: Sequence[str], stage: str) -> Iterator[Finding]:
    for name in names:
        yield Finding(
            Kind.UNCOMMITTED,
            name,
            "no commit record vouches for it: a run was killed before it wrote that, or the record is gone",
            f"nothing reads it: the next run of {command_of(stage)} writes it anew",
            repair=Repair((name,)),
        )


def num_shards(stages: Sequence[Stage]) -> int:
    """Of the stage that has most."""
    return max((len(stage.shards) for stage in stages), default=0)
