"""What `fda encode` is about to do, and in which precision: measured, computed and said before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cli.output.printing import plural, print_pairs, say, show
from cli.output.weights import weights_rows
from encoders.encoding.memory import EncoderMemory
from pipeline.features.encode import SplitPlan
from pipeline.features.model import ReadyModel
from pipeline.features.options import EncodeOptions
from pipeline.features.precision import Measured
from store.json_values import JSON
from store.store import Store


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
                "num_shards_pending": len(plan.clips.pending),
                "num_videos_pending": plan.clips.num_videos_pending,
                "num_captions_pending": sum(pending.shard.num_rows for pending in plan.captions.pending),
                "refused": refusals[plan.inputs.split],
            }
            for plan in plans
        ],
    }


def print_dry_run(
    found: dict[str, JSON], ready: ReadyModel, plans: Sequence[SplitPlan], refusals: Mapping[str, str | None]
) -> None:
    """Print it for people."""
    names = ("model", "activation", "device", "precision", "pooling", "alpha", "masks")
    rows = [(name, str(found[name])) for name in names]
    rows += [*weights_rows(ready.loaded.report), ("memory", f"at most about {found['memory_mib']:,} MiB")]
    print_pairs("would encode with", rows)
    for plan in plans:
        captions = sum(pending.shard.num_rows for pending in plan.captions.pending)
        videos = plan.clips.num_videos_pending
        show(f"{plan.inputs.split}: {plural(videos, 'video')} and {plural(captions, 'caption')} are pending")
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
