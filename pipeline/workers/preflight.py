"""What a worker must have to take part: the same software, the same store, the videos. Asked before its first task."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError
from itertools import islice
from pathlib import Path
from typing import Self

from pipeline.errors import PipelineError
from pipeline.run.software import FRAME_SOFTWARE, software_versions
from pipeline.run.sources import file_bytes
from store.claims.claim import json_name
from store.errors import ClaimLostError, StoreError, StoreMissingError
from store.places.folder import PARTIAL_FOLDER, UNCLAIMED, StoreFolder
from store.store import MANIFEST_NAME

_SAMPLED = 100
"""Videos that the coordinator looks up at most, to find one that is there."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """What the coordinator has, for a worker to compare with what it has."""

    software: tuple[tuple[str, str], ...]
    """Name and version of what decides the bytes."""
    folder: StoreFolder
    """The store."""
    proof: tuple[str, bytes]
    """Name and content of a file of the store: the claim of this run, which no other folder has, or its manifest."""
    video: tuple[Path, int] | None
    """One of the videos that are pending, and its size in bytes; None where nothing is decoded, or none is there."""

    @classmethod
    def of(
        cls, folder: StoreFolder, videos: Iterable[Path] = (), distributions: tuple[str, ...] = FRAME_SOFTWARE
    ) -> Self:
        """What this process has.

        Args:
            folder: The store, under the claim of this run.
            videos: That are pending, drawn until one is found.
            distributions: That decide the bytes.
        """
        name = MANIFEST_NAME if folder.claim is None else json_name(folder.claim)
        sizes = ((path, file_bytes(path)) for path in islice(videos, _SAMPLED))
        return cls(
            software=tuple(_public_versions(distributions).items()),
            folder=folder,
            proof=(name, folder.read(name)),
            video=next(((path, size) for path, size in sizes if size > 0), None),
        )

    def problem(self) -> str | None:
        """Why the process that asks may not take part, and what to do about it; None where it may."""
        return self._software_problem() or self._store_problem() or self._video_problem()

    def _software_problem(self) -> str | None:
        try:
            here = _public_versions(tuple(name for name, _ in self.software if name != "python"))
        except PackageNotFoundError as error:
            return f"it has no {error.name}: install the same environment there"
        differing = [f"{name} {here[name]}, not {version}" for name, version in self.software if here[name] != version]
        if not differing:
            return None
        return f"it has {', '.join(differing)}: results would differ. Install the same environment there"

    def _store_problem(self) -> str | None:
        name, content = self.proof
        place = self.folder.place
        try:
            found = self.folder.read(name)
        except StoreMissingError:
            return f"it has no {name} in {place}: the store must be on a file system that all machines share, or in S3"
        except (StoreError, OSError) as error:
            return f"it cannot read the store: {error}"
        if found != content:
            return f"{place} is another folder there: the store must be on a file system that all machines share"
        trial = f"{PARTIAL_FOLDER}/{self.folder.claim or UNCLAIMED}/{uuid.uuid4().hex}"
        try:
            self.folder.write(trial, b"")
            self.folder.remove(trial)
        except ClaimLostError:
            return None  # the run has just ended; its next write says so
        except (StoreError, OSError) as error:
            return f"{error}: the worker's user must be able to write there"
        return None

    def _video_problem(self) -> str | None:
        if self.video is None:
            return None
        path, num_bytes = self.video
        found = file_bytes(path)
        if found == num_bytes:
            return None
        if found == 0:
            return f"it does not see the video {path}: the videos must lie under the same path on every machine"
        return f"{path} has {found:,} bytes there, not {num_bytes:,}: the videos must be the same on every machine"


def _public_versions(distributions: tuple[str, ...]) -> dict[str, str]:
    """Without what tells builds of one version apart: a GPU and a CPU have other builds of torch."""
    return {name: version.split("+")[0] for name, version in software_versions(distributions).items()}


class UnfitWorkerError(PipelineError, RuntimeError):
    """A worker may not take part."""

    def __init__(self, address: str, host: str, problem: str) -> None:
        super().__init__(address, host, problem)
        self.address = address

    def __str__(self) -> str:
        address, host, problem = self.args
        return f"worker {address} (host {host}) cannot take part: {problem}"


@cache
def _problem_here(preflight: Preflight, process_id: int) -> str | None:
    """Asked once a run in each process; a fork is another one."""
    return preflight.problem()


def check_here(preflight: Preflight, address: str) -> None:
    """Refuse to work in this process, where it lacks something.

    Raises:
        UnfitWorkerError: It is so.
    """
    problem = _problem_here(preflight, os.getpid())
    if problem is not None:
        raise UnfitWorkerError(address, socket.gethostname(), problem)
