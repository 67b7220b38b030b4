"""The folder that training writes: what is ours, what is finished, and what is left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from encoders.errors import WeightsMissingError
from encoders.weights.loading import load_model, save_checkpoint
from pipeline.run.checkpoints import CheckpointBusyError, CheckpointMismatchError, has_ended
from pipeline.run.events import EvaluationDone
from pipeline.run.overwriting import UnconfirmedError
from pipeline.training.checkpoint import TrainingHistory, end_run, finetune_folder, is_finished, read_history
from store.json_values import JSON
from tests.encoders_tiny import write_config

IDENTITY: dict[str, JSON] = {"options": {"lr": 1e-3}, "software": {"torch": "2"}}
RESULT = TrainingHistory(
    (EvaluationDone(1, 1, 1, 9, 2.5, 40.0, 40.0, True),), 1, 1, 40.0, 8, 2, 0, "split 'val'", False
)


def _remove(folder: Path) -> None:
    finetune_folder(folder).remove()


def _lock(folder: Path) -> None:
    with finetune_folder(folder).locked():
        pass


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder in which training has saved once, and not ended."""
    loaded = load_model(write_config(tmp_path), "none", None, seed=0)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    finetune_folder(folder).write_run(IDENTITY)
    save_checkpoint(folder, loaded.model, loaded.config, {"identity": IDENTITY})
    return folder


def test_training_that_has_ended_is_finished(checkpoint: Path) -> None:
    assert not is_finished(checkpoint, IDENTITY)
    end_run(checkpoint, RESULT, IDENTITY)
    assert has_ended(checkpoint)
    assert is_finished(checkpoint, {**IDENTITY, "software": {"torch": "3"}})
    assert read_history(checkpoint) == RESULT


@pytest.mark.parametrize("ended", [True, False])
def test_training_with_other_options_is_refused_with_both_values(checkpoint: Path, ended: bool) -> None:
    if ended:
        end_run(checkpoint, RESULT, IDENTITY)
    with pytest.raises(CheckpointMismatchError, match=r"options.lr is 0.001 in .* and 0.002 now.*--overwrite"):
        is_finished(checkpoint, {"options": {"lr": 2e-3}})


def test_weights_that_are_gone_are_not_passed_over(checkpoint: Path) -> None:
    end_run(checkpoint, RESULT, IDENTITY)
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(WeightsMissingError, match="model.safetensors is missing"):
        is_finished(checkpoint, IDENTITY)


@pytest.mark.parametrize("gone", [("config.json",), ("config.json", "model.safetensors"), ("model.safetensors",)])
def test_what_a_kill_in_the_first_save_leaves_is_gone_on_with(checkpoint: Path, gone: tuple[str, ...]) -> None:
    for name in gone:
        partial = checkpoint / f".{name}.partial"
        partial.mkdir()
        (checkpoint / name).rename(partial / ".tmpAbCdEf")  # as safetensors calls it
    assert not is_finished(checkpoint, IDENTITY)
    if (checkpoint / "model.safetensors").exists():
        with pytest.raises(CheckpointMismatchError, match="was trained with other inputs"):
            is_finished(checkpoint, {"options": "any"})
    else:  # nothing was made: another training may have the folder
        assert not is_finished(checkpoint, {"options": "any"})
    finetune_folder(checkpoint).remove()
    assert list(checkpoint.iterdir()) == []


def test_two_runs_do_not_write_one_folder(checkpoint: Path) -> None:
    with (
        finetune_folder(checkpoint).locked(),
        pytest.raises(CheckpointBusyError, match="another `fda finetune` is writing"),
        finetune_folder(checkpoint).locked(),
    ):
        pass
    _lock(checkpoint)


@pytest.mark.parametrize("foreign", ["tokenizer.json", "thesis.tex"])
def test_a_folder_with_other_files_is_left_alone(checkpoint: Path, foreign: str) -> None:
    (checkpoint / foreign).write_text("mine")
    for act in (_remove, lambda folder: is_finished(folder, IDENTITY)):
        with pytest.raises(CheckpointMismatchError, match=f"contains '{foreign}', which `fda finetune` did not write"):
            act(checkpoint)
    assert len(list(checkpoint.iterdir())) == 4


def test_a_model_of_another_program_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(CheckpointMismatchError, match="was not written by `fda finetune`"):
        finetune_folder(tmp_path).remove()
    assert (tmp_path / "model.safetensors").read_bytes() == b"weights"


def test_an_empty_or_absent_folder_is_where_training_begins(tmp_path: Path) -> None:
    assert not is_finished(tmp_path / "nowhere", IDENTITY)
    assert not is_finished(tmp_path, IDENTITY)
    finetune_folder(tmp_path / "nowhere").remove()


@pytest.mark.parametrize("name", ["model.safetensors", "history.json", "log.jsonl", "training.safetensors"])
def test_files_of_our_names_that_nobody_vouches_for_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"years of work")
    acts: list[Callable[[Path], object]] = [
        _remove,
        lambda folder: is_finished(folder, IDENTITY),
        _lock,
    ]
    for act in acts:
        with pytest.raises(CheckpointMismatchError, match=f"{name} was not written by `fda finetune`"):
            act(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b"years of work"}


@pytest.mark.parametrize("name", [".lock", "training.json", "model.safetensors", "tensorboard", ".log.jsonl.partial"])
@pytest.mark.parametrize("points_at", ["file", "folder", "nothing"])
def test_a_link_in_a_checkpoint_is_refused_and_what_it_points_at_stays(
    checkpoint: Path, tmp_path: Path, name: str, points_at: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for own in ("thesis.tex", "events.out.tfevents.1"):
        (home / own).write_text("years of work")
    if (checkpoint / name).exists():
        (checkpoint / name).unlink()
    (checkpoint / name).symlink_to({"file": home / "thesis.tex", "folder": home, "nothing": home / "gone"}[points_at])
    for act in (
        _remove,
        _lock,
    ):
        with pytest.raises(CheckpointMismatchError, match=f"{name} is no f(ile|older), but a link"):
            act(checkpoint)
    assert (checkpoint / name).is_symlink()
    assert {path.name: path.read_text() for path in home.iterdir()} == {
        "thesis.tex": "years of work",
        "events.out.tfevents.1": "years of work",
    }


def test_what_is_removed_is_listed_and_confirmed_and_notes_beside_the_log_stay(checkpoint: Path) -> None:
    (checkpoint / "tensorboard").mkdir()
    for name in ("events.out.tfevents.1.host", "notes.txt"):
        (checkpoint / "tensorboard" / name).write_text("mine")
    with pytest.raises(UnconfirmedError, match=r"would remove the checkpoint in .*model.safetensors; 4 files, .*--yes"):
        finetune_folder(checkpoint).confirm_removal(yes=False)
    listed = finetune_folder(checkpoint).confirm_removal(yes=True)
    before = {path for path in checkpoint.rglob("*") if path.is_file()}
    finetune_folder(checkpoint).remove()
    left = {path for path in checkpoint.rglob("*") if path.is_file()}
    assert before - left == set(listed)
    assert left == {checkpoint / "tensorboard/notes.txt"}


def test_a_state_is_not_left_without_its_weights(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removal is killed at any file: what is left can be trained on."""
    end_run(checkpoint, RESULT, IDENTITY)
    (checkpoint / "training.safetensors").write_bytes(b"state")
    gone: list[str] = []
    unlink = Path.unlink

    def removed(path: Path, *, missing_ok: bool = False) -> None:
        gone.append(path.name)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", removed)
    _remove(checkpoint)
    order = [
        gone.index(name) for name in ("history.json", "training.safetensors", "model.safetensors", "training.json")
    ]
    assert order == sorted(order)


def test_where_nothing_was_made_there_is_nothing_to_confirm(tmp_path: Path) -> None:
    finetune_folder(tmp_path).write_run(IDENTITY)
    assert [path.name for path in finetune_folder(tmp_path).confirm_removal(yes=False)] == ["training.json"]


def test_a_lock_file_keeps_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("mine")
    _lock(tmp_path)
    assert (tmp_path / ".lock").read_text() == "mine"
