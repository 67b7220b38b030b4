"""What `fda encode --dry-run` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.output.printing import show
from cli.output.tables import print_pairs
from cli.output.weights import weights_rows
from pipeline.run.words import plural

if TYPE_CHECKING:
    from pipeline.features.run import EncodePreview


def print_preview(preview: EncodePreview) -> None:
    """Print what would be loaded and encoded, for people."""
    recipe = preview.recipe
    rows = [
        ("model", preview.model),
        ("activation", preview.activation),
        ("device", preview.device),
        ("precision", recipe.precision),
        ("pooling", str(recipe.pooling)),
        ("alpha", str(recipe.alpha)),
        ("masks", recipe.mask_name),
        ("tokens of a caption", "all that the model reads" if recipe.max_words is None else str(recipe.max_words)),
        ("numbers kept", "all" if recipe.truncate_dim is None else f"the first {recipe.truncate_dim:,}"),
        ("frames", "as stored" if recipe.size is None else f"resized to {recipe.size.side} pixels"),
        *weights_rows(preview.weights),
        ("memory", f"at most about {preview.memory_mib:,} MiB"),
    ]
    print_pairs("would encode with", rows)
    for plan in preview.plans:
        videos, captions = plan.clips.num_videos_pending, plan.num_captions_pending
        show(f"{plan.inputs.split}: {plural(videos, 'video')} and {plural(captions, 'caption')} are pending")
    for split, reason in preview.refusals.items():
        if reason:
            show(f"{split} would be refused: {reason}. Give another --features, or --overwrite")
