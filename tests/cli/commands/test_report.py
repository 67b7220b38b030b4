"""`fda report` as a shell runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from store.places.s3 import close_connection
from tests.clips_on_disk import SMALL_FLAGS, Commands, write_mixed_dataset
from tests.html_pages import ParsedPage
from tests.s3 import Server, place_of, use_server


def test_the_command(fda: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store without features, in which videos have failed."""
    clips, store = write_mixed_dataset(tmp_path), tmp_path / "store"
    monkeypatch.chdir(tmp_path)
    assert fda("preprocess", clips, store, *SMALL_FLAGS, "--workers", "0", "--max-failed", "100%").code == 0
    done = fda("report", store)
    assert (done.code, done.out.split(":")[0]) == (0, "report.html")
    page = ParsedPage((tmp_path / "report.html").read_text(encoding="utf-8"))
    page.check()
    for words in ("3 videos of 7 failed", "missing 1 test 1", "cut off before all frames", "corrupt", "-x_é"):
        assert words in page.text
    assert f"fda preprocess {clips} {store} --dataset jsonl --train-frames 2 --eval-frames 3" in page.text
    again = fda("report", store)
    assert again.code == 1
    assert "report.html exists already: give another name, or --overwrite" in again.error_line
    told = fda("report", store, "--overwrite", "--json", "--no-thumbnails", "-o", tmp_path / "other.htm")
    assert told.code == 0
    result = json.loads(told.out)
    assert result["page"] == str(tmp_path / "other.htm")
    assert result["sections"] == page.titles
    assert result["num_bytes"] == (tmp_path / "other.htm").stat().st_size


def test_wrong_usage(fda: Commands, tmp_path: Path) -> None:
    assert fda("report", tmp_path / "nowhere", "-o", tmp_path / "page.html").code == 1
    for flags in (["-o", tmp_path / "page.pdf"], ["--protocol", "best"], ["--features", "a", "--features", "a"]):
        assert fda("report", tmp_path, *flags).code == 2
    assert list(tmp_path.iterdir()) == []


def without_place_and_times(page: str, store: str) -> str:
    """A page of one `fda preprocess`, with what differs from run to run cut out, in one line."""
    text = page.replace(f"&#39;{store}&#39;", "STORE").replace(store, "STORE")
    for pattern in (
        r"\\\n",  # where a command line is broken depends on the length of the place
        r'data-value="[\d.]+">[\d.]+ s<',
        r"(<td>\d+\.\d</td>){3}",  # of the throughput
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
    ):
        text, num_found = re.subn(pattern, "", text)
        assert num_found, pattern
    return " ".join(text.split())


def test_a_store_at_s3(
    fda: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server, request: pytest.FixtureRequest
) -> None:
    """The same page as of a local store, but for the place."""
    use_server(monkeypatch, server)
    place, local = f"{place_of(request)}/störe", str(tmp_path / "store")
    clips = write_mixed_dataset(tmp_path)
    pages = []
    for number, store in enumerate((local, place)):
        flags = ("--workers", "0", "--max-failed", "100%")
        assert fda("preprocess", clips, store, *SMALL_FLAGS, *flags).code == 0
        page = tmp_path / f"{number}.html"
        ended = fda("report", store, "-o", page)
        assert ended.code == 0, ended.err
        pages.append(without_place_and_times(page.read_text(encoding="utf-8"), store))
    close_connection()
    assert pages[0] == pages[1]
    assert "img src" in pages[0]
    assert "STORE --dataset jsonl" in pages[0]
