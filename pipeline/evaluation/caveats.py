"""Why metrics of a feature set are not fair: what its model has seen of the videos that are scored."""

from __future__ import annotations

from collections.abc import Mapping

from encoders.weights.record import TrainingRecord
from pipeline.run.words import plural
from store.contents import content_digests
from store.features import Features
from store.json_values import JSON
from store.store import Store

_TRAINED, _CHOSEN = "the {} was TRAINED on", "the {}'s weights were CHOSEN on"


def caveats_of(store: Store, features: Features, split: str) -> tuple[str, ...]:
    """Why metrics of these features are not fair, each reason in a sentence.

    What a model was trained on is compared by the contents of videos where its weights record them, and by the names of
    splits otherwise: checkpoints of older versions have no record.

    Args:
        store: The store.
        features: What is scored.
        split: Of the features.
    """
    found: list[str] = []
    model = features.attributes.get("model")
    if isinstance(model, Mapping) and "random" in str(model.get("kind")):
        found.append("the model's weights are RANDOM (--pretrained none)")
    for part, name in (("model", "model"), ("pooled", "temporal transformer")):
        made_by = features.attributes.get(part)
        if isinstance(made_by, Mapping):
            found += [sentence.format(name) for sentence in _of_part(store, features, split, made_by)]
    return tuple(found)


def _of_part(store: Store, features: Features, split: str, made_by: Mapping[str, JSON]) -> list[str]:
    """Of what was trained, each reason with a place for its name."""
    training = made_by.get("training")
    if isinstance(training, Mapping):
        seen = _seen(store, features, split, training)
    else:
        seen = [
            f"{what} a split of this name, {split!r}"
            for key, what in (("train_split", _TRAINED), ("val_split", _CHOSEN))
            if made_by.get(key) == split
        ]
    if not any(words.startswith(_CHOSEN) for words in seen) and made_by.get("chosen_on_test") is True:
        seen.append("the {} was trained or CHOSEN ON TEST VIDEOS (--choose-on-test)")
    return seen


def _seen(store: Store, features: Features, split: str, training: Mapping[str, JSON]) -> list[str]:
    """How many of the scored videos a model has been trained on, and how many have chosen its weights."""
    record = TrainingRecord.from_dict(training, f"what the features of {split!r} were made with")
    digests = content_digests(store, split)
    scored = [digests[video_id] for video_id in features.video_ids if video_id in digests]
    return [
        f"{what} {'' if known.is_whole else 'at least '}{number:,} of the "
        f"{plural(len(features.video_ids), 'video')} that are scored"
        for known, what in ((record.trained, _TRAINED), (record.chosen, _CHOSEN))
        if (number := known.num_in(scored))
    ]
