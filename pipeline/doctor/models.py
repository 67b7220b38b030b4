"""Whether models can be built: open_clip and timm, which import much else."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

from pipeline.doctor.checks import Check, State


def check(place: str | None) -> Iterator[Check]:
    """Import open_clip, and timm for the towers that come from it, as the encoders do."""
    from encoders.torchvision_shim import import_timm  # here, so that an error of the import is a row

    import_timm()
    yield Check("software", "open_clip", State.OK, version("open_clip_torch"))
