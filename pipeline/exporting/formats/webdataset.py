"""Tars of samples, for webdataset and all else that reads its layout.

    OUT/test-000000.tar     KEY.json, KEY.frame00.jpg, KEY.frame01.jpg, ..., KEY.mask00.png, ...

KEY is the id of the video as `pipeline.run.file_names` spells it, without dots; the JSON has it as it is, with
the captions, the time of each frame and the statistics of the masks. Masks are 255 where something moves; soft ones
are how likely it moves, 0 to 255.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from contextlib import ExitStack

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.exporting.croissant import DescribedFiles
from pipeline.exporting.destination import Destination
from pipeline.exporting.options import ExportOptions, FrameImages
from pipeline.exporting.source import Batch, Parts, Selected
from pipeline.exporting.tables import video_records
from pipeline.exporting.writer import VIDEOS_PER_FILE, FormatWriter
from pipeline.run.file_names import file_name
from store.arrays.jpeg import JpegCodec
from store.clips.layout import Masks, levels


class WebDatasetWriter(FormatWriter):
    """Writes tars of so many videos of one split."""

    parts = Parts(features=False, requires_features=False, frames=True)
    flags = ("images", "videos_per_file")

    def __init__(self, out: Destination, options: ExportOptions, selected: Sequence[Selected]) -> None:
        super().__init__(out, options, selected)
        self._per_tar = options.videos_per_file or VIDEOS_PER_FILE
        self._images = options.images or FrameImages.JPEG
        self._tar: _Tar | None = None
        self._split, self._num_tars = "", 0

    def add(self, batch: Batch) -> None:
        """See `FormatWriter`."""
        if batch.split != self._split:
            self._end_tar()
            self._split, self._num_tars = batch.split, 0
        clips = zip(video_records(batch), batch.times(), batch.pictures(), strict=True)
        for record, times, (frames, masks) in clips:
            if self._tar is None:
                self._tar = _Tar(self.out, f"{self._split}-{self._num_tars:06d}.tar")
                self._num_tars += 1
            num_frames = len(times)
            self._tar.add(record, frames[:num_frames], None if masks is None else masks[:num_frames], self._images)
            if self._tar.num_videos == self._per_tar:
                self._end_tar()

    def finish(self) -> Sequence[DescribedFiles]:
        """See `FormatWriter`."""
        self._end_tar()
        about = f"Frames ({self._images.upper()}), masks (PNG), captions and times (JSON), a sample a video"
        return [
            DescribedFiles(one.split, f"{about}, of split {one.split}", f"{one.split}-??????.tar", "application/x-tar")
            for one in self.selected
        ]

    def _end_tar(self) -> None:
        if self._tar is not None:
            self._tar.end()
            self._tar = None


class _Tar:
    """One tar. Its members have no time and no owner, so that equal clips give equal bytes."""

    def __init__(self, out: Destination, name: str) -> None:
        self._open = out.open.enter_context(ExitStack())
        file = self._open.enter_context(out.file(name))
        # w|: as a stream, because the file that it writes into cannot be sought in.
        self._tar = self._open.enter_context(tarfile.open(fileobj=file, mode="w|"))  # noqa: SIM115, the stack closes it
        self.num_videos = 0

    def add(
        self,
        record: dict[str, object],
        frames: NDArray[np.uint8],
        masks: Masks | None,
        images: FrameImages,
    ) -> None:
        key, num_digits = file_name(str(record["video_id"]), keep_dots=False), max(2, len(str(len(frames) - 1)))
        self._add(f"{key}.json", json.dumps(record, ensure_ascii=False).encode())
        ending = "jpg" if images is FrameImages.JPEG else "png"
        for number, frame in enumerate(frames):
            self._add(f"{key}.frame{number:0{num_digits}d}.{ending}", _encoded(frame, images))
        for number, mask in enumerate(() if masks is None else masks):
            self._add(f"{key}.mask{number:0{num_digits}d}.png", _png(levels(mask)))
        self.num_videos += 1

    def end(self) -> None:
        self._open.close()

    def _add(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))


def _encoded(frame: NDArray[np.uint8], images: FrameImages) -> bytes:
    if images is FrameImages.JPEG:
        return JpegCodec().encode_pictures(frame)
    return _png(np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), dtype=np.uint8))  # OpenCV writes BGR


def _png(picture: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()
