"""What a worker must have: the same software, the same store, the videos. Checked before its first task."""

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
"""Videos that the coordinator looks up at most, to find one that exists: a data set may lack some."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """What the coordinator has; a worker compares it with what it has itself."""

    software: tuple[tuple[str, str], ...]
    """Name and version of the packages that decide the bytes."""
    folder: StoreFolder
    """The store."""
    proof: tuple[str, bytes]
    """Name and content of a file in the store: the claim of this run, or the manifest. The claim is better: a copy of
    the store has the same manifest, and only this folder has this claim."""
    video: tuple[Path, int] | None
    """A pending video, and its size in bytes; None if nothing is decoded, or none was found."""

    @classmethod
    def of(
        cls, folder: StoreFolder, videos: Iterable[Path] = (), distributions: tuple[str, ...] = FRAME_SOFTWARE
    ) -> Self:
        """What this process has.

        Args:
            folder: The store, under the claim of this run.
            videos: Pending ones; the first that exists is used.
            distributions: Packages that decide the bytes.
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
        """Why the process that calls this cannot be used, and what to do about it; None if it can."""
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
        # Among half-written files, which the store removes if this worker is killed before it does.
        trial = f"{PARTIAL_FOLDER}/{self.folder.claim or UNCLAIMED}/{uuid.uuid4().hex}"
        try:
            self.folder.write(trial, b"")
            self.folder.remove(trial)
        except ClaimLostError:
            return None  # the run has just ended: that is not the worker's fault
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
    """Without the part after `+`: `torch 2.7.0+cu126` and `torch 2.7.0+cpu` are one version in two builds."""
    return {name: version.split("+")[0] for name, version in software_versions(distributions).items()}


class UnfitWorkerError(PipelineError, RuntimeError):
    """A worker cannot be used."""

    def __init__(self, address: str, host: str, problem: str) -> None:
        super().__init__(address, host, problem)
        self.address = address

    def __str__(self) -> str:
        address, host, problem = self.args
        return f"worker {address} (host {host}) cannot be used: {problem}"


@cache
def _problem_here(preflight: Preflight, process_id: int) -> str | None:
    """Computed once a run in each process. The process id is a key, because a fork inherits the cache."""
    return preflight.problem()


def check_here(preflight: Preflight, address: str) -> None:
    """Raise if this process lacks something.

    Raises:
        UnfitWorkerError: It does; the message says what.
    """
    problem = _problem_here(preflight, os.getpid())
    if problem is not None:
        raise UnfitWorkerError(address, socket.gethostname(), problem)
