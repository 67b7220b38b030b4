from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.commands.status import command
from store.commits import commit_name
from tests.clips_on_disk import SMALL_FLAGS, Commands, write_mixed_dataset
from tests.stores import fill_store, make_store
from tests.terminal import terminal


def test_after_preprocess_nothing_is_pending_and_failures_have_reasons(tmp_path: Path, fda: Commands) -> None:
    made = fda("preprocess", write_mixed_dataset(tmp_path), tmp_path / "store", *SMALL_FLAGS, "--workers", "0")
    assert made.code in (0, 3), made.err
    ended = fda("status", tmp_path / "store", "--json")
    result = json.loads(ended.out)
    stages = result["splits"]["test"]["stages"]
    assert {name: (one["num_done"], one["num_pending"]) for name, one in stages.items()} == {
        "frames": (3, 0),
        "masks/default": (3, 0),
    }
    assert stages["frames"]["outcomes"]["ok"] == stages["frames"]["num_filled"] == 2
    assert stages["frames"]["bytes_per_video"] > 3 * 32 * 32 * 3
    assert {one["video_id"]: one["status"] for one in result["failures"]}["gone"] == "missing"
    assert len(result["failures"]) == 3
    assert [(run["command"], run["ended"]) for run in result["runs"]] == [("preprocess", "done")]
    assert stages["frames"]["masks"] is None
    coverage = stages["masks/default"]["masks"]["mean_coverage"]
    assert 0 < coverage < 1
    line = f"test: masks 'default' cover {100 * coverage:.1f}% of the picture on average; "
    assert line in made.out
    assert result["options"]["image_size"] == 32
    shown = fda("status", tmp_path / "store", "--failures").out
    for words in (
        line,
        "  image_size     32\n",
        "masks/default",
        "KiB a video",
        "frames stored as raw",
        "gone",
        "missing",
        "test: 5 videos of 3 frames",
    ):
        assert words in shown
    assert "--failures lists them" in fda("status", tmp_path / "store").out


def test_a_record_that_is_cut_off_is_named_on_stderr(tmp_path: Path, fda: Commands) -> None:
    store = make_store(tmp_path / "store", 6)
    fill_store(store)
    name = commit_name(store.shards("test")[0], "frames")
    store.folder.write(name, b"PAR1")
    ended = fda("status", tmp_path / "store", "--json")
    assert ended.code == 0
    assert f"warning: {name} was changed since it was written" in ended.err
    assert json.loads(ended.out)["splits"]["test"]["stages"]["frames"]["num_pending"] == 1


def test_what_is_no_store(tmp_path: Path, fda: Commands) -> None:
    assert fda("status", tmp_path / "nowhere").error_line.startswith("fda: error: no store at")
    (tmp_path / "store.json").write_text("[]")
    ended = fda("status", tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert "store.json was changed since it was written" in ended.err


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_ids_and_reasons_are_whole_at_any_width(tmp_path: Path, columns: int) -> None:
    store = make_store(tmp_path, 6)
    fill_store(store, failed=frozenset({1, 5}))
    with terminal(columns) as screen:
        command.main([str(tmp_path), "--failures"], standalone_mode=False)
    for video_id in ("-vidéo_1", "-vidéo_5"):
        assert any(video_id in line.split() for line in screen.lines)
    for name in ("frames", "masks/default"):
        assert any(line.split()[:1] == [name] for line in screen.lines)
    assert {"broken", "on", "purpose"} <= set(" ".join(screen.lines).split())
    tables = [line for line in screen.lines if ";" not in line]  # a terminal wraps a sentence by itself
    assert max(map(len, tables)) <= max(columns, 60)
