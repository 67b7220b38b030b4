"""Records of runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pipeline.run.records import RunClock, read_run, recorded_run
from store.places.opening import folder_at
from tests.stores import make_store


def test_two_runs_within_a_second_leave_two_records_in_order(tmp_path: Path) -> None:
    folder = make_store(tmp_path, 1).folder
    for number in range(3):
        clock = RunClock(started=datetime(2026, 1, 2, 3, 4, 59, number, tzinfo=UTC))
        with recorded_run(folder, "masks", clock, {"number": number}):
            pass
    records = [read_run(folder_at(tmp_path), f"runs/{name.rpartition('/')[2]}") for name in folder.names("runs")]
    assert [record["options"] for record in records] == [{"number": number} for number in range(3)]
