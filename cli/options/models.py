"""A model by what the user said, on the device that the user asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from cli.output.printing import say
from encoders.devices import move_to
from encoders.options import Activation, ModelSource
from encoders.weights.loading import LoadedModel
from encoders.weights.loading import load as load_weights
from pipeline.clips.options import AlphaSource
from pipeline.features.model import ReadyModel, _identity_of, training_of
from pipeline.features.options import EncodeOptions
from pipeline.training.checkpoint import has_ended
from store.clips.shards import clips_identity
from store.json_values import differences
from store.store import Store


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


def load(source: ModelSource, device: str, *, is_quiet: bool = False) -> ReadyModel:
    """Load a model and move it to a device; says where its weights are from, but for one of many processes."""
    loaded = load_weights(source)
    if source.checkpoint is not None and not has_ended(source.checkpoint):
        say(f"warning: training has not ended in {source.checkpoint}: these are the best weights so far")
    if loaded.metadata.get("chosen_on_test"):
        say(f"warning: {source.checkpoint} was chosen by its score on test videos: scores on these are no fair ones")
    ready = ReadyModel(loaded, source, move_to(loaded.model, device))
    if not is_quiet:
        say(f"weights: {loaded.report.summary()}")
    return ready


def say_trained_otherwise(store: Store, loaded: LoadedModel, options: EncodeOptions) -> None:
    """Say how what is encoded differs from what the checkpoint was trained with, where that is known."""
    identity, trained = _identity_of(loaded), training_of(loaded)
    if not trained:
        return
    here = clips_identity(store, options.splits[0], options.mask_name)
    found = [f"alpha was {trained['alpha']} and is {options.alpha}"] if trained["alpha"] != options.alpha else []
    for key in ("clips", "masks") if AlphaSource.MASKS in (trained["alpha"], options.alpha) else ("clips",):
        mine, theirs = identity.get(key), here[key]
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            found += [text for text in [differences(mine, theirs, f"{key}.", where="in training")] if text]
    if found:
        say(f"warning: the checkpoint was trained otherwise: {'; '.join(found)}")
