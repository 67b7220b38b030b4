"""Presets: a model, how to fine-tune it and what clips it wants, in a TOML file that people can read and copy."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import resources
from os import PathLike
from pathlib import Path

from encoders.options import ModelSource, Pooling
from encoders.tables import as_table, check_keys, read_table
from encoders.training.options import TrainOptions
from pipeline.clips.options import AlphaSource
from pipeline.errors import InputError, OptionError
from pipeline.features.options import EncodeOptions
from pipeline.frames.named import read_clips
from pipeline.frames.options import PreprocessOptions
from pipeline.training.options import BatchOptions, FinetuneOptions


@dataclass(frozen=True, slots=True)
class Preset:
    """The content of a preset file, and the options that it is for each function."""

    model: str
    """One of open_clip's names, or the path of a JSON file (in the preset: relative to it)."""
    pretrained: str
    """Tag, file (in the preset: relative to it, if it exists) or "none"."""
    alpha: AlphaSource
    """What goes into the alpha channel."""
    train: TrainOptions
    batches: BatchOptions
    preprocess: Mapping[str, object]
    """The table [preprocess] as the file has it: flags of `fda preprocess` -> values. `preprocess_options` reads it."""
    preprocess_options: PreprocessOptions
    """With which `fda.preprocess` makes the clips that this is for."""
    val_split: str | None = None
    """The split by which the weights are chosen, where the user names none. A test split must still be allowed."""
    name: str = field(default="", compare=False)
    """What `load_preset` was given: a name, or a file."""
    settings: Mapping[str, object] = field(default_factory=dict, compare=False)
    """What `with_settings` has changed: key -> value."""

    @property
    def model_source(self) -> ModelSource:
        """The model as it is before training: zero-shot."""
        return ModelSource(model=self.model, pretrained=self.pretrained)

    @property
    def finetune_options(self) -> FinetuneOptions:
        """With which `fda.finetune` trains as this says; `dataclasses.replace` changes what is not in a preset."""
        return FinetuneOptions(preset=self.name, settings=self.settings)

    def encode_options(self, features: str) -> EncodeOptions:
        """With which `fda.encode` embeds clips as this training would have them, with `model_source` or another model.

        Args:
            features: Name of the feature set.
        """
        return EncodeOptions(
            features, alpha=self.alpha, pooling=Pooling(self.train.pooling), max_words=self.train.max_words
        )

    def with_settings(self, settings: Mapping[str, object], where: str = "settings") -> Preset:
        """Change values of [finetune] and [batches] by name.

        Raises:
            ValueError: an unknown name, or a bad value.
        """
        of_batches = {field.name for field in fields(BatchOptions)}
        batches = {key: value for key, value in settings.items() if key in of_batches}
        train = {key: value for key, value in settings.items() if key not in of_batches}
        known = of_batches | {field.name for field in fields(TrainOptions)}
        check_keys(settings, known, set(), where)
        return replace(
            self,
            train=TrainOptions.from_dict({**asdict(self.train), **train}, where),
            batches=read_table(BatchOptions, {**asdict(self.batches), **batches}, where),
            settings={**self.settings, **settings},
        )


@dataclass(frozen=True, slots=True)
class _SplitsTable:
    val: str | None = None


@dataclass(frozen=True, slots=True)
class _ModelTable:
    model: str
    pretrained: str
    alpha: str = "masks"


def preset_names() -> list[str]:
    """Names of the built-in presets.

    >>> preset_names()[:5]
    ['alpha-clip', 'clip4clip', 'clip4clip-paragraphs', 'demo', 'demo-long']
    """
    return sorted(path.stem for path in preset_folder().glob("*.toml"))


def load_preset(name_or_path: str | PathLike[str]) -> Preset:
    """Read a preset by its name, or a file of the same form, and check all of it.

    Raises:
        ValueError: neither a preset nor a file, a file that is not TOML, an unknown or missing key, or a bad value.
    """
    name = str(name_or_path)
    path = preset_folder() / f"{name}.toml" if name in preset_names() else Path(name)
    if not path.is_file():
        raise InputError(f"unknown preset {name!r}: it is neither a file nor one of {', '.join(preset_names())}")
    try:
        tables: Mapping[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not a TOML file: {error}") from error
    check_keys(tables, {"model", "finetune", "batches", "preprocess", "splits"}, {"model", "finetune"}, str(path))
    table = read_table(_ModelTable, tables["model"], f"[model] of {path}")
    if table.alpha not in tuple(AlphaSource):
        raise InputError(f"alpha in [model] of {path} must be one of {', '.join(AlphaSource)}, got {table.alpha!r}")
    return Preset(
        model=_beside(path, table.model),
        pretrained=_beside(path, table.pretrained),
        alpha=AlphaSource(table.alpha),
        train=TrainOptions.from_dict(as_table(tables["finetune"], f"[finetune] of {path}"), f"[finetune] of {path}"),
        batches=read_table(BatchOptions, tables.get("batches", {}), f"[batches] of {path}"),
        preprocess=as_table(tables.get("preprocess", {}), f"[preprocess] of {path}"),
        preprocess_options=read_clips(tables.get("preprocess", {}), f"[preprocess] of {path}"),
        val_split=read_table(_SplitsTable, tables.get("splits", {}), f"[splits] of {path}").val,
        name=name,
    )


def chosen_preset(options: FinetuneOptions) -> Preset:
    """The preset of a training, with the settings that were changed.

    Raises:
        OptionError: An unknown setting, or a bad value of one.
        ValueError: As `load_preset`.
    """
    preset = load_preset(options.preset)
    try:
        return preset.with_settings(options.settings, "--set")
    except ValueError as error:
        raise OptionError(str(error)) from error


def clip_differences(preset: Preset, made_with: Sequence[Mapping[str, object]]) -> list[str]:
    """How the clips of a store differ from those that a preset is for, each difference as half a sentence.

    Args:
        preset: Its `preprocess` has the options to compare.
        made_with: The options with which the clips and their masks were made.
    """
    in_store = {key: value for table in made_with for key, value in table.items()}
    if "sampling" in in_store:
        in_store.setdefault("eval_sampling", in_store["sampling"])
    wanted = {key.replace("-", "_"): value for key, value in preset.preprocess.items()}
    return [
        f"{key} is {_as_flag(in_store[key])} in the store and {value} in the preset"
        for key, value in wanted.items()
        if key in in_store and _as_flag(in_store[key]) != value
    ]


def _as_flag(option: object) -> object:
    """An option as its flag is written: a store records the sampling as a table with its mode."""
    return option.get("mode") if isinstance(option, Mapping) else option


def preset_folder() -> Path:
    """The folder of the built-in presets."""
    # The packages are installed as plain folders, so a resource is a path.
    return Path(str(resources.files("pipeline.training"))) / "preset_files"


def _beside(preset: Path, value: str) -> str:
    """A file beside the preset, or beside the built-in ones, of which a preset may be a copy; else the value itself."""
    files = (folder / value for folder in (preset.parent, preset_folder()))
    return next((str(file) for file in files if file.is_file()), value)
