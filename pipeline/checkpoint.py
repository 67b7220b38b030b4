"""The folder that training writes: whose it is, whether training has ended there, and how it went."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path

from encoders.weights import CONFIG_FILE, WEIGHTS_FILE, load_checkpoint
from pipeline.events import EpochDone
from store.arrays import JSON, differences

HISTORY_FILE = "history.json"
"""Written when training has ended. Its presence says that the checkpoint is final."""

_OURS = (CONFIG_FILE, WEIGHTS_FILE, HISTORY_FILE, f".{CONFIG_FILE}.*.tmp", f".{WEIGHTS_FILE}.*.tmp", "*.partial")
"""Every name that training may leave in the folder, also when it is killed."""


class CheckpointMismatchError(ValueError):
    """The folder holds something else, or a checkpoint that was trained otherwise."""


@dataclass(frozen=True, slots=True)
class FinetuneResult:
    """How training ended."""

    epochs: tuple[EpochDone, ...]
    best_epoch: int
    best_validation_r1: float
    num_train_videos: int
    num_val_videos: int
    validation: str
    """Where the validation videos come from."""


def is_finished(folder: Path, identity: Mapping[str, JSON]) -> bool:
    """Whether this very training has ended in a folder, whose weights then stand unharmed.

    Raises:
        CheckpointMismatchError: The folder holds something else, or was trained otherwise.
        WeightsError: It holds a checkpoint whose weights are gone or damaged.
    """
    _check_ours(folder)
    there = _identity_there(folder)
    if there is None:
        return False
    found = differences(_without_software(there), _without_software(identity), where="there")
    if found:
        raise CheckpointMismatchError(
            f"{folder} was trained otherwise: {found}. Give another folder, or --overwrite to train anew"
        )
    if not has_ended(folder):
        return False
    load_checkpoint(folder)
    return True


def has_ended(folder: Path) -> bool:
    """Whether training has ended in a folder."""
    return (folder / HISTORY_FILE).is_file()


def remove_checkpoint(folder: Path) -> None:
    """Remove what training wrote into a folder, and nothing else.

    Raises:
        CheckpointMismatchError: The folder holds something else.
    """
    _check_ours(folder)
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink()


def write_history(folder: Path, result: FinetuneResult, identity: Mapping[str, JSON]) -> None:
    """Say that training has ended, and how."""
    partial = folder / f"{HISTORY_FILE}.partial"
    partial.write_text(json.dumps({"identity": identity, **asdict(result)}, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / HISTORY_FILE)


def read_history(folder: Path) -> FinetuneResult:
    """How the training that ended in a folder went."""
    fields = json.loads((folder / HISTORY_FILE).read_text(encoding="utf-8"))
    del fields["identity"]
    return FinetuneResult(**{**fields, "epochs": tuple(EpochDone(**epoch) for epoch in fields["epochs"])})


def _check_ours(folder: Path) -> None:
    if not folder.is_dir():
        return
    foreign = sorted(path.name for path in folder.iterdir() if not any(fnmatch(path.name, name) for name in _OURS))
    if foreign:
        raise CheckpointMismatchError(
            f"{folder} is not a checkpoint of `fda finetune`: it holds {foreign[0]!r}. Give another folder"
        )
    config = folder / CONFIG_FILE
    if config.is_file() and _identity_there(folder) is None:
        raise CheckpointMismatchError(f"{config} was not written by `fda finetune`. Give another folder")


def _identity_there(folder: Path) -> Mapping[str, JSON] | None:
    """What made the checkpoint in a folder, or None where its configuration says nothing of the kind."""
    try:
        fields = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        identity: Mapping[str, JSON] = fields["metadata"]["identity"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return identity


def _without_software(identity: Mapping[str, JSON]) -> dict[str, JSON]:
    return {key: value for key, value in identity.items() if key != "software"}
