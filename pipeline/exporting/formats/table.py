"""Every format by its name, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.errors import OptionError
from pipeline.exporting.formats.clip_retrieval import ClipRetrievalWriter
from pipeline.exporting.formats.clip_video_encode import ClipVideoEncodeWriter
from pipeline.exporting.formats.huggingface import HuggingFaceWriter
from pipeline.exporting.formats.npz import NpzWriter
from pipeline.exporting.formats.parquet import ParquetWriter
from pipeline.exporting.formats.video_features import VideoFeaturesWriter
from pipeline.exporting.formats.webdataset import WebDatasetWriter
from pipeline.exporting.options import ExportFormat, ExportOptions
from pipeline.exporting.writer import FormatWriter

WRITERS: Mapping[ExportFormat, type[FormatWriter]] = {
    ExportFormat.PARQUET: ParquetWriter,
    ExportFormat.CLIP_RETRIEVAL: ClipRetrievalWriter,
    ExportFormat.CLIP_VIDEO_ENCODE: ClipVideoEncodeWriter,
    ExportFormat.VIDEO_FEATURES: VideoFeaturesWriter,
    ExportFormat.WEBDATASET: WebDatasetWriter,
    ExportFormat.HUGGINGFACE: HuggingFaceWriter,
    ExportFormat.NPZ: NpzWriter,
}

_FLAGS = {"images": "--images", "vectors": "--vectors", "videos_per_file": "--videos-per-file"}
"""Fields of `ExportOptions` that only some formats have."""


def writer_of(options: ExportOptions) -> type[FormatWriter]:
    """The writer of a format, if the options are those that it takes.

    Raises:
        OptionError: One is missing, or is of no use to the format.
        MissingPackageError: It needs a package that is not installed.
    """
    kind, name = WRITERS[options.format], str(options.format)
    if kind.parts.requires_features and options.features is None:
        what = "the embeddings of frames" if kind.parts.frame_features else "embeddings"
        raise OptionError(f"--format {name} writes {what}: name a feature set with --features")
    given = {flag: getattr(options, field) for field, flag in _FLAGS.items() if field not in kind.flags}
    given |= {"--features": None if kind.parts.features else options.features}
    given |= {"--masks": None if kind.parts.masks else options.masks}
    for flag, value in given.items():
        if value is not None:
            raise OptionError(f"--format {name} has no place for {flag}: {_where(flag)}")
    kind.require_packages()
    return kind


def _where(flag: str) -> str:
    """Which formats take a flag."""
    fields = {flag: field for field, flag in _FLAGS.items()}
    takes = [
        str(name)
        for name, kind in WRITERS.items()
        if fields.get(flag) in kind.flags
        or (flag == "--features" and kind.parts.features)
        or (flag == "--masks" and kind.parts.masks)
    ]
    return f"it is for {', '.join(takes)}"
