"""The layout `video`: one video file, to try things on. Its captions, if any, are in `<stem>.txt` beside it."""

from __future__ import annotations

from pathlib import Path

from pipeline.datasets.layouts.folder import captions_in
from pipeline.datasets.reading.files import require_file, require_folder
from pipeline.datasets.reading.json_files import errors_at
from pipeline.datasets.records import Dataset, VideoRecord, relative_path


def read_video(source: Path, videos: Path | None = None) -> Dataset:
    """Read one video as a data set of one, in the split `test`. Its id is the name without the ending.

    Args:
        source: The file.
        videos: A folder above it; by default its own.

    Raises:
        DatasetError: if there is no such file, it is not below `videos`, or its captions are not UTF-8.
    """
    require_file(source)
    root = (source.parent if videos is None else videos).absolute()
    require_folder(root)
    path, captions = relative_path(str(source.absolute()), root), source.with_suffix(".txt")
    texts = captions_in(captions) if captions.exists() else ()
    with errors_at(str(source)):
        video = VideoRecord(source.stem, path, "test", texts)
        return Dataset(source.stem, root, (video,))
