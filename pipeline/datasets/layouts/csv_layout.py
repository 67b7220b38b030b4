"""The layout `csv`: a table with a header, one row a caption, separated by commas, semicolons or tabs.

    video_id,path,caption,split
    -x_1_5,clips/-x_1_5.mp4,a cat plays,test

One of `video_id` and `path` may be left out: a path is then found by the id, anywhere below the folder of the videos,
and an id is the path without its ending. `split` may be left out (`test`), and so may `category`, `start_seconds` and
`end_seconds`, which mean the same as in `jsonl`. Other columns are ignored. The rows of a video need not be
adjacent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.datasets.reading.csv_files import read_table
from pipeline.datasets.reading.files import find_videos, require_file, require_folder, without_ending
from pipeline.datasets.reading.json_files import errors_at, text_of
from pipeline.datasets.records import Dataset, DatasetError, VideoRecord, relative_path
from pipeline.video.options import Window

MAX_CSV_BYTES = 2**33
"""Some fifty million captions."""


@dataclass(frozen=True, slots=True)
class _Row:
    """What all rows of a video must agree on."""

    video_id: str
    path: str | None
    split: str
    window: Window
    category: str | None


@dataclass(frozen=True, slots=True)
class _VideoRows:
    """A video, the line of its first row, and its captions so far."""

    row: _Row
    number: int
    captions: list[str] = field(default_factory=list)


def read_csv(source: Path, videos: Path | None = None) -> Dataset:
    """Read a `.csv` or `.tsv` file, gzipped or not: the videos in the order in which they first come.

    Args:
        source: The file.
        videos: The folder that paths are relative to; by default the folder of `source`.

    Raises:
        DatasetError: names the line that is not a row of the table, lacks a value, or contradicts an earlier line
            about the same video.
    """
    require_file(source)
    root = (source.parent if videos is None else videos).absolute()
    require_folder(root)
    gathered: dict[str, _VideoRows] = {}
    for number, row, caption in _read_rows(source, root):
        video = gathered.setdefault(row.video_id, _VideoRows(row, number))
        if row != video.row:
            raise DatasetError(
                f"{source}:{number}: video {row.video_id!r} differs from line {video.number}: {row} and {video.row}"
            )
        video.captions.append(caption)
    if not gathered:
        raise DatasetError(f"{source} contains no row; write one caption a line, below a line that names the columns")
    without_path = {one: one for one, video in gathered.items() if video.row.path is None}
    found = find_videos(root, without_path) if without_path else {}
    name = Path(source.name.removesuffix(".gz")).stem
    return Dataset(name, root, tuple(_record(source, video, found) for video in gathered.values()))


def _record(source: Path, video: _VideoRows, found: Mapping[str, str]) -> VideoRecord:
    row = video.row
    path = row.path or found.get(row.video_id, f"{row.video_id}.mp4")
    with errors_at(f"{source}:{video.number}"):
        return VideoRecord(row.video_id, path, row.split, tuple(video.captions), row.window, row.category)


def _read_rows(source: Path, root: Path) -> Iterator[tuple[int, _Row, str]]:
    """Number of the line, its facts about the video, and its caption."""
    for number, fields in read_table(source, MAX_CSV_BYTES):
        with errors_at(f"{source}:{number}"):
            caption = text_of(fields, "caption")
            if not caption:
                raise DatasetError("the caption is blank")
            yield number, _row(fields, root), caption


def _row(fields: Mapping[str, str], root: Path) -> _Row:
    if "path" not in fields and "video_id" not in fields:
        raise DatasetError(f"neither 'video_id' nor 'path'; the columns are {', '.join(map(repr, fields))}")
    path = relative_path(fields["path"], root) if "path" in fields else None
    video_id = fields["video_id"] if path is None or "video_id" in fields else without_ending(path)
    start, end = _seconds(fields, "start_seconds"), _seconds(fields, "end_seconds")
    try:
        window = Window(start or 0.0, end)
    except ValueError as error:
        raise DatasetError(str(error)) from error
    return _Row(video_id, path, fields.get("split") or "test", window, fields.get("category") or None)


def _seconds(fields: Mapping[str, str], column: str) -> float | None:
    text = fields.get(column)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise DatasetError(f"{column!r} must be a number of seconds, got {text!r:.100}") from error
    if not math.isfinite(value):
        raise DatasetError(f"{column!r} must be a number of seconds, got {text!r:.100}")
    return value
