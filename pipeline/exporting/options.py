"""What `export` writes, and in which layout."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from operator import index

from pipeline.errors import OptionError
from pipeline.run.fields import convert_fields


class ExportFormat(StrEnum):
    """A layout that other programs read: see docs/export.md."""

    PARQUET = "parquet"
    CLIP_RETRIEVAL = "clip-retrieval"
    CLIP_VIDEO_ENCODE = "clip-video-encode"
    VIDEO_FEATURES = "video-features"
    WEBDATASET = "webdataset"
    HUGGINGFACE = "huggingface"
    NPZ = "npz"


class FrameImages(StrEnum):
    """How frames are written as image files."""

    JPEG = "jpeg"
    """Quality 95, no chroma subsampling: a fifth of the bytes, with a loss that is not seen."""
    PNG = "png"
    """Bit for bit the stored frames."""


class VectorType(StrEnum):
    """Numbers that embeddings are written in."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    """Half of the bytes, at a relative error of 2**-11."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What is exported, and how."""

    format: ExportFormat
    features: str | None = None
    """Name of the feature set. Some formats require it; `parquet` and `huggingface` are without vectors else."""
    masks: str | None = None
    """Name of the mask set: its statistics, and in `webdataset` its pictures. Default: `default`, if there is one."""
    splits: tuple[str, ...] = ()
    """Default: all."""
    images: FrameImages | None = None
    """For `webdataset`. Default: JPEG."""
    vectors: VectorType | None = None
    """For formats of NumPy arrays. Default: float32."""
    videos_per_file: int | None = None
    """For `webdataset` and `clip-retrieval`: videos of a tar, or of a part. Default: 1,000."""
    overwrite: bool = False
    """Replace an export that is there, once the new one is complete. Default: refuse. A folder with anything else in it
    is always refused."""

    def __post_init__(self) -> None:
        convert_fields(
            self, format=ExportFormat, splits=tuple, images=FrameImages, vectors=VectorType, videos_per_file=index
        )
        if self.videos_per_file is not None and self.videos_per_file < 1:
            raise OptionError(f"videos_per_file must be 1 or more, got {self.videos_per_file}")
        if len(set(self.splits)) < len(self.splits):
            raise OptionError(f"a split is named twice: {', '.join(self.splits)}")
