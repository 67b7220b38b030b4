"""Messages between a worker and its decoder, over a socket: any value that pickles, its arrays as raw bytes beside it.

A message is the number of its parts, the size of each, and the parts: the pickled value, then the buffers of its
arrays (pickle protocol 5, out of band). The kernel copies a picture from the one process into the other's memory, and
the array that is handed out stands on that memory.
"""

from __future__ import annotations

import pickle
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

_COUNT = struct.Struct("<I")
BUFFER_BYTES = 4 << 20
"""Asked for on both ends of a connection: a clip of 12 x 224 x 224 x 3 then goes through in one piece. The kernel may
give less, which costs time and nothing else."""


@dataclass(frozen=True, slots=True)
class Job:
    """The first message to the process."""

    function: Callable[..., object]
    """What it does to the arguments of each request; found by its import path."""
    memory_bytes: int
    """What it may allocate on top of what it starts with."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The first message from the process."""


@dataclass(frozen=True, slots=True)
class Bug:
    """The answer where the function raised what is no verdict on a video."""

    message: str
    traceback: str


def connected_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection that no other process sees."""
    ends = socket.socketpair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    return ends


def send(connection: socket.socket, value: object) -> None:
    """Send a value; waits while the other end has no room.

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


def receive(connection: socket.socket, deadline: float | None = None) -> object:
    """Wait for a value.

    Args:
        connection: One end.
        deadline: On the monotonic clock; what has come by then is taken, however late the call.

    Raises:
        TimeoutError: Some of it had not come at the deadline.
        EOFError: The other end is closed.
    """
    (num_parts,) = _COUNT.unpack(_read(connection, _COUNT.size, deadline))
    sizes = struct.unpack(f"<{num_parts}Q", _read(connection, 8 * num_parts, deadline))
    body, *buffers = [_read(connection, size, deadline) for size in sizes]
    return pickle.loads(body, buffers=buffers)


def _read(connection: socket.socket, num_bytes: int, deadline: float | None) -> bytearray:
    content = bytearray(num_bytes)
    view, position = memoryview(content), 0
    while position < num_bytes:
        connection.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
        try:
            num_read = connection.recv_into(view[position:])
        except ConnectionResetError:  # how a socket says that the other end went away with something unread
            num_read = 0
        if num_read == 0:
            raise EOFError("the other end of the connection is closed")
        position += num_read
    return content
