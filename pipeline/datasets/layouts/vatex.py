"""The layout `vatex`: VATEX, its English captions.

    vatex_training_v1.0.json, vatex_validation_v1.0.json, vatex_public_test_english_v1.1.json
                                      list of {videoID, enCap, chCap}
    {train,val,test}_list.txt         optional, one id a line: the members of the split, whichever file describes them
    <videoID>.mp4                     anywhere below, with any ending

Any of them may be gzipped (`.gz`). An id ends with `_start_end` and is used whole. Without the lists, each file is a
split; published retrieval results are by the lists, in which val and test are parts of the validation set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.datasets.reading.files import find_videos, read_lines, require_folder, text_file
from pipeline.datasets.reading.json_files import as_list, as_object, as_texts, errors_at, field_of, read_json, text_of
from pipeline.datasets.records import Dataset, DatasetError, VideoRecord, VideoRecords

SPLIT_FILES = {
    "train": "vatex_training_v1.0.json",
    "val": "vatex_validation_v1.0.json",
    "test": "vatex_public_test_english_v1.1.json",
}
LISTS = "lists"
"""The splits by `LIST_FILES`; those by the files themselves are `official`."""
LIST_FILES = {split: f"{split}_list.txt" for split in SPLIT_FILES}


def read_vatex(source: Path, videos: Path | None = None) -> Dataset:
    """Read VATEX: the train, then the val, then the test set.

    A video without a file stays in the data set, as `<videoID>.mp4`, so that it is counted as missing. A video
    that is listed and not described stays, without captions.

    Args:
        source: The folder of the annotations.
        videos: A folder above the videos; by default `source`.

    Raises:
        DatasetError: if there are no captions, a file is malformed, a video is in two splits, or two files
            could be the video of one id.
    """
    require_folder(source)
    missing, captions_by_file = [], {}
    for split, name in SPLIT_FILES.items():
        path = text_file(source, name)
        if path is None:
            missing.append(name)
        else:
            captions_by_file[split] = dict(_read_captions(path))
    if not captions_by_file:
        names = ", ".join(SPLIT_FILES.values())
        raise DatasetError(f"{source} contains none of {names}; VATEX's captions are in these")
    by_lists = text_file(source, LIST_FILES["test"]) is not None
    splits = _by_lists(source, captions_by_file, missing) if by_lists else captions_by_file
    root = (source if videos is None else videos).absolute()
    path_of = find_videos(root, {video_id: video_id for captions in splits.values() for video_id in captions})
    with errors_at(str(source)):
        records = VideoRecords(
            VideoRecord(video_id, path_of.get(video_id, f"{video_id}.mp4"), split, texts)
            for split, captions in splits.items()
            for video_id, texts in captions.items()
        )
        if by_lists and all(video.captions for video in records):  # so the missing files are not needed
            missing = [name for name in missing if name not in SPLIT_FILES.values()]
        protocol_split = LISTS if by_lists else "official"
        return Dataset("vatex", root, records, protocol_split, missing_files=tuple(missing))


def _by_lists(
    source: Path, captions_by_file: Mapping[str, Mapping[str, tuple[str, ...]]], missing: list[str]
) -> dict[str, dict[str, tuple[str, ...]]]:
    """Split -> id -> captions, maybe none. Missing lists are added to `missing`."""
    # The lists' val and test are both parts of the official validation file: ids are looked up in all files.
    everywhere = {video_id: texts for captions in captions_by_file.values() for video_id, texts in captions.items()}
    splits = {}
    for split, name in LIST_FILES.items():
        path = text_file(source, name)
        if path is None:
            missing.append(name)
        else:
            splits[split] = {video_id: everywhere.get(video_id, ()) for _, video_id in read_lines(path)}
    return splits


def _read_captions(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    with errors_at(str(path)):
        entries = as_list(read_json(path), "the file")
    for number, entry in enumerate(entries):
        with errors_at(f"{path}: [{number}]"):
            fields = as_object(entry)
            yield text_of(fields, "videoID"), as_texts(field_of(fields, "enCap"), "'enCap'")
