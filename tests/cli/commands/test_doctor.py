from __future__ import annotations

import json

import pytest

from cli.output.doctor import print_checks
from fda import Check, DoctorResult, State
from pipeline.doctor import run
from tests.clips_on_disk import Commands
from tests.terminal import terminal

ROWS = (
    Check("software", "torch", State.OK, "2.13.0+cpu, built for CPU"),
    Check("software", "opencv-python-headless", State.MISSING, "not installed", remedy="pip install it " * 9),
    Check("store", "place", State.WARNING, "\x1b[2J gone \u202etxt " + "a/very/long/path" * 12, used="nothing"),
)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_every_row_is_legible_at_any_width(columns: int) -> None:
    with terminal(columns) as screen:
        print_checks(DoctorResult(None, ROWS, 1.5))
    assert max(map(len, screen.lines)) <= columns
    text = "".join(line.strip() for line in screen.lines)
    assert "\\u001b[2J gone \\u202etxt" in " ".join(text.split())
    assert "a/very/long/path" * 12 in text
    assert screen.lines[-1] == "1 ok, 1 warning, 1 missing in 1.5 s"
    remedies = [line for line in screen.lines if line.lstrip().startswith("remedy: ")]
    assert len(remedies) == 1


def test_in_a_pipe_a_row_is_a_line_and_the_exit_code_says_whether_something_is_missing(
    fda: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = list(ROWS)
    monkeypatch.setattr(run, "checks_in_children", lambda lanes, place, tell: iter(rows))
    ended = fda("doctor")
    assert ended.code == 1
    assert "  missing   opencv-python-headless  not installed; remedy: pip install it " in ended.out
    assert ended.out.count("remedy: pip install it") == 1
    told = json.loads(fda("doctor", "s3://nowhere/x", "--json").out)
    assert (told["fit"], told["place"], told["counts"]["missing"]) == (False, "s3://nowhere/x", 1)
    assert told["checks"][0] == {
        "group": "software",
        "name": "torch",
        "state": "ok",
        "found": "2.13.0+cpu, built for CPU",
        "used": None,
        "remedy": None,
    }
    del rows[1]
    assert fda("doctor").code == 0
