"""For how many shards `fda encode` asks for workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import fda
from pipeline.workers.executors import run_synchronously
from pipeline.workers.place import Workers, Workload
from tests.encoders_tiny import write_config
from tests.searching import encoded_clips


def test_what_is_encoded_again_has_as_many_workers_as_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster submits no more jobs than there are shards: these are counted before the old features are removed."""
    place, asked = encoded_clips(tmp_path), list[int]()

    @contextmanager
    def noted(run: fda.RunOptions, work: Workload, report: Any, *, default: int) -> Iterator[Workers]:
        asked.append(work.num_shards)
        yield Workers(run_synchronously, 0)

    monkeypatch.setattr("pipeline.features.run.workers_for", noted)
    model = fda.ModelSource(model=write_config(tmp_path), pretrained="none")
    fresh, again = fda.RunOptions(), fda.RunOptions(overwrite=True, yes=True)
    for name, run in (("other", fresh), ("mine", fresh), ("mine", again)):
        fda.encode(place, fda.EncodeOptions(name, precision="fp32", sensitivity_every=0), model, run=run)
    assert asked == [asked[0], 0, asked[0]]
    assert asked[0] > 1
