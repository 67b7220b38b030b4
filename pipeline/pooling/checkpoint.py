"""The folder that `fda pool` trains into: which run it belongs to, its state, and its result.

pooling.json         inputs of the run; written first
state.safetensors    state after the last epoch. Removed when training has ended
pooling.safetensors  the weights of the best epoch so far
history.json         the result; written last
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from encoders.weights.files import sha256_of
from pipeline.run.checkpoints import HISTORY_FILE, CheckpointFolder, CheckpointMismatchError, has_ended
from store.json_values import JSON

STATE_FILE, WEIGHTS_FILE = "state.safetensors", "pooling.safetensors"


def pool_folder(folder: Path) -> CheckpointFolder:
    """A folder that `fda pool` trains into."""
    return CheckpointFolder(folder, "fda pool", "pooling.json", STATE_FILE, WEIGHTS_FILE)


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
    # `max` keeps the first of equal ones.
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
        # The list begins with epoch 0, the untrained one, so that places are numbers of epochs.
        return self.epochs[self.best_epoch]


def read_history(folder: Path) -> PoolingHistory | None:
    """The result of training in a folder; None if it has not ended.

    Raises:
        CheckpointMismatchError: It is damaged, or its weights are missing or damaged.
    """
    if not has_ended(folder):
        return None
    try:
        fields = json.loads((folder / HISTORY_FILE).read_text(encoding="utf-8"))
        epochs = tuple(PoolingEpoch(**epoch) for epoch in fields["epochs"])
        history = PoolingHistory(**{**fields, "epochs": epochs})
        if sha256_of(folder / WEIGHTS_FILE) != history.weights_sha256:
            raise ValueError(f"{WEIGHTS_FILE} is not the file that was written")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointMismatchError(
            f"{folder} is damaged ({error}): put it back from a copy, or --overwrite --yes to train again"
        ) from error
    return history
