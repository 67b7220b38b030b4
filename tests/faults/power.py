"""What a power cut may leave of what a run did: a pessimistic disk.

Of what was not synced, each thing may have reached the disk or not, whatever came first:

- the content of a file that was written and not synced: nothing, a part, zeros in its place, or all;
- an entry of a folder (a file that was made, renamed or removed, a folder that was made) whose folder was not synced
  since: as it is now, or as it was at any moment since the folder was synced. A rename from one folder to another is
  two entries, of which one may be on the disk without the other.

Real file systems are kinder; what survives this one survives them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.operations import CREATE, MKDIR, RENAME, RMDIR, SYNC, SYNC_FOLDER, UNLINK, WRITE, Operation

Choice = Callable[[int], int]
"""Number of versions -> the one that is on the disk; 0 is the oldest."""


def none_of_it(num_versions: int) -> int:
    """Nothing that was not synced has reached the disk."""
    return 0


def all_of_it(num_versions: int) -> int:
    """Everything has, as after a kill."""
    return num_versions - 1


def some_of_it(rng: random.Random) -> Choice:
    """Anything may have."""
    return rng.randrange


@dataclass(eq=False)
class _File:
    content: bytes = b""
    is_synced: bool = False

    def after(self, choose: Choice) -> bytes:
        """Its content, as it may be on the disk."""
        if self.is_synced:
            return self.content
        half = self.content[: len(self.content) // 2]
        versions = (b"", bytes(len(self.content)), half, half + bytes(len(self.content) - len(half)), self.content)
        return versions[choose(len(versions))]


@dataclass(eq=False)
class _Folder:
    entries: dict[str, list[_File | _Folder | None]] = field(default_factory=dict)
    """Name -> what it may be on the disk, the oldest first; the last is what it is. None: there is no such entry."""

    def put(self, name: str, what: _File | _Folder | None) -> None:
        self.entries.setdefault(name, [None]).append(what)

    def now(self, name: str) -> _File | _Folder | None:
        return self.entries.get(name, [None])[-1]

    def sync(self) -> None:
        self.entries = {name: versions[-1:] for name, versions in self.entries.items()}


class Disk:
    """The folder in which a store lies, after some operations."""

    def __init__(self, root: Path, base: Path) -> None:
        """Begin with the files of `base`, all of them on the disk, under the name `root`."""
        self._parent = str(root.parent)
        self._root = root.name
        self._top = _Folder()
        if base.exists():
            self._top.entries[root.name] = [_copied(base)]

    def do(self, operation: Operation) -> None:
        """Take note of one operation."""
        if operation.kind == SYNC_FOLDER:
            self._folder(operation.path).sync()
        elif operation.kind == WRITE:
            file = self._file(operation.path)
            file.content, file.is_synced = file.content + operation.content, False
        elif operation.kind == SYNC:
            self._file(operation.path).is_synced = True
        elif operation.kind == RENAME:
            file = self._file(operation.path)
            self._put(operation.path, None)
            self._put(operation.target, file)
        else:
            made: dict[str, Callable[[], _File | _Folder | None]] = {
                MKDIR: _Folder,
                CREATE: _File,
                UNLINK: lambda: None,
                RMDIR: lambda: None,
            }
            self._put(operation.path, made[operation.kind]())

    def files(self, choose: Choice) -> dict[str, bytes]:
        """Name in the store -> content, of all files that a power cut may have left."""
        top = self._top.entries.get(self._root, [None])
        root = top[choose(len(top))]
        return dict(_files(root, "", choose)) if isinstance(root, _Folder) else {}

    def _folder(self, path: str) -> _Folder:
        folder = self._top
        for name in _parts(path, self._parent):
            found = folder.now(name)
            assert isinstance(found, _Folder), f"{path} is no folder"
            folder = found
        return folder

    def _file(self, path: str) -> _File:
        parent, _, name = path.rpartition("/")
        found = self._folder(parent).now(name)
        assert isinstance(found, _File), f"{path} is no file"
        return found

    def _put(self, path: str, what: _File | _Folder | None) -> None:
        parent, _, name = path.rpartition("/")
        self._folder(parent).put(name, what)


def completed(operations: Sequence[Operation], root: Path) -> list[dict[str, bytes | None]]:
    """What must be on the disk after each operation: name in the store -> content, None where it was removed.

    Files count once the run goes on to write or remove others: then `StoreFolder.write_in_order` has returned. What
    lies in a folder that is removed as a whole is left out, and so are partial files.
    """
    done: dict[str, bytes | None] = {}
    under_way: dict[str, bytes | None] = {}
    contents: dict[str, bytes] = {}
    states = []
    for operation in operations:
        name = (operation.target or operation.path).removeprefix(f"{root}/")
        is_partial = name.split("/")[0] == "partial"
        if operation.kind == CREATE:  # of a partial file: the next write has begun
            done, under_way = {**done, **under_way}, {}
        elif operation.kind == WRITE:
            contents[operation.path] = contents.get(operation.path, b"") + operation.content
        elif operation.kind == RENAME:
            under_way = {**under_way, name: contents[operation.path]}
        elif operation.kind in (UNLINK, RMDIR) and not is_partial:
            gone = {other for other in {**done, **under_way} if other == name or other.startswith(f"{name}/")}
            done = {other: content for other, content in done.items() if other not in gone}
            under_way = {other: content for other, content in under_way.items() if other not in gone}
        states.append(done)
    return states


def write_tree(place: Path, files: dict[str, bytes]) -> None:
    """Replace the files of a store. The run that claimed it has ended, as after a restart of the machine."""
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        is_claim = name.startswith("claims/") and name.endswith(".json")
        path.write_bytes(_of_another_process(content) if is_claim else content)


def _of_another_process(claim: bytes) -> bytes:
    return json.dumps({**json.loads(claim), "process_started": 0}).encode()


def _files(folder: _Folder, prefix: str, choose: Choice) -> Iterator[tuple[str, bytes]]:
    for name, versions in folder.entries.items():
        found = versions[choose(len(versions))] if len(versions) > 1 else versions[0]
        if isinstance(found, _Folder):
            yield from _files(found, f"{prefix}{name}/", choose)
        elif found is not None:
            yield prefix + name, found.after(choose)


def _copied(path: Path) -> _File | _Folder:
    if path.is_dir():
        return _Folder({entry.name: [_copied(entry)] for entry in path.iterdir()})
    return _File(path.read_bytes(), is_synced=True)


def _parts(path: str, parent: str) -> list[str]:
    return [name for name in path.removeprefix(parent).split("/") if name]
