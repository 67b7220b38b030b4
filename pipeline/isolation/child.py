"""The program of a decoder process: answer one request after the other until the worker has ended.

    python -m pipeline.isolation.child SOCKET LIFELINE

The process never outlives its worker. A thread listens for requests, and ends the process when the worker's end of the
socket closes. That fails if the decoder is stuck in C code that does not release the interpreter lock. So on Linux the
kernel also kills the process when the lifeline closes: a pipe whose other end the worker holds and never writes to.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import traceback
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import cv2

from pipeline.isolation.messages import Bug, Job, Ready, receive, send
from pipeline.video.clips import VideoError
from store.schema import VideoStatus


def main() -> None:
    """Answer requests until the worker has ended."""
    _die_with_worker(int(sys.argv[2]))
    connection = socket.socket(fileno=int(sys.argv[1]))
    job = receive(connection)
    assert isinstance(job, Job)
    cv2.setNumThreads(1)
    _limit_memory(job.memory_bytes)
    requests: SimpleQueue[tuple[object, ...]] = SimpleQueue()
    Thread(target=_listen, args=(connection, requests), daemon=True).start()
    _send(connection, Ready())
    gc.freeze()  # collections skip what is loaded now, and take a tenth of a millisecond
    while True:
        _send(connection, answer(job, requests.get()))
        gc.collect()  # a cycle may hold all packets of a video: too few objects for Python to collect by itself


def answer(job: Job, arguments: tuple[object, ...]) -> object:
    """What the function returns, or why it failed: a `VideoError` or a `Bug`."""
    try:
        return job.function(*arguments)
    except VideoError as error:
        return _over_memory(job) if isinstance(error.__cause__, MemoryError) else error
    except MemoryError:
        return _over_memory(job)
    except Exception as error:
        if isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem:
            return _over_memory(job)
        return Bug(f"{type(error).__name__}: {error}", traceback.format_exc())


def _over_memory(job: Job) -> VideoError:
    return VideoError(VideoStatus.UNSUPPORTED, f"decoding it takes more than {job.memory_bytes >> 20} MiB of memory")


def _send(connection: socket.socket, value: object) -> None:
    try:
        send(connection, value)
    except OSError:
        os._exit(0)  # the worker has ended


def _listen(connection: socket.socket, requests: SimpleQueue[tuple[object, ...]]) -> None:
    while True:
        try:
            request = receive(connection)
        except EOFError:
            os._exit(0)  # from this thread, because the main thread may be stuck in a decoder
        assert isinstance(request, tuple)
        requests.put(request)


def _die_with_worker(lifeline: int) -> None:
    """Let the kernel kill this process when the pipe closes: when the worker ends, or closes it.

    Not `PR_SET_PDEATHSIG`, which fires when the thread that started this process ends.
    """
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, int(signal.SIGKILL))
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
        poll = select.poll()
        poll.register(lifeline, 0)  # a hang-up is reported even if no event is asked for
        if poll.poll(0):  # it closed before F_SETSIG: no signal will come
            os._exit(0)


def _limit_memory(num_bytes: int) -> None:
    """Make allocations fail beyond a limit. Only on Linux: other kernels count other things, or nothing."""
    if sys.platform == "linux":
        import resource

        num_pages = int(Path("/proc/self/statm").read_text().split()[5])  # size resident shared text lib data
        limit = num_pages * resource.getpagesize() + num_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()
