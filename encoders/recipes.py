"""Presets: a model and how to fine-tune it, in a TOML file that people can read and copy."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from encoders.tables import as_table, check_keys, read_table
from encoders.training import TrainOptions


@dataclass(frozen=True, slots=True)
class Preset:
    """What a preset file holds, ready for `load_model` and `Trainer`."""

    model: str
    """One of open_clip's names, or the path of a JSON file (in the preset: relative to it)."""
    pretrained: str
    """Tag, file (in the preset: relative to it, if it is there) or "none"."""
    train: TrainOptions


@dataclass(frozen=True, slots=True)
class _ModelTable:
    model: str
    pretrained: str


def preset_names() -> list[str]:
    """Names of the presets that come with the package.

    >>> preset_names()
    ['demo', 'fda-clip']
    """
    return sorted(path.stem for path in _folder().glob("*.toml"))


def load_preset(name_or_path: str) -> Preset:
    """Read a preset by its name, or a file of the same form.

    Raises:
        ValueError: neither a preset nor a file, a file that is not TOML, an unknown or missing key, or a bad value.
    """
    path = _folder() / f"{name_or_path}.toml" if name_or_path in preset_names() else Path(name_or_path)
    if not path.is_file():
        raise ValueError(
            f"unknown preset {name_or_path!r}: it is neither a file nor one of {', '.join(preset_names())}"
        )
    try:
        tables: Mapping[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from error
    check_keys(tables, {"model", "finetune"}, {"model", "finetune"}, str(path))
    table = read_table(_ModelTable, tables["model"], f"[model] of {path}")
    finetune = as_table(tables["finetune"], f"[finetune] of {path}")
    return Preset(
        model=_beside(path, table.model),
        pretrained=_beside(path, table.pretrained),
        train=TrainOptions.from_dict(finetune, f"[finetune] of {path}"),
    )


def _folder() -> Path:
    # The packages are installed as plain folders, so a resource is a path.
    return Path(str(resources.files("encoders"))) / "presets"


def _beside(preset: Path, value: str) -> str:
    file = preset.parent / value
    return str(file) if file.is_file() else value
