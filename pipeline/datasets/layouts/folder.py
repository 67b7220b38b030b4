"""The layout `folder`: videos in a folder or below it, and beside each `<stem>.txt` with one caption a line.

A video's id is its path without the ending (`street/cat.mp4` is `street/cat`). Its split is the first folder of that
path if this is `train`, `val` or `test`, and `test` otherwise. A video without a `<stem>.txt` has no caption.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipeline.datasets.reading.files import files_below, first_few, is_video, read_lines, without_ending
from pipeline.datasets.reading.json_files import errors_at
from pipeline.datasets.records import Dataset, DatasetError, VideoRecord, VideoRecords

SPLIT_FOLDERS = ("train", "val", "test")
TEXT = ".txt"
"""The ending of a file of captions."""


def read_folder(source: Path, videos: Path | None = None) -> Dataset:
    """Read a folder of videos and caption files, in the order of their paths.

    Args:
        source: The folder of the caption files.
        videos: The folder of the videos, laid out alike; by default `source`.

    Raises:
        DatasetError: if there is no video, two videos have one stem, or a caption file is not UTF-8.
    """
    root = (source if videos is None else videos).absolute()
    files = files_below(source)
    path_of = _videos_by_id(root, files if videos is None else files_below(root))
    described = {without_ending(path): None for path in files if path.endswith(TEXT)}
    stray = [f"{stem}{TEXT}" for stem in described if stem not in path_of]
    records = VideoRecords(
        _record(video_id, path, source / f"{video_id}{TEXT}" if video_id in described else None)
        for video_id, path in path_of.items()
    )
    # Only if no video has a caption: beside captions a table may be anything.
    tables = [] if any(record.captions for record in records) else [path for path in files if _may_be_manifest(path)]
    mistakes = (*_without_video(stray, root), *_not_read(tables, source))
    return Dataset(source.absolute().name, root, records, likely_mistakes=mistakes)


def captions_in(path: Path) -> tuple[str, ...]:
    """The captions of a text file, one a line."""
    return tuple(caption for _, caption in read_lines(path))


def _without_video(stray: list[str], root: Path) -> tuple[str, ...]:
    """What to tell of text files without a video: a README, or all that a downloader left of a video."""
    if not stray:
        return ()
    files, have, are = (".txt file", "has", "is") if len(stray) == 1 else (".txt files", "have", "are")
    return (f"{len(stray)} {files} {have} no video in {root}, and {are} ignored: {first_few(stray)}",)


def _may_be_manifest(path: str) -> bool:
    return "/" not in path and path.lower().removesuffix(".gz").endswith((".jsonl", ".csv", ".tsv"))


def _not_read(tables: list[str], source: Path) -> tuple[str, ...]:
    """What to tell of files that probably have the captions of videos that have none here."""
    if not tables:
        return ()
    return (f"no video has a <stem>.txt, and {first_few(tables)} is not read: to read it, give {source / tables[0]}",)


def _videos_by_id(root: Path, files: Iterable[str]) -> dict[str, str]:
    path_of: dict[str, str] = {}
    for path in filter(is_video, files):
        other = path_of.setdefault(without_ending(path), path)
        if other != path:
            raise DatasetError(f"{root}: {other!r} and {path!r} have one stem, so one id; rename one of them")
    if not path_of:
        raise DatasetError(
            f"{root} contains no video; looked below it for the usual endings (.mp4, .avi, .webm, ...). --videos names "
            "another folder"
        )
    return path_of


def _record(video_id: str, path: str, caption_file: Path | None) -> VideoRecord:
    top = path.split("/")[0]
    split = top if "/" in path and top in SPLIT_FOLDERS else "test"
    captions = () if caption_file is None else captions_in(caption_file)
    with errors_at(str(caption_file or path)):
        return VideoRecord(video_id, path, split, captions)
