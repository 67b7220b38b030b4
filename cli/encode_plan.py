"""What `fda encode` is about to do, and in which precision: measured, computed and said before anything is written."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cli.models import ReadyModel, weights_rows
from cli.output import plural, print_pairs, say, show
from encoders.encoding import Encoder, lowest_cosine
from encoders.inputs import only_frames
from encoders.memory import EncoderMemory
from encoders.precision import Precision, computes_bf16
from pipeline.alpha import AlphaClips
from pipeline.encode import EncodeOptions, SplitPlan, feature_identity, made_with
from pipeline.read_ahead import READ_AHEAD
from store.arrays import JSON, differences
from store.clips import ClipReader
from store.store import Store

PROBED_CLIPS, PROBED_FRAMES = 4, 4
"""Clips that both precisions are tried on, and frames of each: one of them on a CPU, where four frames keep it busy."""
PROBED_TEXTS = 8
PROBES = 3
"""Of each precision; the fastest counts, for nothing makes a machine faster than it is."""
LEAST_SPEEDUP, LEAST_COSINE = 1.2, 0.999
"""What `--precision auto` asks of bf16: less speed is noise, and less likeness is not the same model."""


@dataclass(frozen=True, slots=True)
class Measured:
    """bf16 against fp32, on frames of the store."""

    cosine: float
    """The lowest between features of one frame."""
    speedup: float
    num_frames: int
    """That it was measured on."""


def choose_precision(
    asked: str, store: Store, ready: ReadyModel, options: EncodeOptions, *, overwrite: bool
) -> Precision:
    """What `auto` stands for: that of the features that are there and stay, else what the device is made for."""
    if asked != "auto":
        return Precision(asked)
    for split in () if overwrite else options.splits:
        there = made_with(store, options.features, split)
        if there is not None:
            return Precision(str(there["precision"]))
    return Precision.BF16 if computes_bf16(ready.device) else Precision.FP32


def measure(
    store: Store, ready: ReadyModel, encoder: Encoder, plans: Sequence[SplitPlan], options: EncodeOptions
) -> Measured | None:
    """Compare an encoder with float32 on the first clip that is owed; None where none is."""
    first = next(((plan, owed.shard) for plan in plans for owed in plan.clips.owed), None)
    if first is None:
        return None
    plan, shard = first
    reader = ClipReader(store, plan.inputs.split, options.mask_name, shards=[shard])
    if not reader.video_ids:
        return None
    num_clips = 1 if ready.device.type == "cpu" else PROBED_CLIPS
    clips = AlphaClips(reader, options.alpha, options.seed).read(sorted(reader.video_ids)[:num_clips])
    frames, masks = only_frames(clips.frames, clips.masks, clips.is_frame)
    some = frames[None, : num_clips * PROBED_FRAMES], masks[None, : num_clips * PROBED_FRAMES]
    texts = store.catalog.split_captions(plan.inputs.split)["text"].slice(0, PROBED_TEXTS).to_pylist()
    exact = Encoder(ready.loaded.model, batch_frames=encoder.batch_frames)
    cosine = lowest_cosine(exact, encoder, *some, texts)  # which warms up both, too
    seconds: dict[Encoder, list[float]] = {exact: [], encoder: []}
    for one in [exact, encoder] * PROBES:
        began = time.perf_counter()
        one.encode_clips(*some)
        seconds[one].append(time.perf_counter() - began)
    return Measured(cosine, min(seconds[exact]) / min(seconds[encoder]), some[0].shape[1])


def memory_of(store: Store, ready: ReadyModel, encoder: Encoder, options: EncodeOptions) -> EncoderMemory:
    """What encoding takes at most."""
    return EncoderMemory(
        config=ready.loaded.config,
        precision=encoder.precision,
        batch_frames=encoder.batch_frames,
        num_weights=sum(tensor.numel() for tensor in ready.loaded.model.named_tensors().values()),
        clip_frames=max(store.layout(split).num_frames for split in options.splits),
        shard_size=store.manifest.shard_size,
        num_shards_held=READ_AHEAD + 3,
    )


def dry_run(
    store: Store,
    ready: ReadyModel,
    options: EncodeOptions,
    plans: Sequence[SplitPlan],
    memory: EncoderMemory,
    measured: Measured | None,
    refusals: Mapping[str, str | None],
) -> dict[str, JSON]:
    """All that a run would use and do, and why it would be refused, if it would (split -> what `refusal` says)."""
    report, config = ready.loaded.report, ready.loaded.config
    return {
        "store": store.place,
        "features": options.features,
        "model": config.name,
        "activation": str(config.activation),
        "weights": {
            "source": report.source,
            "kind": report.kind,
            "sha256": report.sha256,
            "num_matched": report.matched,
            "missing": list(report.missing),
            "unexpected": list(report.unexpected),
        },
        "device": str(ready.device),
        "precision": options.precision,
        "cosine_to_fp32": None if measured is None else round(measured.cosine, 6),
        "speedup_to_fp32": None if measured is None else round(measured.speedup, 2),
        "pooling": str(options.pooling),
        "alpha": str(options.alpha),
        "masks": options.mask_name,
        "frame_dtype": options.frame_dtype,
        "memory_mib": memory.total_mib,
        "splits": [
            {
                "split": plan.inputs.split,
                "num_shards_owed": len(plan.clips.owed),
                "num_videos_owed": plan.clips.num_videos_owed,
                "num_captions_owed": sum(owed.shard.num_rows for owed in plan.captions.owed),
                "refused": refusals[plan.inputs.split],
            }
            for plan in plans
        ],
    }


def refusal(store: Store, ready: ReadyModel, options: EncodeOptions, split: str) -> str | None:
    """How features of this name that are there were made otherwise, or None."""
    there = made_with(store, options.features, split)
    if there is None:
        return None
    wanted = feature_identity(store, ready.loaded, options, split)
    found, made = ({key: value for key, value in table.items() if key != "software"} for table in (there, wanted))
    return differences(found, made) or None


def print_dry_run(
    found: dict[str, JSON], ready: ReadyModel, plans: Sequence[SplitPlan], refusals: Mapping[str, str | None]
) -> None:
    """Print it for people."""
    names = ("model", "activation", "device", "precision", "pooling", "alpha", "masks")
    rows = [(name, str(found[name])) for name in names]
    rows += [*weights_rows(ready.loaded.report), ("memory", f"at most about {found['memory_mib']:,} MiB")]
    print_pairs("would encode with", rows)
    for plan in plans:
        captions = sum(owed.shard.num_rows for owed in plan.captions.owed)
        videos = plan.clips.num_videos_owed
        show(f"{plan.inputs.split}: {plural(videos, 'video')} and {plural(captions, 'caption')} are owed")
    for split, reason in refusals.items():
        if reason:
            show(f"{split} would be refused: {reason}. Give another --features, or --overwrite")


def say_measured(precision: str, measured: Measured | None) -> None:
    """Say what a precision costs and brings."""
    if measured is not None:
        say(
            f"{precision}: cosine to fp32 at least {measured.cosine:.6f}, {measured.speedup:.1f}x its speed, "
            f"on {plural(measured.num_frames, 'frame')} of the store"
        )
