"""One trial: a command is disturbed on a copy of a store, run again, and all bytes and all readers are compared."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import shutil
import signal
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from store.clips.mask_sets import mask_set_names
from store.clips.reader import ClipReader
from store.completion import committed_of_each
from store.errors import NotInStoreError, StoreError, StoreWriteError
from store.features import feature_names, read_features
from store.stages import FRAMES_STAGE
from store.store import Store
from tests.faults.commands import in_a_fork, run_fda, run_under, warm_up
from tests.faults.operations import Operation
from tests.faults.policies import FailAt, Failure, KillAt, Point, Recorder
from tests.faults.scenarios import Scenario, World
from tests.stores import tree_digest

NOT_COMPARED = ("runs",)
Readable = Mapping[tuple[str, ...], str]
"""What readers give: what it is -> digest of it."""


@contextlib.contextmanager
def trials_in_memory() -> Iterator[Trials]:
    """A place for trials: in memory where there is one, for a sync takes long on a disk, and says nothing here."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="fda-trials-", dir=memory if memory.is_dir() else None) as folder:
        yield Trials(Path(folder))


@dataclass(frozen=True, slots=True)
class Base:
    """The store that a command finds."""

    place: Path
    """There is no such folder where the command makes one."""
    files: Mapping[str, str]
    """Name -> digest."""
    readable: Readable


@dataclass(frozen=True)
class Undisturbed:
    """A scenario without a fault."""

    base: Path
    """The store that the command finds; there is no such folder where it makes one."""
    base_files: Mapping[str, str]
    files: Mapping[str, str]
    """Name -> digest of each file once the command has ended."""
    readable: tuple[Readable, ...]
    """Before and after."""
    decoded: tuple[str, ...]
    """File names of the videos that it decoded."""
    filled: Mapping[str, str]
    """File name -> digest of the frames of each video that has any, once the command has ended."""
    operations: tuple[Operation, ...]
    points: tuple[Point, ...]
    before_the_first_record: Point | None


class Trials:
    """Disturbs commands, and says what is wrong afterwards."""

    def __init__(self, folder: Path) -> None:
        warm_up()
        self._folder = folder
        (folder / "world").mkdir()
        self.world = World(folder / "world")
        self.place = folder / "work" / "store"
        """Always the same: a path is part of some messages."""
        self._known: dict[str, Undisturbed] = {}
        self._bases: dict[tuple[tuple[str, ...], ...], Base] = {}

    def undisturbed(self, scenario: Scenario) -> Undisturbed:
        """What a scenario is when nothing happens."""
        if scenario.name not in self._known:
            base = self._base(scenario.before)
            self.start(base.place)
            recorder = Recorder()
            decoded = run_under(recorder, self.place, self.world.arguments(scenario.command, self.place))
            self._known[scenario.name] = Undisturbed(
                base=base.place,
                base_files=base.files,
                files=tree_digest(self.place, NOT_COMPARED),
                readable=(base.readable, readable(self.place)),
                decoded=tuple(decoded),
                filled=filled_videos(self.place),
                operations=tuple(recorder.done),
                points=tuple(recorder.points),
                before_the_first_record=recorder.before_the_first_record,
            )
        return self._known[scenario.name]

    def start(self, base: Path) -> None:
        """Put a fresh copy of a store where commands are disturbed."""
        shutil.rmtree(self.place.parent, ignore_errors=True)
        self.place.parent.mkdir()
        if base.exists():
            shutil.copytree(base, self.place)

    def disturbed(self, scenario: Scenario, faults: Sequence[Point | Failure]) -> None:
        """Disturb a command by each of some faults, one run after the other, then run it to its end.

        A run that has less to do than a fault waits for ends well.

        Raises:
            AssertionError: A byte is lost or is another, or a reader got what it should not get.
        """
        right = self.undisturbed(scenario)
        self.start(right.base)
        for fault in faults:
            ended = in_a_fork(functools.partial(self._run_into, scenario, fault))
            expected = (0, -signal.SIGKILL) if isinstance(fault, Point) else (0,)
            assert ended in expected, f"the run did not end as it should: {ended}"
            self.check_what_is_there(right)
        self.check_resumed(scenario, right)

    def check_what_is_there(self, right: Undisturbed) -> None:
        """Nothing half-written has a name that counts, and readers refuse or get what is right."""
        for name, digest in tree_digest(self.place, NOT_COMPARED).items():
            if name.split("/")[0] not in ("partial", "claims"):
                kept = name.replace("withdrawn/", "commits/", 1)
                allowed = {right.base_files.get(kept), right.files.get(kept)}
                assert digest in allowed, f"{name} is neither as it was nor as it will be"
        for what, digest in readable(self.place).items():
            assert digest in {one.get(what) for one in right.readable}, f"{what} reads wrong"

    def check_resumed(self, scenario: Scenario, right: Undisturbed) -> None:
        """The same command, run again, makes the store as it should be, and decodes no clip that is complete."""
        there = {} if scenario.is_from_scratch else filled_videos(self.place)
        complete = dict(there.items() & right.filled.items())
        decoded = self._resume(scenario)
        left = tree_digest(self.place, NOT_COMPARED)
        differing = {name for name in {*left, *right.files} if left.get(name) != right.files.get(name)}
        assert not differing, f"not the same after another run: {sorted(differing)}"
        again = [name for name in decoded if name not in right.decoded or name in complete]
        assert not again, f"decoded again, though they were complete: {again}"

    def _resume(self, scenario: Scenario) -> list[str]:
        try:
            return run_fda(self.world.arguments(scenario.command, self.place))
        except NotInStoreError:  # what was to be removed was gone already
            assert scenario.command[0] == "remove"
            return run_fda(["finalise", str(self.place), "--max-failed", "100%"])

    def _run_into(self, scenario: Scenario, fault: Point | Failure) -> None:
        """Run a command, and check how it ends if that is not by a kill."""
        policy = KillAt(fault) if isinstance(fault, Point) else FailAt(fault)
        try:
            run_under(policy, self.place, self.world.arguments(scenario.command, self.place))
        except NotInStoreError:
            assert scenario.command[0] == "remove", "only what was to be removed may be gone"
        except BaseException as raised:
            assert isinstance(policy, FailAt), "this run had no reason to fail"
            assert policy.failed, "the run failed before its time"
            self._check_error(raised, policy.failure.error)

    def _check_error(self, raised: BaseException, cause: BaseException) -> None:
        """The message names the place, the cause and the remedy; errors not of the disk pass through."""
        if isinstance(cause, KeyboardInterrupt):
            assert isinstance(raised, KeyboardInterrupt | click.Abort), f"an interrupt became {raised!r}"
        elif not isinstance(cause, OSError):
            assert raised is cause, f"{cause!r} became {raised!r}"
        else:
            assert isinstance(raised, StoreWriteError), f"{cause!r} became {raised!r}"
            full = cause.errno in (errno.ENOSPC, errno.EDQUOT)
            said = "no space left on the disk" if full else str(cause.strerror)
            for part in (str(self.place), said, "run the same command again"):
                assert part in str(raised), f"{str(raised)!r} does not say {part!r}"

    def _base(self, commands: tuple[tuple[str, ...], ...]) -> Base:
        """The store that commands make, in a folder of its own."""
        if not commands:
            return Base(self._folder / "nothing", {}, {})
        if commands not in self._bases:
            self.start(self._base(commands[:-1]).place)
            self.world.run(commands[-1], self.place)
            base = self._folder / f"base_{len(self._bases)}"
            shutil.copytree(self.place, base)
            self._bases[commands] = Base(base, tree_digest(base, NOT_COMPARED), readable(base))
        return self._bases[commands]


def filled_videos(place: Path) -> dict[str, str]:
    """File name -> digest of the frames of each video whose frames are complete."""
    try:
        store = Store.open(place)
        return {
            Path(video.path).name: str(outcome.checksum)
            for shard, (record,) in committed_of_each(store, store.all_shards(), [FRAMES_STAGE])
            if record is not None
            for video, outcome in zip(store.catalog.shard_videos(shard), record.outcomes, strict=True)
            if outcome.filled
        }
    except StoreError:
        return {}


def readable(place: Path) -> dict[tuple[str, ...], str]:
    """All that readers give of a store; what they refuse with a `StoreError` is left out, another error is not."""
    found: dict[tuple[str, ...], str] = {}
    try:
        store = Store.open(place)
        splits = tuple(store.manifest.splits)
        store.catalog  # noqa: B018  # whose videos are read here
    except StoreError:
        return found
    for split in splits:
        with contextlib.suppress(StoreError):
            found |= _texts(store, split)
        for name in mask_set_names(store):
            with contextlib.suppress(StoreError):
                found |= _clips(store, split, name)
        for name in feature_names(store, split):
            with contextlib.suppress(StoreError):
                found |= _features(store, split, name)
    return found


def _texts(store: Store, split: str) -> dict[tuple[str, ...], str]:
    captions, found = store.catalog.split_captions(split), dict[tuple[str, ...], str]()
    for video_id, text in zip(captions["video_id"].to_pylist(), captions["text"].to_pylist(), strict=True):
        found["texts", split, video_id] = f"{found.get(('texts', split, video_id), '')}{text}\n"
    return found


def _clips(store: Store, split: str, name: str) -> dict[tuple[str, ...], str]:
    reader = ClipReader(store, split, name, num_threads=1)
    batch = reader.read(sorted(reader.video_ids))
    parts = (batch.frames, batch.masks, batch.is_frame)
    return {
        ("clip", split, name, video_id): digest_of([part[number] for part in parts])
        for number, video_id in enumerate(batch.video_ids)
    }


def _features(store: Store, split: str, name: str) -> dict[tuple[str, ...], str]:
    features = read_features(store, name, split)
    texts = dict(
        zip(*(store.catalog.split_captions(split)[key].to_pylist() for key in ("caption_id", "text")), strict=True)
    )
    videos: Readable = {
        ("video", split, name, video_id): digest_of([features.video[number]])
        for number, video_id in enumerate(features.video_ids)
    }
    captions: Readable = {
        ("caption", split, name, caption_id): texts[caption_id] + digest_of([features.text[number]])
        for number, caption_id in enumerate(features.caption_ids)
    }
    return {**videos, **captions}


def digest_of(arrays: Collection[np.ndarray]) -> str:
    """One digest of some arrays."""
    content = hashlib.sha256()
    for array in arrays:
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()
