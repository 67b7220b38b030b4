"""Reading weights from a file of any layout that people have, into open_clip's names."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from encoders.errors import WeightsFormatError, WeightsMissingError, first_line
from encoders.model import is_alpha
from encoders.options import OPEN_CLIP_CONFIG
from encoders.weights.record import RecordError, TrainingRecord, WeightsHeader
from encoders.weights.torchscript import read_torchscript

_OPENAI_SCALARS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""What OpenAI's state dicts carry beside the weights."""
_POSITIONS = ".embeddings.position_ids"
"""How a name ends of numbers 0, 1, 2, ... that older versions of transformers kept with the weights of a text tower."""
MAX_UNPACKED_BYTES = 64 * 2**20
"""Of the records of an archive that are compressed: code, and never weights."""
# Damage inside an archive or a pickle raises any of these.
_DAMAGED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)


_BLOCK_BYTES = 8 << 20
TellBytes = Callable[[int, int], None]
"""Hears how many bytes of a file have been read, and how many it has."""


def ignore_bytes(num_read: int, num_bytes: int) -> None:
    """Do nothing."""


class WeightsKind(StrEnum):
    """Whose layout a file has. Reports print the value."""

    OPENAI = "OpenAI CLIP"
    OPEN_CLIP = "open_clip"
    ALPHA_CLIP = "Alpha-CLIP"
    FDA = "fda"

    @property
    def needs_quick_gelu(self) -> bool:
        """Whether weights of this kind were trained with QuickGELU, unless the file itself says otherwise."""
        return self in (WeightsKind.OPENAI, WeightsKind.ALPHA_CLIP)


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """The content of a weights file."""

    path: Path
    kind: WeightsKind
    sha256: str
    """Of the file, in hexadecimal."""
    tensors: Mapping[str, Tensor]
    """Under open_clip's names, plus that of the alpha convolution: `visual.conv1_alpha.weight`."""
    ignored: tuple[str, ...]
    """Entries that are not weights: the scalars of OpenAI's state dicts, or positions of Hugging Face's."""
    quick_gelu: bool | None
    """Whether they were trained with QuickGELU; None if nothing in the file or beside it says so."""
    training: TrainingRecord = field(default_factory=TrainingRecord)
    """What `fda finetune` trained them on; it is empty if it did not."""

    @property
    def is_visual_only(self) -> bool:
        """Whether the file contains a vision tower without a text tower, as Alpha-CLIP's released files do."""
        return all(name.startswith("visual.") for name in self.tensors)


def read_weights_file(path: Path, tell: TellBytes = ignore_bytes, sha256: str | None = None) -> WeightsFile:
    """Read .safetensors, or what torch saved (.pt, .pth, .bin; also OpenAI's TorchScript archives).

    The first bytes decide which of them it is, whatever the suffix (except .safetensors). No code in the file is run:
    pickles are read with `weights_only=True`, and of an archive only its tensors are taken.

    Args:
        path: The file.
        tell: Is given the number of bytes that were read.
        sha256: Of the file, if it is known: computing it takes as long as reading.

    Raises:
        WeightsMissingError: there is no file at `path`.
        WeightsFormatError: it is not a weights file, is cut short, or has a layout that is not supported.
    """
    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        raise WeightsMissingError(f"cannot read weights from {path}: {what}")
    _refuse_other_downloads(path)
    if sha256 is None:
        sha256 = sha256_of(path, tell)  # first: this is what reads it from the disk, and can tell how far it is
    entries, is_archive = _read_entries(path)
    header = _header(path, entries)
    entries = _without_prefix(_unwrapped(entries, path), "module.")
    scalars = _OPENAI_SCALARS & set(entries)
    unused = {*scalars, *(name for name in entries if name.endswith(_POSITIONS))}
    tensors = {name: entry for name, entry in entries.items() if name not in unused and isinstance(entry, Tensor)}
    others = set(entries) - set(tensors) - unused
    if others or not tensors:
        found = ", ".join(sorted(others)[:5]) or "nothing"
        raise WeightsFormatError(f"{path} is not a state dict: it contains {found} instead of named tensors")
    kind, renamed = _recognise(tensors, is_openai=is_archive or bool(scalars), path=path)
    training = TrainingRecord() if header is None else header.training
    quick_gelu = _quick_gelu(path, kind, header)
    return WeightsFile(path, kind, sha256, renamed, tuple(sorted(unused)), quick_gelu, training)


def _quick_gelu(path: Path, kind: WeightsKind, header: WeightsHeader | None) -> bool | None:
    """Ask in this order: the file's own header, its layout, the configuration beside it."""
    if header is not None:
        return header.quick_gelu
    return True if kind.needs_quick_gelu else _quick_gelu_beside(path)


def _header(path: Path, entries: object) -> WeightsHeader | None:
    """What our own files say beside the tensors: in safetensors' header, or in what torch keeps with a state dict.

    Raises:
        WeightsFormatError: it cannot be read.
    """
    if _is_safetensors(path):
        with safetensors.safe_open(path, framework="pt") as file:
            metadata: object = file.metadata() or {}
    else:
        metadata = getattr(entries, "_metadata", None)
    try:
        return WeightsHeader.from_metadata(metadata if isinstance(metadata, Mapping) else {}, f"the header of {path}")
    except RecordError as error:
        raise WeightsFormatError(f"{error}. Download or copy the file again") from error


def _quick_gelu_beside(path: Path) -> bool | None:
    """The activation in the configuration that open_clip puts beside its weights."""
    try:
        beside = json.loads((path.parent / OPEN_CLIP_CONFIG).read_text(encoding="utf-8"))
        quick_gelu: object = beside["model_cfg"].get("quick_gelu", False)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # no such file, or not open_clip's
    return quick_gelu is True


def sha256_of(path: Path, tell: TellBytes = ignore_bytes) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest, num_read, num_bytes = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            num_read += len(block)
            tell(num_read, num_bytes)
    return digest.hexdigest()


def _refuse_other_downloads(path: Path) -> None:
    """Recognise what failed downloads often leave under a weights file's name."""
    with path.open("rb") as file:
        head = file.read(1024)
    text = head.lstrip().lower()
    if not head:
        raise WeightsFormatError(f"{path} is empty: download it again")
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise WeightsFormatError(
            f"{path} is a saved web page, not weights: open it in a browser to see what the site said, "
            "and download the file itself"
        )
    if path.suffix in (".npz", ".npy"):
        raise WeightsFormatError(
            f"{path} is a file of NumPy, as big_vision writes SigLIP's weights, which is not read: take "
            "open_clip's file of the same weights"
        )
    if text.startswith(b"version https://git-lfs"):
        raise WeightsFormatError(f"{path} is a Git LFS pointer, not the weights it points to: run `git lfs pull`")
    if all(byte in b"\t\n\r" or byte >= 0x20 for byte in head) and _is_utf8(head):
        raise WeightsFormatError(
            f"{path} is a text file, not weights: starting with {head[:40].decode(errors='replace')!r}"
        )


def _is_utf8(head: bytes) -> bool:
    # The last character may be cut in two.
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character has at most four bytes: of the last one, up to three may be here.
        return error.start >= len(head) - 3
    return True


def _read_entries(path: Path) -> tuple[object, bool]:
    """Return what the file holds, and whether it is a TorchScript archive."""
    try:
        if _is_safetensors(path):
            return safetensors.torch.load_file(path, device="cpu"), False
        _refuse_hostile_archive(path)
        if _is_torchscript(path):
            return read_torchscript(path), True
        return _torch_entries(path), False
    except pickle.UnpicklingError as error:
        raise WeightsFormatError(
            f"{path} is not a weights file, or contains Python objects besides tensors, which are never unpickled "
            f"because that can run code; save its state dict alone, best as .safetensors ({first_line(error)})"
        ) from error
    except (safetensors.SafetensorError, RuntimeError, OSError, EOFError, *_DAMAGED) as error:
        raise WeightsFormatError(
            f"{path} is cut short or damaged: {first_line(error)}. Download or copy it again"
        ) from error


def _torch_entries(path: Path) -> object:
    with warnings.catch_warnings():
        # torch warns of an unusual pickle protocol; here the file is read or refused, without a warning.
        warnings.simplefilter("ignore", UserWarning)
        return torch.load(path, map_location="cpu", weights_only=True)


def _is_safetensors(path: Path) -> bool:
    # Eight bytes of length, then a JSON header.
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _refuse_hostile_archive(path: Path) -> None:
    """Refuse a zip archive that is larger inside than outside: torch stores tensors as they are and packs only code."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    # Sizes as the archive declares them, before anything is unpacked.
    num_packed = sum(entry.file_size for entry in entries if entry.compress_type != zipfile.ZIP_STORED)
    num_stored = sum(entry.file_size for entry in entries if entry.compress_type == zipfile.ZIP_STORED)
    if num_packed > MAX_UNPACKED_BYTES or num_stored > path.stat().st_size:
        raise WeightsFormatError(
            f"{path} unpacks to {num_packed + num_stored:,} bytes, which torch never writes: it is damaged, or made to "
            "exhaust memory"
        )


def _unwrapped(entries: object, path: Path) -> Mapping[str, object]:
    """Take the state dict out of a training checkpoint."""
    if isinstance(entries, Mapping) and isinstance(entries.get("state_dict"), Mapping):
        entries = entries["state_dict"]
    if not isinstance(entries, Mapping) or not all(isinstance(name, str) for name in entries):
        raise WeightsFormatError(f"{path} contains a {type(entries).__name__}, not a state dict of named tensors")
    return entries


def _without_prefix(entries: Mapping[str, object], prefix: str) -> Mapping[str, object]:
    """Drop a prefix that all names share, as DistributedDataParallel adds one."""
    if all(name.startswith(prefix) for name in entries):
        return {name.removeprefix(prefix): entry for name, entry in entries.items()}
    return entries


def _recognise(
    tensors: Mapping[str, Tensor], *, is_openai: bool, path: Path
) -> tuple[WeightsKind, Mapping[str, Tensor]]:
    """Detect the layout by the names, and translate them to open_clip's."""
    if lora := sorted(name for name in tensors if "lora_" in name):
        raise WeightsFormatError(
            f"{path} contains LoRA adapters ({len(lora)} tensors, {lora[0]} first): merge them into the weights with "
            "the code that made them, and save the state dict again"
        )
    if any(name.startswith(("vision_model.", "text_model.")) for name in tensors):
        raise WeightsFormatError(
            f"{path} has Hugging Face's layout (vision_model.*, text_model.*), which is not read: take the file in "
            "OpenAI's or open_clip's layout"
        )
    is_tower = any(name == "conv1.weight" or name.startswith("trunk.") for name in tensors)
    renamed = {_open_clip_name(name, "visual." if is_tower else ""): tensor for name, tensor in tensors.items()}
    if not any(name == "visual.conv1.weight" or name.startswith("visual.trunk.") for name in renamed):
        first = ", ".join(sorted(tensors)[:5])
        raise WeightsFormatError(f"{path} does not contain a vision tower of open_clip: its first tensors are {first}")
    # Alpha-CLIP's layout alone has no `visual.` before the names, or a dot after `in_proj`.
    if is_tower or set(renamed) != set(tensors):
        return WeightsKind.ALPHA_CLIP, renamed
    if any(map(is_alpha, renamed)):
        return WeightsKind.FDA, renamed
    return (WeightsKind.OPENAI if is_openai else WeightsKind.OPEN_CLIP), renamed


def _open_clip_name(name: str, prefix: str) -> str:
    """Translate Alpha-CLIP's name of a tensor.

    >>> _open_clip_name("transformer.resblocks.0.attn.in_proj.weight", "visual.")
    'visual.transformer.resblocks.0.attn.in_proj_weight'
    """
    return prefix + re.sub(r"attn\.in_proj\.(weight|bias)$", r"attn.in_proj_\1", name)
