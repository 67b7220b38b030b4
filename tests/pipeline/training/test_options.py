"""What users choose can be imported without what computes it: `--help` lists the choices at once."""

from __future__ import annotations

import subprocess
import sys

from tests.paths import ROOT

LIGHT = (
    "encoders.options",
    "encoders.tables",
    "encoders.training.options",
    "pipeline.clips.options",
    "pipeline.training.options",
    "pipeline.training.presets",
)
HEAVY = {"torch", "open_clip", "safetensors", "numpy", "zarr", "pyarrow"}


def test_choices_load_neither_torch_nor_numpy() -> None:
    program = f"import sys, {', '.join(LIGHT)}\nprint(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
