"""The layout `msvd`: Microsoft Research Video Description (YouTube2Text) as CLIP4Clip publishes it.

    train_list.txt, val_list.txt, test_list.txt      one id a line
    raw-captions.pkl                                 dict: id -> list of captions, each a list of tokens
    AllVideoDescriptions.txt                         `id caption` lines; read where raw-captions.pkl is not there
    <id>.avi                                         anywhere below, with any ending

Captions of ids that no list names are ignored. An id is taken whole: it may start with `-` and contain `_`.
"""

from __future__ import annotations

import io
import pickle
import reprlib
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import NoReturn

from pipeline.datasets.files import files_below, is_video, read_lines, require_file
from pipeline.datasets.records import Dataset, DatasetError, VideoRecord

LIST_FILES = {"train": "train_list.txt", "val": "val_list.txt", "test": "test_list.txt"}
CAPTIONS_PICKLE = "raw-captions.pkl"
DESCRIPTIONS = "AllVideoDescriptions.txt"
MAX_PICKLE_BYTES = 512 * 2**20

# What unpickling raises on bytes that are no whole pickle: its own error, and whatever else they lead to.
_BROKEN_PICKLE = (
    *(pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError),
    *(LookupError, MemoryError, TypeError, ValueError),
)


def read_msvd(source: Path, videos: Path | None = None) -> Dataset:
    """Read MSVD: the train, then the val, then the test list, each in its order.

    A listed id without a file stays in the data set, as `<id>.avi`, so that it is counted as missing.

    Args:
        source: The folder of the lists and captions.
        videos: A folder above the videos; by default `source`.

    Raises:
        DatasetError: if a list is missing or repeats an id, an id has no captions, the pickle holds more than lists
            of tokens, or two files could be the video of one id.
    """
    split_of = _read_lists(source)
    pickled = source / CAPTIONS_PICKLE
    captions_file = pickled if pickled.exists() else source / DESCRIPTIONS
    if not captions_file.exists():
        raise DatasetError(f"{source} holds neither {CAPTIONS_PICKLE} nor {DESCRIPTIONS}; the captions are in these")
    captions = _read_pickle(pickled, split_of) if captions_file == pickled else _read_descriptions(captions_file)
    root = (source if videos is None else videos).absolute()
    path_of = _find_videos(root, split_of)
    records = []
    for video_id, split in split_of.items():
        try:
            path = path_of.get(video_id, f"{video_id}.avi")
            records.append(VideoRecord(video_id, path, split, captions.get(video_id, ())))
        except DatasetError as error:
            raise DatasetError(f"{captions_file}: {error}") from error
    return Dataset("msvd", root, tuple(records))


def _read_lists(source: Path) -> dict[str, str]:
    """The split of each listed id, in the order of the lists."""
    place_of: dict[str, str] = {}
    split_of: dict[str, str] = {}
    for split, name in LIST_FILES.items():
        for number, video_id in read_lines(source / name):
            place = f"{source / name}:{number}"
            if video_id in place_of:
                raise DatasetError(f"{place}: id {video_id!r} is already at {place_of[video_id]}; keep one of them")
            place_of[video_id] = place
            split_of[video_id] = split
    return split_of


def _read_descriptions(path: Path) -> dict[str, tuple[str, ...]]:
    captions: defaultdict[str, list[str]] = defaultdict(list)
    for number, line in read_lines(path):
        if line.startswith("#"):
            continue
        fields = line.split(maxsplit=1)
        if len(fields) < 2:
            raise DatasetError(f"{path}:{number}: expected an id, a space and a caption, got {line!r:.100}")
        captions[fields[0]].append(fields[1])
    return {video_id: tuple(texts) for video_id, texts in captions.items()}


def _read_pickle(path: Path, listed: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """The captions of the listed ids, their tokens joined by spaces."""
    require_file(path)
    size = path.stat().st_size
    if size > MAX_PICKLE_BYTES:
        raise DatasetError(f"{path} has {size} bytes, more than {MAX_PICKLE_BYTES}; it is no {CAPTIONS_PICKLE}")
    try:
        content: object = _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="utf-8").load()
    except _PickleRefusedError as error:
        raise DatasetError(f"{path} asks for {error}, so it would run code; it is no {CAPTIONS_PICKLE}") from error
    except _BROKEN_PICKLE as error:
        raise DatasetError(f"{path} is not a whole pickle: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} must hold a dict from id to captions, got {type(content).__name__}")
    return {video_id: _join_tokens(path, video_id, content[video_id]) for video_id in listed if video_id in content}


def _join_tokens(path: Path, video_id: str, captions: object) -> tuple[str, ...]:
    if not isinstance(captions, list):
        raise DatasetError(f"{path}: {video_id!r} must hold a list of captions, got {type(captions).__name__}")
    for tokens in captions:
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise DatasetError(
                f"{path}: a caption of {video_id!r} must be a list of tokens, got {reprlib.repr(tokens)}"
            )
    return tuple(" ".join(tokens) for tokens in captions)


class _PickleRefusedError(Exception):
    """The pickle names something to import."""


class _PlainUnpickler(pickle.Unpickler):
    """Builds containers of text and numbers, and imports nothing: a pickle that may import can run code."""

    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        """Refuse every import."""
        raise _PickleRefusedError(f"{module_name}.{global_name}")


def _find_videos(root: Path, listed: dict[str, str]) -> dict[str, str]:
    """The path of each listed id's file; one with a video's ending goes before any other file of that stem."""
    candidates: defaultdict[str, list[str]] = defaultdict(list)
    for path in files_below(root):
        if PurePosixPath(path).stem in listed:
            candidates[PurePosixPath(path).stem].append(path)
    path_of: dict[str, str] = {}
    for video_id, paths in candidates.items():
        best = [path for path in paths if is_video(path)] or paths
        if len(best) > 1:
            raise DatasetError(f"{root}: {best[0]!r} and {best[1]!r} could both be video {video_id!r}; keep one")
        path_of[video_id] = best[0]
    return path_of
