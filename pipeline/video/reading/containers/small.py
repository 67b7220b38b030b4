"""Containers that need little to be followed: FLV, Ogg, ASF, IVF, MXF, GIF and PNG (of which APNG is one)."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from pipeline.video.reading.containers.walk import Walk, find, read_at

FLV, OGG, IVF, PNG = b"FLV", b"OggS", b"DKIF", b"\x89PNG\r\n\x1a\n"
MXF = bytes.fromhex("060e2b34")
GIF = b"GIF8"
"""Then 7a or 9a."""
ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_OBJECTS = 1000
_ASF_FLAGS, _ASF_FIELD_BYTES = 3, (0, 1, 2, 4)
_MIN_ASF_PACKET = 64
_SECTOR = bytes(512)
_ASF_PACKET = bytes.fromhex("82")
"""Two bytes of error correction follow, as in all files."""
_FLV_TAGS = frozenset({8, 9, 18})
"""Sound, pictures, and their metadata."""
_FLV_KIND = 0x1F
_MANY_ZEROS = 64
"""More than there are between the units of a raw stream, or at the end of a payload."""
_RAW_BEGINS = (b"\x67", b"\x27", b"\x09", b"\x40", b"\x46")
"""H.264's sequence parameters and delimiter; HEVC's video parameters and delimiter."""
_GIF_EXTENSION, _GIF_IMAGE, _GIF_END = 0x21, 0x2C, 0x3B


def walk_flv(file: BinaryIO, size: int) -> Walk:
    """Follow the tags: each has a type, a size, a time and a stream that is always 0."""
    # The header: 3 bytes of mark, 1 version, 1 flags, 4 its own length.
    place = int.from_bytes(read_at(file, 5, 4), "big") + 4  # each tag is followed by its length; here by 0
    while place + 11 <= size:
        # 1 byte type, 3 size of the content, 4 time, 3 stream.
        head = read_at(file, place, 11)
        if head[0] & _FLV_KIND not in _FLV_TAGS or head[8:11] != bytes(3):
            return Walk(None, (place,))
        place += 15 + int.from_bytes(head[1:4], "big")  # 11 of head, and 4 of length after the content
    return Walk(ends_inside=place != size and place != size + 4)  # writers may leave out the length after the last tag


def walk_ogg(file: BinaryIO, size: int) -> Walk:
    """Follow the pages (RFC 3533), which each stream numbers."""
    numbers: dict[bytes, int] = {}
    breaks = []
    place = 0
    while place + 27 <= size:
        # 14 bytes of mark, version, flags and time, 4 stream, 4 number of the page, 4 checksum, 1 number of segments
        # (at most 255), then the length of each segment in a byte.
        head = read_at(file, place, 27 + 255)
        if head[:4] != OGG:
            breaks.append(place)
            place = find(file, OGG, place + 1, size)
            continue
        stream, number = head[14:18], int.from_bytes(head[18:22], "little")
        if number != numbers.get(stream, number - 1) + 1:
            breaks.append(place)
        numbers[stream] = number
        place += 27 + head[26] + sum(head[27 : 27 + head[26]])
    return Walk(None, tuple(breaks), ends_inside=place > size)


def walk_asf(file: BinaryIO, size: int) -> Walk:
    """Follow the objects, and in that of the data the packets, which have one size and begin with its mark."""
    place = packet_size = 0
    breaks = []
    for _ in range(_ASF_OBJECTS):
        head = read_at(file, place, 30)
        length = int.from_bytes(head[16:24], "little")
        if head[:16] == ASF and length <= size:
            properties = find(file, _ASF_PROPERTIES, 0, length)
            # Offset of the least size of a packet in the File Properties Object; the greatest follows it, and is the
            # same.
            packet_size = int.from_bytes(read_at(file, properties + 92, 4), "little")
            place += length
        elif head[:16] == _ASF_DATA and 0 < packet_size < _MIN_ASF_PACKET:
            break  # no muxer writes such packets, and to follow them would take for ever
        elif head[:16] == _ASF_DATA and packet_size:
            end = place + length if length > 50 else None  # 50: its own head; a live stream does not know
            for packet in range(place + 50, min(end or size, size) - packet_size + 1, packet_size):
                content = read_at(file, packet, packet_size)
                if content[:1] != _ASF_PACKET or _is_holed(content):
                    breaks.append(packet)
            if end is not None and end + 16 <= size and not read_at(file, end, 16).strip(b"\0"):
                breaks.append(place)  # where the objects after the data are lost, the last packets may be
            return Walk(end, tuple(sorted(breaks)))
        elif length < 24 or place + length > size:  # an object has a name and a length
            break
        else:
            place += length
    return Walk(None, (place,))


def _is_holed(packet: bytes) -> bool:
    """Whether a sector of zeros lies in a packet before its padding, whose length it tells.

    Two bits each say how many bytes a field has: that of the packet's length, a number, and the padding.
    """
    # From the lowest bit: 1 bit "several payloads", then 2 bits each for the sequence, the padding and the packet
    # length.
    flags = packet[_ASF_FLAGS]
    sizes = [_ASF_FIELD_BYTES[flags >> shift & 3] for shift in (5, 1, 3)]
    place = _ASF_FLAGS + 2 + sizes[0] + sizes[1]  # 2: these flags, and those of the payloads
    padding = int.from_bytes(packet[place : place + sizes[2]], "little")
    content = packet[: len(packet) - min(padding, len(packet))]
    return _SECTOR in content or content.endswith(bytes(_MANY_ZEROS))


def walk_ivf(file: BinaryIO, size: int) -> Walk:
    """Follow the frames: each has a size and a number, which goes up. The header may have their count."""
    # The header, mostly 32 bytes: 4 mark, 2 version, 2 its length, 4 codec, 2 + 2 size, 4 + 4 rate, 4 number of frames.
    start = int.from_bytes(read_at(file, 6, 2), "little")
    num_missing = int.from_bytes(read_at(file, 24, 4), "little")
    place, before = start, -1
    while place + 12 <= size:
        num_missing -= 1
        head = read_at(file, place, 12)
        length, number = int.from_bytes(head[:4], "little"), int.from_bytes(head[4:12], "little")
        if not length or number <= before:
            return Walk(None, (place,))
        place, before = place + 12 + length, number
    return Walk(None, (start,) if num_missing > 0 else (), ends_inside=place != size)


def walk_gif(file: BinaryIO, size: int) -> Walk:
    """Follow the blocks up to the end mark. Some writers leave the mark out, between blocks."""
    flags = read_at(file, 10, 1)[0] if size > 10 else 0
    place = 13 + _colours(flags)  # 6 of mark and version, 7 of the screen, the last but two being flags
    while place < size:
        start, kind = place, read_at(file, place, 10)
        if kind[0] == _GIF_END:
            break
        if kind[0] == _GIF_EXTENSION:
            place += 2
        elif kind[0] == _GIF_IMAGE and len(kind) == 10:
            place += 11 + _colours(kind[9])  # 10 of the descriptor, the last being flags, and 1 of code size
        else:
            return Walk(None, (start,))
        # Extensions and images end alike: blocks of a length in one byte and so many bytes, up to one of length 0.
        while place < size and (length := read_at(file, place, 1)[0]):
            place += 1 + length
        if place >= size:
            return Walk(size + 1, (start,))
        place += 1
    return Walk()


def _colours(flags: int) -> int:
    """Bytes of a colour table."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def walk_png(file: BinaryIO, size: int) -> Walk:
    """Follow the chunks, which have checksums, up to the end mark."""
    place = len(PNG)
    while place + 12 <= size:
        head = read_at(file, place, 8)
        length = int.from_bytes(head[:4], "big")
        if not head[4:].isalpha() or place + 12 + length > size:
            return Walk(None, (place,))
        content = read_at(file, place + 4, 8 + length)  # type, content, checksum: the checksum is of the first two
        if zlib.crc32(content[:-4]).to_bytes(4, "big") != content[-4:]:
            return Walk(None, (place,))
        if head[4:] == b"IEND":
            return Walk()
        place += 12 + length
    return Walk(None, (place,))


def walk_raw(file: BinaryIO, size: int) -> Walk:
    """Look for zeros in a raw H.264 or HEVC stream: between two start codes there are few."""
    place = find(file, bytes(_MANY_ZEROS), 0, size)
    return Walk(None, (place,) if place < size else ())


def is_raw(head: bytes) -> bool:
    """Whether a file begins with a start code and a unit with which H.264 and HEVC begin."""
    start = head.find(b"\0\0\1")
    return 0 <= start <= 1 and not head[:start].strip(b"\0") and head[start + 3 : start + 4] in _RAW_BEGINS


def walk_mxf(file: BinaryIO, size: int) -> Walk:
    """Follow the packets (SMPTE 377): a key of 16 bytes, a length, a content."""
    place = 0
    while place + 17 <= size:
        head = read_at(file, place, 25)
        # A length (BER): one byte below 128, or 128 + n and then n bytes.
        num_bytes = head[16] & 0x7F if head[16] & 0x80 else 0
        if head[:4] != MXF or num_bytes > 8:
            return Walk(None, (place,))
        length = int.from_bytes(head[17 : 17 + num_bytes], "big") if num_bytes else head[16]
        place += 17 + num_bytes + length
    return Walk(ends_inside=place > size)
