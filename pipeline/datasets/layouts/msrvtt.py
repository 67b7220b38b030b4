"""The layout `msrvtt`: MSR-VTT, by any of its published splits.

    MSRVTT_data.json                 videos (video_id, category, split) and sentences (video_id, caption)
    MSRVTT_JSFUSION_test.csv         the 1k-A test set: video_id, sentence; separated by `,` or `;`
    MSRVTT_train.9k.csv, .7k.csv     its training sets: video_id
    train_list_miech.txt, test_list_miech.txt           1k-B, from collaborative-experts, one id a line
    MSRVTT_{train,val,test}.full.csv                    the official splits; also in MSRVTT_data.json
    MSRVTT_test1ka.jsonl, msrvtt_caption_test.json      20 captions a test video, read if MSRVTT_data.json is missing
    <video_id>.mp4                   anywhere below, with any ending

Files of text may be gzipped (`.gz`). Lists may lie in the folder or in one below it.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.datasets.reading.csv_files import read_table
from pipeline.datasets.reading.files import find_videos, read_lines, require_folder, text_file
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
from pipeline.datasets.records import Dataset, DatasetError, VideoRecord, VideoRecords

DATA_JSON = "MSRVTT_data.json"
TEST_1K_A = "MSRVTT_JSFUSION_test.csv"
TEST_1K_A_JSONL = "MSRVTT_test1ka.jsonl"
TEST_JSON = "msrvtt_caption_test.json"

_1K_A = (TEST_1K_A, TEST_1K_A_JSONL, "val_list_jsfusion.txt")
PROTOCOL_SPLITS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "1k-A": {"train": ("MSRVTT_train.9k.csv", "train_list_jsfusion.txt"), "test": _1K_A},
    "1k-A-7k": {"train": ("MSRVTT_train.7k.csv",), "test": _1K_A},
    "1k-B": {"train": ("train_list_miech.txt",), "test": ("test_list_miech.txt",)},
    "full": {
        "train": ("MSRVTT_train.full.csv", "train_list_full.txt", DATA_JSON),
        "val": ("MSRVTT_val.full.csv", "val_list_full.txt", DATA_JSON),
        "test": ("MSRVTT_test.full.csv", "test_list_full.txt", DATA_JSON),
    },
}
"""Name -> split -> the files that can list it; the first one that exists is used."""
OFFICIAL_SPLITS = {"train": "train", "validate": "val", "test": "test"}
"""Name in `MSRVTT_data.json` -> name here."""
CATEGORIES = (
    *("music", "people", "gaming", "sports/actions", "news/events/politics", "education", "tv shows", "movie/comedy"),
    *("animation", "vehicles/autos", "howto", "travel", "science/technology", "animals/pets", "kids/family"),
    *("documentary", "food/drink", "cooking", "beauty/fashion", "advertisement"),
)
"""By their numbers in `MSRVTT_data.json`."""


@dataclass(frozen=True, slots=True)
class _Annotations:
    """Facts about videos, by id."""

    captions: Mapping[str, Sequence[str]]
    category_of: Mapping[str, str] = field(default_factory=dict)
    official: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Split -> ids."""


def read_msrvtt(source: Path, videos: Path | None = None, *, protocol_split: str | None = None) -> Dataset:
    """Read MSR-VTT: the videos of each split in the order of its list.

    Videos of the 1k-A test set have the one caption of that set; all others have all their captions. A listed video
    without captions stays, without any. A video without a file stays, as `<video_id>.mp4`.

    Args:
        source: The folder of the lists and captions.
        videos: A folder above the videos; by default `source`.
        protocol_split: A key of `PROTOCOL_SPLITS`; by default the only one whose files exist.

    Raises:
        DatasetError: if the files of several exist and none is named, the test list is missing, a list repeats an id,
            or a file cannot be read.
    """
    require_folder(source)
    protocol_split = _only_split(source) if protocol_split is None else protocol_split
    if protocol_split not in PROTOCOL_SPLITS:
        raise DatasetError(f"MSR-VTT has no splits {protocol_split!r}; choose one of {', '.join(PROTOCOL_SPLITS)}")
    known = _read_annotations(source)
    listed: dict[str, dict[str, tuple[str, ...]]] = {}
    missing = [] if text_file(source, DATA_JSON) else [DATA_JSON]
    for split, names in PROTOCOL_SPLITS[protocol_split].items():
        list_file = _list_file(source, names)
        if list_file is None and split == "test":
            raise DatasetError(f"{source} contains no test list of {protocol_split}: {' or '.join(names)}")
        if list_file is None:
            missing.append(names[0])
        listed[split] = {} if list_file is None else dict(_read_list(list_file, split, known))
    _check_disjoint(source, listed)
    ids = [video_id for split_ids in listed.values() for video_id in split_ids]
    root = (source if videos is None else videos).absolute()
    path_of = find_videos(root, {video_id: video_id for video_id in ids})
    with errors_at(str(source)):
        records = VideoRecords(
            VideoRecord(
                video_id,
                path_of.get(video_id, f"{video_id}.mp4"),
                split,
                captions,
                category=known.category_of.get(video_id),
            )
            for split, captions_of in listed.items()
            for video_id, captions in captions_of.items()
        )
    return Dataset("msrvtt", root, records, protocol_split, missing_files=tuple(missing))


def _only_split(source: Path) -> str:
    """The only splits whose files all exist, or at least the test list."""
    lists = {name: [_list_file(source, names) for names in splits.values()] for name, splits in PROTOCOL_SPLITS.items()}
    fitting = [name for name, paths in lists.items() if all(paths)]
    # The last one is the test list: all protocols name their splits in the order train, val, test.
    fitting = fitting or [name for name, paths in lists.items() if paths[-1]]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise DatasetError(f"{source} contains no test list of MSR-VTT, such as {TEST_1K_A}, and no {DATA_JSON}")
    raise DatasetError(
        f"{source} could be read by the splits {', '.join(fitting)}, and their results cannot be compared: "
        "name one with --protocol-split"
    )


def _list_file(source: Path, names: Sequence[str]) -> Path | None:
    folders = [source, *sorted(path for path in source.iterdir() if path.is_dir())]
    # Names outside, folders inside: a better file in a lower folder is taken before a worse one above it.
    return next((path for name in names for folder in folders if (path := text_file(folder, name))), None)


def _read_list(path: Path, split: str, known: _Annotations) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each id of a list, with the captions that it has in this split."""
    seen: dict[str, int] = {}
    for number, video_id, sentence in _list_entries(path, split, known):
        if video_id in seen:
            raise DatasetError(f"{path}:{number}: id {video_id!r} is already on line {seen[video_id]}; keep one")
        seen[video_id] = number
        # 1k-A pairs each test video with one of its 20 captions, which its list has: the others are not used.
        yield video_id, tuple(known.captions.get(video_id, ())) if sentence is None else (sentence,)


def _list_entries(path: Path, split: str, known: _Annotations) -> Iterator[tuple[int, str, str | None]]:
    """Number of the line (or of the video), id, and the caption if the list itself has it."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".csv"):
        for number, row in read_table(path):
            with errors_at(f"{path}:{number}"):
                yield number, text_of(row, "video_id"), row.get("sentence")
    elif name == DATA_JSON:
        for number, video_id in enumerate(known.official.get(split, ()), start=1):
            yield number, video_id, None
    elif name == TEST_1K_A_JSONL:
        for number, line in read_lines(path):
            with errors_at(f"{path}:{number}"):
                yield number, text_of(as_object(parse_json(line), "the line"), "clip_id"), None
    else:
        for number, video_id in read_lines(path):
            yield number, video_id, None


def _check_disjoint(source: Path, listed: Mapping[str, Mapping[str, object]]) -> None:
    split_of: dict[str, str] = {}
    for split, ids in listed.items():
        for video_id in ids:
            if video_id in split_of:
                raise DatasetError(f"{source}: video {video_id!r} is listed in {split_of[video_id]} and in {split}")
            split_of[video_id] = split


def _read_annotations(source: Path) -> _Annotations:
    """The annotations of `MSRVTT_data.json`; without it, the captions of the other files that exist."""
    path = text_file(source, DATA_JSON)
    if path is not None:
        with errors_at(str(path)):
            return _parse_data_json(as_object(read_json(path), "the file"))
    captions: dict[str, tuple[str, ...]] = {}
    path = text_file(source, TEST_1K_A_JSONL)
    for number, line in read_lines(path) if path else ():
        with errors_at(f"{path}:{number}"):
            fields = as_object(parse_json(line), "the line")
            captions[text_of(fields, "clip_id")] = as_texts(field_of(fields, "text"), "'text'")
    path = text_file(source, TEST_JSON)
    if path is not None:
        with errors_at(str(path)):
            for number, entry in enumerate(as_list(read_json(path), "the file")):
                with errors_at(f"[{number}]"):
                    fields = as_object(entry)
                    # This file, which comes with retrieval code, names videos by their files.
                    video_id = text_of(fields, "video").removesuffix(".mp4")
                    captions.setdefault(video_id, as_texts(field_of(fields, "caption"), "'caption'"))
    return _Annotations(captions)


def _parse_data_json(content: Mapping[str, object]) -> _Annotations:
    """The content of `MSRVTT_data.json`."""
    category_of: dict[str, str] = {}
    official: dict[str, list[str]] = {split: [] for split in OFFICIAL_SPLITS.values()}
    for number, entry in enumerate(as_list(field_of(content, "videos"), "'videos'")):
        with errors_at(f"videos[{number}]"):
            fields = as_object(entry)
            video_id, split = text_of(fields, "video_id"), text_of(fields, "split")
            if split not in OFFICIAL_SPLITS:
                raise DatasetError(f"'split' must be one of {', '.join(OFFICIAL_SPLITS)}, got {split!r}")
            official[OFFICIAL_SPLITS[split]].append(video_id)
            if "category" in fields:
                category_of[video_id] = _category(fields["category"])
    captions: dict[str, list[str]] = {}
    for number, entry in enumerate(as_list(field_of(content, "sentences"), "'sentences'")):
        with errors_at(f"sentences[{number}]"):
            fields = as_object(entry)
            captions.setdefault(text_of(fields, "video_id"), []).append(text_of(fields, "caption"))
    return _Annotations(captions, category_of, official)


def _category(number: object) -> str:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(CATEGORIES):
        raise DatasetError(f"'category' must be a number from 0 to {len(CATEGORIES) - 1}, got {reprlib.repr(number)}")
    return CATEGORIES[number]
