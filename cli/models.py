"""A model by what the user said, on the device that the user asked for."""

from __future__ import annotations

from pathlib import Path

import click

from cli.output import say
from encoders.devices import move_to
from encoders.weights import LoadedModel, load_checkpoint, load_model
from pipeline.checkpoint import has_ended


def load(
    model: str | None, pretrained: str | None, alpha_checkpoint: Path | None, *, seed: int, device: str
) -> LoadedModel:
    """Load a model by name and weights.

    Raises:
        click.UsageError: One of the two is not given: weights are never guessed.
    """
    if not model or not pretrained:
        raise click.UsageError(
            "give --model and --pretrained (a tag such as openai, a file, or `none`: random weights), or --checkpoint"
        )
    loaded = load_model(model, pretrained, alpha_checkpoint, seed=seed)
    move_to(loaded.model, device)
    return loaded


def load_trained(checkpoint: Path, *, device: str) -> LoadedModel:
    """Load what `fda finetune` kept, and say so where training has not ended."""
    loaded = load_checkpoint(checkpoint)
    if not has_ended(checkpoint):
        say(f"warning: training has not ended in {checkpoint}: these are the best weights so far")
    move_to(loaded.model, device)
    return loaded
