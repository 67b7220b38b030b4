"""Options are light: the help of a command shows their defaults, and loads no decoder for it."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from pipeline.errors import OptionError
from pipeline.video.options import Window
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


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (-1.0, None, "got from -1 s to the end"),
        (2.0, 1.5, "got from 2 s to 1.5 s"),
        (math.nan, 1.0, "got from nan s to 1 s"),
        (math.inf, None, "got from inf s to the end"),
    ],
)
def test_a_clip_that_cannot_be_is_refused_in_words(start: float, end: float | None, said: str) -> None:
    with pytest.raises(OptionError, match="a clip starts at 0 s or later and ends after it starts") as refused:
        Window(start, end)
    assert said in str(refused.value)
    assert "(" not in str(refused.value)
