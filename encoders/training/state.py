"""The state of a training run, in a file from which another process resumes to the same bits."""

from __future__ import annotations

from pathlib import Path

import safetensors
import safetensors.torch

from encoders.errors import WeightsFormatError
from encoders.saving import save_tensors
from encoders.training.trainer import Trainer

_NOTE = "note"


def save_state(path: Path, trainer: Trainer, note: str) -> None:
    """Write a trainer's state and a note of the caller to one file, whole or not at all."""
    save_tensors(path, trainer.state(), {_NOTE: note})


def load_state(path: Path, trainer: Trainer) -> str:
    """Bring a trainer to the state that was saved, and return the note.

    Raises:
        WeightsFormatError: the file is damaged, or is the state of another model.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            note: str = (file.metadata() or {})[_NOTE]
        trainer.load_state(safetensors.torch.load_file(path, device="cpu"))
    except (safetensors.SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise WeightsFormatError(
            f"{path} is damaged, so training cannot resume from it ({error}). The best weights so far, beside it, are "
            "not affected: copy them if you want them, and train again with --overwrite"
        ) from error
    return note
