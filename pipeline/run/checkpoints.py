"""A folder that a command trains into: which files are its own, who may write it, and which run it belongs to."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from encoders.replacing import PARTIAL, replacing
from pipeline.errors import PipelineError
from pipeline.run.files import LOCK_FILE, locked_folder
from pipeline.run.overwriting import UnconfirmedError
from pipeline.run.words import plural
from store.json_values import JSON, differences

HISTORY_FILE = "history.json"
"""Written last: if it exists, training has ended and the checkpoint is final."""

_NOT_COMPARED = ("software", "machine")
"""Recorded of a run, but not compared: a run may be resumed with other versions or on another machine."""


class CheckpointMismatchError(PipelineError, ValueError):
    """The folder contains something else, or a checkpoint that was trained with other inputs."""


class CheckpointBusyError(PipelineError, RuntimeError):
    """Another run is writing the folder."""


def has_ended(folder: Path) -> bool:
    """Whether training has ended in a folder."""
    return (folder / HISTORY_FILE).is_file()


def changed_inputs(recorded: Mapping[str, JSON], identity: Mapping[str, JSON]) -> str:
    """How the inputs of a run differ from those that are recorded; an empty text if they do not."""
    before, now = (
        {key: value for key, value in values.items() if key not in _NOT_COMPARED} for values in (recorded, identity)
    )
    return differences(before, now, where="in the checkpoint")


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """A folder that one command trains into."""

    path: Path
    command: str
    """As a user would type it: `fda finetune`."""
    run_file: str
    """Has the inputs of the run. Written first and removed last: without it, files of these names are not ours."""
    state_file: str
    """From which a run resumes; removed when training has ended."""
    weights_file: str
    others: tuple[str, ...] = ()
    """Files that are written besides these and `history.json`."""
    folders: Mapping[str, str] = field(default_factory=dict)
    """Folders of files that another program names: name -> the pattern of the files' names."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files, in the order in which they are first written."""
        return self.run_file, self.state_file, *self.others, self.weights_file, HISTORY_FILE

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against other runs, and create it if needed; the system frees the lock with the process.

        Raises:
            CheckpointBusyError: Another run has the lock.
            CheckpointMismatchError: The folder contains something else.
        """
        self.check_ours()
        busy = CheckpointBusyError(
            f"another `{self.command}` is writing {self.path}: wait for it, or give another folder"
        )
        with locked_folder(self.path, busy):
            self._remove_partial()
            if has_ended(self.path):  # killed between the result and the removal of the state
                (self.path / self.state_file).unlink(missing_ok=True)
            yield

    def is_of(
        self,
        identity: Mapping[str, JSON],
        changed: Callable[[Mapping[str, JSON], Mapping[str, JSON]], str] = changed_inputs,
    ) -> bool:
        """Whether a run with these inputs has begun in the folder.

        Args:
            identity: The inputs.
            changed: How two runs' inputs differ, in words.

        Raises:
            CheckpointMismatchError: The folder contains something else, or was trained with other inputs.
        """
        self.check_ours()
        recorded = self.recorded_identity()
        if recorded is None:
            return False
        if not (differing := changed(recorded, identity)):
            return True
        if not self._made():
            return False  # that run ended before its first state: nothing is lost if this one replaces it
        raise CheckpointMismatchError(
            f"{self.path} was trained with other inputs: {differing}. Give another folder, or --overwrite --yes to "
            "train again"
        )

    def moved(self, identity: Mapping[str, JSON]) -> str:
        """How software and machine differ from those that the run began with; an empty text if they do not.

        If they differ, the weights may differ from those of a run that was never interrupted.
        """
        recorded = self.recorded_identity() or identity
        before, now = ({key: values.get(key) for key in _NOT_COMPARED} for values in (recorded, identity))
        return differences(before, now, where="in the checkpoint")

    def confirm_removal(self, *, yes: bool) -> list[Path]:
        """The files that `remove` removes, once it is confirmed that they may go.

        Raises:
            CheckpointMismatchError: The folder contains something else.
            UnconfirmedError: There are weights, a state or a result among them, and `yes` is not set.
        """
        self.check_ours()
        files = [self.path / name for name in self.files if (self.path / name).is_file()]
        files += self._in_folders()
        made = self._made()
        if made and not yes:
            size = sum(path.stat().st_size for path in files) / 2**20
            raise UnconfirmedError(
                f"--overwrite would remove the checkpoint in {self.path} ({', '.join(made)}; "
                f"{plural(len(files), 'file')}, {size:,.1f} MiB): give --yes as well"
            )
        return files

    def remove(self) -> None:
        """Remove what training wrote into the folder, and nothing else.

        Raises:
            CheckpointMismatchError: The folder contains something else.
        """
        self.check_ours()
        self._remove_partial()
        for path in self._in_folders():
            path.unlink()
        for name in self.folders:
            with suppress(OSError):  # there is none, or it has files of other programs
                (self.path / name).rmdir()
        # A state without its weights must not be resumed from. The file by which the folder is recognised as ours goes
        # last: a kill in between leaves a folder that this method still accepts.
        for name in (HISTORY_FILE, self.state_file, self.weights_file, *self.others, self.run_file):
            (self.path / name).unlink(missing_ok=True)

    def write_run(self, identity: Mapping[str, JSON], **more: JSON) -> None:
        """Record the inputs of a run, and the facts beside them."""
        self._write(self.run_file, {"identity": identity, **more})

    def write_history(self, history: Mapping[str, object]) -> None:
        """Record the result, then remove the state."""
        self._write(HISTORY_FILE, history)
        (self.path / self.state_file).unlink(missing_ok=True)

    def recorded_identity(self) -> Mapping[str, JSON] | None:
        """The inputs of the run in the folder, or None if they are not recorded."""
        try:
            found = json.loads((self.path / self.run_file).read_text(encoding="utf-8"))["identity"]
        except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def check_ours(self) -> None:
        """Refuse a folder with anything that the command did not write.

        Raises:
            CheckpointMismatchError: There is such a file, a link under one of our names, or files of another program.
        """
        if not self.path.is_dir():
            return
        ours = (*self.files, *self.folders, LOCK_FILE, *(PARTIAL.format(name) for name in self.files))
        foreign = sorted(path.name for path in self.path.iterdir() if path.name not in ours)
        if foreign:
            raise CheckpointMismatchError(
                f"{self.path} contains {foreign[0]!r}, which `{self.command}` did not write: move it away, or give "
                "another folder"
            )
        # What is written or removed under these names must not be what a link points at.
        for name in ours:
            is_file = name in (*self.files, LOCK_FILE)
            kind, is_right = ("file", stat.S_ISREG) if is_file else ("folder", stat.S_ISDIR)
            if not _is_plain_or_missing(self.path / name, is_right):
                raise CheckpointMismatchError(
                    f"{self.path / name} is no {kind}, but a link or something else. Move it away, or give another "
                    "folder"
                )
        if self.recorded_identity() is None:
            for name in self.files[1:]:
                if (self.path / name).exists():
                    raise CheckpointMismatchError(
                        f"{self.path / name} was not written by `{self.command}`, or {self.run_file} beside it is "
                        "damaged. Give another folder"
                    )

    def _made(self) -> list[str]:
        """Names of what took time to make."""
        made = (self.state_file, self.weights_file, HISTORY_FILE)
        return [name for name in made if (self.path / name).is_file()]

    def _in_folders(self) -> list[Path]:
        return [path for name, pattern in self.folders.items() for path in self.path.glob(f"{name}/{pattern}")]

    def _remove_partial(self) -> None:
        """Remove what a killed run left half-written."""
        for name in self.files:
            shutil.rmtree(self.path / PARTIAL.format(name), ignore_errors=True)

    def _write(self, name: str, content: Mapping[str, object]) -> None:
        with replacing(self.path / name) as temporary:
            temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _is_plain_or_missing(path: Path, is_right: Callable[[int], bool]) -> bool:
    try:
        return is_right(path.lstat().st_mode)
    except FileNotFoundError:
        return True
