"""Hostile ids and captions: shown as text, on the terminal and on the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cli.output.printing import printable
from pipeline.demo.page import demo_section
from pipeline.reporting.page import Page
from tests.clips_on_disk import SMALL_FLAGS, Commands, record, write_manifest
from tests.demo_results import demo_result
from tests.html_pages import ParsedPage
from tests.retrieval_cases import unit_rows
from tests.sliced import Known, known_store

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eexe.\x08"


def test_no_id_or_reason_steers_the_terminal(fda: Commands, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, [record(f"a{EVIL}", f"{EVIL}.mp4", captions=[EVIL])])
    all_flags = (*SMALL_FLAGS, "--workers", "0", "--max-missing", "100%")
    ended = [fda("preprocess", manifest, tmp_path / "stopped", *SMALL_FLAGS)]
    assert "0 of 1 videos were found" in ended[0].error_line
    ended.append(fda("preprocess", manifest, tmp_path / "store", *all_flags))
    ended.append(fda("status", tmp_path / "store", "--failures"))
    for flags in (["--json"], ["--failures", "--json"]):
        ended.append(fda("status", tmp_path / "store", *flags))
        assert json.loads(ended[-1].out)["failures"][0]["video_id"] == f"a{EVIL}"
    manifest.write_text(json.dumps(record("a", f"../{EVIL}")) + "\n")
    ended.append(fda("preprocess", manifest, tmp_path / f"store{EVIL}", *SMALL_FLAGS))
    assert ended[-1].code == 1
    assert r"a\u001b]0;owned\u0007" in ended[1].out
    for one in ended:
        assert printable(one.out + one.err) == one.out + one.err


EVIL_TEXTS = ("<script>alert(1)</script>", "\"' onerror='x' x=\"", "</script><img src=x>", "\u202egnp.<b>", "{{ 7*7 }}")


@pytest.mark.parametrize("evil", EVIL_TEXTS)
def test_the_page_shows_ids_and_captions_as_text(evil: str) -> None:
    def page(text: str) -> ParsedPage:
        section = demo_section(demo_result([text]), [text, "R@1"], [[text, "1"]])
        found = ParsedPage(Page(text, text, (section,), "fda").html())
        found.check()
        return found

    plain, found = page("plain"), page(evil)
    assert found.tags == plain.tags
    assert [name for name, _ in found.attributes] == [name for name, _ in plain.attributes]
    assert found.text.count(" ".join(evil.split())) == plain.text.count("plain") == 7
    assert [evil in alt for alt in found.values("alt")] == [True]
    assert plain.tags.count("bdi") == 4  # a caption that turns the direction turns its own alone


def test_pages_of_videos_show_captions_and_categories_as_text(fda: Commands, tmp_path: Path) -> None:
    def page(name: str, texts: Sequence[str]) -> ParsedPage:
        known = [Known([text, f"{text} {'x' * 5000}"], category=text) for text in texts]
        rng = np.random.default_rng(0)
        rows = unit_rows(rng, len(texts), 4), unit_rows(rng, 2 * len(texts), 4)
        known_store(tmp_path / name, known, *rows)
        files = ("--page", tmp_path / f"{name}.html", "--sheet", tmp_path / f"{name}.png")
        ended = fda("inspect", tmp_path / name, "--features", "mine", *files)
        assert ended.code == 0, ended.err
        return ParsedPage((tmp_path / f"{name}.html").read_text(encoding="utf-8"))

    plain, found = page("one", ["simple"] * len(EVIL_TEXTS)), page("other", EVIL_TEXTS)
    assert found.tags == plain.tags
    assert [key for key, _ in found.attributes] == [key for key, _ in plain.attributes]
    assert sum(map(found.text.count, EVIL_TEXTS)) == plain.text.count("simple") == 4 * len(EVIL_TEXTS)
    assert "script" not in found.tags
