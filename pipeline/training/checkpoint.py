"""The folder that training writes: which run it belongs to, the state of the run, and its result.

training.json         inputs of the run, and the videos to validate on; written first
training.safetensors  state of the run: weights, optimizer, step, scores. Removed when training has ended
model.safetensors     the weights of the best evaluation so far, with config.json
log.jsonl             one line for each step and each evaluation; tensorboard/ has the same
history.json          the result; written last
"""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from encoders.replacing import PARTIAL, replacing
from encoders.training.state import load_state, save_state
from encoders.training.trainer import Trainer
from encoders.weights.loading import CONFIG_FILE, WEIGHTS_FILE, load_checkpoint
from pipeline.errors import PipelineError
from pipeline.run.checkpoints import HISTORY_FILE, has_ended
from pipeline.run.events import EvaluationDone
from pipeline.run.files import LOCK_FILE, locked_folder
from pipeline.run.overwriting import UnconfirmedError
from pipeline.run.words import plural
from store.json_values import JSON, differences

RUN_FILE = "training.json"
STATE_FILE = "training.safetensors"
LOG_FILE = "log.jsonl"
TENSORBOARD_FOLDER = "tensorboard"

_FILES = (RUN_FILE, STATE_FILE, LOG_FILE, CONFIG_FILE, WEIGHTS_FILE, HISTORY_FILE)
_OURS = (*_FILES, TENSORBOARD_FOLDER, LOCK_FILE, *(PARTIAL.format(name) for name in _FILES))
"""Every name that training may leave in the folder, also when it is killed."""
_EVENTS = "events.out.tfevents.*"
"""What TensorBoard's files are called."""
_NOT_COMPARED = ("software", "machine")
"""Recorded of a run, but not compared: a run may be resumed with other versions or on another machine."""


_CLIPS = "clips_sha256"
"""In the inputs of a run: the digest of all clips of its splits."""
_SPLITS = ("train_split", "val_split", "watch_split")


class CheckpointMismatchError(PipelineError, ValueError):
    """The folder contains something else, or a checkpoint that was trained with other inputs."""


class CheckpointBusyError(PipelineError, RuntimeError):
    """Another run is writing the folder."""


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


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder against other runs, and create it if needed; the system frees the lock with the process.

    Raises:
        CheckpointBusyError: Another run has the lock.
        CheckpointMismatchError: The folder contains something else.
    """
    _check_ours(folder)
    busy = CheckpointBusyError(f"another `fda finetune` is writing {folder}: wait for it, or give another folder")
    with locked_folder(folder, busy):
        for name in _FILES:  # leftovers of a killed run
            shutil.rmtree(folder / PARTIAL.format(name), ignore_errors=True)
        if has_ended(folder):  # killed between the last two steps of `end_run`
            (folder / STATE_FILE).unlink(missing_ok=True)
        yield


def is_finished(folder: Path, identity: Mapping[str, JSON]) -> bool:
    """Whether training with these inputs has ended in a folder, and its weights are undamaged.

    Raises:
        CheckpointMismatchError: The folder contains something else, or was trained with other inputs.
        WeightsError: The weights of the checkpoint are missing or damaged.
    """
    _check_ours(folder)
    recorded = _recorded_identity(folder)
    if recorded is None:
        return False
    if changed := _changed(recorded, identity):
        if not any((folder / name).is_file() for name in (STATE_FILE, WEIGHTS_FILE, HISTORY_FILE)):
            return False  # that run ended before its first state: nothing is lost if this one replaces it
        raise CheckpointMismatchError(
            f"{folder} was trained with other inputs: {changed}. Give another folder, or --overwrite --yes to train "
            "again"
        )
    if not has_ended(folder):
        return False
    load_checkpoint(folder)
    return True


def confirm_removal(folder: Path, *, yes: bool) -> list[Path]:
    """The files that `remove_checkpoint` removes, once it is confirmed that they may go.

    Raises:
        CheckpointMismatchError: The folder contains something else.
        UnconfirmedError: There are weights or states among them, and `yes` is not set.
    """
    _check_ours(folder)
    files = [folder / name for name in _FILES if (folder / name).is_file()]
    files += folder.glob(f"{TENSORBOARD_FOLDER}/{_EVENTS}")
    made = [path for path in files if path.name in (STATE_FILE, WEIGHTS_FILE, HISTORY_FILE)]
    if made and not yes:
        named = ", ".join(path.name for path in made)
        size = sum(path.stat().st_size for path in files) / 2**20
        raise UnconfirmedError(
            f"--overwrite would remove the checkpoint in {folder} ({named}; {plural(len(files), 'file')}, "
            f"{size:,.1f} MiB): give --yes as well"
        )
    return files


def remove_checkpoint(folder: Path) -> None:
    """Remove what training wrote into a folder, and nothing else.

    Raises:
        CheckpointMismatchError: The folder contains something else.
    """
    _check_ours(folder)
    for name in _FILES:
        shutil.rmtree(folder / PARTIAL.format(name), ignore_errors=True)
    for events in folder.glob(f"{TENSORBOARD_FOLDER}/{_EVENTS}"):
        events.unlink()
    with suppress(OSError):  # there is none, or it has files of other programs
        (folder / TENSORBOARD_FOLDER).rmdir()
    # training.json, by which the folder is recognised as ours, is removed after all data: a kill in between leaves a
    # folder that this function still accepts.
    for name in reversed(_FILES):
        (folder / name).unlink(missing_ok=True)


def write_run(folder: Path, identity: Mapping[str, JSON], validation: Mapping[str, JSON]) -> None:
    """Record the inputs of a run."""
    _write_json(folder / RUN_FILE, {"identity": identity, "validation": validation})


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
    _write_json(folder / HISTORY_FILE, {"identity": identity, **asdict(result)})
    (folder / STATE_FILE).unlink(missing_ok=True)


def read_history(folder: Path) -> TrainingHistory:
    """Read the result of the training that ended in a folder.

    Raises:
        CheckpointMismatchError: The file is damaged.
    """
    path = folder / HISTORY_FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        del fields["identity"]
        return TrainingHistory(
            **{**fields, "evaluations": tuple(EvaluationDone(**one) for one in fields["evaluations"])}
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointMismatchError(
            f"{path} is damaged ({error}): put it back from a copy, or --overwrite --yes to train again"
        ) from error


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _check_ours(folder: Path) -> None:
    if not folder.is_dir():
        return
    foreign = sorted(path.name for path in folder.iterdir() if not any(fnmatch(path.name, name) for name in _OURS))
    if foreign:
        raise CheckpointMismatchError(
            f"{folder} contains {foreign[0]!r}, which `fda finetune` did not write: move it away, or give another "
            "folder"
        )
    # What is written or removed under these names must not be what a link points at.
    for name in _OURS:
        kind, is_right = ("file", stat.S_ISREG) if name in (*_FILES, LOCK_FILE) else ("folder", stat.S_ISDIR)
        if not _is_plain_or_missing(folder / name, is_right):
            raise CheckpointMismatchError(
                f"{folder / name} is no {kind}, but a link or something else. Move it away, or give another folder"
            )
    # training.json is written first and removed last: without it, these are files of another program.
    if _recorded_identity(folder) is None:
        for name in (CONFIG_FILE, WEIGHTS_FILE, STATE_FILE, HISTORY_FILE, LOG_FILE):
            if (folder / name).exists():
                raise CheckpointMismatchError(
                    f"{folder / name} was not written by `fda finetune`, or {RUN_FILE} beside it is damaged. Give "
                    "another folder"
                )


def _is_plain_or_missing(path: Path, is_right: Callable[[int], bool]) -> bool:
    try:
        return is_right(path.lstat().st_mode)
    except FileNotFoundError:
        return True


def _recorded_identity(folder: Path) -> Mapping[str, JSON] | None:
    """The inputs of the run in a folder, or None if they are not recorded."""
    try:
        identity: Mapping[str, JSON] = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))["identity"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return identity


def moved(folder: Path, identity: Mapping[str, JSON]) -> str:
    """How software and machine differ from those that the run in a folder began with; an empty text if they do not.

    If they differ, the weights may differ from those of a run that was never interrupted.
    """
    recorded = _recorded_identity(folder) or identity
    before, now = ({key: values.get(key) for key in _NOT_COMPARED} for values in (recorded, identity))
    return differences(before, now, where="in the checkpoint")


def _changed(recorded: Mapping[str, JSON], identity: Mapping[str, JSON]) -> str:
    """How the inputs of a run differ from those that are recorded; an empty text if they do not."""
    before, now = _compared(recorded), _compared(identity)
    if _splits(before) != _splits(now):  # then the digest is of other clips, and the splits say so: none has changed
        before.pop(_CLIPS, None)
        now.pop(_CLIPS, None)
    return differences(before, now, where="in the checkpoint")


def _splits(identity: Mapping[str, JSON]) -> list[JSON]:
    """Those whose clips a run reads."""
    options = identity.get("options")
    return [options.get(name) for name in _SPLITS] if isinstance(options, Mapping) else []


def _compared(identity: Mapping[str, JSON]) -> dict[str, JSON]:
    return {key: value for key, value in identity.items() if key not in _NOT_COMPARED}
