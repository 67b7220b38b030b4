"""What clip-video-encode writes with `output_format="files"` (iejMac/clip-video-encode b5df2c7).

    OUT/test/ID.npy     (num_frames, dim): embeddings of frames, not normalised
    OUT/test/ID.txt     the first caption, if there is one
    OUT/test/ID.json    video_id, all captions, when the frames are, ...

ID is the id of the video as `pipeline.run.file_names` spells it; the JSON file has it as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipeline.exporting.arrays import as_type, npy_bytes
from pipeline.exporting.croissant import DescribedFiles
from pipeline.exporting.source import Batch, Parts
from pipeline.exporting.tables import video_records
from pipeline.exporting.writer import FormatWriter
from pipeline.run.file_names import file_name


class ClipVideoEncodeWriter(FormatWriter):
    """Writes three files a video."""

    parts = Parts(frame_features=True)
    flags = ("vectors",)

    def add(self, batch: Batch) -> None:
        """See `FormatWriter`."""
        for record, frames in zip(video_records(batch), batch.frame_vectors(), strict=True):
            name = f"{batch.split}/{file_name(str(record['video_id']))}"
            self.out.write(f"{name}.npy", npy_bytes(as_type(frames, self.options.vectors)))
            if record["captions"]:
                self.out.write(f"{name}.txt", str(record["captions"][0]).encode())
            self.out.write(f"{name}.json", json.dumps(record, indent=4, ensure_ascii=False).encode())

    def finish(self) -> Sequence[DescribedFiles]:
        """See `FormatWriter`."""
        return (
            DescribedFiles("embeddings", "Embeddings of the frames of a video", "*/*.npy", "application/x-npy"),
            DescribedFiles("captions", "The first caption of a video", "*/*.txt", "text/plain"),
            DescribedFiles("metadata", "Id, captions and times of a video", "*/*.json", "application/json"),
        )
