"""The transformer over features of frames: what it is before training, what it learns, and that it resumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from encoders.errors import DeviceError, DivergedError, SettingError, WeightsFormatError
from encoders.temporal.model import TemporalTransformer, num_heads
from encoders.temporal.options import TemporalOptions
from encoders.temporal.trainer import TemporalShape, TemporalTrainer
from pipeline.evaluation.scores.pooling import pool_frames
from tests.encoders_tiny import assert_close
from tests.ordered_events import DIM, ordered_events
from tests.retrieval_cases import Floats

SMALL = TemporalOptions(layers=1, lr=3e-3, batch_size=32)


def trainer_of(num_steps: int = 40, num_frames: int = 6, seed: int = 0) -> TemporalTrainer:
    return TemporalTrainer(TemporalShape(DIM, num_frames, 1), SMALL, num_steps, seed)


def trained(num_steps: int = 40) -> TemporalTrainer:
    trainer = trainer_of(num_steps)
    train_on(trainer, range(num_steps))
    return trainer


def train_on(trainer: TemporalTrainer, steps: range) -> list[float]:
    text, frame = ordered_events(0, 32 * 50)
    return [trainer.step(frame[32 * step : 32 * step + 32], text[32 * step : 32 * step + 32]) for step in steps]


def with_gaps(frame: Floats) -> Floats:
    """Some frames lack, in the middle and at the end."""
    frame = frame.copy()
    frame[1::3, 4:] = np.nan
    frame[2::3, 1] = np.nan
    return frame


@given(st.integers(1, 4096))
def test_heads_divide_the_features(dim: int) -> None:
    assert dim % num_heads(dim) == 0
    assert num_heads(dim) <= max(1, dim // 64)


@pytest.mark.parametrize("num_frames", [6, 4, 12])
def test_untrained_it_is_unit_mean_pooling(num_frames: int) -> None:
    _, frame = ordered_events(1, 20, num_frames)
    frame = with_gaps(frame * np.float32(7))
    made = trainer_of().pooled(frame)
    np.testing.assert_allclose(made.video, pool_frames(frame, "unit-mean"), atol=1e-6)
    np.testing.assert_array_equal(np.isnan(made.frame), np.isnan(frame))


def test_it_learns_the_order_of_frames() -> None:
    trainer = trainer_of(48)
    losses = train_on(trainer, range(48))
    assert np.mean(losses[-8:]) < np.mean(losses[:8]) - 0.5
    text, frame = ordered_events(2, 64)
    same, turned = trainer.pooled(frame).video, trainer.pooled(frame[:, ::-1]).video
    assert ((text * same).sum(axis=1) > (text * turned).sum(axis=1)).mean() > 0.9
    mean = pool_frames(frame, "unit-mean")
    np.testing.assert_allclose(pool_frames(frame[:, ::-1], "unit-mean"), mean, atol=1e-6)


def test_frames_and_video_of_a_trained_one_fit_together() -> None:
    trainer, frame = trained(), with_gaps(ordered_events(3, 20)[1])
    made = trainer.pooled(frame)
    np.testing.assert_allclose(pool_frames(made.frame, "unit-mean"), made.video, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(made.video, axis=1), 1, atol=1e-5)
    alone = trainer.pooled(frame[4:5])
    np.testing.assert_allclose(alone.video[0], made.video[4], atol=1e-5)


def test_clips_of_twice_as_many_frames_are_taken() -> None:
    trainer, (_, frame) = trained(), ordered_events(4, 20)
    doubled = trainer.pooled(np.repeat(frame, 2, axis=1)).video
    assert (doubled * trainer.pooled(frame).video).sum(axis=1).min() > 0.9


def test_what_stands_where_a_video_has_no_frame_is_not_seen() -> None:
    torch.manual_seed(0)
    model = TemporalTransformer(DIM, 6, 2, 20.0)
    for one in model.parameters():
        torch.nn.init.normal_(one, std=0.2)
    frames, is_frame = torch.randn(3, 6, DIM), torch.ones(3, 6, dtype=torch.bool)
    is_frame[1, 4:] = is_frame[2, 1] = False
    others = torch.where(is_frame[..., None], frames, 9.0)
    first, second = (model(one, is_frame)[is_frame] for one in (frames, others))
    assert_close(first, second)
    assert not torch.allclose(model(others, torch.ones_like(is_frame))[is_frame], first)


def test_positions_of_other_numbers_of_frames_lie_between_those_trained() -> None:
    model = TemporalTransformer(2, 4, 1, 20.0)
    model.positions.data[:] = torch.arange(4.0)[:, None]
    places = model(torch.zeros(1, 8, 2), torch.ones(1, 8, dtype=torch.bool))[0, :, 0]  # blocks change nothing yet
    assert places.tolist() == [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]


def test_a_state_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    first = trained(12)
    half = trainer_of(12)
    train_on(half, range(5))
    half.save_state(tmp_path / "state.safetensors", "a note")
    again = trainer_of(12, seed=9)
    assert again.load_state(tmp_path / "state.safetensors") == "a note"
    assert again.num_done == 5
    train_on(again, range(5, 12))
    assert again.save_weights(tmp_path / "a.safetensors") == first.save_weights(tmp_path / "b.safetensors")
    loaded = trainer_of(12, seed=3)
    loaded.load_weights(tmp_path / "a.safetensors")
    _, frame = ordered_events(5, 9)
    np.testing.assert_array_equal(loaded.pooled(frame).video, first.pooled(frame).video)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(WeightsFormatError, match="is missing, damaged or of another shape"):
        trainer_of().load_weights(path)
    trainer_of(num_frames=4).save_weights(path)
    with pytest.raises(WeightsFormatError, match="of another shape"):
        trainer_of().load_weights(path)
    path.write_bytes(path.read_bytes()[:100])
    for read in (trainer_of().load_weights, trainer_of().load_state):
        with pytest.raises(WeightsFormatError, match="damaged"):
            read(path)


def test_a_loss_that_is_not_finite_stops_training() -> None:
    text, frame = ordered_events(6, 4)
    with pytest.raises(DivergedError, match="the loss is nan at step 1"):
        trainer_of().step(frame, np.full_like(text, np.nan))


def test_wrong_settings_are_refused() -> None:
    for name, value, message in (
        ("layers", 0, r"layers must be within 1\.\.64, got 0"),
        ("patience", 0, "patience must be 1 or more"),
        ("batch_size", 1, "batch_size must be 2 or more"),
        ("lr", float("nan"), "lr must be above 0, got nan"),
        ("logit_scale", 101.0, "logit_scale must be above 0 and at most 100"),
    ):
        with pytest.raises(SettingError, match=message):
            TemporalOptions(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="cannot use device 'nowhere'"):
        TemporalTrainer(TemporalShape(8, 2, 1), SMALL, 1, device="nowhere")
