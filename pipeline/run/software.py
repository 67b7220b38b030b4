"""Versions of the packages that decide the results; they are recorded with them."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version

FRAME_SOFTWARE = ("fda", "av", "opencv-python-headless", "pillow", "numpy", "zarr")
"""Packages that decide the bytes of frames and masks."""

MODEL_SOFTWARE = ("fda", "torch", "open_clip_torch", "numpy", "zarr")
"""Packages that decide the bytes of features."""


def software_versions(distributions: tuple[str, ...]) -> dict[str, str]:
    """Name -> version of each package, and of Python."""
    return {"python": platform.python_version(), **{name: _version(name) for name in distributions}}


@cache
def _version(distribution: str) -> str:
    """Looked up once: a run asks several times, and each time takes 3 ms of searching and parsing."""
    return version(distribution)
