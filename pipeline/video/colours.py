"""Colour matrices that swscale does not have, and what is taken in their place."""

from __future__ import annotations

from typing import Final

from av.video.frame import VideoFrame

# Numbers of H.273, table 4, which are also those of ffmpeg's `AVColorSpace`. 5 and 6 are one matrix.
_RGB, _BT709, _UNTAGGED, _FCC, _BT470BG, _BT601, _SMPTE240M, _BT2020 = 0, 1, 2, 4, 5, 6, 7, 9
_SCALED = frozenset({_RGB, _BT709, _UNTAGGED, _FCC, _BT470BG, _BT601, _SMPTE240M, _BT2020})
"""Matrices that swscale converts (`sws_test_colorspace`); it refuses a picture with any other."""
_NEAREST = {10: _BT2020, 11: _BT2020, 14: _BT2020, 15: _BT2020}
"""BT.2020 for what is made for its colours. YCgCo has another kind of chroma, and no near one: it is taken as untagged,
as OpenCV does, so that brightness is nearly right and colours are not."""
_DERIVED, _DERIVED_CONSTANT = 12, 13
_OF_PRIMARIES = {1: _BT709, 4: _FCC, 6: _SMPTE240M, 7: _SMPTE240M, 9: _BT2020}
"""Chroma-derived matrices follow from the primaries (H.273, 8.3), numbered alike for BT.709 and BT.2020, where they are
the same, and nearly the same for the others. Primaries that are not here are near those of BT.709."""
_NAMES: Final = {
    _BT709: "BT.709",
    _UNTAGGED: "BT.601",
    _FCC: "FCC",
    _SMPTE240M: "SMPTE 240M",
    _BT2020: "BT.2020",
    3: "reserved",
    8: "YCgCo",
    10: "BT.2020 constant luminance",
    11: "SMPTE 2085",
    12: "chroma-derived",
    13: "chroma-derived constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
_RANGES = frozenset({0, 1, 2})


def take_nearest_colours(frame: VideoFrame) -> str | None:
    """Give a frame tags that swscale knows in place of those that it refuses; pixels are not changed.

    Returns:
        What was done, in one line; None if the tags are as they were, or do not matter.
    """
    if frame.color_range not in _RANGES:
        frame.color_range = 0  # unspecified: swscale refuses numbers that it does not know here as well
    tagged = frame.colorspace
    if tagged in _SCALED or not has_chroma(frame):
        return None
    if tagged in (_DERIVED, _DERIVED_CONSTANT):
        frame.colorspace = _OF_PRIMARIES.get(frame.color_primaries, _BT709)
        if tagged == _DERIVED and frame.color_primaries in (_BT709, _BT2020):
            return None  # it is the same matrix
    else:
        frame.colorspace = _NEAREST.get(tagged, _UNTAGGED)
    name = _NAMES.get(tagged, f"number {tagged}")
    return f"colour matrix {name} cannot be converted, {_NAMES[frame.colorspace]} was used: colours may be wrong"


def has_chroma(frame: VideoFrame) -> bool:
    """Whether its pixels are luma and chroma, to which a matrix belongs: not grey, palettes and RGB."""
    kind = frame.format
    return len(kind.components) >= 3 and not (kind.is_rgb or kind.is_bayer or kind.has_palette)
