"""What the layouts `jsonl` and `csv` share: the names of their keys, keys that are not known, and where paths lead."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from pipeline.datasets.reading.files import first_few, is_video, require_folder
from pipeline.datasets.records import DatasetError, relative_path

VIDEO_ID, PATH, CAPTIONS = "video_id", "path", "captions"
OTHER_FIELDS = ("split", "start_seconds", "end_seconds", "category")
"""Fields whose keys always have these names."""
OPTION_OF = {VIDEO_ID: "--id-key", PATH: "--path-key", CAPTIONS: "--caption-key"}
USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    VIDEO_ID: ("clip_id", "id", "key", "vid", "video_name", "videoid", "vid_key", "clip_name", "youtube_id", "uid"),
    PATH: ("file", "filename", "file_name", "filepath", "file_path", "video", "video_path", "video_file", "clip_path"),
    CAPTIONS: ("caption", "text", "texts", "sentence", "sentences", "description", "descriptions", "title", "query"),
    "split": ("subset", "partition", "fold"),
    "start_seconds": ("start", "start_time", "start_sec", "start_s", "begin", "from", "clip_start", "t_start"),
    "end_seconds": ("end", "end_time", "end_sec", "end_s", "stop", "to", "until", "clip_end", "t_end"),
    "category": ("class", "label", "topic", "genre"),
}
"""Field -> what other people call it."""
_ALIKE = 0.8
"""Of `difflib`: `start_secconds` is like `start_seconds` (0.96), `title` is not like `file` (0.67)."""
_MAX_COMPARED = 200
"""Keys that are compared by their letters, which takes some 0.1 ms each: a line may have a hundred thousand."""
_MAX_SUGGESTED = 20
"""Keys that have a sentence of their own."""


@dataclass(frozen=True, slots=True)
class ManifestKeys:
    """The names of the keys, or columns, of a manifest."""

    video_id: str
    path: str
    captions: str

    @property
    def names(self) -> dict[str, str]:
        """Field -> its key, for all fields."""
        named = {VIDEO_ID: self.video_id, PATH: self.path, CAPTIONS: self.captions}
        return named | {field: field for field in OTHER_FIELDS}

    def missing(self, fields: Mapping[str, object], *needed: str) -> str:
        """The message for a line without the keys of the `needed` fields, with the options that would name them."""
        lacking = " and ".join(f"no {self.names[field]!r}" for field in needed)
        message = f"{lacking}; the keys are {', '.join(map(repr, fields)) or 'none'}"
        left = {name: value for name, value in fields.items() if name not in self.names.values()}
        options = []
        for field in (*needed, CAPTIONS):
            found = None if self.names[field] in fields else _key_of(field, left)
            if found is not None:
                # A key is suggested for one field only.
                del left[found]
                options.append(f"{OPTION_OF[field]} {found}")
        return message + (f": give {' '.join(options)}" if options else "")


GENERATED = frozenset({"objects", "mover", "events", "factors", "fps", "truth", "truth_coverage", "background"})
"""Keys that `fda generate` writes for people and experiments: nothing is missed where they are not read."""


class UnknownKeys:
    """Collects the keys of a manifest that mean nothing to this program, which may have been meant to."""

    def __init__(self, keys: ManifestKeys) -> None:
        self._key_of = keys.names
        self._known = frozenset(self._key_of.values())
        self._line_of: dict[str, int] = {}
        self._meant: dict[str, str] = {}

    def see(self, number: int, fields: Mapping[str, object]) -> None:
        """Take the keys of line `number`."""
        # Both are in every line that `fda generate` writes, and hardly in anybody else's.
        is_generated = {"truth", "factors"} <= fields.keys()
        for name in fields:
            if is_generated and name in GENERATED:
                continue
            if name not in self._known and name not in self._line_of:
                self._line_of[name] = number
                field = field_like(name) if len(self._line_of) <= _MAX_COMPARED else None
                # A line that has the field itself uses the other key for something else.
                if field is not None and self._key_of[field] not in fields:
                    self._meant[name] = field

    def sentences(self) -> tuple[str, ...]:
        """What to tell of them: each key that looks like a known one by itself, and all others in one sentence."""
        suggested = sorted(self._meant, key=self._place)[:_MAX_SUGGESTED]
        told = [f"line {self._line_of[name]}: key {name!r} is ignored: {self._remedy(name)}" for name in suggested]
        others = sorted(self._line_of.keys() - set(suggested), key=self._place)
        if others:
            keys, are = ("key", "is") if len(others) == 1 else ("keys", "are")
            told.append(f"{len(others)} {keys} without a meaning here {are} ignored: {first_few(others)}")
        return tuple(told)

    def _place(self, name: str) -> tuple[int, str]:
        return self._line_of[name], name

    def _remedy(self, name: str) -> str:
        field = self._meant[name]
        if field in OPTION_OF:
            return f"if it is {self._key_of[field]!r}, give {OPTION_OF[field]} {name}"
        return f"if it is {field!r}, name it so"


def field_like(name: str) -> str | None:
    """The field that a key seems to mean, or None.

    >>> field_like("start"), field_like("start_secconds"), field_like("Clip-ID"), field_like("fps")
    ('start_seconds', 'start_seconds', 'video_id', None)
    """
    # Cut, as comparing takes time by the product of the lengths, and keys come from anybody.
    plain = name[:40].strip().lower().replace("-", "_").replace(" ", "_")
    field_of = {other: field for field, others in USUAL_NAMES.items() for other in (field, *others)}
    close = [plain] if plain in field_of else get_close_matches(plain, field_of, n=1, cutoff=_ALIKE)
    return field_of[close[0]] if close else None


def _key_of(field: str, fields: Mapping[str, object]) -> str | None:
    """The key of a line that seems to be that of a field; what names a video file is a path, whatever its key."""
    texts = {name: value for name, value in fields.items() if isinstance(value, str | list)}
    files = [name for name, value in texts.items() if isinstance(value, str) and is_video(value)]
    if field == PATH:
        return next(iter(files), None)
    return next((name for name in texts if name not in files and field_like(name) == field), None)


class VideoPaths:
    """The paths of a manifest, and the folder that they are relative to.

    That folder is `videos` if it is given, and no path may leave it: a manifest may come from anybody. Otherwise it is
    the folder of the manifest. Absolute paths may then lie elsewhere, if all are absolute and name videos; what they
    are relative to is the folder that they have in common. Links are not followed to find out.
    """

    def __init__(self, source: Path, videos: Path | None) -> None:
        self.folder = (source.parent if videos is None else videos).absolute()
        require_folder(self.folder)
        self._plain_folder = os.path.normpath(self.folder)
        self._may_lie_elsewhere = videos is None
        self._first_relative: str | None = None
        self._first_elsewhere: str | None = None
        self._common: str | None = None

    def place(self, path: str) -> str:
        """The absolute path, by its letters.

        Raises:
            DatasetError: It is not one line, leads out of the folder where it may not, or names no video there.
        """
        is_absolute = PurePosixPath(path).is_absolute()
        if not is_absolute:
            inside = relative_path(path, self.folder)
            self._first_relative = self._first_relative or path
            return os.path.join(self._plain_folder, inside)  # noqa: PTH118 - a Path takes ten times as long
        place = f"/{relative_path(path, Path('/'))}"
        if not Path(place).is_relative_to(self._plain_folder):
            if not self._may_lie_elsewhere or not is_video(place):  # not the decoder's business, wherever it came from
                relative_path(path, self.folder)
            self._first_elsewhere = self._first_elsewhere or path
        above = str(PurePosixPath(place).parent)
        # Path by path: a list of all of them would be as large as the manifest.
        self._common = above if self._common is None else os.path.commonpath([self._common, above])
        return place

    def root(self) -> Path:
        """The folder, now that all paths are known.

        Raises:
            DatasetError: Some paths are relative and others lie elsewhere, or they have no folder in common.
        """
        if self._first_elsewhere is None:
            return self.folder
        if self._first_relative is not None:
            raise DatasetError(
                f"path {self._first_elsewhere!r} is outside {self.folder}, where {self._first_relative!r} is looked "
                "for: write all paths absolute, or give with --videos the folder that all lie below"
            )
        if self._common in (None, os.sep):
            raise DatasetError(
                f"path {self._first_elsewhere!r} and the others have no folder in common but /: give --videos / if "
                "the manifest is your own"
            )
        return Path(str(self._common))
