"""The layout `jsonl`: one JSON object a line, one line a video.

    {"video_id": "-x_1_5", "path": "clips/-x_1_5.mp4", "captions": ["a cat plays"], "split": "test"}

`path` is relative to the file, or absolute (see `VideoPaths`), and `split` may be left out (`test`). `captions` is a
list of texts, or one text; a video may have none. A clip inside a longer video has `start_seconds`, `end_seconds`, or
both, counted from the first frame; `category` is the kind of video. Other keys are ignored, and reported; blank lines
are ignored. A gzipped file (`.jsonl.gz`) is read directly.
"""

from __future__ import annotations

import reprlib
import sys
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pipeline.datasets.packed import Packed, repeated
from pipeline.datasets.reading.files import read_lines, require_file
from pipeline.datasets.reading.json_files import as_object, as_texts, errors_at, parse_json, text_of
from pipeline.datasets.reading.manifest import CAPTIONS, PATH, VIDEO_ID, ManifestKeys, UnknownKeys, VideoPaths
from pipeline.datasets.records import Dataset, DatasetError, VideoRecord, VideoRecords, relative_path
from pipeline.video.options import WHOLE_VIDEO, Window

MAX_JSONL_BYTES = 2**36
"""Some hundred million videos."""


class _Row(NamedTuple):
    """What one line says of a video."""

    video_id: str
    place: str
    """The absolute path."""
    split: str
    captions: tuple[str, ...]
    window: Window
    category: str | None


def read_jsonl(
    source: Path,
    videos: Path | None = None,
    *,
    id_key: str = VIDEO_ID,
    path_key: str = PATH,
    caption_key: str | None = None,
) -> Dataset:
    """Read a `.jsonl` file, gzipped or not.

    Args:
        source: The file.
        videos: The folder that paths are relative to, and that none may leave; by default the folder of `source`.
        id_key: The key that contains the id of a video.
        path_key: The key that contains its path.
        caption_key: The key that contains its captions; by default `captions`.

    Raises:
        DatasetError: names the line that is not valid UTF-8 or JSON, is longer than 1 MiB, lacks a key, has a value of
            the wrong type, or repeats an id (both lines).
    """
    require_file(source)
    keys, paths = ManifestKeys(id_key, path_key, caption_key or CAPTIONS), VideoPaths(source, videos)
    unknown, rows = UnknownKeys(keys), Packed()
    has_captions = False
    for number, line in read_lines(source, MAX_JSONL_BYTES):
        with errors_at(f"{source}:{number}"):
            fields = as_object(parse_json(line), "the line")
            unknown.see(number, fields)
            has_captions = has_captions or keys.captions in fields
            rows.append((number, *_row(fields, keys, paths)))
    if not rows:
        raise DatasetError(f"{source} contains no record; write one JSON object a line")
    if caption_key is not None and not has_captions:
        raise DatasetError(f"{source} has no key {caption_key!r} on any line; give with --caption-key one that it has")
    # A function, as the rows are read twice: a set of the ids of a hundred million videos would not fit.
    twice = repeated(lambda: (video_id for _, video_id, *_ in rows))
    if twice is not None:
        first, second = islice((number for number, video_id, *_ in rows if video_id == twice), 2)
        raise DatasetError(
            f"{source}:{second}: video_id {twice!r} is already on line {first}: write all captions of a video as the "
            f"list {keys.captions!r} of one line, and give another video another id"
        )
    root = paths.root()
    records = VideoRecords(_record(source, number, _Row(*row), root) for number, *row in rows)
    name = Path(source.name.removesuffix(".gz")).stem
    return Dataset(name, root, records, likely_mistakes=unknown.sentences())


def _record(source: Path, number: int, row: _Row, root: Path) -> VideoRecord:
    with errors_at(f"{source}:{number}"):
        path = relative_path(row.place, root)
        return VideoRecord(row.video_id, path, row.split, row.captions, row.window, row.category)


def _row(fields: dict[str, object], keys: ManifestKeys, paths: VideoPaths) -> _Row:
    lacking = [field for field, key in ((VIDEO_ID, keys.video_id), (PATH, keys.path)) if key not in fields]
    if lacking:
        raise DatasetError(keys.missing(fields, *lacking))
    video_id, place = text_of(fields, keys.video_id), paths.place(text_of(fields, keys.path))
    split = text_of(fields, "split") if "split" in fields else "test"
    category = text_of(fields, "category") if fields.get("category") is not None else None
    return _Row(video_id, place, split, _captions(fields.get(keys.captions), keys.captions), _window(fields), category)


def _captions(value: object, key: str) -> tuple[str, ...]:
    """One text, a list of texts, or nothing."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,) if value.strip() else ()
    return as_texts(value, repr(key))


def _window(fields: dict[str, object]) -> Window:
    start, end = _seconds(fields, "start_seconds"), _seconds(fields, "end_seconds")
    try:
        # Written out or left out, a whole video has the same window, which `packed` leaves out.
        return WHOLE_VIDEO if not start and end is None else Window(start or 0.0, end)
    except ValueError as error:
        raise DatasetError(str(error)) from error


def _seconds(fields: dict[str, object], key: str) -> float | None:
    value = fields.get(key)
    if value is None:
        return None
    # bool is an int to Python, and `true` is no number of seconds.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DatasetError(f"{key!r} must be a number of seconds, got {type(value).__name__} {reprlib.repr(value)}")
    if not abs(value) <= sys.float_info.max:  # NaN too: it is not JSON, but Python reads it
        raise DatasetError(f"{key!r} must be a number of seconds, got {reprlib.repr(value)}")
    return float(value)
