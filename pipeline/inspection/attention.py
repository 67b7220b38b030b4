"""Where the model of a feature set looks, with the masks and without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from encoders.errors import EncoderError
from encoders.options import ModelSource
from pipeline.errors import InputError
from pipeline.inspection.options import InspectOptions
from pipeline.inspection.ranks import Ranks
from pipeline.run.events import Reporter
from pipeline.search.source import encoder_words, recorded_source
from store.json_values import JSON
from store.store import Store

if TYPE_CHECKING:
    from encoders.encoding.encoder import Encoder  # torch, which pages without attention do without


@dataclass(frozen=True)
class Attention:
    """A model that tells where it looks; or why there is none."""

    encoder: Encoder | None
    mask_name: str | None
    """The mask set that its features were made from; None if that is not known."""
    words: str
    """Which model; or why there is none."""


def find_attention(
    store: Store, options: InspectOptions, model: ModelSource | None, ranks: Ranks, report: Reporter
) -> Attention:
    """Load the model that is given, or that made the features. Without weights there is none, with a warning.

    Raises:
        InputError: The model that is given is not the one that made the features.
        EncoderError: The model that is given cannot be loaded.
    """
    if not options.attention:
        return Attention(None, None, "it was not asked for")
    if model is None and options.features is None:
        return Attention(None, None, "it takes a model: give --features, or --checkpoint, or --model and --pretrained")
    made_with = ranks.made_with
    masks = None if made_with is None else made_with.get("masks")
    mask_name = str(masks["name"]) if isinstance(masks, Mapping) and "name" in masks else None
    try:
        # A model that the user named must work; one that a record names may have moved, and the page is useful without.
        source = model or recorded_source(store, str(options.features), ranks.splits[0])
        encoder, made_here = _loaded(source, options.device, report)
    except (EncoderError, InputError, OSError) as error:
        if model is not None:
            raise
        report.warn(f"no attention: {error}")
        return Attention(None, mask_name, str(error))
    words = encoder_words(made_here)
    if made_with is not None and _weights(made_with) != _weights(made_here):
        made = "were imported" if _weights(made_with) is None else f"were made by {encoder_words(made_with)}"
        its = f"features {options.features!r} {made}, not made by {words}"
        if model is not None:
            raise InputError(f"{its}: leave the model out, or --features")
        report.warn(f"no attention: {its}")
        return Attention(None, mask_name, its)
    return Attention(encoder, mask_name, words)


def _weights(made_with: Mapping[str, JSON]) -> JSON:
    """The sha256 of the weights of a model; None for features that were imported."""
    model = made_with.get("model")
    return model.get("weights_sha256") if isinstance(model, Mapping) else None


def _loaded(source: ModelSource, device: str, report: Reporter) -> tuple[Encoder, dict[str, JSON]]:
    """The model, and what features of it would say."""
    from encoders.encoding.encoder import Encoder
    from pipeline.features.model import load_ready

    loaded = load_ready(source, device, report).loaded
    return Encoder(loaded.model), {"model": {"name": loaded.config.name, "weights_sha256": loaded.report.sha256}}
