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
import pickletools
import reprlib
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import NoReturn

from pipeline.datasets.files import files_below, is_video, read_lines, require_file
from pipeline.datasets.records import Dataset, DatasetError, VideoRecord

LIST_FILES = {"train": "train_list.txt", "val": "val_list.txt", "test": "test_list.txt"}
CAPTIONS_PICKLE = "raw-captions.pkl"
DESCRIPTIONS = "AllVideoDescriptions.txt"
MAX_PICKLE_BYTES = 64 * 2**20
"""The real one has 4 MiB."""
MAX_PICKLE_OPCODES = 2**23
"""Each may make a container, of some 64 bytes. The real one has a million."""
MAX_CAPTION_CHARACTERS = 2**26
"""Of all listed videos together, counted before they are joined: a pickle may name one caption again and again. The
real ones have 3 million."""

_PLAIN_OPCODES = frozenset(
    {"PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE", "FLOAT", "BINFLOAT"}
    | {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE"}
    | {"BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING", "EMPTY_LIST", "APPEND", "APPENDS", "LIST"}
    | {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"}
    | {"GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
)
"""What makes text, numbers, lists, tuples and dicts, and nothing else."""

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
    pickled = path.read_bytes()
    try:
        _check_opcodes(pickled)
        content: object = _PlainUnpickler(io.BytesIO(pickled), encoding="utf-8").load()
    except _PickleRefusedError as error:
        raise DatasetError(f"{path} {error}; it is no {CAPTIONS_PICKLE}, and was not read") from error
    except _BROKEN_PICKLE as error:
        raise DatasetError(f"{path} is not a whole pickle: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} must hold a dict from id to captions, got {type(content).__name__}")
    captions, left = {}, MAX_CAPTION_CHARACTERS
    for video_id in listed:
        if video_id in content:
            captions[video_id] = _join_tokens(path, video_id, content[video_id], left)
            left -= sum(len(caption) + 1 for caption in captions[video_id])
    return captions


def _join_tokens(path: Path, video_id: str, captions: object, max_characters: int) -> tuple[str, ...]:
    if not isinstance(captions, list):
        raise DatasetError(f"{path}: {video_id!r} must hold a list of captions, got {type(captions).__name__}")
    texts = []
    for tokens in captions:
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise DatasetError(
                f"{path}: a caption of {video_id!r} must be a list of tokens, got {reprlib.repr(tokens)}"
            )
        max_characters -= sum(len(token) + 1 for token in tokens) + 1
        if max_characters < 0:
            raise DatasetError(
                f"{path}: with {video_id!r} the captions have more than {MAX_CAPTION_CHARACTERS} characters; "
                f"it is no {CAPTIONS_PICKLE}"
            )
        texts.append(" ".join(tokens))
    return tuple(texts)


class _PickleRefusedError(Exception):
    """The pickle does more than make text and containers."""


def _check_opcodes(pickled: bytes) -> None:
    """Go through a pickle without doing what it says.

    Raises:
        _PickleRefusedError: It would make more than text, numbers and containers, more of them than is sensible, or a
            memo larger than itself: what unpickles takes memory up to the highest index that is named.
        ValueError: It is not a whole pickle.
    """
    for number, (opcode, argument, position) in enumerate(pickletools.genops(pickled)):
        if opcode.name not in _PLAIN_OPCODES:
            what = opcode.name if argument is None else f"{opcode.name} {reprlib.repr(argument)}"
            raise _PickleRefusedError(f"asks for {what} at byte {position}: more than text in lists, it may run code")
        if number == MAX_PICKLE_OPCODES:
            raise _PickleRefusedError(f"has more than {MAX_PICKLE_OPCODES} instructions")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= number:
            raise _PickleRefusedError(f"keeps {argument} things at instruction {number} (byte {position})")


class _PlainUnpickler(pickle.Unpickler):
    """A second lock behind `_check_opcodes`: a pickle that may import can run code."""

    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        """Refuse every import."""
        raise _PickleRefusedError(f"asks for {module_name}.{global_name}, and may run code")


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
