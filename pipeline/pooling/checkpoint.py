"""The folder that `fda pool` trains into: which run it belongs to, its state, and its result.

pooling.json         inputs of the run; written first
state.safetensors    state after the last epoch. Removed when training has ended
pooling.safetensors  the weights of the best epoch so far
history.json         the result; written last
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from encoders.replacing import PARTIAL, replacing
from encoders.weights.files import sha256_of
from pipeline.errors import PipelineError
from pipeline.run.checkpoints import HISTORY_FILE, has_ended
from pipeline.run.files import LOCK_FILE, locked_folder
from pipeline.run.overwriting import UnconfirmedError
from store.json_values import JSON, differences

RUN_FILE, STATE_FILE, WEIGHTS_FILE = "pooling.json", "state.safetensors", "pooling.safetensors"
_FILES = (RUN_FILE, STATE_FILE, WEIGHTS_FILE, HISTORY_FILE)
_OURS = {*_FILES, LOCK_FILE, *(PARTIAL.format(name) for name in _FILES)}
_NOT_COMPARED = ("software", "machine")


class PoolingMismatchError(PipelineError, ValueError):
    """The folder contains something else, or was trained with other inputs."""


class PoolingBusyError(PipelineError, RuntimeError):
    """Another run is writing the folder."""


@dataclass(frozen=True, slots=True)
class PoolingEpoch:
    """One epoch, or the untrained transformer, which is `unit-mean` pooling."""

    epoch: int
    """From 1; 0 before training."""
    mean_loss: float | None
    """None before training."""
    validation_r1: float
    """Text-to-video R@1 on the validation videos, percent."""
    validation_mean_rank: float


def best_epoch(epochs: Sequence[PoolingEpoch]) -> int:
    """The epoch whose weights are kept: best R@1, of several such the best mean rank, of several such the first.

    >>> best_epoch([PoolingEpoch(0, None, 50.0, 3.0), PoolingEpoch(1, 1.0, 50.0, 2.0), PoolingEpoch(2, 0.9, 50.0, 2.0)])
    1
    """
    return max(epochs, key=lambda one: (one.validation_r1, -one.validation_mean_rank)).epoch


@dataclass(frozen=True, slots=True)
class PoolingHistory:
    """The result of training."""

    epochs: tuple[PoolingEpoch, ...]
    best_epoch: int
    """The one whose weights are kept: see `best_epoch`."""
    num_train_videos: int
    num_val_videos: int
    validation: str
    """Where the validation videos come from."""
    weights_sha256: str
    training: Mapping[str, JSON] | None = None
    """`TrainingRecord` of the videos that were seen; None where their contents are not known."""

    @property
    def best(self) -> PoolingEpoch:
        """The epoch whose weights are kept."""
        return self.epochs[self.best_epoch]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder against other runs, and create it if needed; the system frees the lock with the process.

    Raises:
        PoolingBusyError: Another run has the lock.
        PoolingMismatchError: The folder contains something else.
    """
    _check_ours(folder)
    busy = PoolingBusyError(f"another `fda pool` is writing {folder}: wait for it, or give another folder")
    with locked_folder(folder, busy):
        for name in _FILES:  # leftovers of a killed run
            shutil.rmtree(folder / PARTIAL.format(name), ignore_errors=True)
        yield


def check_identity(folder: Path, identity: Mapping[str, JSON]) -> None:
    """Refuse a folder that was trained with other inputs.

    Raises:
        PoolingMismatchError: It was, or it contains something else.
    """
    _check_ours(folder)
    recorded = _read(folder / RUN_FILE).get("identity")
    if not isinstance(recorded, Mapping) or not any(
        (folder / name).is_file() for name in (WEIGHTS_FILE, STATE_FILE, HISTORY_FILE)
    ):
        return
    before = {key: value for key, value in recorded.items() if key not in _NOT_COMPARED}
    now = {key: value for key, value in identity.items() if key not in _NOT_COMPARED}
    if changed := differences(before, now, where="in the checkpoint"):
        raise PoolingMismatchError(
            f"{folder} was trained with other inputs: {changed}. Give another folder, or --overwrite --yes to train "
            "again"
        )


def confirm_removal(folder: Path, *, yes: bool) -> None:
    """Refuse to remove weights that nobody asked to remove.

    Raises:
        UnconfirmedError: There are some, and `yes` is not set.
        PoolingMismatchError: The folder contains something else.
    """
    _check_ours(folder)
    made = [name for name in (STATE_FILE, WEIGHTS_FILE, HISTORY_FILE) if (folder / name).is_file()]
    if made and not yes:
        raise UnconfirmedError(f"--overwrite would remove {', '.join(made)} of {folder}: give --yes as well")


def remove_checkpoint(folder: Path) -> None:
    """Remove what training wrote into a folder; what says that it is ours goes last."""
    for name in reversed(_FILES):
        (folder / name).unlink(missing_ok=True)


def write_run(folder: Path, identity: Mapping[str, JSON]) -> None:
    """Record the inputs of a run."""
    _write(folder / RUN_FILE, {"identity": identity})


def write_history(folder: Path, history: PoolingHistory) -> None:
    """Record the result, then remove the state."""
    _write(folder / HISTORY_FILE, asdict(history))
    (folder / STATE_FILE).unlink(missing_ok=True)


def read_history(folder: Path) -> PoolingHistory | None:
    """The result of training in a folder; None if it has not ended.

    Raises:
        PoolingMismatchError: It is damaged, or its weights are missing or damaged.
    """
    if not has_ended(folder):
        return None
    try:
        fields = _read(folder / HISTORY_FILE)
        epochs = tuple(PoolingEpoch(**epoch) for epoch in fields["epochs"])
        history = PoolingHistory(**{**fields, "epochs": epochs})
        if sha256_of(folder / WEIGHTS_FILE) != history.weights_sha256:
            raise ValueError(f"{WEIGHTS_FILE} is not the file that was written")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PoolingMismatchError(
            f"{folder} is damaged ({error}): put it back from a copy, or --overwrite --yes to train again"
        ) from error
    return history


def _check_ours(folder: Path) -> None:
    if not folder.is_dir():
        return
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in _OURS)
    links = sorted(path.name for path in folder.iterdir() if path.is_symlink())
    if foreign or links:
        raise PoolingMismatchError(
            f"{folder} contains {(foreign or links)[0]!r}, which `fda pool` did not write: move it away, or give "
            "another folder"
        )


def _write(path: Path, content: Mapping[str, object]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
