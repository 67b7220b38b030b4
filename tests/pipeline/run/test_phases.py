"""Phases beside the work proper: silent where they take a moment, and told to their end where they do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fda
from pipeline.features.model import told_in_megabytes
from pipeline.run.events import Event, ItemsDone, Phase, RunPlanned, ignore_events
from pipeline.run.options import RunOptions
from tests.stores import fill_store, make_store

HERE = RunOptions(workers=0)


def plans(heard: list[Event]) -> list[tuple[str, int, int]]:
    """Unit and total of each plan, and how much of it was told to be done."""
    found: list[tuple[str, int, int]] = []
    for event in heard:
        if isinstance(event, RunPlanned):
            found.append((event.unit, event.num_total, event.num_complete))
        elif isinstance(event, ItemsDone):
            unit, total, done = found[-1]
            found[-1] = unit, total, done + event.num_done
    return found


def test_a_phase_is_told_of_once_it_is_long_with_a_rate_that_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("pipeline.run.events.time.monotonic", lambda: now)
    heard: list[Event] = []
    phase = Phase("records", 10, heard.append)
    phase.done(3)
    now = 1.9
    phase.done(1)
    assert heard == []
    now = 2.0
    phase.done(1)
    phase.done(5)
    assert heard == [RunPlanned("records", 10, 5), ItemsDone(5)]


def run_all(place: Path, told: Callable[[Event], None]) -> None:
    """What has phases and needs no model."""
    fda.status(place, listener=told)
    fda.finalise(place, listener=told)
    fda.make_masks(place, "low", run=HERE, listener=told)
    fda.remove(place, fda.RemoveOptions(masks=("low",)), listener=told)
    rng = np.random.default_rng(0)
    fda.evaluate(rng.normal(size=(6, 4)), rng.normal(size=(6, 4)), listener=told)


def test_every_phase_ends_where_it_said_it_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_store(make_store(tmp_path / "store", 6))
    monkeypatch.setattr(Phase, "SHORT_SECONDS", 0.0)
    heard: list[Event] = []
    run_all(tmp_path / "store", heard.append)
    found = plans(heard)
    assert [unit for unit, _, _ in found] == [
        *["records"] * 3,  # status, finalise, the plan of masks
        "videos",
        "records",  # the summary of the masks
        "files",
        "queries",
        "resamples",
    ]
    assert [(unit, total) for unit, total, _ in found] == [(unit, done) for unit, _, done in found]


def test_what_takes_a_moment_is_told_as_before(tmp_path: Path) -> None:
    fill_store(make_store(tmp_path / "store", 6))
    heard: list[Event] = []
    run_all(tmp_path / "store", heard.append)
    assert [unit for unit, _, _ in plans(heard)] == ["videos", "queries"]


def test_each_file_of_weights_is_a_phase_in_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Phase, "SHORT_SECONDS", 0.0)
    heard: list[Event] = []
    tell = told_in_megabytes(heard.append)
    for num_read in (100_000, 8_400_000, 17_000_000):
        tell(num_read, 17_000_000)
    tell(2_000_000, 2_000_000)
    assert plans(heard) == [("MB of weights", 17, 17), ("MB of weights", 2, 2)]
    assert told_in_megabytes(ignore_events)(1, 1) is None


def test_a_large_source_is_told_of_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.frames.run.LARGE_BYTES", 10)
    source = tmp_path / "clips.jsonl"
    source.write_text("this is no line of JSON")
    heard: list[Event] = []
    with pytest.raises(ValueError, match="not JSON"):
        fda.preprocess(source, tmp_path / "store", listener=heard.append)
    assert heard == [fda.Message(f"reading {source}: 0 MB")]
