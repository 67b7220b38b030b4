"""A planned data set -> files, in parallel; one that was interrupted goes on where it was.

FOLDER/options.json     what was asked for, and whether it is complete
FOLDER/clips.jsonl      the manifest, in the layout `jsonl`: written last
FOLDER/videos/ID.mp4
FOLDER/truth/ID.npz     see `pipeline.synthetic.truth`
FOLDER/parts/N.jsonl    while it is made: the lines of the clips that are complete, some of them a file
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from encoders.replacing import PARTIAL, replacing
from pipeline.errors import InputError
from pipeline.run.events import ItemsDone, Listener, RunPlanned, Tell, ignore_events
from pipeline.run.threads import one_cv2_thread
from pipeline.synthetic.backgrounds import background_files, digest_of
from pipeline.synthetic.clips import TRUTH, VIDEOS, write_clip
from pipeline.synthetic.options import GenerateOptions
from pipeline.synthetic.planning import ClipPlan
from pipeline.workers.dask import local_dask
from pipeline.workers.executors import run_synchronously
from store.json_values import JSON

MANIFEST_NAME, OPTIONS_NAME, PARTS = "clips.jsonl", "options.json", "parts"
FORMAT = "fda generate 1"
"""In options.json: by this a folder is known as ours. The number is to be raised when the same options give others."""
CLIPS_PER_TASK = 16
_OWN_FOLDERS = {VIDEOS: r".+_\d{5,}\.mp4", TRUTH: r".+_\d{5,}\.npz", PARTS: r"\d{5,}\.jsonl"}


@dataclass(frozen=True)
class Recipe:
    """What makes a data set."""

    options: GenerateOptions
    background_files: tuple[str, ...] = ()
    """In the folder of backgrounds, if there is one."""
    background_digest: str | None = None

    @classmethod
    def of(cls, options: GenerateOptions) -> Self:
        """Look up the backgrounds.

        Raises:
            InputError: The folder of backgrounds is not there, or has no video.
        """
        if options.background is None:
            return cls(options)
        files = background_files(options.background)
        return cls(options, files, digest_of(options.background, files))

    def identity(self) -> dict[str, JSON]:
        """What two runs must agree on to make one data set."""
        return {**self.options.to_dict(), "background": self.background_digest}


@dataclass(frozen=True)
class _Task:
    """Some clips to write."""

    folder: Path
    recipe: Recipe
    number: int
    clips: tuple[ClipPlan, ...]

    def __str__(self) -> str:
        return f"the {len(self.clips)} generated clips from {self.clips[0].video_id} on"

    @property
    def part(self) -> Path:
        """The lines of the clips, once all are complete."""
        return self.folder / PARTS / f"{self.number:05d}.jsonl"


def write_dataset(
    folder: Path,
    recipe: Recipe,
    clips: Sequence[ClipPlan],
    max_workers: int = 0,
    listener: Listener = ignore_events,
) -> int:
    """Write every clip and the manifest, unless they are there.

    Args:
        folder: Made if missing. It has a data set of this recipe, complete or not, or none.
        recipe: Of the data set.
        clips: What it gives.
        max_workers: Processes that render and encode; with less than two, or than two tasks, it is this process.
        listener: Hears how far it is.

    Returns:
        How many clips were written.
    """
    if is_complete(folder, recipe):
        return 0
    for name in _OWN_FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_whole(folder / OPTIONS_NAME, _description(recipe, is_complete=False))  # first: now the folder is ours
    starts = range(0, len(clips), CLIPS_PER_TASK)
    tasks = [
        _Task(folder, recipe, number, tuple(clips[start : start + CLIPS_PER_TASK]))
        for number, start in enumerate(starts)
    ]
    # A part is written after all of its clips: what a killed run left of others is made again.
    pending = [task for task in tasks if not task.part.is_file()]
    num_pending = sum(len(task.clips) for task in pending)
    listener(RunPlanned("videos", len(clips), len(clips) - num_pending))
    num_workers = min(max_workers, len(pending))
    with local_dask(num_workers) if num_workers > 1 else nullcontext(run_synchronously) as executor:
        for _ in executor(_write_clips, pending, listener):
            pass
    with replacing(folder / MANIFEST_NAME) as temporary, temporary.open("wb") as manifest:
        for task in tasks:
            # In the order of the plan, whichever worker came first.
            manifest.write(task.part.read_bytes())
    write_whole(folder / OPTIONS_NAME, _description(recipe, is_complete=True))  # last: everything else is complete
    shutil.rmtree(folder / PARTS)
    return num_pending


@one_cv2_thread()
def _write_clips(task: _Task, tell: Tell) -> int:
    """Write them; their number."""
    recipe, lines = task.recipe, list[str]()
    for clip in task.clips:
        line = write_clip(task.folder, recipe.options, clip, recipe.background_files)
        lines.append(json.dumps(line) + "\n")
        tell(ItemsDone(1))
    write_whole(task.part, "".join(lines))
    return task.number


def is_complete(folder: Path, recipe: Recipe) -> bool:
    """Whether a folder has all of the data set of a recipe."""
    made_by = folder / OPTIONS_NAME
    is_there = made_by.is_file() and (folder / MANIFEST_NAME).is_file()
    return is_there and made_by.read_text(encoding="utf-8") == _description(recipe, is_complete=True)


def written_options(folder: Path) -> dict[str, JSON] | None:
    """What a data set in a folder was made by, complete or not; None if none was begun."""
    try:
        written = json.loads((folder / OPTIONS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(written, dict) or written.get("format") != FORMAT:
        return None
    return {name: value for name, value in written.items() if name not in ("format", "is_complete")}


def check_own(folder: Path) -> None:
    """Raise if a folder has files that are not of a generated data set: some might have the names of its files.

    Raises:
        InputError: See above.
    """
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in names if name != PARTIAL.format(OPTIONS_NAME)]  # left by a kill at the very beginning
    # The first thing that is made are the folders: a kill after it leaves them empty.
    foreign = [name for name in foreign if name not in _OWN_FOLDERS or any((folder / name).iterdir())]
    if foreign and written_options(folder) is None:
        raise InputError(f"{folder} contains {foreign[0]!r}, which fda did not write: give another folder")


def remove_dataset(folder: Path) -> None:
    """Remove a generated data set, and no file of another name than those it writes."""
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    for name, pattern in _OWN_FOLDERS.items():
        for path in (folder / name).iterdir() if (folder / name).is_dir() else ():
            # A folder may have files that somebody put beside ours.
            if path.is_file() and re.fullmatch(pattern, path.name):
                path.unlink()
    (folder / OPTIONS_NAME).unlink(missing_ok=True)  # last: until then the folder is known as ours


def write_whole(path: Path, text: str) -> None:
    """Write a text to a file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _description(recipe: Recipe, *, is_complete: bool) -> str:
    described = {"format": FORMAT, **recipe.identity(), "is_complete": is_complete}
    return json.dumps(described, indent=2) + "\n"
