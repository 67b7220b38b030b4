"""Readers of data sets as people have them on disk: one small file a layout, and the table of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.datasets.folder import read_folder
from pipeline.datasets.jsonl import read_jsonl
from pipeline.datasets.msvd import LIST_FILES, read_msvd
from pipeline.datasets.records import Dataset, DatasetError, VideoRecord

__all__ = ["LAYOUTS", "Dataset", "DatasetError", "VideoRecord", "guess_layout", "read_dataset", "read_jsonl"]

LAYOUTS: Mapping[str, Callable[[Path, Path | None], Dataset]] = {
    "jsonl": read_jsonl,
    "folder": read_folder,
    "msvd": read_msvd,
}
"""The reader of each layout: from the source, and the folder of the videos where that is another, to the data set."""


def read_dataset(layout: str, source: Path, videos: Path | None = None, *, path_key: str | None = None) -> Dataset:
    """Read the data set at `source`, laid out as `layout` says.

    Args:
        layout: A key of `LAYOUTS`.
        source: A file or a folder, as the layout has it.
        videos: The folder in which the videos lie, where it is not the one that the layout implies.
        path_key: For `jsonl` alone: the key that holds the path of a video, where it is not `path`.

    Raises:
        DatasetError: for an unknown layout, a `path_key` that it does not take, and whatever keeps the source from
            being read.
    """
    if layout not in LAYOUTS:
        raise DatasetError(f"there is no layout {layout!r}; choose one of {', '.join(LAYOUTS)}")
    if path_key is None:
        return LAYOUTS[layout](source, videos)
    if layout != "jsonl":
        raise DatasetError(f"layout {layout!r} has no keys, so path_key {path_key!r} means nothing; leave it out")
    return read_jsonl(source, videos, path_key=path_key)


def guess_layout(source: Path) -> str:
    """The layout that `source` looks like: a `.jsonl` file, a folder with the lists of MSVD, or any other folder.

    Raises:
        DatasetError: if there is nothing at `source`, or a file of another kind.

    >>> guess_layout(Path(__file__).parent)
    'folder'
    """
    if source.is_dir():
        return "msvd" if all((source / name).is_file() for name in LIST_FILES.values()) else "folder"
    if not source.exists():
        raise DatasetError(f"there is no file or folder {source}")
    if source.suffix.lower() == ".jsonl":
        return "jsonl"
    raise DatasetError(f"cannot tell the layout of {source}; name one of {', '.join(LAYOUTS)}")
