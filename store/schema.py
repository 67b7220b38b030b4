"""The values of a store: videos, captions, shards and layouts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum

FORMAT_VERSION = 7

MAX_CLIP_BYTES = 2**32
"""Bytes of the frames of a clip, which is in memory as a whole: 1,024 frames of 1,024 x 1,024 pixels have 3.2e9."""

MAX_SHARD_FRAMES = 2**24
"""Frames in a shard, over all its clips: the chunk of their times is then at most 128 MiB."""


class VideoStatus(StrEnum):
    """How preprocessing one video ended. Slots are filled for `OK`, and for `TRUNCATED` with all its frames.

    `PENDING` is no end: the machine stopped the decoding, for example because its memory ran out, which says nothing
    about the video. A shard with such a video is not committed.
    """

    OK = "ok"
    MISSING = "missing"
    EMPTY = "empty"
    NO_VIDEO_STREAM = "no_video_stream"
    CORRUPT = "corrupt"
    TRUNCATED = "truncated"
    TOO_SHORT = "too_short"
    TIMEOUT = "timeout"
    UNSUPPORTED = "unsupported"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Video:
    """One row of the catalogue: a video and its place in the arrays of its split."""

    video_id: str
    split: str
    row: int
    """Index along the first axis of every array of the split."""
    path: str
    """Relative to the folder of the videos, with forward slashes."""
    start_seconds: float = 0.0
    """Start of the clip, from the first frame of the video stream. Several clips may be parts of one file."""
    end_seconds: float | None = None
    """End of the clip, likewise; None is the end of the video."""
    category: str | None = None
    """Category in the data set; None if it gives none."""

    def __post_init__(self) -> None:
        if self.row < 0:
            raise ValueError(f"row must not be negative, got {self.row} for {self.video_id!r}")


@dataclass(frozen=True, slots=True)
class Caption:
    """One row of the catalogue: a text that describes a video."""

    caption_id: str
    video_id: str
    split: str
    row: int
    """Index along the first axis of the text features of the split."""
    text: str


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of consecutive rows of one split: the unit of work, of writing, of committing and of resuming."""

    split: str
    index: int
    start: int
    """First row."""
    stop: int
    """One past the last row: `[start, stop)`."""

    @property
    def num_rows(self) -> int:
        """Rows in the shard; the last one of a split may be short."""
        return self.stop - self.start

    @property
    def key(self) -> str:
        """A name for messages and files: `train/00003`."""
        return f"{self.split}/{self.index:05d}"


def shards_of(split: str, num_rows: int, shard_size: int) -> tuple[Shard, ...]:
    """Cut the rows `[0, num_rows)` of a split into shards of `shard_size` rows.

    >>> [(shard.start, shard.stop) for shard in shards_of("test", 5, 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    if shard_size < 1:
        raise ValueError(f"shard_size must be at least 1, got {shard_size}")
    starts = range(0, num_rows, shard_size)
    return tuple(Shard(split, index, start, min(start + shard_size, num_rows)) for index, start in enumerate(starts))


@dataclass(frozen=True, slots=True)
class SplitLayout:
    """Number of videos and captions of a split, and the shape of one clip in its arrays."""

    num_videos: int
    num_captions: int
    num_frames: int
    height: int
    width: int

    def __post_init__(self) -> None:
        counts = (self.num_videos, self.num_captions, self.num_frames, self.height, self.width)
        # Not `isinstance`: True is an int.
        if any(type(count) is not int for count in counts):
            raise ValueError(f"a split is described by whole numbers, got {self}")
        if min(self.num_videos, self.num_frames, self.height, self.width) < 1 or self.num_captions < 0:
            raise ValueError(f"a split needs at least one video, one frame and one pixel, got {asdict(self)}")
        num_bytes = self.num_frames * self.height * self.width * 3
        if num_bytes > MAX_CLIP_BYTES:
            raise ValueError(
                f"{self.num_frames:,} frames of {self.height:,} x {self.width:,} pixels are {num_bytes:,} bytes, and "
                f"one clip may have {MAX_CLIP_BYTES:,}"
            )


def check_shard_size(shard_size: int, num_frames: int) -> None:
    """Refuse a size of shards that is none, or whose times would not fit into memory.

    Raises:
        ValueError: It is so.
    """
    if type(shard_size) is not int or not 1 <= shard_size * num_frames <= MAX_SHARD_FRAMES:
        raise ValueError(
            f"shard_size is a whole number from 1, and at most {MAX_SHARD_FRAMES:,} frames are in a shard, got "
            f"{shard_size!r:.100} clips of {num_frames:,} frames"
        )
