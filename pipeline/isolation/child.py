"""The program of a decoder process: answer one request after the other until the worker has ended.

    python -m pipeline.isolation.child SOCKET LIFELINE

The process never outlives its worker. A thread listens for requests, and ends the process when the worker's end of the
socket closes. That fails if the decoder is stuck in C code that does not release the interpreter lock. So on Linux the
kernel also kills the process when the lifeline closes: a pipe whose other end the worker holds and never writes to.
"""

from __future__ import annotations

import errno
import gc
import mmap
import os
import socket
import sys
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import cv2

from pipeline.isolation.children import die_with_parent
from pipeline.isolation.messages import Bug, Failure, Job, Ready, receive, send
from pipeline.video.clips import VideoError
from store.schema import VideoStatus

_OF_THE_MACHINE = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)
"""Errors of the kernel, when it has no memory for a file or no more files may be open."""


def main() -> None:
    """Answer requests until the worker has ended."""
    # Before anything else: from here on this process ends with its worker, whatever hangs.
    die_with_parent(int(sys.argv[2]))
    connection = socket.socket(fileno=int(sys.argv[1]))
    job = receive(connection)
    assert isinstance(job, Job)
    cv2.setNumThreads(1)
    _limit_memory(job.memory_bytes)
    requests: SimpleQueue[tuple[object, ...]] = SimpleQueue()
    # A thread, although requests come one by one: only a read notices that the worker has ended.
    Thread(target=_listen, args=(connection, requests), daemon=True).start()
    _send(connection, Ready())
    gc.freeze()  # collections skip what is loaded now, and take a tenth of a millisecond
    while True:
        for answer in answers(job, requests.get()):
            _send(connection, answer)
            del answer  # it may be large, and the next one is decoded now
            gc.collect()  # a cycle may hold all packets of a video: too few objects for Python to collect by itself


def answers(job: Job, arguments: tuple[object, ...]) -> Iterator[object]:
    """What the function gives; if it raises, last of all a `Failure`."""
    try:
        yield from map(partial(_limited, job), job.function(*arguments))
    except Exception as error:
        yield Failure(_told(job, error))


def _limited(job: Job, answer: object) -> object:
    return _told(job, answer) if isinstance(answer, VideoError) else answer


def _told(job: Job, error: Exception) -> VideoError | Bug:
    """An error as it is told: whether it is one of the video, of the machine, or of the limits of this process."""
    cause = error.__cause__ if isinstance(error, VideoError) else error
    if _is_of_memory(cause):
        return _out_of_memory(job)
    if isinstance(cause, OSError) and cause.errno in _OF_THE_MACHINE:
        return VideoError(VideoStatus.PENDING, f"the machine has no room for it: {cause.strerror}")
    return error if isinstance(error, VideoError) else _bug(error)


def _bug(error: Exception) -> Bug:
    return Bug(f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))


def _is_of_memory(error: BaseException | None) -> bool:
    if isinstance(error, cv2.error):
        return bool(error.code == cv2.Error.StsNoMem)
    return isinstance(error, MemoryError)


def _out_of_memory(job: Job) -> VideoError:
    """The video's fault if it met this process's own limit, the machine's if it gives less than the limit allows."""
    limit_mib = job.memory_bytes >> 20
    if _machine_has_less():
        return VideoError(
            VideoStatus.PENDING, f"the machine gives less memory than the limit of {limit_mib} MiB a video"
        )
    return VideoError(VideoStatus.UNSUPPORTED, f"decoding it takes more than {limit_mib} MiB of memory")


def _machine_has_less() -> bool:
    """Whether memory is refused that our own limit allows: by `ulimit -v`, or a kernel that does not overcommit."""
    if sys.platform != "linux":
        return False
    import resource

    room = resource.getrlimit(resource.RLIMIT_DATA)[0] - _data_bytes() - (1 << 20)  # a little for this function
    try:
        mmap.mmap(-1, max(mmap.PAGESIZE, room), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        return True
    return False


def _data_bytes() -> int:
    """What counts towards the limit now."""
    num_pages = int(Path("/proc/self/statm").read_text().split()[5])  # size resident shared text lib data
    return num_pages * mmap.PAGESIZE


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


def _limit_memory(num_bytes: int) -> None:
    """Make allocations fail beyond a limit. Only on Linux: other kernels count other things, or nothing."""
    if sys.platform == "linux":
        import resource

        limit = _data_bytes() + num_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()
