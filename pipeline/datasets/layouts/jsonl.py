"""The layout `jsonl`: one JSON object a line, one line a video.

    {"video_id": "-x_1_5", "path": "clips/-x_1_5.mp4", "captions": ["a cat plays"], "split": "test"}

`path` is relative to the file and `split` may be left out (`test`). A clip inside a longer video has `start_seconds`,
`end_seconds`, or both, counted from the first frame; `category` is the kind of video. Other keys are ignored,
and so are blank lines. A gzipped file (`.jsonl.gz`) is read directly.
"""

from __future__ import annotations

import reprlib
import sys
from pathlib import Path

from pipeline.datasets.reading.files import is_video, read_lines, require_file, require_folder
from pipeline.datasets.reading.json_files import as_object, as_texts, field_of, parse_json, text_of
from pipeline.datasets.records import Dataset, DatasetError, VideoRecord, relative_path
from pipeline.video.options import Window

MAX_JSONL_BYTES = 2**36
"""Some hundred million videos."""


def read_jsonl(source: Path, videos: Path | None = None, *, path_key: str = "path") -> Dataset:
    """Read a `.jsonl` file, gzipped or not.

    Args:
        source: The file.
        videos: The folder that paths are relative to; by default the folder of `source`.
        path_key: The key that contains the path of a video.

    Raises:
        DatasetError: names the line that is not valid UTF-8 or JSON, is longer than 1 MiB, lacks a key, has a value of
            the wrong type, or repeats an id (both lines).
    """
    require_file(source)
    root = (source.parent if videos is None else videos).absolute()
    require_folder(root)
    records: list[VideoRecord] = []
    line_of: dict[str, int] = {}
    for number, line in read_lines(source, MAX_JSONL_BYTES):
        try:
            record = _record(as_object(parse_json(line), "the line"), root, path_key)
        except DatasetError as error:
            raise DatasetError(f"{source}:{number}: {error}") from error
        if record.video_id in line_of:
            earlier = line_of[record.video_id]
            raise DatasetError(f"{source}:{number}: video_id {record.video_id!r} is already on line {earlier}")
        line_of[record.video_id] = number
        records.append(record)
    if not records:
        raise DatasetError(f"{source} contains no record; write one JSON object a line")
    return Dataset(Path(source.name.removesuffix(".gz")).stem, root, tuple(records))


def _record(fields: dict[str, object], root: Path, path_key: str) -> VideoRecord:
    video_id = text_of(fields, "video_id")
    if path_key not in fields:
        raise DatasetError(_missing_path(fields, path_key))
    path = relative_path(text_of(fields, path_key), root)
    split = text_of(fields, "split") if "split" in fields else "test"
    captions = as_texts(field_of(fields, "captions"), "'captions'")
    category = text_of(fields, "category") if fields.get("category") is not None else None
    return VideoRecord(video_id, path, split, captions, _window(fields), category)


def _window(fields: dict[str, object]) -> Window:
    start, end = _seconds(fields, "start_seconds"), _seconds(fields, "end_seconds")
    try:
        return Window(start or 0.0, end)
    except ValueError as error:
        raise DatasetError(str(error)) from error


def _seconds(fields: dict[str, object], key: str) -> float | None:
    value = fields.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DatasetError(f"{key!r} must be a number of seconds, got {type(value).__name__} {reprlib.repr(value)}")
    if not abs(value) <= sys.float_info.max:  # NaN too: it is not JSON, but Python reads it
        raise DatasetError(f"{key!r} must be a number of seconds, got {reprlib.repr(value)}")
    return float(value)


def _missing_path(fields: dict[str, object], path_key: str) -> str:
    """The message for a missing path, with the key that seems to contain it."""
    alike = [key for key, value in fields.items() if isinstance(value, str) and is_video(value)]
    if alike:
        return f"no {path_key!r}, but {alike[0]!r} names a video file; pass --path-key {alike[0]}"
    return f"no {path_key!r}; the keys are {', '.join(map(repr, fields)) or 'none'}"
