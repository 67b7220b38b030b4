"""Texts in pictures: any script, any length, and never a box in the place of a letter."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.inspection import lettering
from pipeline.inspection.lettering import Lettering

ARABIC = "رجل يركب دراجة"


@pytest.fixture(autouse=True)
def no_other_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has none."""
    monkeypatch.setattr(lettering, "_other_fonts", lambda: ())


@pytest.mark.parametrize("text", ["a man rides", "Ένας άντρας", "мужчина едет", "אדם רוכב", ARABIC, "naïve café", "-x"])
def test_scripts_that_every_machine_can_write(text: str) -> None:
    letters = Lettering()
    assert [line.text for line in letters.lines(text, 16, 800)] == [text]
    assert letters.num_lacking == 0


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("一个男人", "[4 letters without a font]"),
        ("a 犬 runs", "a [1 letter without a font] runs"),
        ("क ख", "[2 letters without a font]"),
        ("\U0001f9a9 and \U0001f9a9\ufe0f", "[1 letter without a font] and [1 letter without a font]"),
    ],
)
def test_letters_without_a_font_are_counted_in_the_text(text: str, shown: str) -> None:
    letters = Lettering()
    assert [line.text for line in letters.lines(text, 16, 800)] == [shown]
    assert letters.num_lacking == 1


@given(text=st.text(max_size=80), width=st.integers(20, 400), most=st.integers(1, 4))
@settings(max_examples=60)
def test_lines_fit_and_hold_no_control(text: str, width: int, most: int) -> None:
    lines = Lettering().lines(text, 16, width, most=most)
    assert len(lines) <= most
    for line in lines:
        assert line.font.getlength(line.text) <= max(width, 16 * 2)  # one letter and the mark of a cut, at least
        assert not set(line.text) & {"\n", "\x1b", "\x00", "\u202e", "\u2066"}


def test_a_long_text_is_cut_with_a_mark() -> None:
    lines = Lettering().lines("word " * 1000, 16, 300, most=2)
    assert len(lines) == 2
    assert not lines[0].text.endswith("…")
    assert lines[1].text.endswith("…")
    (line,) = Lettering().lines("x" * 5000, 16, 300)
    assert line.text.endswith("x…")
    assert line.font.getlength(line.text) <= 300


def test_another_font_of_the_machine_is_taken_if_it_has_all_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lettering._own_font(bold=False)
    monkeypatch.setattr(lettering, "_own_font", lambda *, bold: whole.with_name("cmsy10.ttf"))  # mathematical signs
    monkeypatch.setattr(lettering, "_other_fonts", lambda: (whole.with_name("missing.ttf"), whole))
    letters = Lettering()
    (line,) = letters.lines("мужчина", 16, 800)
    assert (line.text, Path(str(line.font.path)), letters.num_lacking) == ("мужчина", whole, 0)
    assert [one.text for one in letters.lines("мужчина 人", 16, 800)] == ["[8 letters without a font]"]
