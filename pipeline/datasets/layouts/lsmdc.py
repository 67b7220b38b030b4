"""The layout `lsmdc`: the Large Scale Movie Description Challenge of 2016.

    LSMDC16_annos_training.csv, LSMDC16_annos_val.csv, LSMDC16_challenge_1000_publictect.csv

Each is separated by tabs, without a header: clip, start and end (aligned), start and end (extracted), sentence. They
may be gzipped (`.gz`). `<clip>.avi` lies anywhere below, with any ending: it is the clip, so the times are not
needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.datasets.reading.files import find_videos, read_lines, require_text_file, text_file
from pipeline.datasets.reading.json_files import errors_at
from pipeline.datasets.records import Dataset, DatasetError, VideoRecord, VideoRecords

SPLIT_FILES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}
NUM_FIELDS = 6


def read_lsmdc(source: Path, videos: Path | None = None) -> Dataset:
    """Read LSMDC in the order of its files; train and val may be missing.

    A clip without a file stays in the data set, as `<clip>.avi`, so that it is counted as missing.

    Args:
        source: The folder of the annotations.
        videos: A folder above the clips; by default `source`.

    Raises:
        DatasetError: if the test file is missing, a line has other than six fields, a clip is in two splits, or two
            files could be one clip.
    """
    require_text_file(source, SPLIT_FILES["test"])
    captions: dict[tuple[str, str], list[str]] = {}
    missing = []
    for split, name in SPLIT_FILES.items():
        path = text_file(source, name)
        if path is None:
            missing.append(name)
            continue
        for clip, sentence in _rows(path):
            captions.setdefault((split, clip), []).append(sentence)
    root = (source if videos is None else videos).absolute()
    path_of = find_videos(root, {clip: clip for _, clip in captions})
    with errors_at(str(source)):
        records = VideoRecords(
            VideoRecord(clip, path_of.get(clip, f"{clip}.avi"), split, tuple(texts))
            for (split, clip), texts in captions.items()
        )
        return Dataset("lsmdc", root, records, missing_files=tuple(missing))


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """Clip and sentence of each line."""
    for number, line in read_lines(path):
        fields = line.split("\t")
        if len(fields) != NUM_FIELDS:
            raise DatasetError(
                f"{path}:{number}: expected {NUM_FIELDS} fields and tabs between them, got {line!r:.100}"
            )
        # clip, start and end aligned, start and end extracted, sentence
        yield fields[0].strip(), fields[-1]
