"""How a data set is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.splitting import parse_shares
from pipeline.run.fields import convert_fields, local_path
from store.json_values import JSON

AUTO = "auto"
"""The layout is recognised by the names of files."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How a data set is read."""

    layout: str = AUTO
    """`jsonl`, `csv`, `folder`, `msvd`, ... (see docs/datasets.md), or `AUTO`."""
    videos: Path | None = None
    """Folder of the videos, which no path leaves. Default: that of the source, and that of a manifest's absolute
    paths."""
    id_key: str | None = None
    """Key of a video's id in `jsonl`, or column in `csv`. Default: `video_id`."""
    path_key: str | None = None
    """Key of a video's path. Default: `path`."""
    caption_key: str | None = None
    """Key of a video's captions. Default: `captions` in `jsonl`, `caption` in `csv`."""
    protocol_split: str | None = None
    """Which of the published splits of MSR-VTT: `1k-A`, `1k-A-7k`, `1k-B` or `full`."""
    extract_to: Path | None = None
    """Folder into which the videos of video2dataset's tars are extracted."""
    paragraphs: bool = False
    """Join all captions of a video into one text: a query is then a paragraph."""
    split_by_hash: Mapping[str, float] | None = None
    """Splits for a data set that has none: split -> share, also as a text such as `train=0.9,val=0.05,test=0.05`. The
    hash of a video's id draws, so that no video changes its split when others come."""
    require_captions: bool = False
    """Refuse a data set in which a video has no caption. Default: keep the video; it is a candidate, and no query."""
    strict: bool = False
    """Refuse what is likely to be a mistake: keys that are not known, captions without a video, names of splits that
    differ in case alone. Default: warn."""

    def __post_init__(self) -> None:
        convert_fields(self, videos=local_path, extract_to=local_path)
        if self.split_by_hash is not None:
            object.__setattr__(self, "split_by_hash", parse_shares(self.split_by_hash))

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON, but for those of their own place in a run record: the layout, and the splits by hash."""
        return {
            "videos": None if self.videos is None else str(self.videos),
            "extract_to": None if self.extract_to is None else str(self.extract_to),
            "id_key": self.id_key,
            "path_key": self.path_key,
            "caption_key": self.caption_key,
            "protocol_split": self.protocol_split,
            "paragraphs": self.paragraphs,
            "require_captions": self.require_captions,
            "strict": self.strict,
        }
