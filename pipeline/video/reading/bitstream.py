"""What a packet's first bytes say about its picture: can a decoder start there, do others refer to it, is it shown.

The flags of containers say less, and are sometimes wrong: an H.264 "key frame" may be a recovery point (intra refresh),
after which pictures may still refer to earlier ones. So a few bytes of each packet are parsed by the standards: H.264
(7.3.1, 7.4.1), HEVC (7.3.1.2, table 7-1), MPEG-1/2 (6.2.3), MPEG-4 part 2 (6.2.5), VP8 (RFC 6386, 9.1) and VP9 (6.2).
In a few more codecs, a packet flagged as key refers to nothing before it. For all other codecs no packet is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Picture:
    """Facts about the coded picture in a packet."""

    is_start: bool
    """A decoder that starts here gives right pictures for all that is shown from here on."""
    is_reference: bool
    """Another picture may refer to it."""
    is_shown: bool = True
    layer: int = 0
    """HEVC's temporal sub-layer: a picture that its own layer does not refer to may be one for higher layers."""
    parameters: bytes = b""
    """Parameter sets or sequence headers in the packet; they are valid until others come."""
    is_hollow: bool = False
    """Zeros stand where the length of a NAL unit belongs. Decoders skip them without a word."""


PLAIN = Picture(is_start=False, is_reference=True)
"""A picture that others may refer to, and that itself refers to others."""
STANDALONE = Picture(is_start=True, is_reference=True)

PictureParser = Callable[[bytes | memoryview, bool], Picture]
"""From the bytes of a packet, and whether it is flagged as a key frame."""

_H264_IDR, _H264_SLICES = 5, frozenset({1, 2, 3, 4, 5})
_HEVC_IRAP = range(16, 22)
"""IDR, CRA and BLA pictures."""
_HEVC_NEVER_REFERRED = frozenset({0, 2, 4, 6, 8, 10, 12, 14})
"""Sub-layer non-reference pictures: TRAIL_N, TSA_N, STSA_N, RADL_N, RASL_N and reserved ones."""
_HEVC_LAST_VCL = 31
_H264_PARAMETERS, _HEVC_PARAMETERS = frozenset({7, 8, 13, 15}), frozenset({32, 33, 34})
_LOST = bytes(64)
"""More zeros than any writer pads with."""
_MPEG_PICTURE, _MPEG_SEQUENCE, _MPEG_EXTENSION, _MPEG_GROUP = 0x00, 0xB3, 0xB5, 0xB8
_MPEG_CODES = re.compile(rb"\x00\x00\x01([\x00\xb3\xb5\xb8])")
"""One search a packet for all of them: each byte is looked at once."""
_MPEG_QUANT_MATRIX = 3
_MPEG_I, _MPEG_B = 1, 3
_MPEG4_LAYERS, _MPEG4_GROUP, _MPEG4_VOP = range(0x20, 0x30), 0xB3, 0xB6
_MPEG4_CODES = re.compile(rb"\x00\x00\x01([\x20-\x2f\xb3\xb6])")
_MPEG4_I, _MPEG4_B = 0, 2

_STANDALONE_WHERE_KEY = frozenset(
    {
        "av1",
        "mjpeg",
        "prores",
        "dnxhd",
        "ffv1",
        "huffyuv",
        "ffvhuff",
        "utvideo",
        "rawvideo",
        "v210",
        "dvvideo",
        "jpeg2000",
    }
)
"""Codecs whose key packets refer to nothing before them, and no later packet refers to anything before one.

For AV1 (dav1d), jumping between key packets is exact; packets between them are never left out."""


CONSTANT_RATES = frozenset({"mpeg1video", "mpeg2video"})
"""Codecs that show their pictures at the rate that they state; none is held for long."""
ZEROS_ARE_NORMAL = frozenset({"mpeg1video", "mpeg2video", "vc1", "prores", "dnxhd", "dvvideo", "rawvideo", "v210"})
"""Codecs that pad with zeros, and those whose pixels may be zeros."""


def parser_of(codec: str, extradata: bytes | None) -> PictureParser | None:
    """The parser for packets of a codec, or None if none of its packets may be left out.

    Args:
        codec: ffmpeg's name of it.
        extradata: Of the stream. For H.264 and HEVC it tells how NAL units are separated.
    """
    if codec in ("h264", "hevc"):
        length_bytes = _nal_length_bytes(codec, extradata or b"")
        read = _h264_picture if codec == "h264" else _hevc_picture
        return lambda packet, is_key: read(_nal_units(packet, length_bytes))
    if codec in ("mpeg1video", "mpeg2video"):
        return lambda packet, is_key: _mpeg_picture(bytes(packet))
    if codec == "mpeg4":
        return lambda packet, is_key: _mpeg4_picture(bytes(packet))
    if codec == "vp8":
        # The first byte, from its lowest bit: 1 bit "not key", 3 of version, 1 "shown", 3 of a size.
        return lambda packet, is_key: Picture(is_key, is_reference=True, is_shown=bool(packet[0] >> 4 & 1))
    if codec == "vp9":
        return lambda packet, is_key: Picture(is_key, is_reference=True, is_shown=_vp9_is_shown(packet))
    if codec in _STANDALONE_WHERE_KEY:
        return lambda packet, is_key: STANDALONE if is_key else PLAIN
    return None


def _nal_length_bytes(codec: str, extradata: bytes) -> int | None:
    """Bytes of the length before each NAL unit (avcC, hvcC), or None if start codes separate them."""
    # Both configuration records begin with version 1, and have `lengthSizeMinusOne` in the low two bits of this byte.
    # Extradata that begins with a start code belongs to a stream whose units are separated by start codes (Annex B).
    place = 4 if codec == "h264" else 21
    if len(extradata) <= place or extradata[:3] in (b"\0\0\0", b"\0\0\1") or extradata[0] != 1:
        return None
    return (extradata[place] & 3) + 1


def _nal_units(packet: bytes | memoryview, length_bytes: int | None) -> Iterator[bytes | memoryview]:
    """The NAL units of a packet, without copying.

    Ends at a length that leads out of the packet, or, with `_LOST`, at zeros in place of a length.
    """
    if length_bytes is None:
        content = bytes(packet)
        whole, place = memoryview(content), content.find(b"\0\0\1")
        while place >= 0:
            following = content.find(b"\0\0\1", place + 3)
            yield whole[place + 3 : following if following >= 0 else None]
            place = following
        return
    start, size = 0, len(packet)
    while start + length_bytes + 2 <= size:  # 2: the longer of the heads of a unit, HEVC's
        begin = start + length_bytes
        if packet[start : start + len(_LOST)] == _LOST:
            yield _LOST
            return
        end = begin + int.from_bytes(packet[start:begin], "big")
        yield packet[begin:end]
        start = end


def _h264_picture(units: Iterator[bytes | memoryview]) -> Picture:
    """Type and `nal_ref_idc` of the slices: two fields may share a packet, and one of them be referred to.

    >>> _h264_picture(iter([b"\\x06\\x00", b"\\x01\\x9a"])).is_reference
    False
    """
    heads, parameters, is_hollow = [], b"", False
    for unit in units:
        is_hollow |= unit is _LOST
        # Head of a unit, 1 byte: 1 bit 0, 2 bits `nal_ref_idc`, 5 bits `nal_unit_type`.
        kind = unit[0] & 31 if len(unit) else 0
        if kind in _H264_SLICES:
            heads.append(unit[0])
        elif kind in _H264_PARAMETERS:
            parameters += bytes(unit)
    if not heads:
        return replace(PLAIN, parameters=parameters, is_hollow=is_hollow)
    is_reference = any(head >> 5 & 3 for head in heads)
    # Only IDR is a start. Others flagged as key are recovery points, after which pictures may refer to earlier ones.
    return Picture(heads[0] & 31 == _H264_IDR, is_reference, parameters=parameters, is_hollow=is_hollow)


def _hevc_picture(units: Iterator[bytes | memoryview]) -> Picture:
    slices, parameters, is_hollow = [], b"", False
    for unit in units:
        is_hollow |= unit is _LOST
        # Head of a unit, 2 bytes: 1 bit 0, 6 bits `nal_unit_type`, 6 bits of layer, 3 bits `nuh_temporal_id_plus1`.
        kind = unit[0] >> 1 & 63 if len(unit) >= 2 else None
        if kind is not None and kind <= _HEVC_LAST_VCL:
            slices.append((kind, (unit[1] & 7) - 1))
        elif kind in _HEVC_PARAMETERS:
            parameters += bytes(unit)
    if not slices or any(layer < 0 for _, layer in slices):  # -1 is forbidden: the packet is damaged
        return replace(PLAIN, parameters=parameters, is_hollow=is_hollow)
    kinds = {kind for kind, _ in slices}
    return Picture(
        is_start=slices[0][0] in _HEVC_IRAP,
        is_reference=not kinds <= _HEVC_NEVER_REFERRED,
        layer=max(layer for _, layer in slices),
        parameters=parameters,
        is_hollow=is_hollow,
    )


def _mpeg_picture(packet: bytes) -> Picture:
    """`picture_coding_type` of the picture, or of both its fields; an I picture starts."""
    codes = _start_codes(packet, _MPEG_CODES)
    # After the 4 bytes of the start code: 10 bits `temporal_reference`, 3 bits `picture_coding_type`.
    kinds = [packet[at + 5] >> 3 & 7 for code, at in codes if code == _MPEG_PICTURE and at + 5 < len(packet)]
    parameters = _headers(packet, codes, (_MPEG_SEQUENCE,), (_MPEG_GROUP, _MPEG_PICTURE))
    for code, at in codes:  # matrices may also come with a picture, and hold from there on
        if code == _MPEG_EXTENSION and packet[at + 4 : at + 5] and packet[at + 4] >> 4 == _MPEG_QUANT_MATRIX:
            parameters += packet[at : at + 72]
    if not kinds:
        return replace(PLAIN, parameters=parameters)
    is_reference = any(kind != _MPEG_B for kind in kinds)
    return Picture(kinds[0] == _MPEG_I, is_reference, parameters=parameters)


def _mpeg4_picture(packet: bytes) -> Picture:
    """`vop_coding_type`. Some files pack a B picture into the packet of the picture that it refers to."""
    codes = _start_codes(packet, _MPEG4_CODES)
    # `vop_coding_type` is the first 2 bits after the 4 bytes of the start code.
    kinds = [packet[at + 4] >> 6 for code, at in codes if code == _MPEG4_VOP and at + 4 < len(packet)]
    parameters = _headers(packet, codes, _MPEG4_LAYERS, (_MPEG4_GROUP, _MPEG4_VOP))
    if not kinds:
        return replace(PLAIN, parameters=parameters)
    is_reference = any(kind != _MPEG4_B for kind in kinds)
    return Picture(kinds[0] == _MPEG4_I, is_reference, parameters=parameters)


def _start_codes(packet: bytes, codes: re.Pattern[bytes]) -> list[tuple[int, int]]:
    """The start codes that a pattern finds, with their places.

    >>> _start_codes(bytes([9, 0, 0, 1, 0x20, 9, 0, 0, 1, 0xB6]), _MPEG4_CODES)
    [(32, 1), (182, 6)]
    """
    return [(found[1][0], found.start()) for found in codes.finditer(packet)]


def _headers(packet: bytes, codes: list[tuple[int, int]], starts: Container[int], ends: Container[int]) -> bytes:
    """The bytes from the first start code of each kind to the first end code after it.

    >>> _headers(b"..header end picture", [(1, 2), (8, 9), (9, 13)], {1}, {8, 9})
    b'header '
    """
    headers: dict[int, bytes] = {}
    for number, (code, at) in enumerate(codes):
        if code in starts and code not in headers:
            end = next((later for other, later in codes[number:] if other in ends), len(packet))
            headers[code] = packet[at:end]
    return b"".join(headers.values())


def _vp9_is_shown(packet: bytes | memoryview) -> bool:
    """Whether a packet shows a picture: a superframe does, a frame says so.

    >>> _vp9_is_shown(bytes([0b10000010])), _vp9_is_shown(bytes([0b10000000])), _vp9_is_shown(bytes([0b10001000]))
    (True, False, True)
    """
    if packet[-1] >> 5 == 0b110:  # the mark of a superframe's index
        return True
    first = packet[0]
    after_profile = 3 if first >> 4 & 3 == 3 else 2  # profile 3 has a reserved bit more
    # From the highest bit of the first byte: 2 bits mark, 2 of profile, then those read here: show an existing frame,
    # frame type, show this frame.
    bits = first << after_profile + 2
    shows_existing, shows = bits >> 7 & 1, bits >> 5 & 1
    return bool(shows_existing or shows)
