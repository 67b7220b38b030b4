"""The layout `didemo`: DiDeMo, one paragraph a video.

    {train,val,test}_data.json     list of {video, description, times}
    {train,val,test}_list.txt      ids, one a line, with the ending of the file; optional: the members of the split
    {train,val,test}.jsonl         {clip_id, text} a line; read if the two above are missing
    <id>.mp4                       anywhere below, with any ending

Any of them may be gzipped (`.gz`). The id of a video is its name without the ending, and its clip the first 30 seconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.datasets.reading.files import find_videos, is_video, read_lines, require_folder, text_file, without_ending
from pipeline.datasets.reading.json_files import (
    as_list,
    as_object,
    as_texts,
    errors_at,
    field_of,
    parse_json,
    read_json,
    text_of,
)
from pipeline.datasets.records import CaptionUnit, Dataset, DatasetError, VideoRecord, VideoRecords, joined
from pipeline.video.options import Window

SPLITS = ("train", "val", "test")
WINDOW = Window(0.0, 30.0)
"""What the annotators saw: six spans of five seconds."""


def read_didemo(source: Path, videos: Path | None = None) -> Dataset:
    """Read DiDeMo: the train, then the val, then the test set, as far as their files exist.

    A video without a file stays in the data set, as `<id>.mp4`, so that it is counted as missing. A video that is
    listed and not described stays, without a caption.

    Args:
        source: The folder of the annotations.
        videos: A folder above the videos; by default `source`.

    Raises:
        DatasetError: if the test set is missing, a file is malformed, a video is in two splits, or two files
            could be the video of one id.
    """
    require_folder(source)
    paragraphs: dict[str, Mapping[str, str]] = {}
    missing = []
    for split in SPLITS:
        path = text_file(source, f"{split}_data.json", f"{split}.jsonl")
        if path is None:
            missing.append(f"{split}_data.json")
            continue
        paragraphs[split] = _paragraphs(path)
        listed = text_file(source, f"{split}_list.txt")
        if listed is not None:
            # Without repeats, in the order of the list.
            ids = dict.fromkeys(_id_of(name) for _, name in read_lines(listed))
            paragraphs[split] = {video_id: paragraphs[split].get(video_id, "") for video_id in ids}
    if "test" not in paragraphs:
        raise DatasetError(f"{source} contains neither test_data.json nor test.jsonl; DiDeMo's captions are in these")
    root = (source if videos is None else videos).absolute()
    path_of = find_videos(root, {video_id: video_id for texts in paragraphs.values() for video_id in texts})
    with errors_at(str(source)):
        records = VideoRecords(
            VideoRecord(video_id, path_of.get(video_id, f"{video_id}.mp4"), split, (text,) if text else (), WINDOW)
            for split, texts in paragraphs.items()
            for video_id, text in texts.items()
        )
        return Dataset("didemo", root, records, caption_unit=CaptionUnit.PARAGRAPH, missing_files=tuple(missing))


def _id_of(name: str) -> str:
    """The id of a video that may be given as the name of its file.

    >>> _id_of("12@N00_4_5.mov"), _id_of("12@N00_4_5")
    ('12@N00_4_5', '12@N00_4_5')
    """
    # A dot may belong to the id: only endings of videos are cut.
    return without_ending(name) if is_video(name) else name


def _paragraphs(path: Path) -> dict[str, str]:
    """The sentences of each video, as one text."""
    sentences: defaultdict[str, list[str]] = defaultdict(list)
    for video_id, texts in _read_jsonl(path) if ".jsonl" in path.suffixes else _read_json(path):
        # One entry a moment: those of one video are spread over the file.
        sentences[_id_of(video_id)] += texts
    return {video_id: joined(texts) for video_id, texts in sentences.items()}


def _read_jsonl(path: Path) -> Iterable[tuple[str, Iterable[str]]]:
    for number, line in read_lines(path):
        with errors_at(f"{path}:{number}"):
            fields = as_object(parse_json(line), "the line")
            yield text_of(fields, "clip_id"), as_texts(field_of(fields, "text"), "'text'")


def _read_json(path: Path) -> Iterable[tuple[str, Iterable[str]]]:
    with errors_at(str(path)):
        entries = as_list(read_json(path), "the file")
    for number, entry in enumerate(entries):
        with errors_at(f"{path}: [{number}]"):
            fields = as_object(entry)
            yield text_of(fields, "video"), (text_of(fields, "description"),)
