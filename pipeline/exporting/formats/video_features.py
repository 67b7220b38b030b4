"""What video_features writes with `feature_type=clip on_extraction=save_numpy` (v-iashin/video_features a2f61b7).

    OUT/test/ID_clip.npy            (num_frames, dim): embeddings of frames, not normalised
    OUT/test/ID_fps.npy             one number: frames a second of the video file; NaN if it is not known
    OUT/test/ID_timestamps_ms.npy   (num_frames,): when each frame is shown

There, every frame of the video has a row. Here, the frames of the clip have: go by their times, and not by the rate.
ID is the id of the video as `pipeline.run.file_names` spells it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.errors import InputError
from pipeline.exporting.arrays import as_type, npy_bytes
from pipeline.exporting.croissant import DescribedFiles
from pipeline.exporting.source import Batch, Parts
from pipeline.exporting.writer import FormatWriter
from pipeline.run.file_names import file_name
from pipeline.run.words import plural


class VideoFeaturesWriter(FormatWriter):
    """Writes three files a video."""

    parts = Parts(frame_features=True, requires_times=True, masks=False)
    flags = ("vectors",)
    _num_without_rate = 0

    def add(self, batch: Batch) -> None:
        """See `FormatWriter`."""
        if batch.selected.is_imported:
            raise InputError(
                f"features {batch.selected.features!r} were imported, so the times of their frames are not known, "
                "and video_features needs them: use --format clip-video-encode, or a feature set of `fda encode`"
            )
        facts = batch.clip_facts
        rates = [None] * len(batch) if facts is None else facts["fps"].to_pylist()
        for video_id, frames, times, rate in zip(batch.ids, batch.frame_vectors(), batch.times(), rates, strict=True):
            self._num_without_rate += rate is None
            name = f"{batch.split}/{file_name(video_id)}"
            self.out.write(f"{name}_clip.npy", npy_bytes(as_type(frames, self.options.vectors)))
            self.out.write(f"{name}_fps.npy", npy_bytes(np.array(np.nan if rate is None else rate)))
            self.out.write(f"{name}_timestamps_ms.npy", npy_bytes(times * 1000))

    def finish(self) -> Sequence[DescribedFiles]:
        """See `FormatWriter`."""
        kinds = (
            ("clip", "Embeddings of the frames of a video"),
            ("fps", "Frames a second of the video file"),
            ("timestamps_ms", "When each frame is shown, milliseconds"),
        )
        return [DescribedFiles(name, about, f"*/*_{name}.npy", "application/x-npy") for name, about in kinds]

    def warnings(self) -> Sequence[str]:
        """See `FormatWriter`."""
        if not self._num_without_rate:
            return ()
        return (f"the frame rate of {plural(self._num_without_rate, 'video')} is not known: NaN in their _fps.npy",)
