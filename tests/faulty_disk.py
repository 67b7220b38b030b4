"""A disk on which the write of a store's file fails, or the process ends at it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

import pytest

from store.places.local import LocalFolder


class Killed(BaseException):
    """Stands for whatever ends a process: nothing in the code may catch it."""


class Fault(Enum):
    """What happens at a write."""

    FULL = "the disk is full"
    KILLED_HALF_WAY = "killed, with half a file left behind"
    KILLED_BEFORE_RENAME = "killed, with a whole file that has no name yet"


Groups = Sequence[Mapping[str, bytes]]


@dataclass
class FaultyDisk:
    """Counts the writes of the store, and lets one of them fail. Decoding, a pure function, is done once."""

    monkeypatch: pytest.MonkeyPatch
    num_writes: int = 0

    @contextmanager
    def failing_at(self, number: int | None, fault: Fault) -> Iterator[None]:
        write, self.num_writes = LocalFolder.write_in_order, 0

        def faulty(folder: LocalFolder, groups: Groups) -> None:
            before = self.num_writes
            self.num_writes += sum(map(len, groups))
            if number is None or not before < number <= self.num_writes:
                write(folder, groups)
            elif fault is Fault.FULL:
                self._on_a_full_disk(write, folder, groups)
            else:
                files = [item for group in groups for item in group.items()]
                write(folder, [{name: content} for name, content in files[: number - before - 1]])
                content = files[number - before - 1][1]
                kept = content if fault is Fault.KILLED_BEFORE_RENAME else content[: len(content) // 2]
                folder.path("partial/unclaimed").mkdir(parents=True, exist_ok=True)
                folder.path(f"partial/unclaimed/{number:032x}").write_bytes(kept)
                raise Killed

        with self.monkeypatch.context() as patch:
            patch.setattr(LocalFolder, "write_in_order", faulty)
            yield

    def _on_a_full_disk(
        self, write: Callable[[LocalFolder, Groups], None], folder: LocalFolder, groups: Groups
    ) -> None:
        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with self.monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            write(folder, groups)
