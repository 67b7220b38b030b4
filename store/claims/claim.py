"""The content of a claim, its files, and which claims exclude each other. The protocol is in `store.claims.holding`."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from store.claims.processes import ProcessId, this_process
from store.errors import StoreMissingError
from store.json_values import JSON
from store.places.folder import CLAIMS_FOLDER, StoreFolder

ANY_STAGE = "*"
"""A claim on every stage, existing or not."""

MAX_CLAIM_BYTES = 16 * 1024
"""A claim file has a few hundred bytes; a larger file is not a claim."""

_ID = re.compile(r"[0-9a-f]{32}")
_PARTITION = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that wants to write into a store, and what it writes."""

    id: str
    """32 hexadecimal digits, never used twice."""
    command: str
    """Name of the command."""
    stages: tuple[str, ...]
    """The stages that it writes. `ANY_STAGE` is everything."""
    partition: str | None
    """`"i/n"`: only this part of the work, if several runs share it."""
    inputs: str
    """Fingerprint of everything that the output of the command depends on."""
    user: str
    host: str
    process: ProcessId
    started: datetime
    """Only for messages: the clocks of two machines are never compared."""
    is_damaged: bool = False
    """Whether its file cannot be parsed. It then counts as a claim on everything."""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(f"the id of a claim is 32 hexadecimal digits, got {self.id!r}")
        if not self.stages:
            raise ValueError("a claim needs at least one stage")
        if self.partition is not None and not _PARTITION.fullmatch(self.partition):
            raise ValueError(f"partition {self.partition!r}: write i/n, as in 3/8")
        for text in (self.command, *self.stages, self.inputs, self.user, self.host):
            if not text.isprintable():  # it is printed in messages
                raise ValueError(f"a claim is printable text, got {text!r}")
        if not 0 < self.process.pid < 2**31:
            raise ValueError(f"not the number of a process: {self.process.pid}")

    @classmethod
    def of_this_process(cls, command: str, stages: Sequence[str], partition: str | None, inputs: str) -> Self:
        """A new claim of this process."""
        now = datetime.now(UTC).replace(microsecond=0)
        names = (_user(), socket.gethostname())
        return cls(cls.new_id(), command, tuple(stages), partition, inputs, *names, this_process(), now)

    @staticmethod
    def new_id() -> str:
        """An id that was never used before."""
        return uuid.uuid4().hex

    @classmethod
    def damaged(cls, claim_id: str) -> Self:
        """The claim that stands in for one whose file cannot be parsed."""
        # Of no machine, so that no process here is taken for it: it is watched until its lease ends.
        unknown = ProcessId(1, 0, "")
        started = datetime.fromtimestamp(0, UTC)
        return cls(claim_id, "", (ANY_STAGE,), None, "", "", "", unknown, started, is_damaged=True)

    def __str__(self) -> str:
        """The run in one phrase, for messages."""
        if self.is_damaged:
            return f"an unknown run, as its claim {json_name(self.id)} is damaged"
        part = f", partition {self.partition}" if self.partition else ""
        since = f"{self.started:%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.command}{part} ({self.user}@{self.host}, process {self.process.pid}, since {since})"

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON."""
        return {
            "id": self.id,
            "command": self.command,
            "stages": list(self.stages),
            "partition": self.partition,
            "inputs": self.inputs,
            "user": self.user,
            "host": self.host,
            "pid": self.process.pid,
            "process_started": self.process.started,
            "machine": self.process.machine,
            "started": self.started.isoformat(),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, JSON]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            ValueError: A field is missing or invalid.
        """
        stages, partition = fields.get("stages"), fields.get("partition")
        if not isinstance(stages, list):
            raise ValueError(f"stages of a claim: {stages!r}")
        return cls(
            id=_text(fields.get("id")),
            command=_text(fields.get("command")),
            stages=tuple(_text(stage) for stage in stages),
            partition=None if partition is None else _text(partition),
            inputs=_text(fields.get("inputs")),
            user=_text(fields.get("user")),
            host=_text(fields.get("host")),
            process=ProcessId(
                _number(fields.get("pid")), _number(fields.get("process_started")), _text(fields.get("machine"))
            ),
            started=datetime.fromisoformat(_text(fields.get("started"))),
        )


def why_excluded(mine: Claim, other: Claim) -> str | None:
    """Why two runs may not write at once; None if they may: they write different stages, or different parts of one job.

    Symmetric. Parts of one job are runs of the same command, on the same inputs, with different `i` of the same `n`.
    """
    if ANY_STAGE not in (*mine.stages, *other.stages) and not set(mine.stages) & set(other.stages):
        return None
    if mine.partition is None or other.partition is None:
        return "both write the same stages"
    mine_of, other_of = _part(mine.partition), _part(other.partition)
    # Parts of two jobs may be of different shards, and then both write the same ones.
    if (mine.command, set(mine.stages), mine.inputs) != (other.command, set(other.stages), other.inputs):
        return "both write parts of the same stages, but not of the same job: commands, inputs or options differ"
    if mine_of[1] != other_of[1]:
        parts = f"partition {mine.partition} of this run and {other.partition} of that one"
        return f"{parts} overlap: use the same n for all"
    return f"both are partition {mine.partition}" if mine_of == other_of else None


@dataclass(frozen=True, slots=True)
class SeenClaim:
    """A claim as it was at one moment."""

    claim: Claim
    content: bytes
    """Content of its files. It keeps changing while the run is active."""
    is_held: bool
    """Whether the run has the claim, and is not still asking for it."""
    names: tuple[str, ...]
    """Its files."""


def json_name(claim_id: str) -> str:
    """The file of the claim itself: written once, removed once."""
    return f"{CLAIMS_FOLDER}/{claim_id}.json"


def beat_name(claim_id: str) -> str:
    """The heartbeat file, which the holder rewrites every few seconds: a growing number."""
    return f"{CLAIMS_FOLDER}/{claim_id}.beat"


def write_claim(folder: StoreFolder, claim: Claim) -> None:
    """Write the file of a claim, once."""
    folder.write(json_name(claim.id), (json.dumps(claim.to_dict(), indent=2) + "\n").encode())


def write_beat(folder: StoreFolder, claim_id: str, number: int) -> None:
    """Show that the holder of a claim is alive."""
    folder.write(beat_name(claim_id), b"%d\n" % number)


def read_claim(folder: StoreFolder, claim_id: str) -> SeenClaim | None:
    """Read a claim as it is now; None if it has been removed. One that cannot be parsed is marked as damaged.

    Raises:
        OSError: Its file exists and cannot be read, so nothing is known about it.
    """
    if (folder.num_bytes(json_name(claim_id)) or 0) > MAX_CLAIM_BYTES:
        # It is parsed below, as a damaged claim.
        content = b""
    else:
        try:
            content = folder.read(json_name(claim_id))
        except StoreMissingError:
            return None
    beat: bytes | None = None
    with contextlib.suppress(StoreMissingError):
        too_long = (folder.num_bytes(beat_name(claim_id)) or 0) > MAX_CLAIM_BYTES
        beat = b"" if too_long else folder.read(beat_name(claim_id))
    claim = _claim_of(claim_id, content)
    names = (json_name(claim_id), *(() if beat is None else (beat_name(claim_id),)))
    # A damaged claim counts as held: it never withdraws.
    return SeenClaim(claim, content + (beat or b""), beat is not None or claim.is_damaged, names)


def remove_claim(folder: StoreFolder, claim_id: str) -> None:
    """Remove the files of a claim. First the one that counts: a heartbeat without its claim means nothing."""
    folder.remove(json_name(claim_id))
    folder.remove(beat_name(claim_id))


def list_claims(folder: StoreFolder) -> list[str]:
    """Ids of all claims."""
    return [claim_id for claim_id, kind in _claim_files(folder) if kind == "json"]


def remove_stray_beats(folder: StoreFolder) -> list[str]:
    """Remove heartbeats of runs whose claims were removed by other runs, and return their names.

    This may also remove the heartbeat of a claim that was made while the folder was listed. Its next one follows soon.
    """
    files = _claim_files(folder)
    stray = [beat_name(claim_id) for claim_id, kind in files if kind == "beat" and (claim_id, "json") not in files]
    for name in stray:
        folder.remove(name)
    return stray


def _claim_files(folder: StoreFolder) -> list[tuple[str, str]]:
    """Id and kind of each file; files that are not of a claim are skipped."""
    files = [name.removeprefix(f"{CLAIMS_FOLDER}/").partition(".") for name in folder.names(CLAIMS_FOLDER)]
    return [(claim_id, kind) for claim_id, _, kind in files if _ID.fullmatch(claim_id)]


def _claim_of(claim_id: str, content: bytes) -> Claim:
    try:
        fields = json.loads(content)
        if not isinstance(fields, dict) or fields.get("id") != claim_id:
            return Claim.damaged(claim_id)
        return Claim.from_dict(fields)
    except (ValueError, RecursionError):
        return Claim.damaged(claim_id)


def _part(partition: str) -> tuple[int, int]:
    """The numbers of "i/n".

    >>> _part("3/8")
    (3, 8)
    """
    index, _, number = partition.partition("/")
    return int(index), int(number)


def _text(value: JSON | None) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {value!r}")
    return value


def _number(value: JSON | None) -> int:
    if not isinstance(value, int):
        raise ValueError(f"expected a number, got {value!r}")
    return value


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return f"user {os.getuid()}"
