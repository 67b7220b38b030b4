"""Videos that were made playable, kept in a folder of the user and never in a store.

A file of the cache is named by a digest of the video's path, size and time of change, and of the clip: a video that
changes gets another name. `NAME.json` is written last, so that a file without it does not count: a killed server leaves
nothing that is taken for a video. Files that were not used for longest are removed once all take more than the limit.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.isolation.messages import Failure, Ready
from pipeline.isolation.process import DecoderLostError, DecoderProcess
from pipeline.serving.media.converting import MediaRequest, Prepared, answer
from pipeline.serving.media.playable import Way
from pipeline.serving.options import ConversionOptions
from pipeline.video.clips import VideoError
from pipeline.video.options import Window
from store.schema import VideoStatus

_VERSION = 1
"""Of the files: another one does not use those that are there."""
_PARTIAL = "partial-"
_OLD_SECONDS = 3600.0
"""What is partial for so long belongs to a server that was killed."""
_MEMORY_MIB = 2048
_GRACE_SECONDS = 5.0
_MAX_KNOWN = 4096
"""Answers that are kept in memory."""


class BusyError(Exception):
    """Too many videos are waiting to be made playable."""


@dataclass(frozen=True, slots=True)
class Playable:
    """A file that a browser plays."""

    path: Path
    prepared: Prepared


class MediaCache:
    """Makes videos playable, each once, and a few at a time. Threads share it."""

    def __init__(self, options: ConversionOptions) -> None:
        self._options = options
        self.folder = options.folder
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Playable] = OrderedDict()
        self._running: dict[str, Future[Playable]] = {}
        self._idle: list[DecoderProcess] = []
        self._busy: set[DecoderProcess] = set()
        self._slots = threading.BoundedSemaphore(options.at_once)
        self._is_closed = False

    def playable(self, path: Path, window: Window) -> Playable:
        """A file that plays, made now unless it is there; waits until it is.

        Raises:
            VideoError: The video is missing, damaged or takes too long.
            BusyError: Too many are waiting.
        """
        name = _name(path, window)
        with self._lock:
            # The file may be gone: another server shares the folder, and makes room in it.
            known = self._known.get(name)
            if known is not None and known.path.exists():
                self._known.move_to_end(name)
                return known
            future = self._running.get(name)
            is_mine = future is None
            if future is None:
                # Each waits in a thread of the server: more of them would leave none for other answers.
                if len(self._running) >= self._options.waiting:
                    raise BusyError
                future = self._running[name] = Future()
        # Outside the lock. Whoever else asks for this video meanwhile waits for the same future.
        if is_mine:
            self._make(name, MediaRequest(path, window, self.folder / name, *self._limits), future)
        return future.result()

    def warm(self) -> None:
        """Start a process, which takes longer than most videos."""
        self._keep(self._process(fresh=True))

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            busy = [process.pid for process in self._busy]
        for process in idle:
            process.close()
        for pid in busy:  # whoever waits for its answer hears that it has ended, and closes it
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def _limits(self) -> tuple[float, float]:
        return self._options.max_seconds, self._options.timeout_seconds

    def _make(self, name: str, request: MediaRequest, future: Future[Playable]) -> None:
        try:
            playable = self._read(name) or self._written(name, request)
        # All of them: a future without a result would let the others wait for ever.
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(playable)
            with self._lock:
                self._known[name] = playable
                if len(self._known) > _MAX_KNOWN:
                    self._known.popitem(last=False)
        finally:
            with self._lock:
                # After `_known` has it, so that no thread finds neither and makes it again.
                del self._running[name]

    def _read(self, name: str) -> Playable | None:
        """What an earlier server made; None if there is nothing."""
        path, facts = self.folder / name, self.folder / f"{name}.json"
        try:
            fields = json.loads(facts.read_text(encoding="utf-8"))
            prepared = Prepared(**{**fields, "way": Way(fields["way"])})
            # The time of the last use, by which `_make_room` chooses. Raises if the video is gone and its JSON is not.
            os.utime(path)
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return Playable(path, prepared)

    def _written(self, name: str, request: MediaRequest) -> Playable:
        with self._slots, self._partial() as partial:
            prepared = self._asked(MediaRequest(request.path, request.window, partial, *self._limits))
            if prepared.way is Way.DIRECT:
                return Playable(request.path, prepared)
            target, facts = self.folder / name, self.folder / f"{name}.json"
            # In one file system, so that the names appear whole or not at all; the JSON last, as it says that the video
            # is there.
            partial.replace(target)
            partial.write_text(json.dumps(asdict(prepared)), encoding="utf-8")
            partial.replace(facts)
        self._make_room(keep=target)
        return Playable(target, prepared)

    @contextmanager
    def _partial(self) -> Iterator[Path]:
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=_PARTIAL, dir=self.folder)
        os.close(descriptor)
        try:
            yield Path(name)
        finally:
            # After a success there is nothing left: the name was moved away.
            Path(name).unlink(missing_ok=True)

    def _asked(self, request: MediaRequest) -> Prepared:
        """The answer of a process that may crash or hang."""
        # The process ends by its own deadline; only one that hangs inside a library is killed from here.
        limit = request.timeout_seconds + _GRACE_SECONDS
        # A process that had other videos before may have been harmed by these: the verdict is that of a fresh one.
        for is_last in (False, True):
            process = self._process(fresh=is_last)
            process.ask((request,))
            try:
                with self._lock:
                    self._busy.add(process)
                given = process.answer(limit)
                if isinstance(given, Ready):  # the first that comes of a process
                    given = process.answer(limit)
            except DecoderLostError as lost:
                if lost.is_in_doubt and not is_last:
                    continue
                raise lost.verdict from None
            finally:
                with self._lock:
                    self._busy.discard(process)
            self._keep(process)
            if isinstance(given, Failure):
                if isinstance(given.reason, VideoError):
                    raise given.reason
                raise VideoError(VideoStatus.UNSUPPORTED, f"it cannot be made playable: {given.reason.message}")
            assert isinstance(given, Prepared)
            return given
        raise AssertionError("unreachable")

    def _process(self, *, fresh: bool) -> DecoderProcess:
        with self._lock:
            process = None if fresh or not self._idle else self._idle.pop()
        # One that died while it waited (killed for memory, say) is left, and replaced.
        if process is not None and process.is_idle:
            return process
        return DecoderProcess(answer, _MEMORY_MIB << 20)

    def _keep(self, process: DecoderProcess) -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.append(process)
                return
        process.close()

    def _make_room(self, keep: Path) -> None:
        """Remove what was not used for longest, and what killed servers left."""
        files = []
        for path in self.folder.iterdir():
            with suppress(OSError):  # another server has removed it
                facts = path.stat()
                if path.name.startswith(_PARTIAL):
                    if time.time() - facts.st_mtime > _OLD_SECONDS:
                        path.unlink()
                elif path.suffix != ".json":
                    files.append((facts.st_mtime, facts.st_size, path))
        too_many = sum(size for _, size, _ in files) - (self._options.max_mib << 20)
        for _, size, path in sorted(files):
            if too_many <= 0:
                break
            if path != keep:
                # First: a JSON without its video is no entry, and a video without it neither.
                path.with_name(f"{path.name}.json").unlink(missing_ok=True)
                path.unlink(missing_ok=True)
                too_many -= size


def _name(path: Path, window: Window) -> str:
    try:
        facts = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise VideoError(VideoStatus.MISSING, "there is no such file") from error
    made_of = [_VERSION, str(path.absolute()), facts.st_size, facts.st_mtime_ns]
    made_of += [window.start_seconds, window.end_seconds]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:40]
