"""The layout `activitynet`: ActivityNet Captions, one paragraph a video.

    train.json, val_1.json     object: v_<id> -> {duration, timestamps, sentences}; may be gzipped (`.gz`)
    v_<id>.mp4 or <id>.mp4     anywhere below, with any ending

`val_1` is the split `test`, as in all published results. `val_2` describes the same videos again and is not read.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.datasets.reading.files import find_videos, require_text_file, text_file
from pipeline.datasets.reading.json_files import as_object, as_texts, errors_at, field_of, read_json
from pipeline.datasets.records import CaptionUnit, Dataset, VideoRecord, VideoRecords, joined

SPLIT_FILES = {"train": "train.json", "test": "val_1.json"}
PREFIX = "v_"
"""Of ids; the names of files may lack it."""


def read_activitynet(source: Path, videos: Path | None = None) -> Dataset:
    """Read ActivityNet Captions in the order of its files; without `train.json`, the test set alone.

    A video without a file stays in the data set, as `<id>.mp4`, so that it is counted as missing.

    Args:
        source: The folder of the annotations.
        videos: A folder above the videos; by default `source`.

    Raises:
        DatasetError: if `val_1.json` is missing, a file is malformed, a video is in both, or two files could
            be the video of one id.
    """
    paths = {"train": text_file(source, SPLIT_FILES["train"]), "test": require_text_file(source, SPLIT_FILES["test"])}
    paragraphs: list[tuple[str, str, str]] = []
    for split, path in paths.items():
        if path is not None:
            with errors_at(str(path)):
                for video_id, fields in as_object(read_json(path), "the file").items():
                    with errors_at(f"video {video_id!r}"):
                        sentences = as_texts(field_of(as_object(fields), "sentences"), "'sentences'")
                    paragraphs.append((video_id, split, joined(sentences)))
    root = (source if videos is None else videos).absolute()
    ids = [video_id for video_id, _, _ in paragraphs]
    # Two stems for each id: downloads are named with `v_` or by the bare YouTube id.
    path_of = find_videos(root, {stem: one for one in ids for stem in (one, one.removeprefix(PREFIX))})
    with errors_at(str(source)):
        records = VideoRecords(
            VideoRecord(video_id, path_of.get(video_id, f"{video_id}.mp4"), split, (text,) if text else ())
            for video_id, split, text in paragraphs
        )
        missing = tuple(name for split, name in SPLIT_FILES.items() if paths[split] is None)
        return Dataset("activitynet", root, records, caption_unit=CaptionUnit.PARAGRAPH, missing_files=missing)
