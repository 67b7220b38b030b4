"""Columns made without pandas are those that `pyarrow.array` makes."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.formats import columns
from store.formats.columns import column, integers, table_of
from store.formats.parquet import parquet_bytes
from tests.paths import ROOT

LONGS = st.integers(-(2**63), 2**63 - 1)
SCHEMA = pa.schema([("text", pa.string()), ("number", pa.int64()), ("share", pa.float64()), ("is", pa.bool_())])
ROWS = st.lists(
    st.tuples(st.none() | st.text(), st.none() | LONGS, st.none() | st.floats(width=64), st.none() | st.booleans())
)


@given(ROWS)
@settings(max_examples=35)
def test_a_table_has_the_bytes_of_pyarrows_own(rows: list[tuple[object, ...]]) -> None:
    values = {name: [row[number] for row in rows] for number, name in enumerate(SCHEMA.names)}
    mine, theirs = table_of(values, SCHEMA), pa.table(values, schema=SCHEMA)
    for is_small in (False, True):
        assert parquet_bytes(mine, is_small=is_small) == parquet_bytes(theirs, is_small=is_small)
    mine.validate(full=True)


@given(st.lists(LONGS))
@settings(max_examples=20)
def test_integers_are_a_column(values: list[int]) -> None:
    assert integers(values).equals(pa.array(values, pa.int64()))


@pytest.mark.parametrize(
    ("value", "kind"), [(1.5, pa.int64()), ("1", pa.int64()), ("1", pa.float64()), (1, pa.string()), (1, pa.bool_())]
)
def test_a_value_of_another_type_is_refused(value: object, kind: pa.DataType) -> None:
    with pytest.raises(TypeError):
        column([None, value], kind)


def test_more_text_than_one_array_holds_is_still_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_MOST_BYTES", 3)
    assert column(["ab", "cd", None], pa.string()).to_pylist() == ["ab", "cd", None]


def test_no_catalogue_or_record_imports_pandas() -> None:
    program = (
        "import sys\n"
        "from store.catalog import Catalog\n"
        "from store.schema import Caption, Video\n"
        "made = Catalog.of([Video('v', 'test', 0, 'v.mp4')], [Caption('v#0', 'v', 'test', 0, 'a text')])\n"
        "made.digest(), made.captions_of_each('test'), made.split_videos('test')\n"
        "print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
