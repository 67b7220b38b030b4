"""The rank of every query as a Parquet file, one row a query: for notebooks, and to check a number.

Columns, in this order:

    direction       string   text_to_video or video_to_text
    query_id        string   caption_id; for video to text, video_id
    video_id        string   the video that the query is of
    text            string   the caption; null for video to text, and where arrays without a store were scored
    rank            int64    above + level: ties count against the model, whatever the protocol
    above           int64    candidates that score higher than the own item
    level           int64    candidates that score the same, the own item included
    num_candidates  int64    videos; for video to text, videos that have a caption, each by the best of its captions
    own_score       float32  score of the own video; for video to text, of the best own caption
    top1_id         string   video_id of the best video; for video to text, caption_id of the best caption
    top1_video_id   string   that video, or the video of that caption; of equal scores, the first in the catalogue
    top1_score      float32
    slice_<family>  string   name of the query's slice in each family, see `pipeline.evaluation.slices.families`

The key `fda.per_query` of the file's metadata is a JSON given by the caller: features, split, options.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from encoders.replacing import replacing
from pipeline.evaluation.ranking import RankCounts, Ranking
from pipeline.evaluation.scores.dot import Scores
from pipeline.evaluation.slices.families import SliceFamily
from pipeline.evaluation.top_candidates import TopCandidates, top_texts, top_videos
from pipeline.run.files import check_writable
from store.json_values import JSON

METADATA_KEY = "fda.per_query"
SCHEMA = pa.schema(
    [
        pa.field("direction", pa.string(), nullable=False),
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("rank", pa.int64(), nullable=False),
        pa.field("above", pa.int64(), nullable=False),
        pa.field("level", pa.int64(), nullable=False),
        pa.field("num_candidates", pa.int64(), nullable=False),
        pa.field("own_score", pa.float32(), nullable=False),
        pa.field("top1_id", pa.string(), nullable=False),
        pa.field("top1_video_id", pa.string(), nullable=False),
        pa.field("top1_score", pa.float32(), nullable=False),
    ]
)
"""Columns of every file; one column `slice_<family>` for each family comes after these."""


def per_query_table(
    ranking: Ranking, scores: Scores, texts: Sequence[str] | None, families: Sequence[SliceFamily] = ()
) -> pa.Table:
    """One row a query: captions in the order of the catalogue, then videos.

    This takes one more pass over the scores in each direction.

    Args:
        ranking: The ranked features.
        scores: The scores that they were ranked by.
        texts: The captions; None if they are not known.
        families: Families that get a column of slices.
    """
    features = ranking.features
    video_ids, caption_ids = np.array(features.video_ids, object), np.array(features.caption_ids, object)
    # From tiles, as the ranks are: see `top_candidates`.
    videos = top_videos(scores, features.truth, 1)
    best_texts = top_texts(scores, features.truth, 1)
    owners, queries = video_ids[features.truth], video_ids[ranking.to_text.videos]
    best_video, best_text = videos.items[:, 0], best_texts.items[:, 0]
    num_captions = len(caption_ids)
    to_video = {
        **_columns("text_to_video", ranking.to_video, videos),
        "query_id": caption_ids,
        "video_id": owners,
        "text": [None] * num_captions if texts is None else texts,
        "top1_id": video_ids[best_video],
        "top1_video_id": video_ids[best_video],
        **{_column_of(one): _slice_names(one, "captions", num_captions) for one in families},
    }
    to_text = {
        **_columns("video_to_text", ranking.to_text.best, best_texts),
        "query_id": queries,
        "video_id": queries,
        "text": [None] * len(queries),
        "top1_id": caption_ids[best_text],
        "top1_video_id": owners[best_text],
        **{_column_of(one): _slice_names(one, "videos", len(queries)) for one in families},
    }
    schema = pa.schema([*SCHEMA, *(pa.field(_column_of(one), pa.string(), nullable=False) for one in families)])
    return pa.concat_tables(
        pa.table({name: part[name] for name in schema.names}, schema=schema) for part in (to_video, to_text)
    ).combine_chunks()


def write_per_query(table: pa.Table, path: Path, about: Mapping[str, JSON], *, overwrite: bool = False) -> None:
    """Write the table, compressed by zstd, in one step: a killed run leaves no half file under that name.

    Args:
        table: See `per_query_table`.
        path: The file.
        about: Metadata: features, split, options.
        overwrite: Whether to replace an existing file.

    Raises:
        FileExistsError: The file exists, and `overwrite` is false.
        FileNotFoundError: There is no such folder.
    """
    check_writable(path, overwrite=overwrite)  # again: the file may have appeared during the evaluation
    metadata = {METADATA_KEY: json.dumps(dict(about), sort_keys=True)}
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")


def _columns(direction: str, counts: RankCounts, top: TopCandidates) -> dict[str, object]:
    """Columns that both directions fill in the same way."""
    return {
        "direction": [direction] * len(counts),
        "rank": counts.above + counts.level,
        "above": counts.above,
        "level": counts.level,
        "num_candidates": np.full(len(counts), counts.num_candidates),
        "own_score": top.own,
        "top1_score": top.scores[:, 0],
    }


def _column_of(family: SliceFamily) -> str:
    return f"slice_{family.name.replace('-', '_')}"


def _slice_names(family: SliceFamily, direction: str, num_queries: int) -> NDArray[np.object_]:
    """The name of the slice that each query is in."""
    names = np.empty(num_queries, object)
    for one in family.slices:
        names[getattr(one, direction)] = one.name
    return names
