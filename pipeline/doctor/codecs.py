"""Which videos can be decoded here, and whether H.264 can be written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import av
from av.codec.codec import UnknownCodecError

from pipeline.doctor.checks import Check, State

GROUP = "video"
_REINSTALL = "pip install --force-reinstall --only-binary av av"

DECODERS = {
    "H.264": ("h264",),
    "HEVC": ("hevc",),
    "AV1": ("libdav1d", "libaom-av1"),  # the decoder that is called `av1` works on some GPUs alone
    "VP9": ("vp9", "libvpx-vp9"),
    "VP8": ("vp8", "libvpx"),
    "MPEG-4": ("mpeg4",),
    "MPEG-2": ("mpeg2video",),
    "MPEG-1": ("mpeg1video",),
    "H.263": ("h263",),
    "MJPEG": ("mjpeg",),
    "ProRes": ("prores",),
    "WMV 9": ("wmv3",),
    "VC-1": ("vc1",),
    "MS-MPEG4": ("msmpeg4",),
    "FLV": ("flv",),
    "Theora": ("theora",),
    "FFV1": ("ffv1",),
}
"""Name of a codec -> the decoders that do it on any machine, any of which will do."""
_H264_ENCODER = "libx264"


def check(place: str | None) -> Iterator[Check]:
    """Ask libav which decoders it has."""
    missing = [name for name, decoders in DECODERS.items() if not any(_has(one, "r") for one in decoders)]
    there = [name for name in DECODERS if name not in missing]
    yield Check(GROUP, "decoders", State.OK if there else State.MISSING, ", ".join(there) or "none", remedy=None)
    for name in missing:
        state = State.MISSING if name == "H.264" else State.WARNING
        found = "av was built without it: such videos fail as `unsupported`"
        yield Check(GROUP, name, state, found, remedy=_REINSTALL)
    if _has(_H264_ENCODER, "w"):
        yield Check(GROUP, "H.264 encoder", State.OK, _H264_ENCODER)
    else:
        found = f"av was built without {_H264_ENCODER}: `fda demo` cannot write its videos"
        yield Check(GROUP, "H.264 encoder", State.WARNING, found, remedy=_REINSTALL)


def _has(name: str, mode: Literal["r", "w"]) -> bool:
    try:
        av.Codec(name, mode)
    except UnknownCodecError:
        return False
    return True
