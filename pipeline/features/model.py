"""A model on its device, and what it was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from encoders.devices import Device
from encoders.options import ModelSource
from encoders.weights.loading import LoadedModel
from store.json_values import JSON


@dataclass(frozen=True, slots=True)
class ReadyModel:
    """A model on its device, and where it came from."""

    loaded: LoadedModel
    source: ModelSource
    device: Device


def training_of(loaded: LoadedModel) -> Mapping[str, str]:
    """The names of the masks and of the alpha that a checkpoint was trained with; nothing where it is none of ours."""
    options = _identity_of(loaded).get("options")
    if not isinstance(options, Mapping):
        return {}
    return {key: str(options[key]) for key in ("mask_name", "alpha") if key in options}


def _identity_of(loaded: LoadedModel) -> Mapping[str, JSON]:
    identity = loaded.metadata.get("identity")
    return identity if isinstance(identity, Mapping) else {}
