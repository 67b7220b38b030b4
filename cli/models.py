"""A model by what the user said, on the device that the user asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from cli.output import say
from encoders.config import Activation
from encoders.devices import Device, move_to
from encoders.weights import LoadedModel, ModelSource
from pipeline.checkpoint import has_ended


@dataclass(frozen=True, slots=True)
class ReadyModel:
    """A model on its device, and where it came from."""

    loaded: LoadedModel
    source: ModelSource
    device: Device


def model_source(
    checkpoint: Path | None,
    model: str | None,
    pretrained: str | None,
    alpha_checkpoint: Path | None,
    activation: str | None,
    *,
    seed: int,
) -> ModelSource:
    """What the flags say of a model.

    Raises:
        click.UsageError: They say too little, for weights are never guessed, or too much.
    """
    if checkpoint is not None:
        if model or pretrained or alpha_checkpoint or activation:
            raise click.UsageError("--checkpoint holds the model and its weights: give it alone")
        return ModelSource(checkpoint=checkpoint)
    if not model or not pretrained:
        raise click.UsageError(
            "give --model and --pretrained (a tag such as openai, a file, or `none`: random weights), or --checkpoint"
        )
    return ModelSource(
        model=model,
        pretrained=pretrained,
        alpha_checkpoint=alpha_checkpoint,
        seed=seed,
        activation=Activation(activation) if activation else None,
    )


def load(source: ModelSource, device: str) -> ReadyModel:
    """Load a model and move it to a device; says where its weights are from."""
    loaded = source.load()
    if source.checkpoint is not None and not has_ended(source.checkpoint):
        say(f"warning: training has not ended in {source.checkpoint}: these are the best weights so far")
    if loaded.metadata.get("chosen_on_test"):
        say(f"warning: {source.checkpoint} was chosen by its score on test videos: scores on these are no fair ones")
    ready = ReadyModel(loaded, source, move_to(loaded.model, device))
    say(f"weights: {loaded.report.summary()}")
    return ready
