"""The layout `folder`: videos in a folder or below it, and beside each `<stem>.txt` with one caption a line.

A video's id is its path without the ending (`street/cat.mp4` is `street/cat`). Its split is the first folder of that
path if this is `train`, `val` or `test`, and `test` otherwise.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.datasets.reading.files import files_below, first_few, is_video, read_lines, without_ending
from pipeline.datasets.records import Dataset, DatasetError, VideoRecord

SPLIT_FOLDERS = ("train", "val", "test")


def read_folder(source: Path, videos: Path | None = None) -> Dataset:
    """Read a folder of videos and caption files, in the order of their paths.

    Args:
        source: The folder of the caption files.
        videos: The folder of the videos, laid out alike; by default `source`.

    Raises:
        DatasetError: if there is no video, a video without a caption file or the reverse, two videos of one stem, or a
            caption file that is blank or not UTF-8.
    """
    root = (source if videos is None else videos).absolute()
    path_of = _videos_by_id(root)
    caption_files = {without_ending(path): source / path for path in files_below(source) if path.endswith(".txt")}
    bare = [path for video_id, path in path_of.items() if video_id not in caption_files]
    if bare:
        raise DatasetError(f"{source}: {len(bare)} videos have no <stem>.txt with their captions: {first_few(bare)}")
    stray = [f"{stem}.txt" for stem in caption_files if stem not in path_of]
    if stray:
        raise DatasetError(f"{source}: {len(stray)} .txt files have no video in {root}: {first_few(stray)}")
    records = [_record(video_id, path, caption_files[video_id]) for video_id, path in path_of.items()]
    return Dataset(source.absolute().name, root, tuple(records))


def _videos_by_id(root: Path) -> dict[str, str]:
    path_of: dict[str, str] = {}
    for path in filter(is_video, files_below(root)):
        other = path_of.setdefault(without_ending(path), path)
        if other != path:
            raise DatasetError(f"{root}: {other!r} and {path!r} have one stem, so one id; rename one of them")
    if not path_of:
        raise DatasetError(f"{root} contains no video; looked below it for the usual endings (.mp4, .avi, .webm, ...)")
    return path_of


def _record(video_id: str, path: str, caption_file: Path) -> VideoRecord:
    captions = tuple(caption for _, caption in read_lines(caption_file))
    top = path.split("/")[0]
    try:
        return VideoRecord(video_id, path, top if "/" in path and top in SPLIT_FOLDERS else "test", captions)
    except DatasetError as error:
        raise DatasetError(f"{caption_file}: {error}") from error
