"""A file, opened and scanned: all that is known of a video before a frame of it is chosen.

A file that is too large for its packets to be kept in memory is scanned once by a process that decodes several clips of
it, one after the other: its packets take a second or two an hour to read, and a film may have hundreds of clips.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.video.clips import VideoError
from pipeline.video.options import DecodeOptions
from pipeline.video.reading.opening import (
    Deadline,
    OpenVideo,
    check_file,
    extent_of,
    open_video,
    refuse_missing_index,
)
from pipeline.video.reading.probing import VideoScan, scan_video
from pipeline.video.reading.truncation import FileExtent
from store.schema import VideoStatus


@dataclass(frozen=True, slots=True)
class ScannedVideo:
    """A file that is open, with its decoder, to which nothing was sent yet, and its scan."""

    video: OpenVideo
    scan: VideoScan
    extent: FileExtent


@dataclass(frozen=True, slots=True)
class _Key:
    """What tells whether a scan is still that of the file, and within which limits it was made."""

    path: Path
    file: tuple[int, int, int, int, int]
    """Device, inode, size, times of the last change of content and of anything, in nanoseconds."""
    limits: tuple[int, int, int]

    @classmethod
    def of(cls, path: Path, facts: os.stat_result, options: DecodeOptions) -> _Key:
        return cls(
            path,
            (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns),
            (options.max_pixels, options.max_packets, options.max_streams),
        )


_kept: dict[_Key, tuple[FileExtent, VideoScan]] = {}
"""The scan of the last large file, if any: some 5 MiB an hour. One, because clips of a file follow each other."""


@contextmanager
def open_scanned(path: Path, options: DecodeOptions, deadline: Deadline) -> Iterator[ScannedVideo]:
    """Open a file and scan it, or take the scan of the last time if it is of the same file.

    Raises:
        VideoError: The file fails, with its status and reason. Errors of ffmpeg inside the block become a `VideoError`
            as well, and all that are symptoms of lost bytes say so.
    """
    key = _Key.of(path, check_file(path), options)
    extent, scan = _kept.get(key, (None, None))
    if extent is None:
        # Before the next scan, so that two large tables are never in memory together.
        _kept.clear()
        extent = extent_of(path)
    refuse_missing_index(path, extent)
    try:
        with open_video(path, deadline, options, None if scan is None else scan.choice) as video:
            if scan is None:
                scan = scan_video(video, extent, options, deadline)
                if scan.buffered is None:  # else it holds the file open, and was made in no time
                    _kept[key] = (extent, scan)
            yield ScannedVideo(video, scan, extent)
    except VideoError as error:
        told = explained(error, extent)
        if told is error:
            raise
        raise told from error


def explained(error: VideoError, extent: FileExtent) -> VideoError:
    """What is reported of an error: the loss of bytes, if it is a symptom of that. The remedy is a whole copy."""
    symptoms = [VideoStatus.CORRUPT, VideoStatus.NO_VIDEO_STREAM, VideoStatus.TOO_SHORT]
    if extent.walk.breaks:
        symptoms.append(VideoStatus.UNSUPPORTED)  # what is read there may be anything
    if not extent.is_damaged or error.status not in symptoms:
        return error
    return VideoError(VideoStatus.TRUNCATED, f"part of the file is lost, {extent.where_lost}; {error.reason}")
