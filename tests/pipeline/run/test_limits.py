"""How many videos may be missing or failed: what is a count, what is a share, and what is neither."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import OptionError
from pipeline.evaluation.options import CompareOptions, EvalOptions
from pipeline.frames.options import DecodingOptions
from pipeline.run.limits import Limit
from tests.clips_on_disk import Commands


@pytest.mark.parametrize(
    ("given", "of_200", "shown"),
    [
        *(("0", 0, "0"), ("5", 5, "5"), (" 5 ", 5, "5"), (5, 5, "5"), ("500", 500, "500")),
        *(("10%", 20, "10%"), ("100%", 200, "100%"), ("0.5%", 1, "0.5%"), ("0.02", 4, "2%"), (".5", 100, "50%")),
        *((0.02, 4, "2%"), (1.0, 200, "100%"), ("0.0", 0, "0%")),
    ],
)
def test_a_whole_number_is_a_count_and_a_fraction_is_a_share(given: object, of_200: float, shown: str) -> None:
    limit = Limit.of(given)
    assert (limit(200), str(limit), Limit.of(str(limit))(200)) == (of_200, shown, of_200)


@given(count=st.integers(0, 10**9), total=st.integers(1, 10**9))
def test_a_count_is_one_of_any_number(count: int, total: int) -> None:
    assert Limit.of(str(count))(total) == count


@pytest.mark.parametrize(
    "given",
    [
        *("", "%", "some", "1.0", "1.5", "1e3", "-1", "-5%", "-0.1", "101%", "nan", "nan%", "inf", "-inf", "5 %%"),
        *(-1, 1.5, -0.1, float("nan"), True, None, b"5"),
    ],
)
def test_what_is_neither_is_refused(given: object) -> None:
    with pytest.raises(OptionError):
        Limit.of(given)


@pytest.mark.parametrize("options", [EvalOptions, CompareOptions, DecodingOptions])
def test_options_take_what_the_command_line_takes(options: Any) -> None:
    for limit in (3, 0.25, "3", "25%", Limit(count=3)):
        assert options(max_missing=limit).max_missing == Limit.of(limit)
    for limit in (-0.1, 5.0, float("nan"), -1, "some"):
        with pytest.raises(OptionError, match=r"max_missing: .*(-10%|500%|nan%|-1|'some')"):
            options(max_missing=limit)


@pytest.mark.parametrize(
    "command", [("eval", "store", "--features", "a"), ("compare", "store", "a", "b"), ("preprocess", ".", "store")]
)
def test_the_command_line_refuses_it_by_its_option(fda: Commands, command: tuple[str, ...]) -> None:
    ended = fda(*command, "--max-missing", "1.5")
    assert (ended.code, "--max-missing" in ended.err, "10% or 0.1" in ended.err) == (2, True, True)
