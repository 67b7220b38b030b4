"""One decoder process, seen from the worker: started, asked, waited for with a limit, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Pipe
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.isolation.messages import Job, Ready, connected_pair, receive, send
from pipeline.isolation.signals import signals_blocked
from pipeline.run.resources import ONE_THREAD
from pipeline.video.clips import VideoError
from store.schema import VideoStatus

START_SECONDS = 120.0
"""In which the process must be ready: a quarter of a second on an idle machine, more where a file system is slow."""
_END_SECONDS = 10.0
"""In which a process must have ended after it closed its end of the connection."""
_REQUESTS_TO_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""For the worker to heed, which takes its decoder along: one that went first would seem to have crashed."""


class DecoderStartError(PipelineError, RuntimeError):
    """The decoder process did not come up."""


class DecoderLostError(Exception):
    """The decoder hung or died; `verdict` says what becomes of the video it was at."""

    def __init__(self, verdict: VideoError, *, is_in_doubt: bool) -> None:
        super().__init__(verdict)
        self.verdict = verdict
        self.is_in_doubt = is_in_doubt
        """Whether it crashed after other videos, one of which may have damaged its memory."""


class DecoderProcess:
    """A process that calls one function, again and again, one request after the other."""

    def __init__(self, function: Callable[..., object], memory_bytes: int) -> None:
        """Start it, and do not wait: it is asked in any case, and answers when it is ready."""
        self._connection, theirs = connected_pair()
        their_lifeline, self._lifeline = Pipe(duplex=False)
        inherited = [theirs.fileno(), their_lifeline.fileno()]
        command = [sys.executable, "-P", "-m", "pipeline.isolation.child", *map(str, inherited)]
        environment = {
            **os.environ,
            **ONE_THREAD,
            "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        }
        with theirs, their_lifeline, signals_blocked(*_REQUESTS_TO_STOP):
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=2,  # a library that prints must not print into anybody's results
                pass_fds=inherited,
                env=environment,
            )
        self._is_ready = False
        self._started_at = self._asked_at = time.monotonic()
        self._num_unanswered = self._num_answered = 0
        self._send(Job(function, memory_bytes))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_idle(self) -> bool:
        """Whether it runs, and owes no answer."""
        return self._num_unanswered == 0 and self._process.poll() is None

    def ask(self, arguments: tuple[object, ...]) -> None:
        """Send a request. At most one is to be unanswered, or its time cannot be told."""
        self._num_unanswered += 1
        self._asked_at = time.monotonic()
        self._send(arguments)

    def answer(self, limit_seconds: float) -> object:
        """Wait for the answer to the last request: what the function gave, or a `Bug`.

        Args:
            limit_seconds: Wall time from the request on.

        Raises:
            DecoderLostError: It died, or was killed here because the time was up.
            DecoderStartError: The process never came to its first request.
        """
        self._wait_until_ready()
        try:
            value = receive(self._connection, self._asked_at + limit_seconds)
        except TimeoutError:
            self.close()
            reason = f"the decoder hung: killed after {limit_seconds:g} s"
            raise DecoderLostError(VideoError(VideoStatus.TIMEOUT, reason), is_in_doubt=False) from None
        except EOFError:
            raise DecoderLostError(_verdict_on(self._end()), is_in_doubt=self._num_answered > 0) from None
        self._num_unanswered -= 1
        self._num_answered += 1
        return value

    def close(self) -> None:
        """Kill it and wait until it is gone. It holds nothing that would have to be saved."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._lifeline.close()

    def _wait_until_ready(self) -> None:
        if self._is_ready:
            return
        try:
            message = receive(self._connection, self._started_at + START_SECONDS)
        except (TimeoutError, EOFError) as error:
            ended = "killed: it took too long" if isinstance(error, TimeoutError) else f"exit code {self._end()}"
            self.close()
            raise DecoderStartError(
                f"the decoder process did not start ({ended}); what it said is on stderr: repair that, and run again"
            ) from error
        assert isinstance(message, Ready)
        self._is_ready = True
        self._asked_at = max(self._asked_at, time.monotonic())

    def _send(self, value: object) -> None:
        with suppress(OSError):  # it is gone, and the answer will say how
            send(self._connection, value)

    def _end(self) -> int:
        try:
            return self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            self.close()


def _verdict_on(return_code: int) -> VideoError:
    """What a video is to be called on which the decoder ended.

    >>> print(_verdict_on(-11))
    corrupt: the decoder crashed (signal 11, SIGSEGV)
    >>> print(_verdict_on(3))
    corrupt: the decoder ended with exit code 3
    """
    if return_code >= 0:
        return VideoError(VideoStatus.CORRUPT, f"the decoder ended with exit code {return_code}")
    number = -return_code
    name = {known.value: known.name for known in signal.Signals}.get(number, "a real-time signal")
    if number == signal.SIGKILL:
        reason = f"the decoder was killed (signal {number}, {name}), probably because the machine ran out of memory"
        return VideoError(VideoStatus.UNSUPPORTED, reason)
    return VideoError(VideoStatus.CORRUPT, f"the decoder crashed (signal {number}, {name})")
