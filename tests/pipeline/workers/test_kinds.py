"""The worker options load nothing that makes `fda --help` slow."""

from __future__ import annotations

import subprocess
import sys

from pipeline.run.options import BATCH_SYSTEMS, CLUSTER_KINDS
from pipeline.workers.job_settings import settings_of
from tests.paths import ROOT

SLOW = ("av", "cv2", "dask", "distributed", "numpy", "pyarrow", "torch", "zarr")


def test_the_options_load_no_large_package() -> None:
    program = "import sys, cli.options.workers; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, text=True, capture_output=True, check=True)
    assert not set(SLOW) & set(loaded.stdout.split())


def test_every_kind_has_settings() -> None:
    assert set(CLUSTER_KINDS) - set(BATCH_SYSTEMS) == {"kubernetes"}
    assert all("memory" in settings_of(kind) for kind in CLUSTER_KINDS)
