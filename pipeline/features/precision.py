"""Which precision to encode in: measured on frames of the store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from encoders.devices import computes_bf16
from encoders.encoding.encoder import Encoder, lowest_cosine
from encoders.encoding.memory import EncoderMemory, LargestOutputs
from encoders.inputs import only_frames
from encoders.options import Precision
from pipeline.clips.alpha import AlphaClips
from pipeline.clips.options import AlphaSource
from pipeline.clips.read_ahead import READ_AHEAD
from pipeline.features.encode import SplitPlan, feature_identity, made_with, model_identity
from pipeline.features.model import ReadyModel
from pipeline.features.options import FeatureRecipe
from pipeline.features.timing import speedup_of
from pipeline.run.events import Reporter
from pipeline.run.options import RunOptions
from pipeline.run.partition import WHOLE
from pipeline.run.words import plural
from store.clips.reader import ClipReader
from store.features import feature_names
from store.json_values import differences
from store.store import Store

PROBED_CLIPS, PROBED_FRAMES = 4, 4
"""Clips that both precisions are tried on, and frames of each: one of them on a CPU, where four frames keep it busy."""


PROBED_TEXTS = 8


LEAST_SPEEDUP, LEAST_COSINE = 1.2, 0.999
"""What `--precision auto` asks of bf16: less speed is noise, and less likeness is not the same model."""


@dataclass(frozen=True, slots=True)
class Measured:
    """bf16 against fp32, on frames of the store."""

    cosine: float
    """The lowest between features of one frame."""
    speedup: float
    """To two digits, as it is printed: what is printed and what is decided cannot differ."""
    num_frames: int
    """That it was measured on."""

    def __str__(self) -> str:
        """In words."""
        frames = plural(self.num_frames, "frame")
        return f"cosine to fp32 at least {self.cosine:.6f}, {self.speedup:.2f}x its speed, on {frames} of the store"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which precision to encode in."""

    precision: Precision
    is_settled: bool
    """Whether it holds whatever is measured."""


def choose_precision(
    asked: str, store: Store, ready: ReadyModel, options: FeatureRecipe, run: RunOptions, report: Reporter
) -> Choice:
    """What `auto` stands for; a choice that follows another feature set is reported.

    The precision of these features where they are there and stay, else of another set that the same model made, else
    what the device is made for, which is to be measured.
    """
    if asked != "auto":
        return Choice(Precision(asked), is_settled=True)
    for split in () if run.overwrite else options.splits:
        there = made_with(store, options.features, split)
        if there is not None and "precision" in there:  # imported features have none, and are refused later
            return Choice(Precision(str(there["precision"])), is_settled=True)
    wanted = model_identity(ready.loaded)
    for split in store.manifest.splits:
        for name in feature_names(store, split):
            there = made_with(store, name, split) or {}
            if name != options.features and there.get("model") == wanted and "precision" in there:
                report.say(f"{there['precision']}, as features {name!r} of the same model")
                return Choice(Precision(str(there["precision"])), is_settled=True)
    # The parts of a job must agree without asking each other, so that none of them may go by what it measures.
    precision = Precision.BF16 if computes_bf16(ready.device) else Precision.FP32
    return Choice(precision, is_settled=run.partition != WHOLE)


def measure(
    store: Store, ready: ReadyModel, encoder: Encoder, plans: Sequence[SplitPlan], options: FeatureRecipe
) -> Measured | None:
    """Compare an encoder with float32 on the first clip that is pending; None where none is."""
    first = next(((plan, pending.shard) for plan in plans for pending in plan.clips.pending), None)
    if first is None:
        return None
    plan, shard = first
    reader = ClipReader(store, plan.inputs.split, options.mask_name, shards=[shard])
    if not reader.video_ids:
        return None
    num_clips = 1 if ready.device.type == "cpu" else PROBED_CLIPS
    # One shard may have a single video, whose masks cannot be shuffled; a precision is as good with its own.
    alpha = AlphaSource.MASKS if options.alpha is AlphaSource.SHUFFLED else options.alpha
    clips = AlphaClips(reader, alpha, options.seed, size=options.size).read(sorted(reader.video_ids)[:num_clips])
    frames, masks = only_frames(clips.frames, clips.masks, clips.is_frame)
    # (1, n, h, w, 3): one clip of all the frames, however many each video has
    some = frames[None, : num_clips * PROBED_FRAMES], masks[None, : num_clips * PROBED_FRAMES]
    texts = store.catalog.split_captions(plan.inputs.split)["text"].slice(0, PROBED_TEXTS).to_pylist()
    exact = Encoder(
        ready.loaded.model,
        batch_frames=encoder.batch_frames,
        max_words=options.max_words,
        truncate_dim=options.truncate_dim,
    )
    cosine = lowest_cosine(exact, encoder, *some, texts)  # which warms up both, too
    # Processor time is what other processes take no part of. A GPU's work is not in it.
    clock = time.process_time if ready.device.type == "cpu" else time.perf_counter
    work, exact_work = partial(encoder.encode_clips, *some), partial(exact.encode_clips, *some)
    speedup = speedup_of(work, exact_work, clock, LEAST_SPEEDUP)
    return Measured(cosine, round(speedup, 2), some[0].shape[1])


def memory_of(store: Store, ready: ReadyModel, encoder: Encoder, options: FeatureRecipe) -> EncoderMemory:
    """What encoding takes at most."""
    return EncoderMemory(
        config=ready.loaded.config,
        precision=encoder.precision,
        batch_frames=encoder.batch_frames,
        num_weights=sum(tensor.numel() for tensor in ready.loaded.model.named_tensors().values()),
        clip_frames=max(store.layout(split).num_frames for split in options.splits),
        shard_size=store.manifest.shard_size,
        num_shards_held=READ_AHEAD + 3,
        num_texts=encoder.num_texts_at_once,
        largest=LargestOutputs.of(ready.loaded.model),
    )


def refusal(store: Store, ready: ReadyModel, options: FeatureRecipe, split: str) -> str | None:
    """How features of this name that are there were made otherwise, or None."""
    there = made_with(store, options.features, split)
    if there is None:
        return None
    wanted = feature_identity(store, ready.loaded, options, split)
    found, made = ({key: value for key, value in table.items() if key != "software"} for table in (there, wanted))
    return differences(found, made) or None


def is_worth_it(measured: Measured, report: Reporter) -> bool:
    """Whether a precision is enough faster than float32, and as good; reports it if not."""
    if measured.cosine >= LEAST_COSINE and measured.speedup >= LEAST_SPEEDUP:
        return True
    report.say(f"so it is fp32: bf16 must be {LEAST_SPEEDUP}x as fast, at a cosine of {LEAST_COSINE}")
    return False
