"""Decoding as the rest of the pipeline sees it: requests in, for each a clip or the reason why there is none."""

from __future__ import annotations

import atexit
import logging
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from math import inf
from multiprocessing.connection import wait
from pathlib import Path
from threading import Lock, get_ident
from typing import Protocol

from pipeline.isolation.messages import Bug, Failure, Ready
from pipeline.isolation.pool import DecoderPool, Share
from pipeline.isolation.process import DecoderLostError, DecoderProcess
from pipeline.run.resources import DECODER_MEMORY_MIB
from pipeline.run.running_time import SLICE_SECONDS
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


@dataclass(frozen=True, slots=True)
class Answer:
    """How one of several requests ended."""

    position: int
    """Of the request, counted from 0."""
    outcome: DecodedClip | VideoError


class Decoder(Protocol):
    """Turns requests into clips. A plain value, because each task carries it to its worker."""

    def decode(self, requests: Iterable[DecodeRequest]) -> Generator[Answer]:
        """Answer each request once, as they end. A caller that does not take all answers must close the generator.

        Requests for one file take least if they follow each other in the order in which their windows end.
        """

    def close(self) -> None:
        """End the decoder processes that are idle."""


@dataclass(frozen=True, slots=True)
class IsolatedDecoder:
    """Decodes in other processes. They are reused from shard to shard, and replaced when they hang or die.

    The files of one `decode` call are dealt over all processes that are free: over several at the end of a run, when
    there is no other shard, and while the threads of other shards make masks or commit. Each process works one file
    ahead: while a clip is handled here, the next one is decoded there. With one process, answers come in the order of
    the requests.

    Requests for one file that follow each other, with the same options, are decoded in one pass, by one process.
    Whatever goes wrong in it, be it that the process hangs or dies, the clips that it had not given yet are then
    decoded one by one.

    A video that damages the decoder's memory may crash it only later, during another video. So if a process crashes
    after it has decoded other videos, the current video is decoded again in a new process, and that result counts: how
    a video ends does not depend on the videos before it, or on the number of processes.
    """

    memory_mib: int = DECODER_MEMORY_MIB
    """What decoding one video may allocate; above it the video is `UNSUPPORTED`. Enforced on Linux only."""
    grace_seconds: float = 5.0
    """Added to the video's own time limit, which the decoder checks itself unless it hangs; then it is killed."""
    num_processes: int = 1
    """How many may be in use, of all threads of this process together. Of more threads, each uses one."""
    function: Callable[..., Iterator[DecodedClip | VideoError]] = decode_windows
    """Called in the other process, which imports it by its path."""

    def __post_init__(self) -> None:
        if self.memory_mib < 1 or self.grace_seconds < 0 or self.num_processes < 1:
            raise ValueError(
                f"memory_mib and num_processes must be at least 1 and grace_seconds must not be negative, got "
                f"{self.memory_mib}, {self.num_processes} and {self.grace_seconds}"
            )

    def decode(self, requests: Iterable[DecodeRequest]) -> Generator[Answer]:
        """Answer each request once, as they end.

        Raises:
            DecoderStartError: The other process does not start.
        """
        with closing(Share(_pool_of(self), self.num_processes)) as share:
            yield from _Deal(requests, share, self.grace_seconds).answers()

    def close(self) -> None:
        """End the idle processes."""
        _pool_of(self).close()

    def end_used_by(self, threads: Collection[int]) -> None:
        """Kill the processes that some threads wait for: the videos that these decode are `PENDING`.

        Args:
            threads: `Thread.ident` of each.
        """
        _pool_of(self).kill(threads)


@dataclass(frozen=True, slots=True)
class OneAtATime:
    """Another decoder, which is given one request at a time: for videos that may take all memory of the machine."""

    decoder: Decoder

    def decode(self, requests: Iterable[DecodeRequest]) -> Generator[Answer]:
        """Answer each request, in order."""
        for position, request in enumerate(requests):
            with closing(self.decoder.decode([request])) as answers:
                for answer in answers:
                    yield Answer(position, answer.outcome)

    def close(self) -> None:
        """End those of its processes that are idle."""
        self.decoder.close()


@dataclass(slots=True)
class _Pass:
    """Requests for one file, with the same options: one process answers them in order."""

    first: int
    """Position of the first one."""
    requests: tuple[DecodeRequest, ...]
    num_answered: int = 0

    @property
    def position(self) -> int:
        """Of the request that is to be answered next."""
        return self.first + self.num_answered

    @property
    def request(self) -> DecodeRequest:
        """The one that is to be answered next."""
        return self.requests[self.num_answered]

    def alone(self) -> list[_Pass]:
        """What is not answered yet, one by one."""
        rest = enumerate(self.requests[self.num_answered :], start=self.position)
        return [_Pass(position, (request,)) for position, request in rest]


def _passes(requests: Iterable[DecodeRequest]) -> Iterator[_Pass]:
    position = 0
    for _, together in groupby(requests, key=lambda request: (request.path, request.options)):
        asked = _Pass(position, tuple(together))
        position += len(asked.requests)
        yield asked


class _Deal:
    """One `decode` call: its passes are dealt over the processes that it may use."""

    def __init__(self, requests: Iterable[DecodeRequest], share: Share, grace_seconds: float) -> None:
        self._waiting = deque(_passes(requests))
        self._busy: dict[DecoderProcess, _Pass] = {}
        self._share, self._grace_seconds = share, grace_seconds

    def answers(self) -> Iterator[Answer]:
        """All answers, as they come."""
        self._begin_more()
        while self._busy or self._waiting:
            # All are asked for more before a clip is handled: none of them waits meanwhile.
            answers = [self._answer(process) for process in self._heard()]
            yield from (answer for answer in answers if answer is not None)
            if self._share.is_ended():
                yield from _pending(self._waiting.popleft())
            self._begin_more()

    def _begin_more(self) -> None:
        """Use every process that is free."""
        self._share.user = get_ident()  # a generator may go on in another thread than the one that began it
        while self._waiting and (process := self._share.take()) is not None:
            self._ask(process, self._waiting.popleft())

    def _ask(self, process: DecoderProcess, asked: _Pass) -> None:
        windows = tuple(request.window for request in asked.requests)
        process.ask((asked.request.path, asked.request.options, windows), len(windows))
        self._busy[process] = asked

    def _heard(self) -> list[DecoderProcess]:
        """Wait until a process has something to tell or takes too long, or one more may be used."""
        bell = [self._share.bell] if self._waiting else []  # else nobody would take what it rings for
        connections = [*(process.connection for process in self._busy), *bell]
        ready, left = list[object](), self._left_seconds()
        while not ready and left > 0:
            ready = list(wait(connections, min(left, SLICE_SECONDS)))
            left = self._left_seconds()
        # One that hangs says nothing. `answer` then times out at once, and kills it.
        return [one for one in self._busy if one.connection in ready or one.left_seconds(self._limit(one)) <= 0]

    def _limit(self, process: DecoderProcess) -> float:
        return self._busy[process].request.options.timeout_seconds + self._grace_seconds

    def _left_seconds(self) -> float:
        """Until the first of them has taken too long."""
        return min((process.left_seconds(self._limit(process)) for process in self._busy), default=inf)

    def _answer(self, process: DecoderProcess) -> Answer | None:
        """What a process has to tell of a request; None if that is to be asked again, or is being decoded still."""
        asked = self._busy[process]
        try:
            told = process.answer(self._limit(process))
        except DecoderLostError as lost:
            return self._after_loss(process, lost)
        if isinstance(told, Ready):
            return None
        if isinstance(told, Failure) and len(asked.requests) > 1:
            _verdict_on(told.reason, asked.request)
            # In front and in order: this process goes on with the same file, whose scan it may have kept.
            self._waiting.extendleft(reversed(asked.alone()))
            self._go_on(process)
            return None
        outcome = _verdict_on(told.reason, asked.request) if isinstance(told, Failure) else told
        assert isinstance(outcome, DecodedClip | VideoError)
        answer = Answer(asked.position, outcome)
        asked.num_answered += 1
        if asked.num_answered == len(asked.requests):
            self._go_on(process)  # before the answer is handled
        return answer

    def _go_on(self, process: DecoderProcess) -> None:
        """Ask a process that has answered all for more, unless another call has none."""
        del self._busy[process]
        if self._waiting and process.is_idle and not self._share.must_give():
            self._ask(process, self._waiting.popleft())
        else:
            self._share.give_back(process)

    def _after_loss(self, process: DecoderProcess, lost: DecoderLostError) -> Answer | None:
        """What a process that hung or died means for its request; None if that is asked again, of a new one."""
        asked = self._busy.pop(process)
        if len(asked.requests) == 1 and not lost.is_in_doubt:
            self._share.give_back(process)
            self._begin_more()
            return Answer(asked.position, lost.verdict)
        # The first one alone, and of a process that has decoded nothing: if that dies too, it is this video's fault.
        first, *others = asked.alone()
        self._waiting.extendleft(reversed(others))
        self._ask(self._share.replace(process), first)
        return None


def _verdict_on(reason: VideoError | Bug, request: DecodeRequest) -> VideoError:
    """What is recorded of a video on which the decoder failed."""
    if isinstance(reason, VideoError):
        return reason
    _logger.error("a bug of the decoder, met in %s:\n%s", request.path, reason.traceback)
    return VideoError(VideoStatus.UNSUPPORTED, f"a bug of the decoder: {reason.message}")


def _pending(asked: _Pass) -> Iterator[Answer]:
    """Of a call whose wait for a process was ended."""
    error = VideoError(VideoStatus.PENDING, "the run ended before a decoder was free")
    return (Answer(one.position, error) for one in asked.alone())


_pools: dict[tuple[Callable[..., object], int], DecoderPool] = {}
"""By what the processes call, and their memory: decoders that differ in nothing else share them."""
_pools_lock = Lock()


def _pool_of(decoder: IsolatedDecoder) -> DecoderPool:
    start = partial(DecoderProcess, decoder.function, decoder.memory_mib << 20)
    with _pools_lock:
        return _pools.setdefault((decoder.function, decoder.memory_mib), DecoderPool(start))


@atexit.register
def close_decoders() -> None:
    """End all idle decoder processes of this process."""
    for pool in list(_pools.values()):
        pool.close()


DEFAULT_DECODER: Decoder = IsolatedDecoder()
