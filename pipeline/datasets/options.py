"""How a data set is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.run.fields import convert_fields

AUTO = "auto"
"""The layout is recognised by the names of files."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How a data set is read."""

    layout: str = AUTO
    """`jsonl`, `csv`, `folder`, `msvd`, ... (see docs/datasets.md), or `AUTO`."""
    videos: Path | None = None
    """Folder of the videos. Default: that of the source."""
    path_key: str | None = None
    """Key of a video's path in `jsonl`. Default: `path`."""
    protocol_split: str | None = None
    """Which of the published splits of MSR-VTT: `1k-A`, `1k-A-7k`, `1k-B` or `full`."""
    extract_to: Path | None = None
    """Folder into which the videos of video2dataset's tars are extracted."""
    paragraphs: bool = False
    """Join all captions of a video into one text: a query is then a paragraph."""

    def __post_init__(self) -> None:
        convert_fields(self, videos=Path, extract_to=Path)
