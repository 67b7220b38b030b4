"""Messages between a worker and its decoder, over a socket: any value that pickles, with its arrays as raw bytes.

    number of parts (uint32) | size of each part (uint64) | pickled value | buffers of its arrays

The buffers are those of pickle protocol 5, out of band. So the kernel copies a picture once, from one process into the
memory of the other, and the received array uses that memory.
"""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.run.running_time import SLICE_SECONDS, RunningTime
from pipeline.video.clips import VideoError

_COUNT = struct.Struct("<I")
BUFFER_BYTES = 4 << 20
"""Requested on both ends: a clip of 12 x 224 x 224 x 3 bytes then needs no second turn. The kernel may give less, which
only costs time."""
SILENCE_SECONDS = 10.0
"""How long a sender may pause in the middle of a message: it only copies what it has in memory."""


@dataclass(frozen=True, slots=True)
class Job:
    """The first message to a decoder process."""

    function: Callable[..., Iterator[object]]
    """Called with the arguments of each request, it gives the answers one by one; imported by its path."""
    memory_bytes: int
    """What the process may allocate, on top of what it has when it starts."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The first message from a decoder process."""


@dataclass(frozen=True, slots=True)
class Bug:
    """Why there is no answer, if the function raised anything but a `VideoError`."""

    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Failure:
    """In place of the next answer to a request, and of all later ones: the function raised."""

    reason: VideoError | Bug


def connected_pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a connection; it has no name, so no other process can connect to it."""
    ends = socket.socketpair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    return ends


def send(connection: socket.socket, value: object) -> None:
    """Send a value; waits while the other end's buffer is full.

    Raises:
        OSError: The other end is closed.
    """
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(body), *(buffer.raw() for buffer in buffers)]
    sizes = struct.pack(f"<{len(parts)}Q", *(part.nbytes for part in parts))
    connection.settimeout(None)
    connection.sendall(_COUNT.pack(len(parts)) + sizes)
    for part in parts:
        connection.sendall(part)


def receive(connection: socket.socket, limit_seconds: float | None = None) -> object:
    """Wait for a value.

    Args:
        connection: One end.
        limit_seconds: Until its first byte. The rest is waited for as long as it keeps coming, for the sender of a long
            message is blocked until its receiver begins to read: then at most `SILENCE_SECONDS` from part to part.

    Raises:
        TimeoutError: Nothing came for so long.
        EOFError: The other end is closed.
    """
    (num_parts,) = _COUNT.unpack(_read(connection, _COUNT.size, limit_seconds))
    silence = None if limit_seconds is None else SILENCE_SECONDS
    sizes = struct.unpack(f"<{num_parts}Q", _read(connection, 8 * num_parts, silence))
    body, *buffers = [_read(connection, size, silence) for size in sizes]
    return pickle.loads(body, buffers=buffers)  # from our own child alone, over a socket without a name


def _read(connection: socket.socket, num_bytes: int, limit_seconds: float | None) -> memoryview:
    view, position = np.empty(num_bytes, dtype=np.uint8).data, 0  # a bytearray is filled with zeros first
    while position < num_bytes:
        num_read = _read_some(connection, view[position:], limit_seconds)
        if num_read == 0:
            raise EOFError("the other end of the connection is closed")
        position += num_read
        limit_seconds = None if limit_seconds is None else SILENCE_SECONDS
    return view


def _read_some(connection: socket.socket, view: memoryview, limit_seconds: float | None) -> int:
    """Read what is there; 0 bytes if the other end is closed."""
    waited = RunningTime()
    while True:
        seconds = None if limit_seconds is None else min(SLICE_SECONDS, limit_seconds - waited.seconds())
        # Not 0, which would make the socket non-blocking: after the limit, what has arrived is still read.
        connection.settimeout(None if seconds is None else max(0.001, seconds))
        try:
            return connection.recv_into(view)
        except ConnectionResetError:  # the other end was closed with something unread
            return 0
        except TimeoutError:
            if limit_seconds is None or waited.seconds() >= limit_seconds:
                raise
