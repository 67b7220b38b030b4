"""Splits for a data set that has none: drawn by a hash of each id, so that no video ever changes its split."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from pipeline.datasets.records import Dataset, DatasetError, VideoRecord, VideoRecords
from pipeline.errors import OptionError
from pipeline.run.words import plural
from pipeline.video.options import WHOLE_VIDEO
from store.names import check_name

DEFAULT_SPLIT = "test"
"""Of every video of a data set without splits."""
EXAMPLE = "train=0.9,val=0.05,test=0.05"
MAKE_SPLITS = f"`fda preprocess --split-by-hash {EXAMPLE}` makes splits, in another store"
"""The remedy for a store without a split that is needed."""
_SECONDS = r"\d{1,9}(?:[.:]\d{1,9}){0,3}"
_CLIP = re.compile(rf"(?P<source>.+?)(?:[_#](?P<start>{_SECONDS})[_-](?P<end>{_SECONDS})|#\d+)", re.DOTALL)
_YOUTUBE_CLIP = re.compile(r"(?P<source>(?=.*[a-z])(?=.*[A-Za-z0-9][A-Z])[A-Za-z0-9_-]{11})[._-]\d+")
"""The id of a YouTube video has 11 characters, capitals and small letters mixed: 99% have a capital behind a letter or
a digit, which `my_video_no` and `Camera_2024` do not."""


def parse_shares(given: str | Mapping[str, float]) -> dict[str, float]:
    """The shares of splits, from a text such as `EXAMPLE` or a mapping, in their order.

    Raises:
        OptionError: A name or a share is not one, a name is given twice, or the shares do not add up to 1.

    >>> parse_shares("train=0.9,test=0.1")
    {'train': 0.9, 'test': 0.1}
    """
    pairs = [one.partition("=")[::2] for one in given.split(",")] if isinstance(given, str) else list(given.items())
    shares: dict[str, float] = {}
    for name, text in pairs:
        split = name.strip()
        try:
            check_name("split", split)
            share = float(text)
        except (TypeError, ValueError) as error:
            raise OptionError(f"split_by_hash is written as {EXAMPLE}, got {given!r} ({error})") from error
        if split in shares or not 0 < share <= 1:  # NaN too
            raise OptionError(f"split_by_hash takes each split once, with a share from 0 to 1, got {given!r}")
        shares[split] = share
    # 0.9 + 0.05 + 0.05 is not 1 in floating point.
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise OptionError(f"the shares of split_by_hash add up to {sum(shares.values()):g} instead of 1: {given!r}")
    return shares


def source_of(video_id: str) -> str:
    """The video from which a clip was cut, where its id says so.

    It does as `<source>_<start>_<end>`, the end after the start, in seconds or as a clock shows it (MSVD, VATEX,
    Kinetics and LSMDC name their clips so), as `<source>#<number>`, and as `<YouTube id>.<number>` (Panda-70M), also
    with `_` or `-`. A single number behind another name is part of it: it may number the sources.

    >>> source_of("-4wsuPCjDBc_5_15"), source_of("0001_Film_00.00.51.926-00.00.54.129"), source_of("a#12")
    ('-4wsuPCjDBc', '0001_Film', 'a')
    >>> source_of("eibWo9t6pos.25"), source_of("eibWo9t6pos_3")
    ('eibWo9t6pos', 'eibWo9t6pos')
    >>> source_of("video_7"), source_of("street/cat"), source_of("walk_2024_05")
    ('video_7', 'street/cat', 'walk_2024_05')
    """
    found = _CLIP.fullmatch(video_id)
    # `walk_2024_05` ends with two numbers as well, and the second is not later than the first.
    if found is not None and (found["start"] is None or _clock(found["start"]) < _clock(found["end"])):
        return found["source"]
    found = _YOUTUBE_CLIP.fullmatch(video_id)
    return video_id if found is None else found["source"]


def split_by_hash(dataset: Dataset, shares: Mapping[str, float]) -> Dataset:
    """The data set with each video in the split that the sha256 of its source's name draws.

    The draw depends on nothing else: a video keeps its split whatever videos are added or removed, and all clips of
    one source share theirs. Clips that the data set cuts from one file are of one source, which is named like the file.
    About the given share of the sources comes into each split, with the spread of a draw. Of a small data set, a split
    may get none: that is a likely mistake, and not refused, for it may get some when the data set grows.

    Args:
        dataset: All of it in one split, `test`.
        shares: Of `parse_shares`.

    Raises:
        DatasetError: The data set has splits of its own.
    """
    named = dict.fromkeys([*(video.split for video in dataset.videos), *dataset.left_out])
    if list(named) != [DEFAULT_SPLIT]:
        raise DatasetError(
            f"data set {dataset.name!r} has splits of its own ({', '.join(named)}): leave --split-by-hash out"
        )
    videos = VideoRecords(replace(video, split=_drawn(_source(video), shares)) for video in dataset.videos)
    left_out: dict[str, tuple[str, ...]] = {}
    for video_id in dataset.left_out.get(DEFAULT_SPLIT, ()):
        split = _drawn(source_of(video_id), shares)
        left_out[split] = (*left_out.get(split, ()), video_id)
    there = {video.split for video in videos}
    empty = [
        f"--split-by-hash draws no video for {split!r}, with a share of {share:g} of {plural(len(videos), 'video')}: "
        "give it a larger share, or name the splits in the data set"
        for split, share in shares.items()
        if split not in there
    ]
    return replace(dataset, videos=videos, left_out=left_out, likely_mistakes=(*dataset.likely_mistakes, *empty))


def _clock(text: str) -> float:
    """A time in seconds: `5`, `5.5` or `00.23.28.886`.

    >>> _clock("000016"), _clock("5.5"), _clock("00:01:30"), _clock("00.23.28.886")
    (16.0, 5.5, 90.0, 1408.886)
    """
    parts = re.split("[.:]", text)
    if len(parts) < 3:
        return float(".".join(parts))
    hours, minutes, seconds = map(int, parts[:3])
    return 3600 * hours + 60 * minutes + float(f"{seconds}.{''.join(parts[3:]) or 0}")


def _source(video: VideoRecord) -> str:
    # Clips cut from one file have ids of any kind: what they share is the file.
    return source_of(video.video_id if video.window == WHOLE_VIDEO else PurePosixPath(video.path).stem)


def _drawn(source: str, shares: Mapping[str, float]) -> str:
    """The split whose part of [0, 1) the hash of a name falls into."""
    # The first 64 bits as a number in [0, 1): the same on every machine, unlike `hash`.
    point = int.from_bytes(hashlib.sha256(source.encode()).digest()[:8], "big") / 2**64
    end = 0.0
    for split, share in shares.items():
        end += share
        if point < end:
            return split
    return split  # the shares add up to a little less than 1
