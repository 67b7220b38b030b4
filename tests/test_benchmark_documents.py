"""Figures that documents quote from the benchmarks, and what becomes of a part that fails; nothing is measured."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks import quoted
from tests.benchmarks.part import run_part
from tests.benchmarks.quoted import DOCUMENTS, MARKED, Figure, figures_of, filled, quote

PARTS = {path.stem.removeprefix("bench_"): path for path in benchmarks.HERE.glob("bench_*.py")}
COMMAND = re.compile(r"`(?:python -m tests\.benchmarks|make bench BENCH=)\s?\"?([a-z_]+)")


def names_quoted_by(source: str) -> Iterator[str]:
    """Patterns of the names that a part gives to `quote`; what is computed in a name may be anything."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "quote":
            name = node.args[0]
            pieces = name.values if isinstance(name, ast.JoinedStr) else [name]
            yield "".join(
                re.escape(piece.value) if isinstance(piece, ast.Constant) and isinstance(piece.value, str) else r"\w+"
                for piece in pieces
            )


GIVEN = {part: list(names_quoted_by(path.read_text())) for part, path in PARTS.items()}


def test_documents_quote_what_the_parts_measure() -> None:
    names = [found[1] for document in DOCUMENTS for found in MARKED.finditer(document.read_text())]
    patterns = [re.compile(pattern) for of in GIVEN.values() for pattern in of]
    assert names
    assert [name for name in names if not any(pattern.fullmatch(name) for pattern in patterns)] == []


def test_parts_quote_under_their_own_names() -> None:
    assert [name for part, of in GIVEN.items() for name in of if not name.startswith(rf"{part}\.")] == []


def test_every_marked_place_is_whole() -> None:
    for document in DOCUMENTS:
        left = MARKED.sub("", document.read_text())
        assert "<!--" not in left, document


def test_lines_of_tables_name_the_part_that_measures_them() -> None:
    for document in DOCUMENTS:
        for line in document.read_text().splitlines():
            parts = {found[1].partition(".")[0] for found in MARKED.finditer(line)}
            commands = COMMAND.findall(line)
            if line.startswith("|") and parts and commands:
                assert parts <= set(commands), line


@pytest.mark.parametrize(
    ("figure", "missed"),
    [
        (Figure(7.9, "x", at_least=8), True),
        (Figure(8.0, "x", at_least=8), False),
        (Figure(0.02, "of a core", at_most=0.01), True),
        (Figure(0.01, "of a core", at_most=0.01), False),
        (Figure(100, "s"), False),
    ],
)
def test_missed_targets_are_bold(figure: Figure, missed: bool) -> None:
    assert figure.is_missed == missed
    marked = f"**{figure}**" if missed else str(figure)
    text = "| <!--a.b-->?<!--/-->, <!--a.c-->5 s<!--/--> | 8x |"
    assert filled(text, {"a.b": figure}) == f"| <!--a.b-->{marked}<!--/-->, <!--a.c-->5 s<!--/--> | 8x |"


def test_filling_twice_changes_nothing() -> None:
    figures = {"a.b": Figure(1.0, "x", at_least=2)}
    once = filled("<!--a.b--><!--/-->", figures)
    assert filled(once, figures) == once


def test_a_figure_is_quoted_once_under_a_whole_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quoted, "quoted", {})
    quote("a.b", 1.0)
    for name in ("a.b", "a", "A.b", "a.b c"):
        with pytest.raises(ValueError, match="a name of its own"):
            quote(name, 1.0)


def results_of(quick: bool) -> Mapping[str, object]:
    return {"parts": {"a": {"quick": quick, "quoted": {"a.b": {"value": 2.0, "unit": "s"}}}}}


def test_quick_figures_are_not_written_into_documents() -> None:
    assert figures_of(results_of(quick=False)) == {"a.b": Figure(2.0, "s")}
    assert figures_of(results_of(quick=True)) == {}


def test_a_part_that_fails_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    given = run_part("of_nothing", quick=True, videos=None)
    assert given["error"] == "ModuleNotFoundError: No module named 'tests.benchmarks.bench_of_nothing'"
    assert "Traceback" in capsys.readouterr().err


def test_parts_by_name_join_the_results_of_this_machine(tmp_path: Path) -> None:
    place = tmp_path / "results.json"
    assert benchmarks.kept_results(place)["parts"] == {}
    of_here = {**benchmarks.new_results(), "parts": {"a": {}}}
    for kept, parts in ((of_here, {"a": {}}), ({**of_here, "machine": {"cores": 1}}, {}), ({"tables": []}, {})):
        place.write_text(json.dumps(kept))
        assert benchmarks.kept_results(place)["parts"] == parts
