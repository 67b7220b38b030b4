"""Remarks on a feature set beside its model, from what is written into it."""

from __future__ import annotations

from collections.abc import Mapping

from store.json_values import JSON

RESIZED, TRUNCATED = "resized", "truncate_dim"
"""Keys of what made a feature set, which only those have of which it is true."""


def resized_to(made_with: Mapping[str, JSON]) -> int | None:
    """Side to which the stored frames were resized, in pixels; None: they were read as they are."""
    resized = made_with.get(RESIZED)
    side = resized.get("image_size") if isinstance(resized, Mapping) else None
    return side if isinstance(side, int) else None


def stored_size(made_with: Mapping[str, JSON]) -> int | None:
    """Side of the stored frames, in pixels; None: it is not known."""
    clips = made_with.get("clips")
    options = clips.get("options") if isinstance(clips, Mapping) else None
    side = options.get("image_size") if isinstance(options, Mapping) else None
    return side if isinstance(side, int) else None


def kept_dim(made_with: Mapping[str, JSON]) -> int | None:
    """First numbers of each embedding that were kept; None: all."""
    dim = made_with.get(TRUNCATED)
    return dim if isinstance(dim, int) else None


def numbers_kept(dim: int) -> str:
    """What is kept of an embedding that was cut short.

    >>> numbers_kept(1), numbers_kept(1024)
    ('the first number', 'the first 1,024 numbers')
    """
    return "the first number" if dim == 1 else f"the first {dim:,} numbers"


def remarks_on(made_with: Mapping[str, JSON]) -> tuple[str, ...]:
    """What sets a feature set apart from one of whole embeddings of frames as they are stored.

    >>> remarks_on({"resized": {"image_size": 256}, "clips": {"options": {"image_size": 224}}, "truncate_dim": 128})
    ('frames resized from 224 to 256 pixels', 'the first 128 numbers of each embedding')
    """
    side, dim = resized_to(made_with), kept_dim(made_with)
    said = [] if side is None else [f"frames resized from {stored_size(made_with) or '?'} to {side} pixels"]
    return (*said, *([] if dim is None else [f"{numbers_kept(dim)} of each embedding"]))
