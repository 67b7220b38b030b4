"""MPEG transport and program streams (ISO/IEC 13818-1): packets of 188 bytes, and packs."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.video.reading.containers.walk import SEARCHED_BYTES, Walk, find, read_at

TS_STEPS = (188, 192, 204)
"""Bytes from one packet to the next: plain, with a time before each, with error correction after each."""
_SYNC = 0x47
_NULL_PID, _NUM_PIDS = 0x1FFF, 0x2000
_TABLE_PIDS = (0x00, 0x11)
"""PAT and SDT."""
_READ_PACKETS = 1 << 16
_MAX_BREAKS = 10_000
"""More are not counted: the first one decides most often."""

PACK = b"\0\0\1\xba"
_SECTOR = bytes(512)
END = b"\0\0\1\xb9"
_VIDEO = range(0xE0, 0xF0)
_START, _SYSTEM = b"\0\0\1", 0xBB


def ts_start(head: bytes) -> tuple[int, int] | None:
    """The place of the first sync byte and the bytes from one to the next; None if this is no transport stream.

    A file may begin inside a packet.
    """
    is_sync = np.frombuffer(head, np.uint8) == _SYNC
    for step in TS_STEPS:
        places = len(head) - 4 * step
        # Five sync bytes in step: 0x47 is "G", so that one or two come by chance in any file.
        in_step = [is_sync[n * step : n * step + places] for n in range(5)] if places > 0 else [is_sync[:0]]
        found = np.flatnonzero(np.logical_and.reduce(in_step))
        if len(found):
            return int(found[0]), step
    return None


def walk_ts(file: BinaryIO, size: int, start: int, step: int) -> Walk:
    """Follow the packets: a break is where the next sync byte is not, or where packets of a stream were left out.

    Each stream counts its packets (`continuity_counter`, 4 bits).
    """
    breaks = [0] if start >= step else []  # a file may begin inside a packet, but not with more
    counters = np.full(_NUM_PIDS, -1, np.int64)
    place = start
    while place + step <= size and len(breaks) < _MAX_BREAKS:
        file.seek(place)
        content = np.frombuffer(file.read(step * _READ_PACKETS), np.uint8)
        packets = content[: len(content) // step * step].reshape(-1, step)
        if not len(packets):
            break
        is_off = packets[:, 0] != _SYNC
        num_in_step = int(is_off.argmax()) if is_off.any() else len(packets)
        found = _left_out(packets[:num_in_step], counters)
        breaks += [place + step * row for row in found]
        place += step * num_in_step
        if num_in_step < len(packets):
            breaks.append(place)
            place = _next_in_step(file, place + 1, size, step)
            counters[:] = -1  # what is missing there is this break
    return Walk(None, tuple(breaks))


def _left_out(packets: NDArray[np.uint8], counters: NDArray[np.int64]) -> list[int]:
    """Rows before which packets of the same stream are missing. `counters` has the last of each stream, and is updated.

    Where a file starts over with its tables, their counters at 0, files were joined, and nothing is missing.
    """
    # The head, 4 bytes: sync; 3 flags and 13 bits PID; 2 bits scrambling, 2 bits "has adaptation field, has payload", 4
    # bits counter. The adaptation field begins with its length; the first bit in it announces a jump of the counter.
    pid = (packets[:, 1].astype(np.int64) & 0x1F) << 8 | packets[:, 2]
    has_adaptation, has_payload = packets[:, 3] & 0x20 > 0, packets[:, 3] & 0x10 > 0
    is_jump = has_adaptation & (packets[:, 4] > 0) & (packets[:, 5] & 0x80 > 0)  # says itself that it does
    counter = packets[:, 3].astype(np.int64) & 0x0F
    tables = np.flatnonzero(np.isin(pid, _TABLE_PIDS) & (counter == 0))
    rows = []
    for stream in np.unique(pid[has_payload]):
        if stream == _NULL_PID:
            continue
        mine = np.flatnonzero((pid == stream) & has_payload)
        before = np.concatenate([counters[stream : stream + 1], counter[mine[:-1]]])
        step = (counter[mine] - before) % 16
        is_missing = (before >= 0) & (step > 1) & ~is_jump[mine]  # 0: a packet may be sent twice
        for at in np.flatnonzero(is_missing):
            since = mine[at - 1] if at else -1
            if not ((tables > since) & (tables <= mine[at])).any():
                rows.append(int(mine[at]))
        counters[stream] = counter[mine[-1]]
    return sorted(rows)


def _next_in_step(file: BinaryIO, start: int, size: int, step: int) -> int:
    """The first place from `start` on at which packets follow each other again; `size` if none do."""
    while start + 3 * step <= size:
        file.seek(start)
        content = np.frombuffer(file.read(SEARCHED_BYTES), np.uint8) == _SYNC
        in_step = content[: -2 * step] & content[step:-step] & content[2 * step :]
        if in_step.any():
            return start + int(in_step.argmax())
        start += max(1, len(in_step))
    return size


def walk_ps(file: BinaryIO, size: int) -> Walk:
    """Follow the packs and the packets in them: each begins with a start code and tells its length.

    A sector of zeros in a packet of video is a break as well: it may be padding, but then no frame is missing.
    """
    breaks: list[int] = []
    place = 0
    while place + 4 <= size and len(breaks) < _MAX_BREAKS:
        head = read_at(file, place, 14)
        after = _after_part(head, place)
        if head[:4] == END:  # what follows, but for another program, is nobody's
            after = find(file, PACK, place + 4, size)
        elif after is None:
            breaks.append(place)
            after = find(file, PACK, place + 1, size)
        elif after == place:  # a packet of unknown length: up to the next pack
            after = find(file, PACK, place + 4, size)
        elif head[3] in _VIDEO and _SECTOR in read_at(file, place, after - place):
            breaks.append(place)
        place = after
    return Walk(None, tuple(breaks), ends_inside=place > size)


def _after_part(head: bytes, place: int) -> int | None:
    """The place after a pack's header or a packet; `place` itself if its length is unknown; None if there is none."""
    kind = head[3]
    # Codes below that of the end belong to what is inside of packets: pictures, slices, sequence headers.
    if head[:3] != _START or kind <= END[3]:
        return None
    if kind == PACK[3]:
        # A pack's head: 12 bytes in MPEG-1; in MPEG-2, two bits 01 after the code, and 14 bytes, the last of which
        # counts the stuffing that follows.
        is_mpeg2 = len(head) > 13 and head[4] >> 6 == 1
        return place + (14 + (head[13] & 7) if is_mpeg2 else 12)
    length = int.from_bytes(head[4:6], "big")
    return place + 6 + length if length or kind == _SYSTEM else place  # 4 of code, 2 of length
