"""The encoder of a feature set: which model made it, where its weights were, and whether these are still the same."""

from __future__ import annotations

from collections.abc import Mapping

from encoders.options import ModelSource
from pipeline.errors import InputError
from pipeline.features.remarks import kept_dim
from pipeline.run.records import read_run
from store.errors import StoreError
from store.features import features_made_with
from store.json_values import JSON
from store.store import Store


def encoder_words(made_with: Mapping[str, JSON]) -> str:
    """A model in words: its name, and the first digits of its weights' sha256.

    >>> encoder_words({"model": {"name": "ViT-B-32", "weights_sha256": "0123456789abcdef"}})
    'ViT-B-32, weights 0123456789ab'
    >>> encoder_words({"imported": {}})
    'imported'
    """
    model = made_with.get("model")
    if not isinstance(model, Mapping):
        return "imported"
    return f"{model.get('name', '?')}, weights {str(model.get('weights_sha256', '?'))[:12]}"


def same_space(made_with: Mapping[str, JSON], place: str) -> tuple[str, ...]:
    """Equal for features whose vectors can be compared: those of the same weights, and of as many numbers.

    Features that were imported can be compared with others of their store alone, for nothing says what made them.

    >>> same_space({"model": {"weights_sha256": "0a"}}, "one") == same_space({"model": {"weights_sha256": "0a"}}, "two")
    True
    >>> same_space({"imported": {}}, "one") == same_space({"imported": {}}, "two")
    False
    """
    model = made_with.get("model")
    if not isinstance(model, Mapping):
        return ("imported", place)
    # Vectors cut to fewer numbers (Matryoshka) have another length, and cannot be multiplied with whole ones.
    return ("weights", str(model.get("weights_sha256")), str(kept_dim(made_with)))


def recorded_source(store: Store, features: str, split: str, otherwise: str = "") -> ModelSource:
    """Where the run that made a feature set took its model from, by the latest run record that names these weights.

    Args:
        store: The store.
        features: The feature set.
        split: Of it.
        otherwise: What works without a model, for the message: "search by --video".

    Raises:
        InputError: No record says, or the features were imported.
        NotInStoreError: There are no such features.
    """
    model = features_made_with(store, features, split).get("model")
    if not isinstance(model, Mapping):
        raise InputError(
            f"features {features!r} of {store.place} were imported, and no model of theirs is known"
            f"{otherwise and f': {otherwise}'}"
        )
    # Names begin with the time: the latest record first, where the weights most likely still are.
    for name in sorted(store.folder.names("runs"), reverse=True):
        try:
            options = read_run(store.folder, name)["options"]
            if not isinstance(options, Mapping):
                continue
            its_model, source = options.get("model"), options.get("source")
            is_its = isinstance(its_model, Mapping) and its_model.get("weights_sha256") == model.get("weights_sha256")
            if is_its and isinstance(source, Mapping):
                return ModelSource.from_dict(source)
        except (StoreError, TypeError, ValueError):
            continue  # damaged, or of another version: `fda status` reports it
    words = encoder_words({"model": model})
    raise InputError(
        f"no run record of {store.place} says where the weights of features {features!r} ({words}) are: give "
        f"--checkpoint, or --model and --pretrained{otherwise and f', or {otherwise}'}"
    )
