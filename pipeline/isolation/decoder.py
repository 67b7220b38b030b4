"""Decoding as the rest of the pipeline sees it: requests in, for each a clip or the reason why there is none."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol
from weakref import WeakSet

from pipeline.isolation.messages import Bug
from pipeline.isolation.process import DecoderLostError, DecoderProcess
from pipeline.run.resources import DECODER_MEMORY_MIB
from pipeline.video.clips import DecodedClip, VideoError
from pipeline.video.decoding import decode_clip
from pipeline.video.options import WHOLE_VIDEO, DecodeOptions, Window
from store.schema import VideoStatus

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """One video to decode: the arguments of `decode_clip`."""

    path: Path
    options: DecodeOptions
    window: Window = WHOLE_VIDEO

    @property
    def arguments(self) -> tuple[object, ...]:
        """In the order of `decode_clip`."""
        return (self.path, self.options, self.window)


class Decoder(Protocol):
    """Turns requests into clips. A plain value, because each task carries it to its worker."""

    def decode(self, requests: Iterable[DecodeRequest]) -> Generator[DecodedClip | VideoError]:
        """Answer each request, in order. A caller that does not take all answers must close the generator."""

    def close(self) -> None:
        """End the decoder processes that this process has started."""


@dataclass(frozen=True, slots=True)
class IsolatedDecoder:
    """Decodes in another process. It is reused from shard to shard, and replaced when it hangs or dies.

    That process works one video ahead: while a clip is handled here, the next one is decoded there. Threads that decode
    at the same time have a process each.

    A video that damages the decoder's memory may crash it only later, during another video. So if a process crashes
    after it has decoded other videos, the current video is decoded again in a new process, and that result counts: how
    a video ends does not depend on the videos before it.
    """

    memory_mib: int = DECODER_MEMORY_MIB
    """What decoding one video may allocate; above it the video is `UNSUPPORTED`. Enforced on Linux only."""
    grace_seconds: float = 5.0
    """Added to the video's own time limit, which the decoder checks itself unless it hangs; then it is killed."""
    function: Callable[..., DecodedClip] = decode_clip
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
        waiting = iter(requests)
        request = next(waiting, None)
        process = self._asked(None, request)
        try:
            while request is not None and process is not None:
                try:
                    outcome = self._outcome(process, request)
                except DecoderLostError as lost:
                    if lost.is_in_doubt:
                        process = self._started(request)
                        continue
                    process, outcome = None, lost.verdict
                request = next(waiting, None)
                process = self._asked(process, request)
                yield outcome
        finally:
            if process is not None:
                self._keep(process)

    def close(self) -> None:
        """End the idle processes."""
        pool = _pool_of(self)
        while (process := pool.take()) is not None:
            process.close()

    def end_all(self) -> None:
        """End all processes, also those that other threads wait for: the videos that these decode are `PENDING`."""
        self.close()
        _pool_of(self).kill()

    def _asked(self, process: DecoderProcess | None, request: DecodeRequest | None) -> DecoderProcess | None:
        """A process that decodes the request; without a request, the process as it is."""
        if request is None:
            return process
        if process is None:
            process = _pool_of(self).take()
        if process is not None and not process.is_idle:
            process.close()
            process = None
        if process is None:
            return self._started(request)
        process.ask(request.arguments)
        return process

    def _started(self, request: DecodeRequest) -> DecoderProcess:
        """A new process that decodes the request."""
        process = DecoderProcess(self.function, self.memory_mib << 20)
        _pool_of(self).add(process)
        process.ask(request.arguments)
        return process

    def _outcome(self, process: DecoderProcess, request: DecodeRequest) -> DecodedClip | VideoError:
        answer = process.answer(request.options.timeout_seconds + self.grace_seconds)
        if isinstance(answer, Bug):
            _logger.error("a bug of the decoder, met in %s:\n%s", request.path, answer.traceback)
            return VideoError(VideoStatus.UNSUPPORTED, f"a bug of the decoder: {answer.message}")
        assert isinstance(answer, DecodedClip | VideoError)
        return answer

    def _keep(self, process: DecoderProcess) -> None:
        """Keep an idle process for the next shard; end one that is still decoding."""
        if process.is_idle:
            _pool_of(self).keep(process)
        else:
            process.close()


class _Pool:
    """The processes of one decoder that this process has started.

    Starting one takes a quarter of a second: too long to do for every shard.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: list[DecoderProcess] = []
        self._all: WeakSet[DecoderProcess] = WeakSet()

    def add(self, process: DecoderProcess) -> None:
        """Take note of a new process."""
        with self._lock:
            self._all.add(process)

    def take(self) -> DecoderProcess | None:
        """An idle process, if there is one."""
        with self._lock:
            return self._idle.pop() if self._idle else None

    def keep(self, process: DecoderProcess) -> None:
        """Keep a process that is idle."""
        with self._lock:
            self._idle.append(process)

    def kill(self) -> None:
        """Kill every process; those who wait for one see that, and close it."""
        with self._lock:
            for process in self._all:
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
