"""The folder that training writes: which run it belongs to, the state of the run, and its result.

training.json         inputs of the run, and the videos to validate on; written first
training.safetensors  state of the run: weights, optimizer, step, scores. Removed when training has ended
model.safetensors     the weights of the best evaluation so far, with config.json, and tokenizer/ if it was a folder
log.jsonl             one line for each step and each evaluation; tensorboard/ has the same
history.json          the result; written last
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from encoders.training.state import load_state, save_state
from encoders.training.trainer import Trainer
from encoders.weights.loading import CONFIG_FILE, TOKENIZER_FOLDER, WEIGHTS_FILE, load_checkpoint
from pipeline.run.checkpoints import (
    HISTORY_FILE,
    CheckpointFolder,
    CheckpointMismatchError,
    changed_inputs,
    has_ended,
)
from pipeline.run.events import EvaluationDone
from store.json_values import JSON

STATE_FILE = "training.safetensors"
LOG_FILE = "log.jsonl"
TENSORBOARD_FOLDER = "tensorboard"

_CLIPS = "clips_sha256"
"""In the inputs of a run: the digest of all clips of its splits."""
_SPLITS = ("train_split", "val_split", "watch_split")


def finetune_folder(folder: Path) -> CheckpointFolder:
    """A folder that `fda finetune` trains into."""
    return CheckpointFolder(
        path=folder,
        command="fda finetune",
        run_file="training.json",
        state_file=STATE_FILE,
        weights_file=WEIGHTS_FILE,
        others=(LOG_FILE, CONFIG_FILE),
        folders={TENSORBOARD_FOLDER: "events.out.tfevents.*", TOKENIZER_FOLDER: "*.*"},
    )


@dataclass(frozen=True, slots=True)
class TrainingHistory:
    """The result of a training run."""

    evaluations: tuple[EvaluationDone, ...]
    best_evaluation: int
    """The number of the one whose weights are kept."""
    best_epoch: int
    """The epoch that it is in."""
    best_validation_r1: float
    """Its R@1, which is not the mean over the window by which it was chosen."""
    num_train_videos: int
    num_val_videos: int
    num_pairs_dropped: int
    """Pairs of a clip and a caption that are in no batch, over all epochs."""
    validation: str
    """Where the validation videos come from."""
    chosen_on_test: bool
    """Whether the best evaluation was chosen on test videos, here or in the training whose weights this one began with:
    scores on these videos are then biased."""
    watch_split: str | None = None
    """The split that was scored at every evaluation and only watched: it chose nothing."""

    @property
    def best(self) -> EvaluationDone:
        """The evaluation whose weights are kept."""
        # Evaluations are numbered from 1.
        return self.evaluations[self.best_evaluation - 1]


@dataclass(slots=True)
class Progress:
    """The state of training, besides the weights and the optimizer's tensors."""

    evaluations: list[EvaluationDone] = field(default_factory=list)
    """Those that were made."""
    losses: list[float] = field(default_factory=list)
    """Losses of the steps since the last evaluation."""
    sizes: list[int] = field(default_factory=list)
    """Number of pairs in each of these steps."""
    recent: list[float] = field(default_factory=list)
    """The last losses, also across epochs."""
    guesses: list[float] = field(default_factory=list)
    """The losses of guessing, for the same steps."""
    lowest_mean: float | None = None
    """The lowest mean of that many losses in a row, so far."""

    def to_json(self) -> str:
        """Write as JSON; a float is read back to the same bits."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Progress:
        """Read the result of `to_json`."""
        fields = json.loads(text)
        return cls(**{**fields, "evaluations": [EvaluationDone(**one) for one in fields["evaluations"]]})


def is_finished(folder: Path, identity: Mapping[str, JSON]) -> bool:
    """Whether training with these inputs has ended in a folder, and its weights are undamaged.

    Raises:
        CheckpointMismatchError: The folder contains something else, or was trained with other inputs.
        WeightsError: The weights of the checkpoint are missing or damaged.
    """
    if not finetune_folder(folder).is_of(identity, _changed) or not has_ended(folder):
        return False
    # For its checks alone: weights that were damaged since are an error, and no result.
    load_checkpoint(folder)
    return True


def write_state(folder: Path, trainer: Trainer, progress: Progress) -> None:
    """Write the state of a run."""
    save_state(folder / STATE_FILE, trainer, progress.to_json())


def read_state(folder: Path, trainer: Trainer) -> Progress:
    """Bring a trainer to the state in a folder; if there is none yet, change nothing.

    Raises:
        WeightsFormatError: The file cannot be read.
    """
    path = folder / STATE_FILE
    return Progress.from_json(load_state(path, trainer)) if path.is_file() else Progress()


def end_run(folder: Path, result: TrainingHistory, identity: Mapping[str, JSON]) -> None:
    """Record the result of training, then remove its state."""
    # In this order: a kill in between leaves a history, which says that training has ended, and a state that is
    # ignored.
    finetune_folder(folder).write_history({"identity": identity, **asdict(result)})


def read_history(folder: Path) -> TrainingHistory:
    """Read the result of the training that ended in a folder.

    Raises:
        CheckpointMismatchError: The file is damaged.
    """
    path = folder / HISTORY_FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        # What the file says of the inputs is no field of the history.
        del fields["identity"]
        return TrainingHistory(
            **{**fields, "evaluations": tuple(EvaluationDone(**one) for one in fields["evaluations"])}
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointMismatchError(
            f"{path} is damaged ({error}): put it back from a copy, or --overwrite --yes to train again"
        ) from error


def _changed(recorded: Mapping[str, JSON], identity: Mapping[str, JSON]) -> str:
    """As `changed_inputs`, where other splits say that other clips are read: none of them has changed."""
    if _splits(recorded) != _splits(identity):
        recorded, identity = ({**values, _CLIPS: None} for values in (recorded, identity))
    return changed_inputs(recorded, identity)


def _splits(identity: Mapping[str, JSON]) -> list[JSON]:
    """Those whose clips a run reads."""
    options = identity.get("options")
    return [options.get(name) for name in _SPLITS] if isinstance(options, Mapping) else []
