"""Figures in a page: text stays text, colours are the page's, and nothing of one figure reaches into another."""

from __future__ import annotations

import re

import matplotlib

from pipeline.pages.figures import MARKERS, SERIES, drawing, svg_of
from tests.html_pages import ParsedPage

EVIL = '<b onclick="x"> #010101 $x$ & "'


def figure(name: str, text: str = EVIL) -> str:
    with drawing(2.0, 2) as (drawn, panels):
        for axes in panels:
            for number, colour in enumerate(SERIES):
                axes.plot([number], [number], MARKERS[number], color=colour, label=text)
            axes.set_title(text, parse_math=False)
            axes.set_xlim(0, 10)
        return str(svg_of(drawn, name, text))


def test_text_is_text_and_colours_are_the_pages() -> None:
    svg = figure("one")
    page = ParsedPage(svg)
    assert page.texts.count(EVIL) == 2
    assert page.values("aria-label") == [EVIL]
    assert set(page.tags) <= {"svg", "defs", "g", "path", "use", "text", "clippath", "rect"}
    styles = " ".join(page.values("style"))
    assert not re.search("#0[0-7]{5}", styles)
    assert "currentColor" in styles
    assert all(f"var(--series-{number})" in styles for number in (1, 2, 3, 4))
    assert "font-family" not in svg
    assert "http" not in svg


def test_ids_of_two_figures_differ_and_lead_somewhere() -> None:
    both = ParsedPage(f"<main>{figure('one')}{figure('two')}</main>")
    ids = both.values("id")
    assert len(ids) == len(set(ids)) > 0
    used = [value.removeprefix("#") for value in both.values("href")]
    used += re.findall(r"url\(#([^)]*)\)", both.html)
    assert set(used) == set(ids)


def test_the_style_of_a_user_changes_nothing() -> None:
    plain = figure("one")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert figure("one") == plain
        assert matplotlib.rcParams["font.size"] == 30
