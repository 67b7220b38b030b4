"""`PreprocessOptions` and `MaskOptions` of values by name: those of flags, and of the table [preprocess] of a preset.

A name is that of a flag of `fda preprocess`, with underscores. Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from typing import Any

from encoders.tables import as_scalar, as_table, check_keys
from pipeline.errors import InputError, OptionError
from pipeline.frames.options import PreprocessOptions
from pipeline.masks.options import MaskOptions
from pipeline.video.options import UNIFORM, Sampling, SamplingMode

_SAMPLINGS = ("sampling", "eval_sampling", "fps", "keep")
_OTHER_NAMES = {"mask_name": "masks", "timeout_seconds": "timeout"}
"""Field of `PreprocessOptions` -> its flag, where they differ."""
_FRAME_FIELDS = {
    _OTHER_NAMES.get(field.name, field.name): field.name
    for field in fields(PreprocessOptions)
    if field.name not in ("sampling", "eval_sampling", "masks")
}
"""Flag -> field."""
_MASK_FIELDS = tuple(field.name for field in fields(MaskOptions))
CLIP_NAMES = frozenset({*_SAMPLINGS, *_FRAME_FIELDS, *_MASK_FIELDS})
"""All names that `named_clips` knows."""


def named_masks(values: Mapping[str, Any]) -> MaskOptions:
    """Make options of those of the values that are known; None stands for the default.

    Raises:
        OptionError: A value that cannot be, or values that exclude each other.

    >>> named_masks({"threshold": 30, "fill": None, "workers": 2}).threshold
    30.0
    """
    return MaskOptions(**{name: values[name] for name in _MASK_FIELDS if values.get(name) is not None})


def named_clips(values: Mapping[str, Any]) -> PreprocessOptions:
    """Make options of those of the values that are known; None stands for the default.

    Raises:
        OptionError: A value that cannot be, or values that exclude each other.

    >>> named_clips({"train_frames": 24, "eval_sampling": "fps", "fps": 2}).eval_sampling.fps
    Fraction(2, 1)
    """
    taken = {field: values[name] for name, field in _FRAME_FIELDS.items() if values.get(name) is not None}
    sampling, eval_sampling = _samplings(values)
    return PreprocessOptions(sampling=sampling, eval_sampling=eval_sampling, masks=named_masks(values), **taken)


def read_clips(table: object, where: str) -> PreprocessOptions:
    """Make options of a table of a TOML file, whose keys may also be written with hyphens, as flags are.

    Args:
        table: What the file contains at this place.
        where: The place, for messages.

    Raises:
        ValueError: Not a table, an unknown key, or a value that cannot be.
    """
    values = as_table(table, where)
    check_keys({key.replace("_", "-"): one for key, one in values.items()}, _KEYS, set(), where)
    usual = {**_values(PreprocessOptions()), **_values(MaskOptions()), **_values(Sampling())}
    named: dict[str, object] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name in named:
            raise InputError(f"{where} has {key!r} twice, with a hyphen and with an underscore")
        if name == "fps" and type(value) in (int, float):
            value = str(value)
        kind = type(usual[_FRAME_FIELDS.get(name, name)])
        named[name] = as_scalar(value, kind if kind in (int, float, bool) else str, f"{key!r} in {where}")
    try:
        return named_clips(named)
    except OptionError as error:
        raise InputError(f"{where}: {error}") from error


_KEYS = {name.replace("_", "-") for name in CLIP_NAMES}


def _values(options: PreprocessOptions | MaskOptions | Sampling) -> dict[str, object]:
    return {field.name: getattr(options, field.name) for field in fields(options)}


def _samplings(values: Mapping[str, Any]) -> tuple[Sampling, Sampling | None]:
    """The fields `sampling` and `eval_sampling`: each takes those of `fps` and `keep` that its mode knows."""
    mode = _mode(values, "sampling", UNIFORM.mode)
    modes = (mode, _mode(values, "eval_sampling", mode))
    fps, keep = values.get("fps"), values.get("keep")
    if fps is not None and not any(one.takes_fps for one in modes):
        raise OptionError(f"fps belongs to sampling 'fps', not to {str(mode)!r}: leave it out")
    if keep is not None and not any(one.takes_keep for one in modes):
        raise OptionError(f"keep belongs to sampling 'fps' and 'clip4clip', not to {str(mode)!r}")
    sampling, eval_sampling = (_sampling(one, fps, keep) for one in modes)
    return sampling, None if eval_sampling == sampling else eval_sampling


def _mode(values: Mapping[str, Any], name: str, default: SamplingMode) -> SamplingMode:
    if values.get(name) is None:
        return default
    try:
        return SamplingMode(values[name])
    except ValueError as error:
        raise OptionError(f"{name} must be one of {', '.join(SamplingMode)}, got {values[name]!r}") from error


def _sampling(mode: SamplingMode, fps: Fraction | str | None, keep: str | None) -> Sampling:
    taken: dict[str, Any] = {}
    if fps is not None and mode.takes_fps:
        taken["fps"] = fps
    if keep is not None and mode.takes_keep:
        taken["keep"] = keep
    return Sampling(mode, **taken)
