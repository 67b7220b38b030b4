"""docs/notebook.ipynb: it runs from its first cell to its last in a real kernel, on a small store."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from ipykernel.kernelapp import IPKernelApp
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

import fda
from tests.clips_on_disk import write_small_dataset
from tests.encoders_tiny import write_config
from tests.forked import Forked
from tests.paths import ROOT

NOTEBOOK = ROOT / "docs/notebook.ipynb"
LARGEST = 1_000_000
"""Bytes: it is read in a browser, and kept in the history of the project."""


@pytest.fixture
def store(tmp_path: Path) -> str:
    manifest, place = write_small_dataset(tmp_path, {"test": 4}), str(tmp_path / "store")
    fda.preprocess(manifest, place, fda.PreprocessOptions(image_size=32), run=fda.RunOptions(workers=0))
    model = fda.ModelSource(model=write_config(tmp_path), pretrained="none")
    for alpha in (fda.AlphaSource.MASKS, fda.AlphaSource.ONES):
        fda.encode(place, fda.EncodeOptions(str(alpha), alpha=alpha, precision="fp32"), model)
    return place


def be_kernel(folder: str, connection: str) -> None:
    """Serve at the ports that a file names; forked from what has imported torch."""
    os.chdir(folder)
    IPKernelApp.launch_instance(argv=["-f", connection])


def test_the_notebook_runs_in_a_kernel(store: str, tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    settings = notebook.cells[1]
    assert 'STORE = "../demo/store"' in settings.source
    settings.source = settings.source.replace('"../demo/store"', repr(store))
    connection, _ = write_connection_file(str(tmp_path / "kernel.json"))
    environment = {"IPYTHONDIR": str(tmp_path / "ipython"), "MPLBACKEND": "agg"}  # drawn, and not shown
    kernel = Forked(be_kernel, str(tmp_path), connection, err=tmp_path / "kernel.err", environment=environment)
    client = BlockingKernelClient(connection_file=connection)
    client.load_connection_file()
    client.start_channels()
    told: list[dict[str, Any]] = []
    try:
        client.wait_for_ready(timeout=120)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                done = client.execute_interactive(cell.source, timeout=120, output_hook=told.append)["content"]
                assert done["status"] == "ok", "\n".join(done["traceback"])
    finally:
        client.stop_channels()
        kernel.kill()
    said = "".join(message["content"]["text"] for message in told if message["msg_type"] == "stream")
    assert "in 4 videos, by tiny, weights" in said
    assert said.count("text to video R@1") == 2


def test_the_notebook_is_kept_as_it_ran() -> None:
    """In order, without errors, with its pictures, small, and without paths of the machine."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "execute_result", "display_data"}
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 4
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < LARGEST
    assert str(Path.home()) not in text
