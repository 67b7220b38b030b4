"""The packets of a video stream as a table: all that planning needs, read without decoding."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.video.reading.bitstream import PLAIN, Picture, PictureParser

NO_TIME = -(2**63)
"""In place of a time that a packet does not have (ffmpeg's `AV_NOPTS_VALUE`)."""


_SECTOR, _RUN = bytes(512), bytes(64)
_JPEG_END = b"\xff\xd9"
_PARAMETERS = frozenset({"new_extradata", "param_change"})
"""Kinds of side data."""


@dataclass(frozen=True, slots=True)
class PacketTable:
    """One entry a packet, in the order of the file, which is that of decoding. Times in ticks of the stream."""

    pts: NDArray[np.int64]
    """Shape (num_packets,), like all columns; `NO_TIME` if a packet has none."""
    dts: NDArray[np.int64]
    duration: NDArray[np.int64]
    """0 if unknown."""
    is_key: NDArray[np.bool_]
    """As the container flags it."""
    is_corrupt: NDArray[np.bool_]
    is_shown: NDArray[np.bool_]
    """Whether its picture is displayed. Packets outside an edit list (marked discard) are decoded, because others
    refer to them, but not shown: counting them as frames makes all frames wrong. Codecs hide pictures as well."""
    is_start: NDArray[np.bool_]
    """Whether a decoder that starts there gives right pictures from there on (`Picture.is_start`)."""
    is_needed_by_others: NDArray[np.bool_]
    """Whether another packet may refer to it."""
    file_end: NDArray[np.int64]
    """Place in the file after its last byte, or after that of an earlier packet if its own place is not known."""
    is_hollow: NDArray[np.bool_]
    """Whether part of its content is lost: zeros, which decoders of many codecs take for pictures."""
    ends_in_zeros: NDArray[np.bool_]
    """Padding, or the beginning of a hole: what follows tells."""

    def __post_init__(self) -> None:
        shapes = {name: getattr(self, name).shape for name in self.__slots__}
        if len(set(shapes.values())) != 1 or self.pts.ndim != 1:
            raise ValueError(f"every packet has one of each, got shapes {shapes}")

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def start_pts(self) -> int:
        """The earliest time of a packet that is shown, in ticks; 0 when none has a time."""
        times = self.shown_times
        return int(times[0]) if len(times) else 0

    @property
    def shown_times(self) -> NDArray[np.int64]:
        """Shape (num_times,): the times of packets that are shown, increasing, each once."""
        return np.unique(self.pts[self.is_shown & (self.pts != NO_TIME)])

    @property
    def decoded_end(self) -> int | None:
        """The decoding time at which the packets end: any later packet would be shown at or after it."""
        if not len(self) or self.dts[-1] == NO_TIME:
            return None
        return int(self.dts[-1]) + max(1, int(self.duration[-1]))

    def head(self, num_packets: int) -> PacketTable:
        """The first packets."""
        return PacketTable(*(getattr(self, name)[:num_packets] for name in self.__slots__))

    @classmethod
    def of(cls, times: Sequence[tuple[int, int]], pictures: Sequence[Picture] | None = None) -> Self:
        """A table from (pts, dts) and pictures, by default the first a start and all referred to: for examples."""
        pictures = pictures or [Picture(is_start=i == 0, is_reference=True) for i in range(len(times))]
        log = PacketLog(None)
        for (pts, dts), picture in zip(times, pictures, strict=True):
            log.append((pts, dts, 0), picture, is_key=picture.is_start, is_corrupt=False, is_discard=False)
        return cls(*(getattr(log.table(), name) for name in cls.__slots__))


class PacketLog:
    """Collects packets into a table, at some 50 bytes a packet.

    Args:
        parser: Of their codec.
        searches_zeros: Whether to look for zeros in them: pictures of the codec have few, and its decoder takes them.
    """

    def __init__(self, parser: PictureParser | None, *, searches_zeros: bool = False) -> None:
        self._parser, self._searches_zeros = parser, searches_zeros
        self._pts, self._dts, self._duration, self._file_end = array("q"), array("q"), array("q"), array("q")
        self._key, self._corrupt, self._shown = bytearray(), bytearray(), bytearray()
        self._start, self._reference, self._layer = bytearray(), bytearray(), bytearray()
        self._hollow, self._zeros_inside, self._zeros_last = bytearray(), bytearray(), bytearray()
        self._parameters = b""
        self.changes_parameters = False
        """Whether parameter sets change on the way. Then no packet may be left out: it may contain those in force."""

    def __len__(self) -> int:
        return len(self._pts)

    def add(self, packet: Packet[VideoStream]) -> None:
        """Add a packet that is not empty."""
        is_key, content = packet.is_keyframe, memoryview(packet)  # a view: no copy
        picture = PLAIN if self._parser is None else self._parser(content, is_key)
        if len(self) and (_has_new_parameters(packet) or picture.parameters not in (b"", self._parameters)):
            self.changes_parameters = True
        # The first packet of most files repeats the header's parameters; only a later change is one.
        elif not len(self):
            self._parameters = picture.parameters
        pts = NO_TIME if packet.pts is None else packet.pts
        dts = NO_TIME if packet.dts is None else packet.dts
        self.append(
            (pts, dts, packet.duration or 0),
            picture,
            is_key=is_key,
            is_corrupt=packet.is_corrupt,
            is_discard=packet.is_discard,
            file_end=0 if packet.pos is None else packet.pos + packet.size,
        )
        self._zeros_last[-1] = content[-len(_RUN) :] == _RUN and not is_padded(bytes(content))
        if self._searches_zeros:
            self._hollow[-1] |= content[: len(_RUN)] == _RUN
            self._zeros_inside[-1] = has_hole(bytes(content))
        if self._hollow[-1]:
            self._shown[-1] = not packet.is_discard  # whatever its zeros say

    def append(
        self,
        times: tuple[int, int, int],
        picture: Picture,
        *,
        is_key: bool,
        is_corrupt: bool,
        is_discard: bool,
        file_end: int = 0,
    ) -> None:
        """Add the facts of a packet; `times` are its pts, its dts and its duration, in ticks; `file_end` may be 0."""
        pts, dts, duration = times
        self._pts.append(pts)
        self._dts.append(dts)
        self._duration.append(duration)
        self._file_end.append(file_end)
        self._key.append(is_key)
        self._corrupt.append(is_corrupt)
        self._shown.append(picture.is_shown and not is_discard)
        self._start.append(picture.is_start)
        self._reference.append(picture.is_reference)
        self._layer.append(picture.layer)
        self._hollow.append(picture.is_hollow)
        self._zeros_inside.append(False)
        self._zeros_last.append(False)

    def table(self) -> PacketTable:
        """The packets so far."""
        layer = np.frombuffer(bytes(self._layer), np.uint8)
        # A hole that reaches into two packets is seen where the second one starts. One that does not makes zeros in a
        # single packet; black pictures, which may have them too, come in a row.
        zeros = np.pad(_flags(self._zeros_inside), 1)
        is_alone = zeros[1:-1] & ~zeros[:-2] & ~zeros[2:]
        starts_hollow, ends_in_zeros = _flags(self._hollow), _flags(self._zeros_last)
        # After the last packet nothing can tell padding from a hole. Where zeros are rare, they are a hole.
        hole_begins = ends_in_zeros & np.append(starts_hollow[1:], self._searches_zeros)
        # In HEVC only the highest sub-layer has none above it that may refer to its non-reference pictures.
        below_highest = layer < layer.max(initial=0)
        return PacketTable(
            pts=np.array(self._pts, dtype=np.int64),
            dts=np.array(self._dts, dtype=np.int64),
            duration=np.array(self._duration, dtype=np.int64),
            is_key=_flags(self._key),
            is_corrupt=_flags(self._corrupt),
            is_shown=_flags(self._shown),
            is_start=_flags(self._start),
            is_needed_by_others=_flags(self._reference) | below_highest,
            is_hollow=starts_hollow | hole_begins | is_alone,
            ends_in_zeros=ends_in_zeros,
            file_end=np.maximum.accumulate(np.array(self._file_end, dtype=np.int64)),
        )


def has_hole(content: bytes) -> bool:
    """Whether there are as many zeros as a sector of a disk has; after the end of a JPEG, they are padding.

    >>> has_hole(b"head" + bytes(512) + b"more"), has_hole(bytes([0xFF, 0xD9]) + bytes(600))
    (True, False)
    """
    place = content.find(_SECTOR)
    return place >= 0 and not (is_padded(content) and place >= len(content.rstrip(b"\0")))


def is_padded(content: bytes) -> bool:
    """Whether the zeros at the end come after the end of a JPEG, as some cameras have it."""
    return content.rstrip(b"\0").endswith(_JPEG_END)


def _has_new_parameters(packet: Packet[VideoStream]) -> bool:
    """Whether the container announces other parameters from this packet on."""
    # Few packets have side data, and to ask for each kind by its name takes a fifth of the time of looking at a packet.
    try:
        return any(data.data_type in _PARAMETERS for data in packet.iter_sidedata())
    except IndexError:  # a kind that is newer than this PyAV
        return packet.has_sidedata("new_extradata") or packet.has_sidedata("param_change")


def _flags(content: bytearray) -> NDArray[np.bool_]:
    return np.frombuffer(bytes(content), np.bool_)
