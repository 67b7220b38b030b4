"""Options are light: the help of a command shows their defaults, and loads no decoder for it."""

from __future__ import annotations

import subprocess
import sys

from store.arrays.codec_names import FRAME_CODECS
from store.arrays.codecs import codec_named
from tests.paths import ROOT

HEAVY = {"av", "cv2", "numpy", "pyarrow", "skimage", "zarr", "numcodecs", "torch", "dask"}
LIGHT = ("pipeline.frames.options", "pipeline.masks.options", "pipeline.video.options", "cli.options.source")


def test_what_a_help_text_needs_loads_no_heavy_library() -> None:
    program = f"import sys, {', '.join(LIGHT)}; sys.exit(str({HEAVY!r} & set(sys.modules) or '') or 0)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_codec_name_has_a_codec() -> None:
    assert [codec_named(name).lossy for name in FRAME_CODECS] == [False, False, False, True]
