"""Decoding as the rest of the pipeline sees it: requests in, for each a clip or the reason why there is none."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from threading import Lock, get_ident
from typing import Protocol
from weakref import WeakKeyDictionary

from pipeline.isolation.messages import Bug, Failure
from pipeline.isolation.process import DecoderLostError, DecoderProcess
from pipeline.run.resources import DECODER_MEMORY_MIB
from pipeline.video.clips import DecodedClip, VideoError
from pipeline.video.options import WHOLE_VIDEO, DecodeOptions, Window
from pipeline.video.windows import decode_windows
from store.schema import VideoStatus

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """One clip to decode: the arguments of `decode_clip`."""

    path: Path
    options: DecodeOptions
    window: Window = WHOLE_VIDEO


_Pass = tuple[DecodeRequest, ...]
"""Requests for one file, with the same options."""


class Decoder(Protocol):
    """Turns requests into clips. A plain value, because each task carries it to its worker."""

    def decode(self, requests: Iterable[DecodeRequest]) -> Generator[DecodedClip | VideoError]:
        """Answer each request, in order. A caller that does not take all answers must close the generator.

        Requests for one file take least if they follow each other in the order in which their windows end.
        """

    def close(self) -> None:
        """End the decoder processes that this process has started."""


@dataclass(frozen=True, slots=True)
class IsolatedDecoder:
    """Decodes in another process. It is reused from shard to shard, and replaced when it hangs or dies.

    That process works one video ahead: while a clip is handled here, the next one is decoded there. Threads that decode
    at the same time have a process each.

    Requests for one file that follow each other, with the same options, are decoded in one pass. Whatever goes wrong in
    it, be it that the process hangs or dies, the clips that it had not given yet are then decoded one by one.

    A video that damages the decoder's memory may crash it only later, during another video. So if a process crashes
    after it has decoded other videos, the current video is decoded again in a new process, and that result counts: how
    a video ends does not depend on the videos before it.
    """

    memory_mib: int = DECODER_MEMORY_MIB
    """What decoding one video may allocate; above it the video is `UNSUPPORTED`. Enforced on Linux only."""
    grace_seconds: float = 5.0
    """Added to the video's own time limit, which the decoder checks itself unless it hangs; then it is killed."""
    function: Callable[..., Iterator[DecodedClip | VideoError]] = decode_windows
    """Called in the other process, which imports it by its path."""

    def __post_init__(self) -> None:
        if self.memory_mib < 1 or self.grace_seconds < 0:
            raise ValueError(
                f"memory_mib must be at least 1 and grace_seconds must not be negative, got "
                f"{self.memory_mib} and {self.grace_seconds}"
            )

    def decode(self, requests: Iterable[DecodeRequest]) -> Generator[DecodedClip | VideoError]:
        """Answer each request, in order.

        Raises:
            DecoderStartError: The other process does not start.
        """
        waiting = _passes(requests)
        asked, num_taken = next(waiting, ()), 0
        process = self._asked(None, asked)
        try:
            while asked and process is not None:
                outcome, is_lost = self._outcome(process, asked[num_taken], is_alone=len(asked) == 1)
                process = None if is_lost else process
                if outcome is None:
                    waiting = chain([(request,) for request in asked[num_taken:]], waiting)
                    asked, num_taken = next(waiting), 0
                    process = self._started(asked) if is_lost else self._asked(process, asked)
                    continue
                num_taken += 1
                if num_taken == len(asked):
                    asked, num_taken = next(waiting, ()), 0
                    process = self._asked(process, asked)
                yield outcome
        finally:
            if process is not None:
                self._keep(process)

    def close(self) -> None:
        """End the idle processes."""
        pool = _pool_of(self)
        while (process := pool.take()) is not None:
            process.close()

    def end_used_by(self, threads: Collection[int]) -> None:
        """Kill the processes that some threads wait for: the videos that these decode are `PENDING`.

        Args:
            threads: `Thread.ident` of each.
        """
        _pool_of(self).kill(threads)

    def _asked(self, process: DecoderProcess | None, asked: _Pass) -> DecoderProcess | None:
        """A process that decodes some requests; without any, the process as it is."""
        if not asked:
            return process
        if process is None:
            process = _pool_of(self).take()
        if process is not None and not process.is_idle:
            process.close()
            process = None
        if process is None:
            return self._started(asked)
        _pool_of(self).use(process)
        _ask(process, asked)
        return process

    def _started(self, asked: _Pass) -> DecoderProcess:
        """A new process that decodes some requests."""
        process = DecoderProcess(self.function, self.memory_mib << 20)
        _pool_of(self).use(process)
        _ask(process, asked)
        return process

    def _outcome(
        self, process: DecoderProcess, request: DecodeRequest, *, is_alone: bool
    ) -> tuple[DecodedClip | VideoError | None, bool]:
        """How a request ends, None if it and those after it are to be asked alone; and whether the process is lost."""
        try:
            answer = process.answer(request.options.timeout_seconds + self.grace_seconds)
        except DecoderLostError as lost:
            return (lost.verdict if is_alone and not lost.is_in_doubt else None), True
        if not isinstance(answer, Failure):
            assert isinstance(answer, DecodedClip | VideoError)
            return answer, False
        reason = answer.reason
        if isinstance(reason, Bug):
            _logger.error("a bug of the decoder, met in %s:\n%s", request.path, reason.traceback)
            reason = VideoError(VideoStatus.UNSUPPORTED, f"a bug of the decoder: {reason.message}")
        return (reason if is_alone else None), False

    def _keep(self, process: DecoderProcess) -> None:
        """Keep an idle process for the next shard; end one that is still decoding."""
        if process.is_idle:
            _pool_of(self).keep(process)
        else:
            process.close()


def _passes(requests: Iterable[DecodeRequest]) -> Iterator[_Pass]:
    for _, together in groupby(requests, key=lambda request: (request.path, request.options)):
        yield tuple(together)


def _ask(process: DecoderProcess, asked: _Pass) -> None:
    windows = tuple(request.window for request in asked)
    process.ask((asked[0].path, asked[0].options, windows), len(windows))


class _Pool:
    """The processes of one decoder that this process has started.

    Starting one takes a quarter of a second: too long to do for every shard.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: list[DecoderProcess] = []
        self._users: WeakKeyDictionary[DecoderProcess, int] = WeakKeyDictionary()
        """The thread that uses a process."""

    def use(self, process: DecoderProcess) -> None:
        """Take note of the thread that uses a process: this one."""
        with self._lock:
            self._users[process] = get_ident()

    def take(self) -> DecoderProcess | None:
        """An idle process, if there is one."""
        with self._lock:
            return self._idle.pop() if self._idle else None

    def keep(self, process: DecoderProcess) -> None:
        """Keep a process that is idle."""
        with self._lock:
            self._users.pop(process, None)
            self._idle.append(process)

    def kill(self, threads: Collection[int]) -> None:
        """Kill what some threads use; they see that, and close it."""
        with self._lock:
            for process, user in self._users.items():
                if user in threads:
                    process.kill()


_pools: dict[IsolatedDecoder, _Pool] = {}
_pools_lock = Lock()


def _pool_of(decoder: IsolatedDecoder) -> _Pool:
    with _pools_lock:
        return _pools.setdefault(decoder, _Pool())


@atexit.register
def close_decoders() -> None:
    """End all idle decoder processes of this process."""
    for decoder in list(_pools):
        decoder.close()


DEFAULT_DECODER: Decoder = IsolatedDecoder()
