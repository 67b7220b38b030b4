"""The folder that training writes: whose it is, how far training is there, and how it went.

training.json         what the run was begun with, and which videos validate; first of all files
training.safetensors  where the run stands: weights, optimizer, step, scores. Gone once training has ended
model.safetensors     the weights of the best epoch so far, with config.json
log.jsonl             a line a step and a line an epoch; tensorboard/ holds the same
history.json          how it went; last of all files
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from encoders.replacing import PARTIAL, replacing
from encoders.training.state import load_state, save_state
from encoders.training.trainer import Trainer
from encoders.weights.loading import CONFIG_FILE, WEIGHTS_FILE, load_checkpoint
from pipeline.errors import PipelineError
from pipeline.run.events import EpochDone
from store.json_values import JSON, differences

RUN_FILE = "training.json"
STATE_FILE = "training.safetensors"
LOG_FILE = "log.jsonl"
TENSORBOARD_FOLDER = "tensorboard"
HISTORY_FILE = "history.json"
"""Written when training has ended. Its presence says that the checkpoint is final."""
LOCK_FILE = ".lock"

_FILES = (RUN_FILE, STATE_FILE, LOG_FILE, CONFIG_FILE, WEIGHTS_FILE, HISTORY_FILE)
_OURS = (*_FILES, TENSORBOARD_FOLDER, LOCK_FILE, *(PARTIAL.format(name) for name in _FILES))
"""Every name that training may leave in the folder, also when it is killed."""
_NOT_COMPARED = ("software", "machine")
"""What is kept of a run, and does not tell it from another."""


class CheckpointMismatchError(PipelineError, ValueError):
    """The folder holds something else, or a checkpoint that was trained otherwise."""


class CheckpointBusyError(PipelineError, RuntimeError):
    """Another run is writing the folder."""


@dataclass(frozen=True, slots=True)
class TrainingHistory:
    """How training ended."""

    epochs: tuple[EpochDone, ...]
    best_epoch: int
    best_validation_r1: float
    num_train_videos: int
    num_val_videos: int
    validation: str
    """Where the validation videos come from."""
    chosen_on_test: bool
    """Whether the best epoch was chosen on test videos, so that scores on these are no fair ones."""


@dataclass(slots=True)
class Progress:
    """Where training stands, beside the weights and what the optimizer keeps."""

    epochs: list[EpochDone] = field(default_factory=list)
    """Those that have ended."""
    losses: list[float] = field(default_factory=list)
    """Of the steps of the epoch that goes on."""
    sizes: list[int] = field(default_factory=list)
    """Pairs in each of these steps."""
    recent: list[float] = field(default_factory=list)
    """The last losses."""
    guesses: list[float] = field(default_factory=list)
    """What guessing would have had in their place."""
    lowest_mean: float | None = None
    """The lowest mean of so many losses in a row, so far."""

    def to_json(self) -> str:
        """As text; a float comes back to the bit."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Progress:
        """What `to_json` gave."""
        fields = json.loads(text)
        return cls(**{**fields, "epochs": [EpochDone(**epoch) for epoch in fields["epochs"]]})


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder, which is made if need be; the system frees it with the process.

    Raises:
        CheckpointBusyError: Another run is at work in it.
        CheckpointMismatchError: It holds something else.
    """
    _check_ours(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CheckpointBusyError(
                f"another `fda finetune` is writing {folder}: wait for it, or give another folder"
            ) from error
        for name in _FILES:  # what a run that was killed has left
            shutil.rmtree(folder / PARTIAL.format(name), ignore_errors=True)
        if has_ended(folder):
            (folder / STATE_FILE).unlink(missing_ok=True)
        yield


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
    found = differences(_compared(there), _compared(identity), where="there")
    if found:
        if not any((folder / name).is_file() for name in (STATE_FILE, WEIGHTS_FILE, HISTORY_FILE)):
            return False  # it has ended before it has made anything
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
    for name in reversed(_OURS):  # what says whose it is goes last
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        elif name != LOCK_FILE:
            (folder / name).unlink(missing_ok=True)


def write_run(folder: Path, identity: Mapping[str, JSON], validation: Mapping[str, JSON]) -> None:
    """Say what a run was begun with."""
    _write_json(folder / RUN_FILE, {"identity": identity, "validation": validation})


def write_state(folder: Path, trainer: Trainer, progress: Progress) -> None:
    """Say where a run stands."""
    save_state(folder / STATE_FILE, trainer, progress.to_json())


def read_state(folder: Path, trainer: Trainer) -> Progress:
    """Bring a trainer to where the run in a folder stands; nothing is changed where it has not come far enough.

    Raises:
        WeightsFormatError: The file cannot be read.
    """
    path = folder / STATE_FILE
    return Progress.from_json(load_state(path, trainer)) if path.is_file() else Progress()


def end_run(folder: Path, result: TrainingHistory, identity: Mapping[str, JSON]) -> None:
    """Say that training has ended, and how; where it stood is of no use any more."""
    _write_json(folder / HISTORY_FILE, {"identity": identity, **asdict(result)})
    (folder / STATE_FILE).unlink(missing_ok=True)


def read_history(folder: Path) -> TrainingHistory:
    """How the training that ended in a folder went."""
    fields = json.loads((folder / HISTORY_FILE).read_text(encoding="utf-8"))
    del fields["identity"]
    return TrainingHistory(**{**fields, "epochs": tuple(EpochDone(**epoch) for epoch in fields["epochs"])})


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _check_ours(folder: Path) -> None:
    if not folder.is_dir():
        return
    foreign = sorted(path.name for path in folder.iterdir() if not any(fnmatch(path.name, name) for name in _OURS))
    if foreign:
        raise CheckpointMismatchError(
            f"{folder} is not a checkpoint of `fda finetune`: it holds {foreign[0]!r}. Give another folder"
        )
    if (folder / CONFIG_FILE).is_file() and _identity_there(folder) is None:
        raise CheckpointMismatchError(f"{folder / CONFIG_FILE} was not written by `fda finetune`. Give another folder")


def _identity_there(folder: Path) -> Mapping[str, JSON] | None:
    """What the run in a folder was begun with, or None where nothing says it."""
    try:
        identity: Mapping[str, JSON] = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))["identity"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return identity


def moved(folder: Path, identity: Mapping[str, JSON]) -> str:
    """How what does not tell runs apart differs from what a run in a folder was begun with; an empty text if nothing.

    The weights that come of it may then differ from those of a run that was never interrupted.
    """
    there = _identity_there(folder) or identity
    before, now = ({key: one.get(key) for key in _NOT_COMPARED} for one in (there, identity))
    return differences(before, now, where="there")


def _compared(identity: Mapping[str, JSON]) -> dict[str, JSON]:
    return {key: value for key, value in identity.items() if key not in _NOT_COMPARED}
