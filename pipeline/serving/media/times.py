"""When each packet of a video is shown: as its container says, or, where that cannot be true, as its decoder finds."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.video.options import DecodeOptions, Window
from pipeline.video.reading.opening import Deadline, open_video
from pipeline.video.reading.probing import VideoScan, read_packets


@dataclass(frozen=True, slots=True)
class PacketTimes:
    """Times of all packets of a video stream, in the order of decoding."""

    pts: NDArray[np.int64]
    """Shape (num_packets,), in ticks; 0 is the first frame."""
    time_base: Fraction
    """Seconds a tick."""
    is_key: NDArray[np.bool_]

    def part(self, window: Window) -> slice:
        """The packets of a clip: from the last key frame that is shown no later than its start, to its end.

        >>> times = PacketTimes(np.array([0, 2, 1, 3, 5, 4]), Fraction(1), np.array([1, 0, 0, 1, 0, 0], np.bool_))
        >>> times.part(Window(4.0, 5.0)), times.part(Window())
        (slice(3, 6, None), slice(0, 6, None))
        """
        start = round(Fraction(window.start_seconds) / self.time_base)
        starts = np.flatnonzero(self.is_key & (self.pts <= start))
        first = int(starts[-1]) if len(starts) else 0
        if window.end_seconds is None:
            return slice(first, len(self.pts))
        shown = np.flatnonzero(self.pts < float(Fraction(window.end_seconds) / self.time_base))
        # To the last packet in the file that is shown before the end: pictures are not stored in the order of showing.
        return slice(first, max(first, int(shown[-1])) + 1)


def packet_times(path: Path, scan: VideoScan, options: DecodeOptions, deadline: Deadline) -> PacketTimes | None:
    """When packets are shown; None if they are not one frame each.

    Raises:
        VideoError: `TIMEOUT`, or the file cannot be decoded.
    """
    table = scan.table
    if not table.is_shown.all():
        return None
    if scan.timeline is not None:
        return PacketTimes(table.pts - scan.timeline.start_pts, scan.time_base, table.is_key)
    if not scan.average_rate:
        return None
    order = _decoded_order(path, scan, options, deadline)
    if order is None:
        return None
    # The inverse of `order`: from place in time -> packet to packet -> place in time.
    shown_at = np.empty(len(order), np.int64)
    shown_at[order] = np.arange(len(order))
    # As `pipeline.video` does: frame i is shown at i over the average rate.
    return PacketTimes(shown_at, 1 / scan.average_rate, table.is_key)


def decoding_times(pts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Decoding times for packets: increasing, and none later than the packet is shown.

    Args:
        pts: Shape (num_packets,), in the order of decoding, all different.

    >>> decoding_times(np.array([0, 3, 1, 2]))
    array([-1,  0,  1,  2])
    """
    in_order = np.sort(pts)
    # The k-th packet is decoded at the k-th time, all moved back so far that no picture is shown before it is decoded.
    return np.asarray(in_order - max(0, int((in_order - pts).max(initial=0))))


def _decoded_order(path: Path, scan: VideoScan, options: DecodeOptions, deadline: Deadline) -> NDArray[np.int64] | None:
    """The packet of each frame, in the order in which they are shown; None if frames and packets do not pair up."""
    num_packets, found = len(scan.table), []
    with open_video(path, deadline, options, scan.choice) as video:
        context = video.stream.codec_context
        packets = read_packets(path, scan, range(num_packets), deadline, options)
        with closing(packets):
            for number, packet in enumerate(packets):
                deadline.check()
                packet.pts = packet.dts = number  # comes out again with its frame
                found += [frame.pts for frame in context.decode(packet)]
            # The decoder holds back pictures that it reorders; None asks for them.
            found += [frame.pts for frame in context.decode(None)]
    if sorted(number for number in found if number is not None) != list(range(num_packets)):
        return None
    return np.array(found, np.int64)
