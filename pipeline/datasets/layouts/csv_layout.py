"""The layout `csv`: a table with a header, one row a caption, separated by commas, semicolons or tabs.

    video_id,path,caption,split
    -x_1_5,clips/-x_1_5.mp4,a cat plays,test

One of `video_id` and `path` may be left out: a path is then found by the id, anywhere below the folder of the videos,
and an id is the path without its ending. A path is relative to the file, or absolute (see `VideoPaths`). `caption` may
be left out or blank: the video then has none. So may `split` (`test`), `category`, `start_seconds` and `end_seconds`,
which mean the same as in `jsonl`. Other columns are ignored, and reported. The rows of a video need not be adjacent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.datasets.reading.csv_files import read_table
from pipeline.datasets.reading.files import find_videos, require_file, without_ending
from pipeline.datasets.reading.json_files import errors_at
from pipeline.datasets.reading.manifest import CAPTIONS, PATH, VIDEO_ID, ManifestKeys, UnknownKeys, VideoPaths
from pipeline.datasets.records import Dataset, DatasetError, VideoRecord, relative_path
from pipeline.video.options import Window

MAX_CSV_BYTES = 2**33
"""Some fifty million captions."""


CAPTION = "caption"
"""Its column: a row has one caption."""


@dataclass(frozen=True, slots=True)
class _Row:
    """What all rows of a video must agree on."""

    video_id: str | None
    place: str | None
    """The absolute path."""
    split: str
    window: Window
    category: str | None

    def __str__(self) -> str:
        times = (self.window.start_seconds, self.window.end_seconds)
        return f"path {self.place!r}, split {self.split!r}, seconds {times}, category {self.category!r}"


@dataclass(frozen=True, slots=True)
class _VideoRows:
    """A video, the line of its first row, and its captions so far."""

    row: _Row
    number: int
    captions: list[str] = field(default_factory=list)


def read_csv(
    source: Path,
    videos: Path | None = None,
    *,
    id_key: str = VIDEO_ID,
    path_key: str = PATH,
    caption_key: str | None = None,
) -> Dataset:
    """Read a `.csv` or `.tsv` file, gzipped or not: the videos in the order in which they first come.

    Args:
        source: The file.
        videos: The folder that paths are relative to, and that none may leave; by default the folder of `source`.
        id_key: The column of ids.
        path_key: The column of paths.
        caption_key: The column of captions; by default `caption`.

    Raises:
        DatasetError: names the line that is not a row of the table, lacks a value, or contradicts an earlier line
            about the same video.
    """
    require_file(source)
    keys, paths = ManifestKeys(id_key, path_key, caption_key or CAPTION), VideoPaths(source, videos)
    unknown = UnknownKeys(keys)
    gathered: dict[str, _VideoRows] = {}
    for number, fields in read_table(source, MAX_CSV_BYTES):
        with errors_at(f"{source}:{number}"):
            if not gathered:  # all rows have the same columns
                _check_columns(fields, keys, caption_key)
                unknown.see(1, fields)
            row = _row(fields, keys, paths)
            name = row.video_id or str(row.place)
            video = gathered.setdefault(name, _VideoRows(row, number))
            if row != video.row:
                raise DatasetError(f"video {name!r} differs from line {video.number}: {row} and {video.row}")
        if caption := fields.get(keys.captions):
            video.captions.append(caption)
    if not gathered:
        raise DatasetError(f"{source} contains no row; write one caption a line, below a line that names the columns")
    root = paths.root()
    without_path = {name: name for name, video in gathered.items() if video.row.place is None}
    found = find_videos(root, without_path) if without_path else {}
    records = tuple(_record(source, video, root, found) for video in gathered.values())
    name = Path(source.name.removesuffix(".gz")).stem
    return Dataset(name, root, records, likely_mistakes=unknown.sentences())


def _check_columns(fields: Mapping[str, str], keys: ManifestKeys, caption_key: str | None) -> None:
    if keys.video_id not in fields and keys.path not in fields:
        raise DatasetError(keys.missing(fields, VIDEO_ID, PATH))
    if caption_key is not None and caption_key not in fields:
        raise DatasetError(keys.missing(fields, CAPTIONS))


def _record(source: Path, video: _VideoRows, root: Path, found: Mapping[str, str]) -> VideoRecord:
    row = video.row
    with errors_at(f"{source}:{video.number}"):
        if row.place is not None:
            path = relative_path(row.place, root)
        else:
            path = found.get(str(row.video_id), f"{row.video_id}.mp4")
        video_id = without_ending(path) if row.video_id is None else row.video_id
        return VideoRecord(video_id, path, row.split, tuple(video.captions), row.window, row.category)


def _row(fields: Mapping[str, str], keys: ManifestKeys, paths: VideoPaths) -> _Row:
    place = paths.place(fields[keys.path]) if keys.path in fields else None
    start, end = _seconds(fields, "start_seconds"), _seconds(fields, "end_seconds")
    try:
        window = Window(start or 0.0, end)
    except ValueError as error:
        raise DatasetError(str(error)) from error
    video_id = fields.get(keys.video_id)
    if video_id == "":
        raise DatasetError(f"the column {keys.video_id!r} is blank")
    return _Row(video_id, place, fields.get("split") or "test", window, fields.get("category") or None)


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
