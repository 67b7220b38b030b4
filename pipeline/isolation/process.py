"""One decoder process, as the worker sees it: start it, ask it, wait for the answer with a limit, end it."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from multiprocessing.connection import Pipe

from pipeline.errors import PipelineError
from pipeline.isolation.children import start_child
from pipeline.isolation.messages import Failure, Job, Ready, connected_pair, receive, send
from pipeline.run.running_time import RunningTime
from pipeline.video.clips import VideoError
from store.schema import VideoStatus

START_SECONDS = 120.0
"""How long the process may take to start: a quarter of a second on an idle machine, more on a slow file system."""
_ENVIRONMENT = {"MALLOC_TRIM_THRESHOLD_": str(1 << 27), "MALLOC_MMAP_THRESHOLD_": str(1 << 25)}
"""Freed memory is kept for the next picture and the next video. Dask's workers, whose environment a decoder would get,
give all of it back at once, and the kernel would clear each page again: a tenth of the time of decoding."""
_END_SECONDS = 10.0
"""How long a process may take to end after it closed its end of the connection."""
_OWN_FAULTS = (
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL),
    *(signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS),
)
"""Signals by which a process ends itself, whose reason lies in the video. Every other one was sent from outside: by the
kernel when memory runs out, by a batch system at the end of its patience, by a person."""


class DecoderStartError(PipelineError, RuntimeError):
    """The decoder process did not start, or cannot be started."""


class DecoderLostError(Exception):
    """The decoder hung or died; `verdict` is the result of the video that it was decoding."""

    def __init__(self, verdict: VideoError, *, is_in_doubt: bool) -> None:
        super().__init__(verdict)
        self.verdict = verdict
        self.is_in_doubt = is_in_doubt
        """Whether it had decoded other videos, one of which may have damaged its memory."""


class DecoderProcess:
    """A process that calls one function for one request after the other."""

    def __init__(self, function: Callable[..., Iterator[object]], memory_bytes: int) -> None:
        """Start it without waiting: it can be asked at once, and answers when it is ready.

        Raises:
            DecoderStartError: The system starts no more processes.
        """
        try:
            with ExitStack() as opened:
                self._process = self._start(opened)
                opened.pop_all()  # it runs: nothing is closed
        except OSError as error:
            raise cannot_start(error) from error
        self._is_ready = False
        self._waited = RunningTime()
        # `Ready` is not waited for: several processes start side by side, and the request lies ready for each.
        self._num_unanswered = self._num_answered = 0
        self._send(Job(function, memory_bytes))

    def _start(self, opened: ExitStack) -> subprocess.Popen[bytes]:
        self._connection, theirs = map(opened.enter_context, connected_pair())
        their_lifeline, self._lifeline = map(opened.enter_context, Pipe(duplex=False))
        inherited = [theirs.fileno(), their_lifeline.fileno()]
        # The child has copies. Ours are closed, or its death would not close the connection, nor ours its lifeline.
        with theirs, their_lifeline:
            return start_child("pipeline.isolation.child", [*map(str, inherited)], inherited, _ENVIRONMENT)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_idle(self) -> bool:
        """Whether it runs and has answered all requests."""
        return self._num_unanswered == 0 and self._process.poll() is None

    @property
    def connection(self) -> socket.socket:
        """Readable when `answer` has something to read."""
        return self._connection

    def left_seconds(self, limit_seconds: float) -> float:
        """Until `answer` gives up. To be asked at least every `SLICE_SECONDS` of a wait."""
        return (limit_seconds if self._is_ready else START_SECONDS) - self._waited.seconds()

    def ask(self, arguments: tuple[object, ...], num_answers: int = 1) -> None:
        """Send a request for some answers, when all earlier ones are answered."""
        self._num_unanswered = num_answers
        self._waited.restart()
        self._send(arguments)

    def answer(self, limit_seconds: float) -> object:
        """Wait for what comes next: what the function gave, or the `Failure` that is the last answer to a request.

        Before the first of all comes `Ready`, which is none: ask again.

        Args:
            limit_seconds: From the request on, or from the answer before: time in which this process could run.

        Raises:
            DecoderLostError: The process died, or was killed here because it took too long.
            DecoderStartError: The process did not start.
        """
        if not self._is_ready:
            return self._readiness()
        try:
            value = receive(self._connection, self.left_seconds(limit_seconds))
        except TimeoutError:
            self.close()
            reason = f"the decoder hung: killed after {limit_seconds:g} s"
            raise DecoderLostError(VideoError(VideoStatus.TIMEOUT, reason), is_in_doubt=False) from None
        except EOFError:
            raise self._lost(self._end()) from None
        self._num_unanswered = 0 if isinstance(value, Failure) else self._num_unanswered - 1
        self._num_answered += 1
        self._waited.restart()
        return value

    def kill(self) -> None:
        """Kill it. Whoever waits for its answer, in another thread, finds it lost; nothing is to be waited for here."""
        self._process.kill()

    def close(self) -> None:
        """Kill it and wait for its end. It has nothing to save."""
        self.kill()
        self._process.wait()
        self._connection.close()
        self._lifeline.close()

    def _readiness(self) -> Ready:
        try:
            message = receive(self._connection, START_SECONDS - self._waited.seconds())
        except TimeoutError as error:
            self.close()
            raise _not_started("killed: it took too long") from error
        except EOFError as error:
            return_code = self._end()
            if _is_from_outside(return_code):
                raise self._lost(return_code) from None
            raise _not_started(f"exit code {return_code}") from error
        assert isinstance(message, Ready)
        self._is_ready = True
        self._waited.restart()  # the start does not count against the first video
        return message

    def _lost(self, return_code: int) -> DecoderLostError:
        is_in_doubt = self._num_answered > 0 and not _is_from_outside(return_code)
        return DecoderLostError(_verdict_on(return_code), is_in_doubt=is_in_doubt)

    def _send(self, value: object) -> None:
        with suppress(OSError):  # the process has ended; `answer` finds out how
            send(self._connection, value)

    def _end(self) -> int:
        try:
            # It closed its end, so it is about to end by itself, and only its own exit code tells why.
            return self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            self.close()


def cannot_start(error: OSError) -> DecoderStartError:
    """The system gives no process, or not what one needs."""
    return DecoderStartError(
        f"a decoder process cannot be started: {error.strerror}. Use fewer --workers, or allow more processes, open "
        "files or memory (ulimit -u, -n, -v)"
    )


def _not_started(ended: str) -> DecoderStartError:
    return DecoderStartError(
        f"the decoder process did not start ({ended}); its message is on stderr: repair that, and run again"
    )


def _is_from_outside(return_code: int) -> bool:
    """Whether a process was ended by a signal that somebody sent to it."""
    return return_code < 0 and -return_code not in _OWN_FAULTS


def _verdict_on(return_code: int) -> VideoError:
    """The status of a video during which the decoder ended.

    >>> print(_verdict_on(-11))
    corrupt: the decoder crashed (signal 11, SIGSEGV)
    >>> print(_verdict_on(3))
    corrupt: the decoder ended with exit code 3
    >>> print(_verdict_on(-9))
    pending: the decoder was killed (signal 9, SIGKILL), probably because the machine ran out of memory
    """
    if return_code >= 0:
        return VideoError(VideoStatus.CORRUPT, f"the decoder ended with exit code {return_code}")
    number = -return_code
    name = {known.value: known.name for known in signal.Signals}.get(number, "a real-time signal")
    if not _is_from_outside(return_code):
        return VideoError(VideoStatus.CORRUPT, f"the decoder crashed (signal {number}, {name})")
    # Nobody here sends SIGKILL before an answer; the kernel does when memory runs out.
    why = ", probably because the machine ran out of memory" if number == signal.SIGKILL else " from outside"
    return VideoError(VideoStatus.PENDING, f"the decoder was killed (signal {number}, {name}){why}")
