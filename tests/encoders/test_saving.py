"""A full disk while tensors are saved: an error of the machine, and what was there stays."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from encoders.saving import save_pickled, save_tensors


@contextmanager
def _files_of_at_most(num_bytes: int) -> Iterator[None]:
    """The system refuses to write more into one file, as it does on a full disk."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("save", [save_tensors, save_pickled])
def test_a_full_disk_is_an_error_of_the_machine_and_the_old_file_stays(
    tmp_path: Path, save: Callable[[Path, Mapping[str, Tensor]], None]
) -> None:
    path = tmp_path / "weights"
    save(path, {"a": torch.zeros(4)})
    before = path.read_bytes()
    with _files_of_at_most(10_000), pytest.raises(OSError, match=r"cannot write .*weights: .* MiB are free there"):
        save(path, {"a": torch.zeros(1_000_000)})
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["weights"]


def test_a_bug_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    shared = torch.zeros(4)
    with pytest.raises(RuntimeError, match="share memory"):
        save_tensors(tmp_path / "weights", {"a": shared, "b": shared})
    with pytest.raises(RuntimeError, match="a bug"):
        save_pickled(tmp_path / "weights", _Unwritable())
    assert list(tmp_path.iterdir()) == []


class _Unwritable:
    def __reduce__(self) -> str:
        raise RuntimeError("a bug")
