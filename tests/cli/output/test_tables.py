"""Tables on terminals of any width, and piped: no name of a row, no number and no word is ever cut off."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from cli.output.tables import print_table
from tests.terminal import terminal

WIDTHS = st.sampled_from([20, 40, 60, 80, 120, 200])
NAMES = st.text("abcdefgh_", min_size=1, max_size=18)
NUMBERS = st.from_regex(r"-?[0-9]{1,6}\.[0-9](?: \[[0-9]\.[0-9], [0-9]\.[0-9]\])?", fullmatch=True)
WORDS = st.text("xyz ", max_size=60)
COLUMNS = ("", "R@1", "KiB a video", "why it failed", "n")


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    """Rows of a name, two numbers, a text and a number."""
    row = st.tuples(NAMES, NUMBERS, NUMBERS, WORDS, NUMBERS).map(list)
    return draw(st.lists(row, min_size=1, max_size=4))


@settings(max_examples=20)
@given(rows=tables(), width=WIDTHS)
def test_nothing_is_cut_off_at_any_width(rows: list[list[str]], width: int) -> None:
    with terminal(width) as screen:
        print_table("failed", COLUMNS, rows, texts=["why it failed"])
    printed = "\n".join(screen.lines)
    assert "…" not in printed
    for name, *numbers, text, last in rows:
        assert name in printed
        assert all(number in printed for number in (*numbers, last))
        assert printed.count("x") >= text.count("x")
    assert max(map(cell_len, screen.lines)) <= width or f"  why it failed  {rows[0][3]}" in printed  # one cell a line


@settings(max_examples=20)
@given(rows=tables(), width=WIDTHS)
def test_each_part_of_a_split_table_has_all_names(rows: list[list[str]], width: int) -> None:
    with terminal(width) as screen:
        print_table("failed", COLUMNS, rows, texts=["why it failed"])
    rules = sum("──" in line for line in screen.lines)
    named = sum(bool(re.match(rf" {{0,2}}{re.escape(rows[0][0])}(\s|$)", line)) for line in screen.lines)
    assert named >= max(1, rules)


def test_one_long_text_does_not_make_short_ones_wrap() -> None:
    with terminal(60) as screen:
        print_table("failed", ("", "status", "why"), [["a", "two words", "long words " * 20]], texts=["status", "why"])
    assert any("two words" in line for line in screen.lines)


@settings(max_examples=20)
@given(rows=tables())
def test_a_wide_terminal_and_a_pipe_get_the_same_table(rows: list[list[str]]) -> None:
    with terminal(1000) as screen:
        print_table("failed", COLUMNS, rows, texts=["why it failed"])
    with redirect_stdout(io.StringIO()) as pipe:
        print_table("failed", COLUMNS, rows, texts=["why it failed"])
    assert pipe.getvalue().splitlines() == screen.lines


def test_a_piped_table_is_as_wide_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    name, reason = "v" * 150, "because " * 40
    print_table("failed", ("video", "reason"), [[name, reason]], texts=["reason"])
    (line,) = (line for line in capsys.readouterr().out.splitlines() if name in line)
    assert line.split() == [name, *reason.split()]


@pytest.mark.parametrize("width", [40, 60])
def test_text_is_wrapped_before_anything_else(width: int) -> None:
    with terminal(width) as screen:
        print_table(
            "failed", ("video", "n", "reason"), [["a" * 12, "12", "the file is cut off after 4 s"]], texts=["reason"]
        )
    assert sum("─" in line for line in screen.lines) == 1
    assert [line.split()[:2] for line in screen.lines if "aaa" in line] == [["a" * 12, "12"]]


def test_where_nothing_fits_beside_the_names_cells_are_listed_below_them() -> None:
    with terminal(30) as screen:
        print_table("failed", ("video", "n", "reason"), [["v" * 40, "12", "cut off"]], texts=["reason"])
    assert screen.lines == ["failed", "v" * 40, "  n       12", "  reason  cut off"]


def test_hostile_cells_and_titles_are_text() -> None:
    with terminal(80) as screen:
        print_table("[bold]t[/]\x1b[2J", ("", "[red]n\x07"), [["[link=x]\x1b[2J", "1"]])
    printed = screen.getvalue()
    assert "\x1b[2J" not in printed
    assert "\x07" not in printed
    assert r"[link=x]\u001b[2J" in printed
    assert r"[red]n\u0007" in printed
