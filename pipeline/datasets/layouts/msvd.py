"""The layout `msvd`: Microsoft Research Video Description (YouTube2Text) as CLIP4Clip publishes it.

    train_list.txt, val_list.txt, test_list.txt      one id a line
    raw-captions.pkl                                 dict: id -> list of captions, each a list of tokens
    AllVideoDescriptions.txt                         `id caption` lines; read if raw-captions.pkl is missing
    captions_msvd.json                               object: id -> list of captions; read if both are missing
    youtube_mapping.txt                              optional, `id vidN` lines: lists, captions and files may say vidN
    <id>.avi                                         anywhere below, with any ending

Any of the text files may be gzipped (`.gz`). Captions of ids that no list names are ignored. An id is used whole: it
may start with `-` and contain `_`.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import reprlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, TypeVar

from pipeline.datasets.reading.files import find_videos, read_lines, require_file, require_text_file, text_file
from pipeline.datasets.reading.json_files import as_object, as_texts, errors_at, read_json
from pipeline.datasets.records import Dataset, DatasetError, VideoRecord, VideoRecords

LIST_FILES = {"train": "train_list.txt", "val": "val_list.txt", "test": "test_list.txt"}
CAPTIONS_PICKLE = "raw-captions.pkl"
DESCRIPTIONS = "AllVideoDescriptions.txt"
CAPTIONS_JSON = "captions_msvd.json"
MAPPING = "youtube_mapping.txt"
MAX_PICKLE_BYTES = 64 * 2**20
"""The real one has 4 MiB."""
MAX_PICKLE_OPCODES = 2**23
"""Each may make a container, of some 64 bytes. The real one has a million."""
MAX_CAPTION_CHARACTERS = 2**26
"""Of all listed videos together. Counted before they are joined, because a small pickle may refer to one caption again
and again. The real ones have 3 million."""

_PLAIN_OPCODES = frozenset(
    {"PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE", "FLOAT", "BINFLOAT"}
    | {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE"}
    | {"BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING", "EMPTY_LIST", "APPEND", "APPENDS", "LIST"}
    | {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"}
    | {"GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
)
"""The instructions that make text, numbers, lists, tuples and dicts, and nothing else."""

# What unpickling raises for broken bytes: its own error, and whatever else such bytes lead to.
_BROKEN_PICKLE = (
    *(pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError),
    *(LookupError, MemoryError, TypeError, ValueError),
)


Captions = TypeVar("Captions")


def read_msvd(source: Path, videos: Path | None = None) -> Dataset:
    """Read MSVD: the train, then the val, then the test list, each in its order.

    A listed id without a file stays in the data set, as `<id>.avi`, so that it is counted as missing; one without
    captions stays, without any.

    Args:
        source: The folder of the lists and captions.
        videos: A folder above the videos; by default `source`.

    Raises:
        DatasetError: if a list is missing or repeats an id, the pickle contains more than lists
            of tokens, or two files could be the video of one id.
    """
    id_of = _read_mapping(source)
    split_of = _read_lists(source, id_of)
    captions_file, captions = _read_captions(source, split_of, id_of)
    root = (source if videos is None else videos).absolute()
    # Files are named by the id, or by the `vidN` of the mapping.
    path_of = find_videos(root, {**{video_id: video_id for video_id in split_of}, **id_of})
    with errors_at(str(captions_file)):
        records = VideoRecords(
            VideoRecord(video_id, path_of.get(video_id, f"{video_id}.avi"), split, captions.get(video_id, ()))
            for video_id, split in split_of.items()
        )
    return Dataset("msvd", root, records)


def _read_mapping(source: Path) -> dict[str, str]:
    """`vidN` -> id; empty without the mapping file."""
    path = text_file(source, MAPPING)
    id_of: dict[str, str] = {}
    for number, line in read_lines(path) if path else ():
        names = line.split()
        if len(names) != 2 or names[1] in id_of:
            raise DatasetError(
                f"{path}:{number}: expected an id and a vidN that is on no other line, got {line!r:.100}"
            )
        id_of[names[1]] = names[0]
    return id_of


def _read_lists(source: Path, id_of: Mapping[str, str]) -> dict[str, str]:
    """The split of each listed id, in the order of the lists."""
    place_of: dict[str, str] = {}
    split_of: dict[str, str] = {}
    for split, name in LIST_FILES.items():
        path = require_text_file(source, name)
        for number, listed in read_lines(path):
            video_id, place = id_of.get(listed, listed), f"{path}:{number}"
            if video_id in place_of:
                raise DatasetError(f"{place}: id {video_id!r} is already at {place_of[video_id]}; keep one of them")
            place_of[video_id] = place
            split_of[video_id] = split
    return split_of


def _read_captions(
    source: Path, listed: Mapping[str, str], id_of: Mapping[str, str]
) -> tuple[Path, Mapping[str, tuple[str, ...]]]:
    """The captions of the listed ids, and the file that they come from."""
    pickled = source / CAPTIONS_PICKLE
    if pickled.exists():
        return pickled, _read_pickle(pickled, listed, id_of)
    path = text_file(source, DESCRIPTIONS, CAPTIONS_JSON)
    if path is None:
        raise DatasetError(
            f"{source} contains neither {CAPTIONS_PICKLE} nor {DESCRIPTIONS} nor {CAPTIONS_JSON}; "
            "the captions are in these"
        )
    if path.name.startswith(DESCRIPTIONS):
        return path, _with_ids(path, _read_descriptions(path), id_of)
    with errors_at(str(path)):
        content = as_object(read_json(path), "the file")
        captions = {name: as_texts(texts, f"{name!r}") for name, texts in content.items()}
    return path, _with_ids(path, captions, id_of)


def _with_ids(path: Path, captions: Mapping[str, Captions], id_of: Mapping[str, str]) -> dict[str, Captions]:
    """Captions by name, as captions by id."""
    found: dict[str, Captions] = {}
    for name, texts in captions.items():
        video_id = id_of.get(name, name)
        if video_id in found:
            raise DatasetError(f"{path}: video {video_id!r} is listed under two names, one of them {name!r}; keep one")
        found[video_id] = texts
    return found


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


def _read_pickle(path: Path, listed: Mapping[str, str], id_of: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The captions of the listed ids, their tokens joined by spaces."""
    require_file(path)
    size = path.stat().st_size
    if size > MAX_PICKLE_BYTES:
        raise DatasetError(f"{path} has {size} bytes, more than {MAX_PICKLE_BYTES}; it is no {CAPTIONS_PICKLE}")
    pickled = path.read_bytes()
    try:
        _check_opcodes(pickled)  # before anything is built: unpickling is running a program
        content: object = _PlainUnpickler(io.BytesIO(pickled), encoding="utf-8").load()
    except _PickleRefusedError as error:
        raise DatasetError(f"{path} {error}; it is no {CAPTIONS_PICKLE}, and was not read") from error
    except _BROKEN_PICKLE as error:
        raise DatasetError(f"{path} is not a whole pickle: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} must contain a dict from id to captions, got {type(content).__name__}")
    content = _with_ids(path, {name: tokens for name, tokens in content.items() if isinstance(name, str)}, id_of)
    # Only listed ids are joined: a pickle may have any number of others.
    captions, left = {}, MAX_CAPTION_CHARACTERS
    for video_id in listed:
        if video_id in content:
            captions[video_id] = _join_tokens(path, video_id, content[video_id], left)
            left -= sum(len(caption) + 1 for caption in captions[video_id])
    return captions


def _join_tokens(path: Path, video_id: str, captions: object, max_characters: int) -> tuple[str, ...]:
    if not isinstance(captions, list):
        raise DatasetError(f"{path}: {video_id!r} must contain a list of captions, got {type(captions).__name__}")
    texts = []
    for tokens in captions:
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise DatasetError(
                f"{path}: a caption of {video_id!r} must be a list of tokens, got {reprlib.repr(tokens)}"
            )
        # 1 for the blank between tokens, and 1 a caption, so that empty ones count too.
        max_characters -= sum(len(token) + 1 for token in tokens) + 1
        if max_characters < 0:
            raise DatasetError(
                f"{path}: with {video_id!r} the captions have more than {MAX_CAPTION_CHARACTERS} characters; "
                f"it is no {CAPTIONS_PICKLE}"
            )
        texts.append(" ".join(tokens))
    return tuple(texts)


class _PickleRefusedError(Exception):
    """The pickle makes more than text and containers."""


def _check_opcodes(pickled: bytes) -> None:
    """Check the instructions of a pickle without running them.

    Raises:
        _PickleRefusedError: It would make more than text, numbers and containers; or too many of them; or a memo larger
            than itself (the unpickler allocates memory up to the highest index of the memo).
        ValueError: It is not a whole pickle.
    """
    for number, (opcode, argument, position) in enumerate(pickletools.genops(pickled)):
        if opcode.name not in _PLAIN_OPCODES:
            what = opcode.name if argument is None else f"{opcode.name} {reprlib.repr(argument)}"
            raise _PickleRefusedError(f"asks for {what} at byte {position}: more than text in lists, it may run code")
        # `genops` yields one by one: nothing beyond this is parsed.
        if number == MAX_PICKLE_OPCODES:
            raise _PickleRefusedError(f"has more than {MAX_PICKLE_OPCODES} instructions")
        # The unpickler makes its memo as long as the highest index: 5 bytes could ask for gigabytes. MEMOIZE counts by
        # itself.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= number:
            raise _PickleRefusedError(f"keeps {argument} things at instruction {number} (byte {position})")


class _PlainUnpickler(pickle.Unpickler):
    """A second barrier behind `_check_opcodes`: a pickle that can import can run code."""

    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        """Refuse every import."""
        raise _PickleRefusedError(f"asks for {module_name}.{global_name}, and may run code")
