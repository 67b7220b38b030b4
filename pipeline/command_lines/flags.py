"""Options as the flags of a command: those that differ from the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from pipeline.frames.options import PreprocessOptions
from pipeline.masks.options import Difference, MaskOptions
from store.json_values import JSON, mapping_at, text_at

_FRAME_FIELDS = (
    *("train_frames", "eval_frames", "image_size", "resize", "frame_codec", "neighbours", "shard_size"),
    *("timeout_seconds", "max_pixels", "max_packets", "max_streams"),
)
_MASK_FIELDS = tuple(asdict(MaskOptions()))
_BY_DEFAULT = {"difference": str(Difference.SAMPLED)}
_NAMES = {
    "timeout_seconds": "timeout",
    "mask_name": "masks",
    "hold_out_share": "hold-out",
    "sensitivity_every": "sensitivity",
}
"""Field -> flag, where they are not called alike."""


def flags_of(
    fields: Mapping[str, JSON], defaults: Mapping[str, object], names: Mapping[str, str] = _NAMES
) -> list[str]:
    """Flags of the fields that are known and differ from their default.

    >>> flags_of({"train_frames": 8, "timeout_seconds": 60.0, "strict": True, "paragraphs": False}, {"train_frames": 6})
    ['--train-frames', '8', '--timeout', '60', '--strict']
    """
    words: list[str] = []
    for name, value in fields.items():
        if value is None or value is False or (name in defaults and value == defaults[name]):
            continue
        flag = "--" + names.get(name, name).replace("_", "-")
        if value is True:
            words.append(flag)
        else:
            text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
            words += [f"{flag}={text}"] if text.startswith("-") else [flag, text]
    return words


def frame_flags(options: Mapping[str, JSON]) -> list[str]:
    """Flags of `fda preprocess` that say how clips are made, as far as they differ from the defaults."""
    sampling = mapping_at(options, "sampling")
    flags = flags_of(sampling, {"mode": "uniform"}, {"mode": "sampling"})
    of_eval = mapping_at(options, "eval_sampling")
    # Only what differs from --sampling, which it follows by default.
    flags += flags_of(
        {name: value for name, value in of_eval.items() if sampling.get(name) != value}, {}, {"mode": "eval-sampling"}
    )
    defaults = asdict(PreprocessOptions())
    return flags + flags_of({name: options[name] for name in _FRAME_FIELDS if name in options}, defaults)


def mask_flags(options: Mapping[str, JSON]) -> list[str]:
    """Flags of `fda masks` that say how masks are made, as far as they differ from the defaults."""
    kinds = [kind for kind in Difference if kind == text_at(options, "difference")]
    defaults = MaskOptions(difference=kinds[0] if kinds else Difference.SAMPLED)
    return flags_of({name: options[name] for name in _MASK_FIELDS if name in options}, asdict(defaults) | _BY_DEFAULT)
