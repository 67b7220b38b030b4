"""Whether models can be built: open_clip, which imports much else."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

from pipeline.doctor.checks import Check, State


def check(place: str | None) -> Iterator[Check]:
    """Import open_clip as the encoders do."""
    from encoders.torchvision_shim import import_open_clip  # here, so that an error of the import is a row

    import_open_clip()
    yield Check("software", "open_clip", State.OK, version("open_clip_torch"))
