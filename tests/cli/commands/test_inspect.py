"""`fda inspect` as a user calls it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.commands.test_evaluate import cached
from tests.clips_on_disk import Commands, fda_in_a_process


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 videos, of which one failed, with two captions each and features; ids begin with a dash."""
    return Path(cached(tmp_path_factory.mktemp("inspect") / "store", failed=frozenset({5})).place)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_both_files_by_default_and_none_is_replaced(fda: Commands, place: Path, tmp_path: Path) -> None:
    ended = fda("inspect", place, "--features", "mine", "--random", "3", "--failed")
    assert ended.code == 0, ended.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inspect.html", "inspect.png"]
    assert f"page: {tmp_path / 'inspect.html'}  (" in ended.out
    assert "failed 1" in ended.out
    assert f"warning: no attention: features 'mine' of {place} were imported" in ended.err
    before = (tmp_path / "inspect.html").read_bytes()
    again = fda("inspect", place)
    assert (again.code, again.out) == (1, "")
    assert again.error_line.startswith("fda: error: inspect.html exists already")
    assert fda("inspect", place, "--overwrite").code == 0
    assert (tmp_path / "inspect.html").read_bytes() != before


def test_json(fda: Commands, place: Path, tmp_path: Path) -> None:
    ended = fda("inspect", place, "--features", "mine", "--worst-rank", "2", "--page", "a.html", "--json")
    found = json.loads(ended.out)
    assert (found["page"], found["sheet"], found["attention"]) == (str(tmp_path / "a.html"), None, None)
    assert [one["chosen_by"] for one in found["videos"]] == [{"worst-rank": 1}, {"worst-rank": 2}]
    first = found["videos"][0]
    assert first["masks"][0]["name"] == "default"
    ranks = [caption["rank"]["rank"] for caption in first["captions"]]
    assert len(ranks) == 2
    assert max(ranks) <= first["captions"][0]["rank"]["num_candidates"] == 11
    assert found["warnings"] == [
        f"no attention: features 'mine' of {place} were imported, and no model of theirs is known"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


def test_ids_that_look_like_options(fda: Commands, place: Path) -> None:
    named = fda("inspect", place, "--page", "a.html", "--json", "--", "-vidéo_3", "-vidéo_5")
    assert [one["status"] for one in json.loads(named.out)["videos"]] == ["ok", "corrupt"]
    wrong = fda("inspect", place, "-vidéo_3")
    assert wrong.code == 2
    assert "an id or a file that begins with - comes after --" in wrong.error_line


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--", "-video_3"), 1, "fda: error: no video '-video_3' in STORE: did you mean '-vidéo_"),
        (("nothing-like-it-at-all",), 1, "fda: error: no video 'nothing-like-it-at-all' in STORE"),
        (("--split", "val"), 1, "fda: error: no split 'val' in STORE: it has 'test'"),
        (("--masks", "other"), 1, "fda: error: no masks 'other' for split 'test' in STORE: there are 'default'"),
        (("--features", "yours"), 1, "fda: error: no features 'yours' for split 'test' in STORE"),
        (("--emptiest", "2"), 1, "fda: error: nothing to show: --emptiest finds no video in 'test'"),
        (("--page", "nowhere/a.html"), 1, "fda: error: there is no folder nowhere for a.html"),
        (("--worst-rank", "2"), 2, "Error: --worst-rank needs --features"),
        (("--failed=0",), 2, "Error: Invalid value for '--failed': 0 is not in the range x>=1."),
        (("--failed", "mine"), 2, "Error: Invalid value for '--failed': 'mine' is not a number: --failed=20"),
        (("--random", "0"), 2, "Error: Invalid value for '--random': 0 is not in the range x>=1."),
        (("--page", "a.pdf"), 2, "Error: Invalid value for '--page': 'a.pdf' must end in .html or .htm"),
        (("--sheet", "a.jpg"), 2, "Error: Invalid value for '--sheet': 'a.jpg' must end in .png"),
        (("--model", "ViT-B-32"), 2, "Error: --model and --pretrained go together"),
        (("--no-attention", "--checkpoint", "X"), 2, "Error: --checkpoint, or --model, is for attention"),
    ],
)
def test_what_cannot_be(
    fda: Commands, place: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    ended = fda("inspect", place, *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert ended.error_line.startswith(message.replace("STORE", str(place)))
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_into_the_store(fda: Commands, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.iterdir())
    ended = fda("inspect", ".")
    assert ended.code == 1
    assert ended.error_line.startswith("fda: error: inspect.html would lie in the store .")
    ended = fda("eval", place, "--features", "mine", "--per-query", "ranks.parquet")
    assert ended.code == 1
    assert ended.error_line.startswith("fda: error: ranks.parquet would lie in the store")
    assert sorted(place.iterdir()) == before


def test_a_folder_that_is_read_only_is_refused_early(
    fda: Commands, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a user who is not root finds it."""
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    ended = fda("inspect", place, "--page", "a.html")
    assert ended.code == 1
    assert ended.error_line == "fda: error: cannot write a.html into .: it is read-only, give another place"


def test_as_the_shell_runs_it(place: Path, tmp_path: Path) -> None:
    ended = fda_in_a_process("inspect", place, "--random", "1", "--sheet", tmp_path / "a.png")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[0] == "1 video"
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
