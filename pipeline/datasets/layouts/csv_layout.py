"""The layout `csv`: a table with a header, one row a caption, separated by commas, semicolons or tabs.

    video_id,path,caption,split
    -x_1_5,clips/-x_1_5.mp4,a cat plays,test

One of `video_id` and `path` may be left out: a path is then found by the id, anywhere below the folder of the videos,
and an id is the path without its ending. A path is relative to the file, or absolute (see `VideoPaths`). `caption` may
be left out or blank: the video then has none. So may `split` (`test`), `category`, `start_seconds` and `end_seconds`,
which mean the same as in `jsonl`. Other columns are ignored, and reported. The rows of a video need not be adjacent;
where they are, a large table takes less memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.datasets.packed import Packed, repeated
from pipeline.datasets.reading.csv_files import read_table
from pipeline.datasets.reading.files import find_videos, require_file, without_ending
from pipeline.datasets.reading.json_files import errors_at
from pipeline.datasets.reading.manifest import CAPTIONS, PATH, VIDEO_ID, ManifestKeys, UnknownKeys, VideoPaths
from pipeline.datasets.records import Dataset, DatasetError, VideoRecord, VideoRecords, relative_path
from pipeline.video.options import WHOLE_VIDEO, Window

MAX_CSV_BYTES = 2**33
"""Some fifty million captions."""


CAPTION = "caption"
"""Its column: a row has one caption."""


class _Row(NamedTuple):
    """What all rows of a video must agree on."""

    video_id: str | None
    place: str | None
    """The absolute path."""
    split: str
    window: Window
    category: str | None

    @property
    def name(self) -> str:
        """What a video is known by."""
        return self.video_id or str(self.place)

    def check(self, number: int, earlier: _Row) -> None:
        """Refuse it if it says something else of its video than line `number`."""
        if self != earlier:
            there = earlier._said()
            differing = [
                f"{what} {said}, there {there[what]}" for what, said in self._said().items() if said != there[what]
            ]
            raise DatasetError(
                f"video {self.name!r} differs from line {number}: {'; '.join(differing)}: rows of one video differ in "
                "their captions only; give another video or window another video_id"
            )

    def _said(self) -> dict[str, str]:
        """What it says, in words."""
        start, end = self.window.start_seconds, self.window.end_seconds
        return {
            "path": repr(self.place),
            "split": repr(self.split),
            "window": f"from {start:g} s" + ("" if end is None else f" to {end:g} s"),
            "category": "none" if self.category is None else repr(self.category),
        }


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
    table = read_table(source, MAX_CSV_BYTES)
    # The header is checked by the first row, before millions of others are read.
    first = next(table, None)
    if first is None:
        raise DatasetError(f"{source} contains no row; write one caption a line, below a line that names the columns")
    number, fields = first  # all rows have the same columns
    with errors_at(f"{source}:{number}"):
        _check_columns(fields, keys, caption_key)
    unknown.see(1, fields)
    rows = Packed(_adjacent(source, chain([first], table), keys, paths))
    # Only where rows of a video are apart are all of them held in a dict.
    if repeated(lambda: (_Row(*row).name for _, _, *row in rows)) is not None:
        rows = Packed(_gathered(source, rows))
    root = paths.root()
    found = {} if keys.path in fields else find_videos(root, {video_id: video_id for _, _, video_id, *_ in rows})
    records = VideoRecords(
        _record(f"{source}:{number}", _Row(*row), captions, root, found) for number, captions, *row in rows
    )
    name = Path(source.name.removesuffix(".gz")).stem
    return Dataset(name, root, records, likely_mistakes=unknown.sentences())


def _adjacent(
    source: Path, table: Iterable[tuple[int, Mapping[str, str]]], keys: ManifestKeys, paths: VideoPaths
) -> Iterator[tuple[Any, ...]]:
    """Rows of one video that follow each other, as one: number of the first, captions, and fields of its `_Row`."""
    first, first_number, captions = None, 0, list[str]()
    for number, fields in table:
        with errors_at(f"{source}:{number}"):
            row = _row(fields, keys, paths)
            if first is not None and row.name == first.name:
                row.check(first_number, first)
            else:
                if first is not None:
                    yield first_number, tuple(captions), *first
                first, first_number, captions = row, number, []
        if caption := fields.get(keys.captions):
            captions.append(caption)
    if first is not None:
        yield first_number, tuple(captions), *first


def _gathered(source: Path, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """All rows of a video as one, in the order in which the videos first come."""
    first_of: dict[str, tuple[int, list[str], _Row]] = {}
    for number, captions, *fields in rows:
        row = _Row(*fields)
        first_number, gathered, first = first_of.setdefault(row.name, (number, [], row))
        with errors_at(f"{source}:{number}"):
            row.check(first_number, first)
        gathered.extend(captions)
    for number, gathered, row in first_of.values():
        yield number, tuple(gathered), *row


def _check_columns(fields: Mapping[str, str], keys: ManifestKeys, caption_key: str | None) -> None:
    if keys.video_id not in fields and keys.path not in fields:
        raise DatasetError(keys.missing(fields, VIDEO_ID, PATH))
    if caption_key is not None and caption_key not in fields:
        raise DatasetError(keys.missing(fields, CAPTIONS))


def _record(place: str, row: _Row, captions: tuple[str, ...], root: Path, found: Mapping[str, str]) -> VideoRecord:
    with errors_at(place):
        if row.place is not None:
            path = relative_path(row.place, root)
        else:
            path = found.get(str(row.video_id), f"{row.video_id}.mp4")
        # By the path relative to the root, which is known only after all rows were read.
        video_id = without_ending(path) if row.video_id is None else row.video_id
        return VideoRecord(video_id, path, row.split, captions, row.window, row.category)


def _row(fields: Mapping[str, str], keys: ManifestKeys, paths: VideoPaths) -> _Row:
    place = paths.place(fields[keys.path]) if keys.path in fields else None
    start, end = _seconds(fields, "start_seconds"), _seconds(fields, "end_seconds")
    try:
        window = WHOLE_VIDEO if not start and end is None else Window(start or 0.0, end)
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
