"""Records, and the files of data sets, for tests."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

from pipeline.datasets.records import Dataset, VideoRecord


def record(
    video_id: str = "a", path: str = "a.mp4", split: str = "test", captions: tuple[str, ...] = ("x",)
) -> VideoRecord:
    """A record of which a test names only what it is about."""
    return VideoRecord(video_id, path, split, captions)


def write(path: Path, content: str | bytes = b"") -> Path:
    """Bytes and texts as they are, also if the name ends with `.gz`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_data(path: Path, content: object = b"") -> Path:
    """Bytes and texts as they are, anything else as JSON; gzipped if the name ends with `.gz`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    plain = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(plain, compresslevel=1) if path.suffix == ".gz" else plain)
    return path


def write_all(folder: Path, files: Mapping[str, object]) -> None:
    for name, content in files.items():
        if content is None:
            (folder / name).unlink()
        else:
            write_data(folder / name, content)


def facts(dataset: Dataset) -> list[tuple[object, ...]]:
    return [(one.video_id, one.path, one.split, one.captions) for one in dataset.videos]
