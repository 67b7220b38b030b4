"""The Parquet file of how each query fared, read back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.evaluation.metrics import ranks_of
from pipeline.evaluation.per_query import METADATA_KEY, SCHEMA, per_query_table, write_per_query
from pipeline.evaluation.protocols import Ties
from pipeline.evaluation.slices.families import slice_queries
from pipeline.evaluation.slices.inputs import caption_texts
from tests.sliced import Known, known_ranking, known_store

VIDEO = np.eye(3)
TEXT = np.array([[1, 0, 0], [0.8, 0.6, 0], [0, 0.8, 0.6], [0, 0, 1]])
KNOWN = [
    Known(["a man runs"], 0.0),
    Known(["a man sits", "a red car"], 0.3),
    Known(["two men"], 0.3, category="sport"),
]


@pytest.fixture
def table(tmp_path: Path) -> pa.Table:
    store = known_store(tmp_path / "store", KNOWN, VIDEO, TEXT)
    ranking, scores = known_ranking(store)
    families = slice_queries(store, ranking, "test")
    made = per_query_table(ranking, scores, caption_texts(store, ranking.features, "test"), families)
    ranks = made["rank"].to_numpy()
    np.testing.assert_array_equal(ranks[:4], ranks_of(ranking.to_video, Ties.PESSIMISTIC))
    np.testing.assert_array_equal(ranks[4:], ranks_of(ranking.to_text.best, Ties.PESSIMISTIC))
    return made


def test_rows_by_hand(table: pa.Table) -> None:
    """Caption c1 of video 1 finds video 0; c2, of video 1, finds it; video 1 finds c2, and video 2 finds c3."""
    columns = table.to_pydict()
    assert columns["direction"] == ["text_to_video"] * 4 + ["video_to_text"] * 3
    assert columns["query_id"] == ["c0", "c1", "c2", "c3", "-v_0", "-v_1", "-v_2"]
    assert columns["video_id"] == ["-v_0", "-v_1", "-v_1", "-v_2", "-v_0", "-v_1", "-v_2"]
    assert columns["text"] == ["a man runs", "a man sits", "a red car", "two men", None, None, None]
    assert columns["rank"] == [1, 2, 1, 1, 1, 1, 1]
    assert columns["above"] == [0, 1, 0, 0, 0, 0, 0]
    assert columns["level"] == [1] * 7
    assert columns["num_candidates"] == [3] * 7
    assert columns["own_score"] == pytest.approx([1, 0.6, 0.8, 1, 1, 0.8, 1])
    assert columns["top1_id"] == ["-v_0", "-v_0", "-v_1", "-v_2", "c0", "c2", "c3"]
    assert columns["top1_video_id"] == ["-v_0", "-v_0", "-v_1", "-v_2", "-v_0", "-v_1", "-v_2"]
    assert columns["top1_score"] == pytest.approx([1, 0.8, 0.8, 1, 1, 0.8, 1])
    assert columns["slice_motion"] == ["none", "bin-1", "bin-1", "bin-1", "none", "bin-1", "bin-1"]
    assert columns["slice_caption"] == ["dynamic", "static", "attributes", "other", "dynamic", "static", "other"]
    assert columns["slice_category"] == ["unknown"] * 3 + ["sport"] + ["unknown"] * 2 + ["sport"]


def test_written_and_read_back(table: pa.Table, tmp_path: Path) -> None:
    path = tmp_path / "per_query.parquet"
    write_per_query(table, path, {"features": "mine", "split": "test"})
    read = pq.read_table(path)
    assert read.equals(table)
    assert read.schema.names[: len(SCHEMA)] == SCHEMA.names
    assert read.schema.names[len(SCHEMA) :] == [
        f"slice_{name}"
        for name in (
            "motion",
            "empty_masks",
            "full_masks",
            "camera",
            "caption",
            "static",
            "duration",
            "caption_length",
            "category",
        )
    ]
    assert json.loads(read.schema.metadata[METADATA_KEY.encode()]) == {"features": "mine", "split": "test"}
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    assert [one.name for one in tmp_path.iterdir() if one.name != "store"] == [path.name]  # nothing else is left


def test_without_slices(tmp_path: Path) -> None:
    store = known_store(tmp_path, KNOWN, VIDEO, TEXT)
    ranking, scores = known_ranking(store)
    assert per_query_table(ranking, scores, None).schema.equals(SCHEMA)


def test_a_file_is_replaced_only_if_asked(table: pa.Table, tmp_path: Path) -> None:
    path = tmp_path / "per_query.parquet"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"per_query.parquet exists already: .*--overwrite"):
        write_per_query(table, path, {})
    assert path.read_text() == "mine"
    write_per_query(table, path, {}, overwrite=True)
    assert pq.read_table(path).num_rows == 7
