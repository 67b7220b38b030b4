"""Loading models with their weights: by a name, a tag and files, or from checkpoints; and saving checkpoints."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from encoders.building import num_bytes
from encoders.config import BY_CONTENT, ModelConfig
from encoders.errors import ModelError, WeightsFormatError, WeightsMismatchError, WeightsMissingError
from encoders.model import AlphaClip, is_alpha
from encoders.options import Activation, ModelSource
from encoders.replacing import replacing
from encoders.repositories import tokenizer_files
from encoders.saving import save_tensors
from encoders.tables import JSON, as_table, check_keys, read_json
from encoders.weights.adapting import adapted
from encoders.weights.files import TellBytes, WeightsFile, ignore_bytes, read_weights_file, sha256_of
from encoders.weights.fit import LOGIT_BIAS, check_activation, check_finite, check_fit
from encoders.weights.pretrained import download_weights, expected_by, is_tag, own_weights, unknown_pretrained
from encoders.weights.published import published_name, unlike_its_name
from encoders.weights.record import TrainingRecord, WeightsHeader
from encoders.weights.without_draws import WithoutDraws

FORMAT_VERSION = 1
"""Of a checkpoint's `config.json`."""
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
TOKENIZER_FOLDER = "tokenizer"
"""Of a checkpoint, where the model's tokenizer was a local folder."""

_JOINT = " + "
"""Between the reports on two files of weights."""
_SMALL_BYTES = 1 << 30
"""A model that every machine holds: its memory is not asked for."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WeightsReport:
    """Where a model's weights come from, and which of them no file gave."""

    source: str
    """Tag, file or "none"; two of them joined by " + " if an Alpha-CLIP file was loaded on top of the first."""
    kind: str
    """Whose layout, or "random"; joined in the same way."""
    sha256: str
    """Of the files, joined in the same way; of random weights, the digest of their names and bytes."""
    matched: int
    """Tensors of the model that a file gave."""
    missing: tuple[str, ...]
    """Tensors of the model that no file gave: the alpha convolution, which is then zero, the logit bias, which is then
    what the model's description says, or all that is random."""
    unexpected: tuple[str, ...]
    """Entries of a file that were not used: the scalars beside OpenAI's weights."""

    @property
    def alpha_is_zero(self) -> bool:
        """Whether the alpha convolution starts at zero, so that masks change nothing before training."""
        return any(map(is_alpha, self.missing))

    @property
    def published(self) -> tuple[str | None, ...]:
        """Of each file, the name under which it was published, if open_clip's code has its sha256."""
        return tuple(map(published_name, self.sha256.split(_JOINT)))

    def warnings(self) -> list[str]:
        """A sentence for each file that is called like a published one and is another."""
        files = zip(self.source.split(_JOINT), self.sha256.split(_JOINT), strict=False)  # a path may have " + " in it
        return [words for source, sha256 in files if (words := unlike_its_name(source, sha256))]

    def summary(self) -> str:
        """One sentence for people."""
        given = f"{_tensors(self.matched)} from {self.source} ({self.kind})" if self.matched else self.source
        bias_starts = self.matched > 0 and LOGIT_BIAS in self.missing
        num_random = len(self.missing) - self.alpha_is_zero - bias_starts
        random = f"; {_tensors(num_random)} {'is' if num_random == 1 else 'are'} RANDOM" if num_random else ""
        zero = "; the alpha convolution is zero: masks change nothing until it is trained" if self.alpha_is_zero else ""
        bias = "; the logit bias starts where the model's description says" if bias_starts else ""
        return given + random + zero + bias


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model with its weights, and where they come from."""

    model: AlphaClip
    config: ModelConfig
    report: WeightsReport
    metadata: Mapping[str, JSON] = field(default_factory=dict)
    """What `save_checkpoint` was given; empty if the weights are not from a checkpoint of ours."""
    training: TrainingRecord = field(default_factory=TrainingRecord)
    """What the files of the weights say that they were trained on."""


def load(source: ModelSource, tell: TellBytes = ignore_bytes) -> LoadedModel:
    """Load what a user asked for; errors are those of `load_checkpoint` and `load_model`."""
    if source.checkpoint is not None:
        return load_checkpoint(source.checkpoint, tell)
    return load_model(
        source.model,
        source.pretrained,
        source.alpha_checkpoint,
        seed=source.seed,
        activation=source.activation,
        tell=tell,
    )


def load_model(
    model: str,
    pretrained: str,
    alpha_checkpoint: Path | None = None,
    *,
    seed: int = 0,
    activation: Activation | None = None,
    tell: TellBytes = ignore_bytes,
) -> LoadedModel:
    """Build a model and fill in its weights, in float32 on the CPU.

    Args:
        model: see `ModelSource`, and so the next one.
        pretrained: one of open_clip's tags for that model, a local file, "none" for random weights, or nothing for the
            weights that lie beside the model's description.
        alpha_checkpoint: an Alpha-CLIP state dict (a vision tower), loaded on top of `pretrained`.
        seed: of random weights; the same seed gives the same ones.
        activation: what the weights were trained with, for files that do not say it: open_clip's state dicts.
        tell: hears how far each file is read.

    Raises:
        ValueError: an unknown model or tag, or an architecture that is not supported.
        WeightsMissingError: there is no such file, or a tag's weights cannot be downloaded.
        WeightsFormatError: a file cannot be read, contains NaN or infinity, or belongs to the other argument.
        WeightsMismatchError: a file is not this model's; tensors, shapes, types and activation must all agree.
    """
    config = expected_by(ModelConfig.from_name_or_file(model), pretrained)
    # First, so that a path that is wrong does not cost a download.
    alpha_file = None if alpha_checkpoint is None else _vision_tower(alpha_checkpoint, tell)
    if pretrained == "none":
        clip, report = _random(config, seed)
        training = TrainingRecord()
    else:
        source = ModelSource(model=model, pretrained=pretrained, seed=seed, activation=activation)
        clip, report, training = _pretrained(config, source, tell)
    if alpha_file is not None:
        report = _load_on_top(clip, report, alpha_file)
        training |= alpha_file.training
    _log.info("weights of %s: %s", config.name, report.summary())
    return LoadedModel(clip, config, report, training=training)


def _random(config: ModelConfig, seed: int) -> tuple[AlphaClip, WeightsReport]:
    clip = _build(config, seed)
    tensors = clip.named_tensors()
    source = f"none: random weights of seed {seed}"
    return clip, WeightsReport(source, "random", _digest(tensors), 0, tuple(tensors), ())


def _pretrained(
    config: ModelConfig, source: ModelSource, tell: TellBytes
) -> tuple[AlphaClip, WeightsReport, TrainingRecord]:
    pretrained, activation = source.pretrained, source.activation
    if not pretrained:
        path = own_weights(source.model, tell)
        activation = activation or config.activation  # which is described beside them
    elif is_tag(config, pretrained):
        path = download_weights(config, pretrained, tell)
        activation = activation or config.activation  # `download_weights` has checked that it is the tag's
    elif Path(pretrained).exists():
        path = Path(pretrained)
    else:
        raise unknown_pretrained(config, pretrained)
    file = read_weights_file(path, tell)
    if file.is_visual_only:
        raise WeightsFormatError(
            f"{path} is a vision tower without a text tower: give it as the Alpha-CLIP checkpoint "
            "(--alpha-checkpoint), and the CLIP it was trained from (such as 'openai') as --pretrained"
        )
    check_activation(config, file, activation)
    clip = _build_to_fill(config)
    file = adapted(file, config, clip.named_tensors())
    missing = _fill(clip, file)
    matched = len(file.tensors)
    report = WeightsReport(pretrained or source.model, file.kind.value, file.sha256, matched, missing, file.ignored)
    return clip, report, file.training


def _vision_tower(path: Path, tell: TellBytes) -> WeightsFile:
    """Read an Alpha-CLIP file."""
    file = read_weights_file(path, tell)
    if not file.is_visual_only:
        raise WeightsFormatError(
            f"{path} contains a whole CLIP model, not Alpha-CLIP's vision tower: give it as --pretrained, without "
            "--alpha-checkpoint"
        )
    return file


def _load_on_top(clip: AlphaClip, report: WeightsReport, file: WeightsFile) -> WeightsReport:
    """Replace the vision tower by that of an Alpha-CLIP file."""
    check_activation(clip.config, file, None)
    missing = _fill(clip, file)
    given = set(file.tensors)
    # What neither file gives; the alpha convolution may be missing in both, and counts once.
    still_missing = tuple(name for name in report.missing if name not in given | set(missing)) + missing
    return WeightsReport(
        source=f"{report.source}{_JOINT}{file.path}",
        kind=f"{report.kind}{_JOINT}{file.kind.value}",
        sha256=f"{report.sha256}{_JOINT}{file.sha256}",
        matched=len(clip.named_tensors()) - len(still_missing),
        missing=still_missing,
        unexpected=report.unexpected + file.ignored,
    )


def _build(config: ModelConfig, seed: int) -> AlphaClip:
    """Build a model with random weights, and leave torch's random state as it was.

    Raises:
        ModelError: it is larger than the memory of this machine.
    """
    _check_memory(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AlphaClip(config).eval()


def _build_to_fill(config: ModelConfig) -> AlphaClip:
    """Build a model whose weights are whatever was in memory, for a file that has them all. Errors: see `_build`."""
    with WithoutDraws():
        return _build(config, seed=0)


def _check_memory(config: ModelConfig) -> None:
    needed = num_bytes(config)
    if needed < _SMALL_BYTES:
        return
    from distributed.system import memory_limit  # here, because it takes half a second to import

    machine = int(memory_limit())
    if needed > machine:
        raise ModelError(
            f"model {config.name} takes at least {needed >> 30:,} GiB, and this machine has "
            f"{machine >> 30:,}: use a smaller model, or a machine with more memory"
        )


def _fill(clip: AlphaClip, file: WeightsFile) -> tuple[str, ...]:
    """Copy a file's tensors into the model; return the names of those it lacks.

    At most the alpha convolution, which becomes zero, and the logit bias, which stays where the model's file lets it
    start.
    """
    targets = clip.named_tensors()
    missing = check_fit(clip.config, file, targets)
    for name, tensor in file.tensors.items():
        # Into the model: a state dict shares its memory, and autograd does not see it.
        targets[name].copy_(tensor)
    check_finite(file, targets)
    for name in filter(is_alpha, missing):
        targets[name].zero_()
    return missing


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().numpy().data)
    return digest.hexdigest()


def save_checkpoint(
    folder: Path,
    model: AlphaClip,
    config: ModelConfig,
    metadata: Mapping[str, JSON],
    training: TrainingRecord | None = None,
) -> None:
    """Write `model.safetensors` and `config.json`, making the folder if need be.

    Each file is written whole or not at all. The configuration comes last and contains the weights' digest: a save that
    was interrupted between the two is found by `load_checkpoint`.

    Args:
        folder: where to; a checkpoint that is already there is replaced.
        model: what to save.
        config: its configuration.
        metadata: whatever should be kept with it (options, scores), as JSON.
        training: what the weights were trained on. It goes into the file of the weights, from which it is not lost.

    Raises:
        ValueError: the configuration is another model's, or the metadata contains NaN or infinity.
    """
    if config != model.config:
        raise ValueError(f"the configuration of {config.name!r} is not that of the model, {model.config.name!r}")
    json.dumps(metadata, allow_nan=False)  # before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    header = WeightsHeader(config.quick_gelu, training or TrainingRecord()).to_metadata()
    save_tensors(folder / WEIGHTS_FILE, model.named_tensors(), header)
    digest = sha256_of(folder / WEIGHTS_FILE)
    _copy_tokenizer(config, folder / TOKENIZER_FOLDER)
    description = {
        "format_version": FORMAT_VERSION,
        "name": config.name,
        "architecture": config.architecture,
        "weights_sha256": digest,
        "metadata": metadata,
    }
    with replacing(folder / CONFIG_FILE) as temporary:
        temporary.write_text(json.dumps(description, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _copy_tokenizer(config: ModelConfig, folder: Path) -> None:
    """Keep a tokenizer that lies in a folder with the weights: without it, they read no text."""
    source = config.tokenizer_folder
    if source is None or source.resolve() == folder.resolve():
        return
    folder.mkdir(exist_ok=True)
    for path in tokenizer_files(source):
        with replacing(folder / path.name) as temporary:
            shutil.copyfile(path, temporary)


@dataclass(frozen=True, slots=True)
class _Description:
    """What a checkpoint's `config.json` says."""

    config: ModelConfig
    weights_sha256: str
    metadata: Mapping[str, JSON]


def load_checkpoint(folder: Path | str, tell: TellBytes = ignore_bytes) -> LoadedModel:
    """Read what `save_checkpoint` wrote, and verify it.

    Raises:
        WeightsMissingError: no such folder, or one of its two files is missing.
        WeightsFormatError: a configuration that cannot be read, or of a newer version.
        WeightsMismatchError: the weights are not those that the configuration was written for.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise WeightsMissingError(f"there is no checkpoint at {folder}: no such folder")
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise WeightsMissingError(f"{folder} is not a checkpoint: {name} is missing")
    try:
        description = _read_description(folder / CONFIG_FILE)
    except ValueError as error:
        raise WeightsFormatError(f"cannot read the checkpoint's configuration: {error}") from error
    path = folder / WEIGHTS_FILE
    digest = sha256_of(path, tell)
    if digest != description.weights_sha256:
        raise WeightsMismatchError(
            f"{path} has SHA-256 {digest}, but {CONFIG_FILE} was written for {description.weights_sha256}: the file "
            "was changed, or a save was interrupted; make or copy the checkpoint again"
        )
    file = read_weights_file(path, sha256=digest)
    check_activation(description.config, file, None)
    clip = _build_to_fill(description.config)
    missing = _fill(clip, file)
    report = WeightsReport(str(folder), "fda checkpoint", digest, len(file.tensors), missing, ())
    _log.info("weights of %s: %s", description.config.name, report.summary())
    return LoadedModel(clip, description.config, report, description.metadata, file.training)


def _read_description(path: Path) -> _Description:
    """Read `config.json`; a `ValueError` says what is wrong with it."""
    table = as_table(read_json(path), str(path))
    version = table.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {version!r}, this version reads up to {FORMAT_VERSION}: update fda"
        )
    keys = {"format_version", "name", "architecture", "weights_sha256", "metadata"}
    check_keys(table, keys, keys, str(path))
    name, digest, metadata = table["name"], table["weights_sha256"], table["metadata"]
    if not isinstance(name, str) or not isinstance(digest, str) or not isinstance(metadata, dict):
        raise ValueError(f"in {path}, name and weights_sha256 must be texts and metadata a table")
    described = ModelConfig.from_architecture(name, table["architecture"], f"architecture in {path}")
    config = described.with_tokenizer_of(path.parent / TOKENIZER_FOLDER, is_its=True)
    is_lost = config.tokenizer_folder is None and (config.tokenizer_name or "").startswith(BY_CONTENT)
    if is_lost or config.architecture != described.architecture:
        raise ValueError(f"{path.parent / TOKENIZER_FOLDER} is not the tokenizer it was written with: copy it again")
    return _Description(config, digest, metadata)


def _tensors(number: int) -> str:
    return f"{number} tensor" if number == 1 else f"{number} tensors"
