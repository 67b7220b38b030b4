"""Hostile weights: no code of a file runs, no tensor leaves its storage, nothing takes memory."""

from __future__ import annotations

import io
import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from encoders.errors import WeightsFormatError
from encoders.weights.files import read_weights_file


def crafted(path: Path, num_elements: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> Path:
    """What torch saves, of one tensor over 16 bytes that says something else of itself."""
    storage = object()

    class Rebuilt:
        def __reduce__(self) -> tuple[object, ...]:
            return torch._utils._rebuild_tensor_v2, (storage, offset, size, stride, False, None)

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            return ("storage", torch.FloatStorage, "0", "cpu", num_elements) if value is storage else None

    pickled = io.BytesIO()
    Pickler(pickled, 2).dump({"conv1.weight": Rebuilt()})
    torch.save({"conv1.weight": torch.zeros(4)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, pickled.getvalue() if name.endswith("data.pkl") else content)
    return path


@pytest.mark.parametrize(
    ("num_elements", "size", "stride", "offset"),
    [
        (10**6, (10**6,), (1,), 0),
        (10**12, (4,), (1,), 0),
        (4, (10**12,), (1,), 0),
        (4, (64,), (1,), 0),
        (4, (4,), (100,), 0),
        (4, (4,), (-1,), 0),
        (4, (1,), (1,), -5),
        (4, (1,), (1,), 50),
    ],
)
def test_a_tensor_that_leaves_its_storage_is_refused(
    tmp_path: Path, num_elements: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int
) -> None:
    with pytest.raises(WeightsFormatError, match="is cut short or damaged"):
        read_weights_file(crafted(tmp_path / "a.pt", num_elements, size, stride, offset))


def test_a_zip_bomb_of_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2**24 + 2**20)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(tmp_path / "a.pt", "w", 8) as packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name), compresslevel=1)
    with pytest.raises(WeightsFormatError, match="unpacks to .* which torch never writes"):
        read_weights_file(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("length", "header", "size"),
    [
        (2**63, b"{}", 0),
        (10**9, b"{}", 0),
        (None, b'{"a":' * 10_000, 0),
        (None, b'{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}', 8),
        (None, b'{"a":{"dtype":"F32","shape":[99999999999,99999999999],"data_offsets":[0,64]}}', 64),
        (None, b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,64]}}', 64),
        (
            None,
            b'{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]},'
            b'"b":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}',
            64,
        ),
    ],
)
def test_a_hostile_header_of_safetensors_is_refused(
    tmp_path: Path, length: int | None, header: bytes, size: int
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + bytes(size))
    with pytest.raises(WeightsFormatError, match="is cut short or damaged"):
        read_weights_file(path)


class _Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3).T)

    def forward(self, x: torch.Tensor, k: int = 3) -> torch.Tensor:
        return x * k


def archive_with(path: Path, replaced: bytes, by: bytes) -> Path:
    """A TorchScript archive in whose code something is replaced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(_Tower()).save(str(path))  # type: ignore[no-untyped-call]
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    assert any(replaced in content for content in entries.values())
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content.replace(replaced, by))
    return path


def test_the_code_of_a_torchscript_archive_does_not_run(tmp_path: Path) -> None:
    """`torch.jit.load` would run it, as the last lines prove."""
    made = tmp_path / "made"
    code = f'k: int=torch.numel(torch.from_file("{made}", True, 10))'.encode()
    path = archive_with(tmp_path / "a.pt", b"k: int=3", code)
    with pytest.raises(WeightsFormatError, match="does not contain a vision tower of open_clip"):
        read_weights_file(path)
    assert not made.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    assert made.exists()


@pytest.mark.parametrize(
    ("replaced", "by"),
    [(b"ctorch._utils\n_rebuild_tensor_v2\n", b"cos\nsystem\n"), (b"__torch__", b"__other__")],
)
def test_an_archive_that_asks_for_other_code_is_refused(tmp_path: Path, replaced: bytes, by: bytes) -> None:
    with pytest.raises(WeightsFormatError, match="Python objects besides tensors"):
        read_weights_file(archive_with(tmp_path / "a.pt", replaced, by))


def test_good_weights_are_read_as_before(tmp_path: Path) -> None:
    tensors = {"visual.conv1.weight": torch.rand(2, 3).T, "visual.class_embedding": torch.rand(3)}
    torch.save(tensors, tmp_path / "a.pt")
    safetensors.torch.save_file({name: one.contiguous() for name, one in tensors.items()}, tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        found = read_weights_file(tmp_path / name).tensors
        assert all(torch.equal(found[key], tensor) for key, tensor in tensors.items())
