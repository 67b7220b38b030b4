"""A model as its user describes it, on a device, and what it was trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from encoders.config import ModelConfig
from encoders.devices import Device, move_to
from encoders.options import ModelSource
from encoders.tokens import Tokenizer
from encoders.weights.files import TellBytes, ignore_bytes
from encoders.weights.loading import LoadedModel, load
from pipeline.clips.options import AlphaSource, ClipSize
from pipeline.errors import InputError
from pipeline.features.options import FeatureRecipe
from pipeline.run.checkpoints import has_ended
from pipeline.run.events import Listener, Phase, Reporter, ignore_events
from store.clips.mask_sets import mask_attributes
from store.clips.shards import clips_identity
from store.json_values import JSON, differences
from store.store import Store

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class ReadyModel:
    """A model on its device, and where it came from."""

    loaded: LoadedModel
    source: ModelSource
    device: Device


def check_before_loading(
    store: Store,
    source: ModelSource,
    splits: Sequence[str],
    mask_name: str | None,
    *,
    resizes: bool = False,
    truncate_dim: int | None = None,
) -> None:
    """Refuse what the store cannot give, before weights are read, or downloaded for minutes.

    Args:
        store: Its clips are to be encoded, or trained on.
        source: The model.
        splits: Those that are to be read.
        mask_name: Of the mask set; None: the one that the checkpoint names.
        resizes: Whether clips of another size than the model's are resized.
        truncate_dim: First numbers of an embedding that are to be kept.

    Raises:
        NotInStoreError: There is no such split or mask set.
        InputError: The model takes frames of another size.
        ModelError: There is no such model, its tokenizer cannot be loaded, or its embeddings have fewer numbers.
    """
    for split in splits:
        store.layout(split)
        if mask_name is not None:
            mask_attributes(store, split, mask_name)
    if source.checkpoint is None:  # a checkpoint is here already, and reading it takes a second
        config = ModelConfig.from_name_or_file(source.model)
        for split in splits:
            require_size(store, split, config, resizes=resizes)
        config.kept_dim(truncate_dim)
        Tokenizer.of(config)


def require_size(store: Store, split: str, config: ModelConfig, *, resizes: bool = False) -> None:
    """Check that a model takes frames of the size that a split has, or that they can be resized.

    Raises:
        InputError: It does not.
    """
    layout, image_size = store.layout(split), config.image_size
    if (layout.height, layout.width) == (image_size, image_size) or (resizes and layout.height == layout.width):
        return
    raise InputError(
        f"the frames of split {split!r} are {layout.height} x {layout.width} pixels, {config.name} takes "
        f"{image_size} x {image_size}: decode the videos again, into another store, with `fda preprocess SOURCE "
        f"OTHER_STORE --image-size {image_size}`; or resize these frames and their masks with --resize-frames"
    )


def size_for(store: Store, splits: Sequence[str], config: ModelConfig) -> ClipSize | None:
    """What the clips of some splits are resized to for a model; None if all have its size."""
    layouts = map(store.layout, splits)
    size = config.image_size
    return None if all((one.height, one.width) == (size, size) for one in layouts) else ClipSize(size)


def told_in_megabytes(listener: Listener) -> TellBytes:
    """What hears how far a file of weights is read, as the events of a run: a plan for each file."""
    if listener is ignore_events:
        return ignore_bytes  # then the bar of the hub's client is shown
    phase: Phase | None = None
    num_told = 0

    def tell(num_read: int, num_bytes: int) -> None:
        nonlocal phase, num_told
        if phase is None:
            phase, num_told = Phase("MB of weights", num_bytes // MB, listener), 0
        # Whole megabytes since the last call: rounding each part would lose some of each.
        phase.done(num_read // MB - num_told)
        num_told = num_read // MB
        if num_read == num_bytes:
            phase = None

    return tell


def load_ready(source: ModelSource, device: str, report: Reporter) -> ReadyModel:
    """Load a model and move it to a device; reports where its weights are from.

    Raises:
        WeightsError: The weights are missing, damaged, or not this model's.
        ModelError: There is no such model.
        DeviceError: There is no such device.
    """
    loaded = load(source, told_in_megabytes(report.listener))
    if source.checkpoint is not None and not has_ended(source.checkpoint):
        report.warn(f"training has not ended in {source.checkpoint}: these are the best weights so far")
    if loaded.metadata.get("chosen_on_test") or loaded.training.chosen_on_test:
        report.warn(
            f"{loaded.report.source} was chosen by its score on test videos, or trained on them: scores on these are "
            "not fair"
        )
    for words in loaded.report.warnings():
        report.warn(words)
    ready = ReadyModel(loaded, source, move_to(loaded.model, device))
    report.say(f"weights: {loaded.report.summary()}")
    return ready


def warn_of_inputs(store: Store, loaded: LoadedModel, recipe: FeatureRecipe, report: Reporter) -> None:
    """Warn of splits without captions, and if what is encoded differs from what the checkpoint was trained with."""
    for split in recipe.splits:
        if not store.layout(split).num_captions:
            report.warn(
                f"{split} has no caption, and `fda eval` needs some: add them to the data set, run its `fda "
                "preprocess` again, and then this"
            )
    identity, trained = _identity_of(loaded), training_of(loaded)
    if not trained:
        return
    here = clips_identity(store, recipe.splits[0], recipe.mask_name)
    found = [f"alpha was {trained['alpha']} and is {recipe.alpha}"] if trained["alpha"] != recipe.alpha else []
    words = loaded.config.text_length(training_words(loaded)), loaded.config.text_length(recipe.max_words)
    if words[0] != words[1]:
        found.append(f"max_words was {words[0]} and is {words[1]}")
    # With controls on both sides, no mask has been or will be looked at.
    for key in ("clips", "masks") if AlphaSource.MASKS in (trained["alpha"], recipe.alpha) else ("clips",):
        mine, theirs = identity.get(key), here[key]
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            found += [text for text in [differences(mine, theirs, f"{key}.", where="in training")] if text]
    if found:
        report.warn(f"the checkpoint was trained otherwise: {'; '.join(found)}")


def training_of(loaded: LoadedModel) -> Mapping[str, str]:
    """The names of the masks and of the alpha that a checkpoint was trained with; nothing where it is none of ours."""
    options = _identity_of(loaded).get("options")
    if not isinstance(options, Mapping):
        return {}
    return {key: str(options[key]) for key in ("mask_name", "alpha") if key in options}


def training_words(loaded: LoadedModel) -> int | None:
    """Tokens of a caption that a checkpoint was trained to read; None: as many as the model can."""
    max_words = loaded.metadata.get("max_words")
    return max_words if isinstance(max_words, int) else None


def was_trained_on_resized(loaded: LoadedModel) -> bool:
    """Whether a checkpoint was trained on frames that were resized for it."""
    options = _identity_of(loaded).get("options")
    return isinstance(options, Mapping) and options.get("size") is not None


def _identity_of(loaded: LoadedModel) -> Mapping[str, JSON]:
    identity = loaded.metadata.get("identity")
    return identity if isinstance(identity, Mapping) else {}
