"""Reading a data set as people have it on disk: the table of layouts, and which one a folder has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline.datasets.layouts.activitynet import read_activitynet
from pipeline.datasets.layouts.csv_layout import read_csv
from pipeline.datasets.layouts.didemo import read_didemo
from pipeline.datasets.layouts.folder import read_folder
from pipeline.datasets.layouts.jsonl import read_jsonl
from pipeline.datasets.layouts.lsmdc import read_lsmdc
from pipeline.datasets.layouts.msrvtt import read_msrvtt
from pipeline.datasets.layouts.msvd import read_msvd
from pipeline.datasets.layouts.vatex import read_vatex
from pipeline.datasets.layouts.video import read_video
from pipeline.datasets.layouts.video2dataset import read_video2dataset
from pipeline.datasets.reading.files import VIDEO_ENDINGS, require_source
from pipeline.datasets.records import Dataset, DatasetError


@dataclass(frozen=True, slots=True)
class Layout:
    """One way in which a data set lies on disk."""

    read: Callable[..., Dataset]
    """Takes the source, the folder of the videos if that is another one, and the options named below."""
    marks: tuple[str, ...]
    """Names of files, with `*` for anything. A folder that contains one has this layout. Each may be gzipped."""
    is_file: bool = False
    """Whether the source is one file, which itself has such a name."""
    options: tuple[str, ...] = ()
    """Further keyword arguments of `read`."""


_KEYS = ("id_key", "path_key", "caption_key")

LAYOUTS: Mapping[str, Layout] = {
    "jsonl": Layout(read_jsonl, ("*.jsonl",), is_file=True, options=_KEYS),
    "csv": Layout(read_csv, ("*.csv", "*.tsv"), is_file=True, options=_KEYS),
    "video": Layout(read_video, tuple(f"*{ending}" for ending in sorted(VIDEO_ENDINGS)), is_file=True),
    "msvd": Layout(read_msvd, ("raw-captions.pkl", "AllVideoDescriptions.txt", "captions_msvd.json")),
    "msrvtt": Layout(read_msrvtt, ("MSRVTT_data.json", "MSRVTT_*.csv"), options=("protocol_split",)),
    "activitynet": Layout(read_activitynet, ("val_1.json",)),
    "didemo": Layout(read_didemo, ("test_data.json", "test.jsonl")),
    "lsmdc": Layout(read_lsmdc, ("LSMDC16_*.csv",)),
    "vatex": Layout(read_vatex, ("vatex_*.json",)),
    "video2dataset": Layout(read_video2dataset, ("*.tar",), options=("extract_to",)),
    "folder": Layout(read_folder, ()),
}
"""All layouts. A folder with the marks of none is a `folder`."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """A layout, and how it was detected."""

    layout: str
    why: str
    """One sentence."""


def read_dataset(layout: str, source: Path, videos: Path | None = None, **options: object) -> Dataset:
    """Read the data set at `source`, laid out as `layout` says.

    Args:
        layout: A key of `LAYOUTS`.
        source: A file or a folder, depending on the layout.
        videos: The folder of the videos, if it is not the one that the layout implies.
        options: Further arguments of the layout's reader, see there; None is the default.

    Raises:
        DatasetError: if the layout is unknown or does not take an option, or the source cannot be read.
    """
    if layout not in LAYOUTS:
        raise DatasetError(f"unknown layout {layout!r}; --dataset is one of {', '.join(LAYOUTS)}")
    require_source(source)
    # A file for a layout of folders, or the other way round.
    if LAYOUTS[layout].is_file is source.is_dir():
        kind = "a folder, not a file" if source.is_dir() else "a file, not a folder"
        raise DatasetError(f"{source} is {kind} as layout {layout!r} needs: name another layout with --dataset")
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if name not in LAYOUTS[layout].options:
            takers = ", ".join(other for other, one in LAYOUTS.items() if name in one.options)
            raise DatasetError(
                f"--{name.replace('_', '-')} ({str(value)!r}) is for {takers}, and {source} is read as {layout!r}: "
                "leave it out, or name another layout with --dataset"
            )
    return LAYOUTS[layout].read(source, videos, **given)


def recognise_layout(source: Path) -> Recognised:
    """Detect a layout by the names of files.

    Raises:
        DatasetError: if there is nothing at `source`, or it could be several layouts or none.

    >>> recognise_layout(Path(__file__).parent)
    Recognised(layout='folder', why='it is a folder without the files of any other layout')
    """
    require_source(source)
    marked = {
        layout: name
        for layout, about in LAYOUTS.items()
        # Of a folder, layouts of folders alone: one .jsonl in it does not make it a manifest.
        if about.is_file is not source.is_dir() and (name := _first_mark(source, about.marks))
    }
    if len(marked) > 1:
        could_be = " or ".join(f"{layout} (it contains {name!r})" for layout, name in marked.items())
        raise DatasetError(f"{source} could be {could_be}; name one with --dataset")
    for layout, name in marked.items():
        return Recognised(layout, f"it contains {name!r}" if source.is_dir() else f"its name is {name!r}")
    if source.is_dir():
        return Recognised("folder", "it is a folder without the files of any other layout")
    files = ", ".join(layout for layout, about in LAYOUTS.items() if about.is_file)
    raise DatasetError(
        f"cannot detect the layout of {source} by its name: give --dataset with one of {files}, or as SOURCE the "
        "folder of a published data set"
    )


def _first_mark(source: Path, marks: tuple[str, ...]) -> str | None:
    """The first file with a mark of a layout, or None."""
    found = (path for path in (sorted(source.iterdir()) if source.is_dir() else [source]) if _matches(path.name, marks))
    return next((path.name for path in found if path.is_file()), None)


def _matches(name: str, marks: tuple[str, ...]) -> bool:
    plain = name.lower().removesuffix(".gz")
    return any(fnmatchcase(plain, mark.lower()) for mark in marks)
