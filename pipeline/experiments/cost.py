"""What an experiment will cost: counted from its plan, and timed with a few steps of its model on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from encoders.building import num_bytes
from encoders.encoding.encoder import Encoder
from encoders.options import ModelSource, Pooling
from encoders.training.options import TrainOptions
from encoders.training.trainer import TrainBatch, Trainer
from pipeline.experiments.folder import ExperimentFolder
from pipeline.experiments.kind import Kind, Subject
from pipeline.experiments.plan import Plan
from pipeline.features.model import load_ready
from pipeline.frames.options import TRAIN_SPLIT
from pipeline.run.events import Reporter, ignore_events
from pipeline.run.words import plural
from pipeline.training.presets import Preset, chosen_preset, load_preset
from pipeline.training.run import model_source
from store.json_values import JSON
from store.store import Store

_MOST_PAIRS = 8
"""Of a step that is timed: time grows with the pairs."""
_SECONDS_A_CELL = 1.5
"""To load a model, read records, score and write."""
_BYTES_A_NUMBER = 4
RANDOM = "none"
"""`ModelSource.pretrained` of random weights."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What is still to be done, and how long it will take."""

    num_trainings: int
    num_steps: int
    """Of all trainings."""
    num_encodings: int
    num_clips_encoded: int
    minutes: float
    """On this machine."""
    mib: float
    """On disk: checkpoints and features."""
    device: str

    def __str__(self) -> str:
        """One sentence.

        >>> str(Cost(33, 10560, 33, 1584, 12.3, 160.0, "cpu"))
        'to do: 33 trainings (10,560 steps), 33 encodings (1,584 clips); about 12 min on cpu, 160 MiB on disk'
        """
        minutes = "under a minute" if self.minutes < 1 else f"about {_time(self.minutes)}"
        return (
            f"to do: {plural(self.num_trainings, 'training')} ({plural(self.num_steps, 'step')}), "
            f"{plural(self.num_encodings, 'encoding')} ({plural(self.num_clips_encoded, 'clip')}); {minutes} on "
            f"{self.device}, {self.mib:,.0f} MiB on disk"
        )

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON."""
        return {
            "num_trainings": self.num_trainings,
            "num_steps": self.num_steps,
            "num_encodings": self.num_encodings,
            "num_clips_encoded": self.num_clips_encoded,
            "minutes": round(self.minutes, 1),
            "mib": round(self.mib, 1),
            "device": self.device,
        }


def cost_of(kind: Kind, plan: Plan, subject: Subject, folder: ExperimentFolder, *, is_preview: bool = False) -> Cost:
    """Count what is pending, and time it.

    Args:
        kind: Of experiment.
        plan: All that it does.
        subject: What it works on.
        folder: Its own; what is done there costs nothing.
        is_preview: Whether to read no weights, which may have to be downloaded: random ones take the same time.
            Otherwise the real ones are read, so that what is wrong with them is told before anything is written.
    """
    pending = [cell for cell in plan.cells if not folder.cell(cell.name).is_file()]
    trained = [cell for cell in pending if cell.condition.is_trained]
    encoded = [cell for cell in pending if cell.condition.mixed is None]
    preset = load_preset(plan.trained.preset)
    stored, to_score = _num_frames(kind, plan, subject)
    drawn = preset.with_settings(plan.trained.settings, "--set").batches.frames
    source = model_source(preset, plan.trained)
    if is_preview:
        # The time of a step does not depend on what the weights are.
        source = ModelSource(model=source.model, pretrained=RANDOM)
    # A clip with fewer frames than are drawn is trained on with those that it has.
    timed = _timed(plan, source, (min(drawn, stored) if drawn else stored, to_score))
    num_steps = num_pairs = 0
    for cell in trained:
        changed = preset.with_settings(plan.training(cell).settings, "--set")
        each = _num_pairs(changed, subject) * changed.train.epochs
        num_pairs += each
        # Over all epochs at once: the real number is higher by a step an epoch at most.
        num_steps += math.ceil(each / changed.train.batch_size)
    num_clips = sum(subject.num_videos[split] for split in (*plan.splits, *plan.more_splits))
    val = subject.num_videos.get("val", subject.num_videos[TRAIN_SPLIT] // 10)  # or as many as are held out by default
    of_trained = [preset.with_settings(plan.training(one).settings, "--set").train for one in trained]
    watched = 0 if plan.watched is None else subject.num_videos[plan.watched]
    num_validated = sum(one.epochs * one.evaluations for one in of_trained) * (val + watched)
    seconds = num_pairs * timed.seconds_a_pair + len(pending) * _SECONDS_A_CELL
    seconds += (num_clips * len(encoded) + num_validated) * timed.seconds_a_clip
    # One of the video, one a frame.
    vectors = num_clips * len(encoded) * (1 + timed.num_frames) * timed.dim * _BYTES_A_NUMBER
    return Cost(
        num_trainings=len(trained),
        num_steps=num_steps,
        num_encodings=len(encoded),
        num_clips_encoded=num_clips * len(encoded),
        minutes=seconds / 60,
        mib=(len(trained) * timed.model_bytes + vectors) / 2**20,
        device=timed.device,
    )


@dataclass(frozen=True, slots=True)
class _Timed:
    seconds_a_pair: float
    seconds_a_clip: float
    model_bytes: int
    num_frames: int
    """Of a clip that is encoded."""
    dim: int
    device: str


def _timed(plan: Plan, source: ModelSource, num_frames: tuple[int, int]) -> _Timed:
    """A step and an encoding of clips that are noise; of so many frames to train with, and to score."""
    report = Reporter(ignore_events)
    ready = load_ready(source, plan.trained.device, report)
    model, config = ready.loaded.model, ready.loaded.config
    train_frames, eval_frames = num_frames
    options = chosen_preset(plan.trained).train
    num_pairs = min(_MOST_PAIRS, options.batch_size)
    # A part of an accumulated batch has a pair at least.
    options = replace(options, batch_size=num_pairs, accumulate=min(options.accumulate, num_pairs))
    train, clips = (_noise(num_pairs, frames, config.image_size) for frames in (train_frames, eval_frames))
    seconds_a_step = _seconds(_stepping(Trainer(model, options, num_steps=3), train, options))
    encoder = Encoder(model, pooling=Pooling(options.pooling))
    seconds_a_batch = _seconds(lambda: encoder.encode_clips(*clips))
    return _Timed(
        seconds_a_pair=seconds_a_step / num_pairs,
        seconds_a_clip=seconds_a_batch / num_pairs,
        model_bytes=num_bytes(config),
        num_frames=eval_frames,
        dim=config.embed_dim,
        device=ready.device.type,
    )


def _noise(num_clips: int, num_frames: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (num_clips, num_frames, size, size, 3), dtype=np.uint8)
    return frames, frames[..., 0] > 128


def _stepping(trainer: Trainer, clips: tuple[np.ndarray, np.ndarray], options: TrainOptions) -> Callable[[], object]:
    batch = TrainBatch(*clips, [f"clip number {number}" for number in range(options.batch_size)])
    return lambda: trainer.step(batch, options.batch_size)


def _seconds(work: Callable[[], object]) -> float:
    """The shorter of two times, after a first one that warms up."""
    times = []
    for _ in range(3):
        began = time.monotonic()
        work()
        times.append(time.monotonic() - began)
    return min(times[1:])


def _num_frames(kind: Kind, plan: Plan, subject: Subject) -> tuple[int, int]:
    if subject.is_generated:
        return kind.clips.train_frames, kind.clips.eval_frames
    store = Store.open(subject.store)
    return store.layout(TRAIN_SPLIT).num_frames, store.layout(plan.splits[0]).num_frames


def _num_pairs(preset: Preset, subject: Subject) -> int:
    """Of an epoch."""
    if preset.batches.captions == "one" or subject.is_generated:
        return subject.num_videos[TRAIN_SPLIT]
    return Store.open(subject.store).layout(TRAIN_SPLIT).num_captions


def _time(minutes: float) -> str:
    """A time as people say it.

    >>> _time(12.3), _time(150), _time(60 * 70)
    ('12 min', '2.5 h', '70 h')
    """
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.2g} h"
