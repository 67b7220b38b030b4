"""What every reader returns: videos with their files, splits and captions."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from operator import eq
from pathlib import Path
from typing import Any, overload

from pipeline.datasets.packed import Packed, repeated
from pipeline.errors import PipelineError
from pipeline.video.options import WHOLE_VIDEO, Window
from store.names import check_name

_UNSEEN = frozenset(("Cc", "Cf", "Zs", "Zl", "Zp"))
"""Categories of Unicode: control, format (zero-width blanks, marks of direction, soft hyphens), blanks."""
_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u2800\u3164\uffa0") | frozenset(
    map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))
)
"""Of other categories: fillers, the empty Braille pattern, joiners and variation selectors."""


class DatasetError(PipelineError, ValueError):
    """A data set cannot be read. The message names the file, and the line if there is one."""


class CaptionUnit(StrEnum):
    """What one caption of a data set is."""

    SENTENCE = "sentence"
    """One of the texts that describe a video, each of which is a query."""
    PARAGRAPH = "paragraph"
    """All captions of a video, as one text."""


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One video of a data set."""

    video_id: str
    """Not empty, one line."""
    path: str
    """Relative to the root of the data set, as `relative_path` makes it. The file need not exist."""
    split: str
    captions: tuple[str, ...]
    """None of them blank. A clip needs none: they may come later."""
    window: Window = WHOLE_VIDEO
    """The part of the file that is the clip."""
    category: str | None = None
    """The kind of video, if the data set gives it: not empty, one line."""

    def __post_init__(self) -> None:
        for name, text in (("video_id", self.video_id), ("path", self.path), ("split", self.split)):
            _check_one_line(name, text)
        if self.category is not None:
            _check_one_line("category", self.category)
        try:
            check_name("split", self.split)
        except ValueError as error:
            raise DatasetError(str(error)) from error
        # Whatever the root is: only a plain path stays as it is relative to `/`.
        if relative_path(self.path, Path("/")) != self.path:
            raise DatasetError(f"path must be relative and plain, got {self.path!r}; see relative_path")
        for number, caption in enumerate(self.captions, start=1):
            if "\0" in caption:
                raise DatasetError(f"caption {number} of video {self.video_id!r} has a NUL in it: {caption!r:.100}")
            if is_blank(caption):
                raise DatasetError(f"caption {number} of video {self.video_id!r} is blank: {caption!r}")
            _check_encodable(f"caption {number} of video {self.video_id!r}", caption)


class VideoRecords(Sequence[VideoRecord]):
    """Videos of a data set, in little memory: each is unpacked when it is asked for."""

    def __init__(self, records: Iterable[VideoRecord]) -> None:
        self.split_sizes: Counter[str] = Counter()
        """Split -> its videos, in the order in which the splits first appear."""
        self._rows = Packed(map(self._counted, records))

    def _counted(self, record: VideoRecord) -> tuple[object, ...]:
        self.split_sizes[record.split] += 1
        return _row_of(record)

    def ids(self) -> Iterator[str]:
        """The ids alone, in half of the time."""
        return (row[0] for row in self._rows)

    def of_split(self, split: str) -> Iterator[VideoRecord]:
        """Those of one split."""
        return (_record_of(row) for row in self._rows if row[2] == split)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[VideoRecord]:
        return map(_record_of, self._rows)

    @overload
    def __getitem__(self, index: int) -> VideoRecord: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[VideoRecord]: ...

    def __getitem__(self, index: int | slice) -> VideoRecord | Sequence[VideoRecord]:
        if isinstance(index, int):
            return _record_of(self._rows[index])
        # A slice of a range is a range: start, stop and step without negative places.
        wanted = range(len(self))[index]
        if wanted.step < 0:
            return tuple(self)[index]
        return tuple(islice(self, wanted.start, wanted.stop, wanted.step))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]  # it compares with lists, too

    def __repr__(self) -> str:
        return repr(tuple(self))


def _row_of(record: VideoRecord) -> tuple[object, ...]:
    """Its fields in order, without a class of this package."""
    window = None if record.window == WHOLE_VIDEO else (record.window.start_seconds, record.window.end_seconds)
    return record.video_id, record.path, record.split, record.captions, window, record.category


def _record_of(row: tuple[Any, ...]) -> VideoRecord:
    """The inverse of `_row_of`. The fields were checked when the record was first made."""
    video_id, path, split, captions, window, category = row
    # Without `__post_init__`, whose checks take most of the time, and past the setter that frozen classes refuse.
    record, assign = object.__new__(VideoRecord), object.__setattr__
    assign(record, "video_id", video_id)
    assign(record, "path", path)
    assign(record, "split", split)
    assign(record, "captions", captions)
    assign(record, "window", WHOLE_VIDEO if window is None else Window(*window))
    assign(record, "category", category)
    return record


@dataclass(frozen=True, slots=True)
class Dataset:
    """Videos and their captions, in the order of their source."""

    name: str
    root: Path
    """The folder that the paths of the videos are relative to."""
    videos: Sequence[VideoRecord]
    """At least one; no two with one id. Whatever is given becomes `VideoRecords`."""
    protocol_split: str | None = None
    """Which of the published splits of the data set these are, if there are several."""
    caption_unit: CaptionUnit = CaptionUnit.SENTENCE
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Split -> listed ids that are not among `videos`: their tar has no video of them."""
    missing_files: tuple[str, ...] = ()
    """Missing files of the data set, without which it is incomplete."""
    likely_mistakes: tuple[str, ...] = ()
    """What was ignored and may have been meant: keys that are not known, captions without a video. Each a sentence."""

    def __post_init__(self) -> None:
        _check_one_line("name", self.name)
        if not self.videos:
            raise DatasetError(f"data set {self.name!r} contains no video")
        if not isinstance(self.videos, VideoRecords):
            object.__setattr__(self, "videos", VideoRecords(self.videos))
        twice = repeated(self.records.ids)
        if twice is not None:
            raise DatasetError(f"data set {self.name!r} contains video {twice!r} twice; ids must be unique")

    @property
    def records(self) -> VideoRecords:
        """`videos`, with what is faster of them than to go through all."""
        assert isinstance(self.videos, VideoRecords)
        return self.videos

    def digest(self) -> str:
        """The sha256, in hexadecimal, of all records in order. The place of the videos' folder does not count."""
        content = hashlib.sha256()
        for video in self.videos:
            # A list and a dict among texts: neither can be taken for a caption. What is not given adds nothing.
            span = [] if video.window == WHOLE_VIDEO else [[video.window.start_seconds, video.window.end_seconds]]
            kind = [] if video.category is None else [{"category": video.category}]
            # ASCII and no blanks, so that the bytes do not depend on the version of `json`.
            row = [video.video_id, video.path, video.split, *span, *kind, *video.captions]
            content.update(json.dumps(row, ensure_ascii=True, separators=(",", ":")).encode() + b"\n")
        return content.hexdigest()


def as_paragraphs(dataset: Dataset) -> Dataset:
    """The data set with one text a video: its captions in order, joined by spaces; none stay none."""
    videos = VideoRecords(
        replace(video, captions=(joined(video.captions),)) if video.captions else video for video in dataset.videos
    )
    return replace(dataset, videos=videos, caption_unit=CaptionUnit.PARAGRAPH)


def joined(sentences: Iterable[str]) -> str:
    """Sentences as one paragraph.

    >>> joined(["A man sings.", "  He bows. "])
    'A man sings. He bows.'
    """
    return " ".join(text for sentence in sentences if not is_blank(text := sentence.strip()))


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: it has only blanks, control and format characters, and letters that are blank.

    >>> is_blank("\u200b \ufeff\u00ad\u3164"), is_blank("\u200ba"), is_blank("")
    (True, False, True)
    """
    return all(unicodedata.category(letter) in _UNSEEN or letter in _BLANK_LETTERS for letter in text)


def relative_path(path: str, root: Path) -> str:
    """`path`, relative to `root` or absolute, as a path relative to `root`. Links are not resolved.

    Raises:
        DatasetError: if `path` is empty, leaves `root`, is `root` itself, or cannot be a file name.

    >>> relative_path("a/./b/../clip 1.mp4", Path("/videos")), relative_path("/videos/a.mp4", Path("/videos"))
    ('a/clip 1.mp4', 'a.mp4')
    """
    _check_one_line("path", path)
    plain = os.path.normpath(path)
    if plain == path and not path.startswith(os.sep) and path.split(os.sep, 1)[0] not in (os.curdir, os.pardir):
        return path  # as almost all are, and the rest of this takes ten times as long
    here = os.path.normpath(root.absolute())
    if plain == path and path.startswith(here + os.sep):
        return path[len(here) + 1 :]
    # By letters: `..` after a link to a folder leads elsewhere on disk, and nothing is looked up here.
    inside = os.path.relpath(os.path.normpath(root.absolute() / path), here)
    if inside == os.curdir or inside == os.pardir or inside.startswith(os.pardir + os.sep):
        raise DatasetError(
            f"path {path!r} leaves {here}: every path must lie below the folder of the videos, written as seen from "
            "there, or absolute. --videos names that folder"
        )
    return Path(inside).as_posix()


def _check_one_line(name: str, text: str) -> None:
    if not text or "\0" in text or "\n" in text or "\r" in text:
        raise DatasetError(f"{name} must be one line of text, not empty and without NUL, got {text!r}")
    _check_encodable(name, text)


def _check_encodable(name: str, text: str) -> None:
    """Refuse lone surrogates: from `"\\ud800"` in JSON, or a file name that is not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DatasetError(f"{name} cannot be written as UTF-8: {text!r} ({error.reason})") from error
