"""The list of the zoo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
from av.codec.codec import UnknownCodecError

from tests.videos import NTSC
from tests.zoo.making import (
    Maker,
    coded,
    edited,
    joined,
    pictures_with_disposal,
    pts_as_dts,
    rewritten,
    shifted,
    tagged,
    two_videos_and_a_cover,
    with_edits,
    with_hidden_vp8,
    with_packed_b,
    with_repeats_vp9,
    with_size_change,
    without_start,
    x264,
    x265,
)
from tests.zoo.shows import (
    changes_size,
    formatted,
    goes_back,
    has_b,
    has_discarded,
    has_hidden,
    has_layers,
    has_leading,
    has_no_times,
    has_refresh,
    has_superframes,
    has_times_of_decoding,
    num_frames,
    sized,
    starts_without_key,
    turned,
)
from tests.zoo.truth import ExpectedClip, FullDecode, clip_by_count, clip_by_times

_MILLISECOND = Fraction(1, 1000)
_VPX = {"deadline": "realtime", "cpu-used": "8"}
_ALT_REF = _VPX | {"auto-alt-ref": "1", "lag-in-frames": "25", "g": "120", "b": "200000"}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file."""

    name: str
    """Of the file, and of its test."""
    make: Maker
    shows: Callable[[FullDecode], bool] = lambda _: True
    """Whether the file made has what it is in the zoo for."""
    truth: Callable[[FullDecode, int], ExpectedClip] = clip_by_times
    encoder: str = "libx264"

    @property
    def missing_encoder(self) -> bool:
        """Whether this build of ffmpeg cannot make the file."""
        try:
            av.Codec(self.encoder, "w")
        except UnknownCodecError:
            return True
        return False


_UNEVEN = [int(time) for time in np.cumsum(5 + 10 * (np.arange(60) * 7 % 16))]
_FROZEN = [*range(0, 800, 40), *range(60_000, 60_800, 40), *range(61_000, 61_800, 40)]
_HOURS = 10 * 3600 * 90_000
_B12 = coded(72, options=x264(g=12))
_B12_TS = coded(72, options=x264(g=12), rate=Fraction(25))

H264 = [
    Kind("h264_gop250.mp4", coded(130, options=x264("b-pyramid=normal", g=250)), has_b),
    Kind("h264_gop12.mp4", _B12, has_b),
    Kind("h264_no_b.mp4", coded(60, options=x264(bf=0)), lambda whole: not has_b(whole)),
    Kind("h264_all_intra.mp4", coded(30, options=x264(g=1)), lambda whole: whole.kinds == "I" * 30),
    Kind("h264_open_gop.mp4", coded(72, options=x264("open-gop=1", g=12)), has_leading),
    Kind("h264_open_gop.ts", coded(72, options=x264("open-gop=1", g=12)), has_leading),
    Kind("h264_open_gop.mkv", coded(72, options=x264("open-gop=1", g=12)), has_leading),
    Kind("h264_intra_refresh.mp4", coded(80, options=x264("intra-refresh=1", g=16)), has_refresh),
    Kind("h264_intra_refresh.ts", coded(80, options=x264("intra-refresh=1", g=16)), has_refresh),
    Kind("h264_vfr.mp4", coded(60, options=x264(g=20), pts=_UNEVEN, time_base=_MILLISECOND), has_b),
    Kind("h264_vfr.mkv", coded(60, options=x264(g=20), pts=_UNEVEN, time_base=_MILLISECOND), has_b),
    Kind(
        "h264_interlaced.mp4",
        tagged(48, "libx264", x264("tff=1", g=12, flags="+ildct+ilme")),
        lambda whole: all(frame.interlaced_frame for frame in whole.frames),
    ),
    Kind("h264_slices.mp4", coded(48, options=x264("slices=3", g=12)), has_b),
    Kind("h264_baseline.mp4", coded(48, options=x264(profile="baseline", bf=0, g=12))),
    Kind("h264_ten_bit.mkv", coded(30, options=x264(), pix_fmt="yuv420p10le"), formatted("yuv420p10le")),
    Kind("h264_422.mp4", coded(30, options=x264(), pix_fmt="yuv422p"), formatted("yuv422p")),
    Kind("h264_444.mp4", coded(30, options=x264(), pix_fmt="yuv444p"), formatted("yuv444p")),
    Kind("h264_odd_444.mp4", coded(30, size=(49, 65), options=x264(), pix_fmt="yuv444p"), sized(65, 49)),
    Kind("h264_grey.mp4", coded(30, options=x264(), pix_fmt="gray")),
    Kind(
        "h264_rgb.mp4",
        coded(30, "libx264rgb", options=x264(), pix_fmt="rgb24"),
        formatted("gbrp"),
        encoder="libx264rgb",
    ),
    Kind("h264_full_range.mp4", coded(30, options=x264(), color_range=2), formatted("yuvj420p")),
    Kind(
        "h264_bt709.mp4",
        coded(30, options=x264(), colorspace=1, color_range=1),
        lambda whole: {int(frame.colorspace) for frame in whole.frames} == {1},
    ),
    Kind("h264_rotated_90.mp4", coded(30, options=x264(), rotation=90), turned),
    Kind("h264_rotated_180.mp4", coded(30, options=x264(), rotation=180), turned),
    Kind("h264_rotated_270.mp4", coded(30, options=x264(), rotation=270), turned),
    Kind("h264_flipped.mp4", coded(30, options=x264(), rotation=0, vflip=True), turned),
    Kind("h264_flipped_90.mp4", coded(30, options=x264(), rotation=90, vflip=True), turned),
    Kind("h264_anamorphic.mp4", tagged(30, "libx264", x264(), sample_aspect_ratio=Fraction(16, 11)), sized(64, 48)),
    Kind("h264_gop12.mkv", _B12, has_b),
    Kind("h264_gop12.flv", _B12, has_b),
    Kind("h264_gop12.ts", _B12_TS, has_b),
    Kind("h264_gop12.mov", _B12, has_b),
    Kind("h264_gop12.nut", _B12, has_b),
    Kind("h264_gop12.3gp", _B12, has_b),
    Kind(
        "h264_fragmented.mp4",
        coded(72, options=x264(g=12), container_options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
        has_b,
    ),
    Kind("h264_faststart.mp4", coded(72, options=x264(g=12), container_options={"movflags": "faststart"}), has_b),
    Kind(
        "h264_negative_offsets.mp4",
        coded(72, options=x264(g=12), container_options={"movflags": "negative_cts_offsets"}),
        has_b,
    ),
    Kind("h264_edit_start.mp4", edited(coded(72, options=x264(g=72)), shifted(-1001 * 10)), has_discarded),
    Kind("h264_edit_start_of_gop.mp4", edited(_B12, shifted(-1001 * 29)), has_discarded),
    Kind("h264_edit_delay.mp4", edited(_B12, shifted(1001 * 100))),
    Kind("h264_edit_end.mp4", rewritten(_B12, with_edits([(1200, 2002)])), has_discarded),
    Kind("h264_edit_middle.mp4", rewritten(_B12, with_edits([(1000, 2002 + 1001 * 17)])), has_discarded),
    Kind("h264_edit_of_two.mp4", rewritten(_B12, with_edits([(500, 2002), (700, 2002 + 1001 * 40)])), has_discarded),
    Kind(
        "h264_edit_swapped.mp4",
        rewritten(_B12, with_edits([(500, 2002 + 1001 * 40), (700, 2002)])),
        goes_back,
        clip_by_count,
    ),
    Kind("h264_no_key_first.mkv", edited(_B12, lambda packets: packets[5:]), starts_without_key),
    Kind("h264_no_key_first.mp4", edited(_B12, lambda packets: packets[5:]), starts_without_key),
    Kind("h264_no_key_first.ts", edited(_B12_TS, lambda packets: packets[5:]), starts_without_key),
    Kind("h264_cut_mid_gop.ts", rewritten(_B12_TS, without_start(0.26, 188)), starts_without_key),
    Kind("h264_cut_off_grain.ts", rewritten(_B12_TS, without_start(0.26, 1)), starts_without_key),
    Kind("h264_size_change.ts", with_size_change, changes_size),
    Kind("h264_two_videos.mov", two_videos_and_a_cover, sized(64, 48)),
    Kind("h264_b.avi", coded(60, options=x264(g=20)), has_b, clip_by_count),
    Kind("h264_no_b.avi", coded(60, options=x264(g=20, bf=0))),
    Kind("h264_fake_times.mp4", edited(_B12, pts_as_dts), has_times_of_decoding, clip_by_count),
    Kind("h264_fake_times.mkv", edited(_B12, pts_as_dts, suffix=".mp4"), goes_back, clip_by_count),
    Kind(
        "h264_fake_times_near_key.mkv",
        edited(coded(75, options=x264(g=12)), pts_as_dts, suffix=".mp4"),
        goes_back,
        clip_by_count,
    ),
    Kind("h264_raw.h264", _B12_TS, has_no_times, clip_by_count),
    Kind(
        "h264_size_change.h264",
        joined(_B12_TS, coded(40, size=(80, 60), options=x264(g=10), rate=Fraction(25))),
        changes_size,
        clip_by_count,
    ),
    Kind("h264_times_restart.ts", joined(_B12_TS, _B12_TS), goes_back, clip_by_count),
]
HEVC = [
    Kind("hevc.mp4", coded(60, "libx265", options=x265("keyint=20:bframes=3")), has_b, encoder="libx265"),
    Kind(
        "hevc_open_gop.mp4", coded(60, "libx265", options=x265("keyint=12:open-gop=1")), has_leading, encoder="libx265"
    ),
    Kind(
        "hevc_open_gop.ts", coded(60, "libx265", options=x265("keyint=12:open-gop=1")), has_leading, encoder="libx265"
    ),
    Kind(
        "hevc_starts_at_cra.mkv",
        edited(
            coded(60, "libx265", options=x265("keyint=12:min-keyint=12:open-gop=1:scenecut=0")),
            lambda packets: packets[[i for i, packet in enumerate(packets) if packet.is_keyframe][1] :],
        ),
        lambda whole: has_hidden(whole) and whole.packets[0].is_key,
        encoder="libx265",
    ),
    Kind("hevc_closed_gop.mkv", coded(60, "libx265", options=x265("keyint=12:open-gop=0")), has_b, encoder="libx265"),
    Kind(
        "hevc_temporal_layers.mp4",
        coded(60, "libx265", options=x265("keyint=20:temporal-layers=3:b-adapt=0:bframes=3:b-pyramid=1")),
        has_layers,
        encoder="libx265",
    ),
    Kind(
        "hevc_ten_bit_hdr.mkv",
        tagged(
            20,
            "libx265",
            x265("colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"),
            "yuv420p10le",
            color_primaries=9,
            color_trc=16,
            colorspace=9,
        ),
        lambda whole: {int(frame.colorspace) for frame in whole.frames} == {9},
        encoder="libx265",
    ),
    Kind("hevc_raw.hevc", coded(40, "libx265", options=x265()), has_no_times, clip_by_count, encoder="libx265"),
]
MPEG = [
    Kind("mpeg4_no_b.avi", coded(60, "mpeg4", options={"g": "12"}), encoder="mpeg4"),
    Kind("mpeg4_b.avi", coded(60, "mpeg4", options={"bf": "2", "g": "12"}), has_b, clip_by_count, encoder="mpeg4"),
    Kind("mpeg4_b.mp4", coded(60, "mpeg4", options={"bf": "2", "g": "12"}), has_b, encoder="mpeg4"),
    Kind(
        "mpeg4_fake_times.mp4",
        edited(coded(60, "mpeg4", options={"bf": "2", "g": "12"}), pts_as_dts),
        has_times_of_decoding,
        clip_by_count,
        encoder="mpeg4",
    ),
    Kind("mpeg4_b.mkv", coded(60, "mpeg4", options={"bf": "2", "g": "12"}), has_b, encoder="mpeg4"),
    Kind("mpeg4_raw.m4v", coded(60, "mpeg4", options={"bf": "2", "g": "12"}), truth=clip_by_count, encoder="mpeg4"),
    Kind(
        "mpeg4_packed.avi",
        edited(coded(61, "mpeg4", options={"bf": "1", "g": "13"}, rate=Fraction(30)), with_packed_b),
        lambda whole: has_b(whole) and any(packet.data.count(b"\0\0\1\xb6") == 2 for packet in whole.packets),
        clip_by_count,
        encoder="mpeg4",
    ),
    Kind(
        "mpeg4_dropped.avi",
        coded(60, "mpeg4", pts=[i + i // 5 * 3 for i in range(60)], time_base=1 / NTSC),
        lambda whole: len({(after.pts or 0) - (before.pts or 0) for before, after in pairwise(whole.frames)}) == 2,
        encoder="mpeg4",
    ),
    Kind("mpeg4_odd.avi", coded(30, "mpeg4", (49, 65)), sized(65, 49), encoder="mpeg4"),
    *(
        Kind(
            f"mpeg2_open_gop.{ext}",
            coded(72, "mpeg2video", options={"bf": "2", "g": "12"}, rate=Fraction(25)),
            has_leading,
            encoder="mpeg2video",
        )
        for ext in ("mpg", "ts", "mkv")
    ),
    Kind(
        "mpeg2_closed_gop.ts",
        tagged(60, "mpeg2video", {"bf": "2", "g": "12", "flags": "+cgop", "sc_threshold": "1000000000"}),
        has_b,
        encoder="mpeg2video",
    ),
    Kind(
        "mpeg2_interlaced.ts",
        tagged(60, "mpeg2video", {"bf": "2", "g": "12", "flags": "+ildct+ilme"}),
        lambda whole: all(frame.interlaced_frame for frame in whole.frames),
        encoder="mpeg2video",
    ),
    Kind("mpeg1.mpg", coded(60, "mpeg1video", options={"bf": "2"}, rate=Fraction(25)), has_b, encoder="mpeg1video"),
    Kind("msmpeg4.asf", coded(40, "msmpeg4"), encoder="msmpeg4"),
    Kind("msmpeg4v2.avi", coded(40, "msmpeg4v2"), encoder="msmpeg4v2"),
    Kind("wmv2.asf", coded(40, "wmv2"), encoder="wmv2"),
    Kind("flv1.flv", coded(40, "flv"), encoder="flv"),
    Kind("h263.3gp", coded(40, "h263", (144, 176)), encoder="h263"),
    Kind("rv20.rm", coded(40, "rv20"), encoder="rv20"),
]
VP = [
    Kind("vp8.webm", coded(60, "libvpx", options=_VPX), encoder="libvpx"),
    Kind("vp8_hidden.webm", edited(coded(80, "libvpx", options=_VPX), with_hidden_vp8), has_hidden, encoder="libvpx"),
    Kind(
        "vp8_hidden_last.webm",
        edited(coded(41, "libvpx", options=_VPX), with_hidden_vp8),
        lambda whole: has_hidden(whole) and whole.packets[-1].pts != whole.frames[-1].pts,
        encoder="libvpx",
    ),
    Kind(
        "vp8_alpha.webm",
        coded(20, "libvpx", options=_VPX | {"auto-alt-ref": "0"}, pix_fmt="yuva420p"),
        encoder="libvpx",
    ),
    Kind("vp9.webm", coded(60, "libvpx-vp9", options=_VPX | {"g": "20"}), encoder="libvpx-vp9"),
    Kind("vp9_alt_ref.webm", coded(120, "libvpx-vp9", options=_ALT_REF), has_superframes, encoder="libvpx-vp9"),
    Kind("vp9_alt_ref.mp4", coded(120, "libvpx-vp9", options=_ALT_REF), has_superframes, encoder="libvpx-vp9"),
    Kind(
        "vp9_alpha.webm",
        coded(20, "libvpx-vp9", options=_VPX | {"auto-alt-ref": "0"}, pix_fmt="yuva420p"),
        encoder="libvpx-vp9",
    ),
    Kind(
        "vp9_repeats.webm",
        edited(coded(60, "libvpx-vp9", options=_VPX), with_repeats_vp9),
        lambda whole: any(len(packet.data) == 1 for packet in whole.packets) and len(whole.frames) == 60,
        encoder="libvpx-vp9",
    ),
    Kind("vp9_odd.webm", coded(20, "libvpx-vp9", (49, 65), options=_VPX), sized(65, 49), encoder="libvpx-vp9"),
    Kind("vp9.ivf", coded(30, "libvpx-vp9", options=_VPX), encoder="libvpx-vp9"),
    Kind("av1.mp4", coded(40, "libsvtav1", options={"preset": "12", "g": "16"}), encoder="libsvtav1"),
    Kind("av1.webm", coded(40, "libsvtav1", options={"preset": "12", "g": "16"}), encoder="libsvtav1"),
]
PICTURES = [
    Kind("plain.gif", coded(24, "gif", pix_fmt="rgb8", rate=Fraction(20)), encoder="gif"),
    Kind(
        "disposal_background.gif",
        pictures_with_disposal(24, duration=50, disposal=2, transparency=0, loop=0),
    ),
    Kind("disposal_previous.gif", pictures_with_disposal(24, duration=[50, 30] * 12, disposal=3, loop=0)),
    Kind("plain.apng", coded(24, "apng", pix_fmt="rgb24", rate=Fraction(20)), encoder="apng"),
    Kind("disposal.apng", pictures_with_disposal(24, duration=50, disposal=1, blend=1, format="PNG")),
    Kind("mjpeg.avi", coded(30, "mjpeg", pix_fmt="yuvj420p"), encoder="mjpeg"),
    Kind("mjpeg_422.mov", coded(30, "mjpeg", pix_fmt="yuvj422p"), encoder="mjpeg"),
    Kind("ffv1.mkv", coded(30, "ffv1", pix_fmt="bgr0"), encoder="ffv1"),
    Kind("ffv1_16_bit.mkv", coded(12, "ffv1", pix_fmt="yuv444p16le"), encoder="ffv1"),
    Kind("ffv1_alpha.mkv", coded(12, "ffv1", pix_fmt="yuva420p"), encoder="ffv1"),
    Kind("huffyuv.avi", coded(30, "huffyuv", pix_fmt="yuv422p"), encoder="huffyuv"),
    Kind("utvideo.avi", coded(30, "utvideo", pix_fmt="gbrp"), encoder="utvideo"),
    Kind("prores.mov", coded(20, "prores_ks", pix_fmt="yuv422p10le"), encoder="prores_ks"),
    Kind(
        "prores_alpha.mov",
        coded(12, "prores_ks", pix_fmt="yuva444p10le", options={"profile": "4444"}),
        encoder="prores_ks",
    ),
    Kind(
        "dnxhr.mov", coded(8, "dnxhd", (144, 256), pix_fmt="yuv422p", options={"profile": "dnxhr_lb"}), encoder="dnxhd"
    ),
    Kind("jpeg2000.mov", coded(12, "jpeg2000", pix_fmt="yuv420p"), encoder="jpeg2000"),
    Kind("png.mov", coded(20, "png", pix_fmt="rgb24"), encoder="png"),
    Kind("qtrle.mov", coded(30, "qtrle", pix_fmt="rgb24"), encoder="qtrle"),
    Kind("cinepak.avi", coded(8, "cinepak", pix_fmt="rgb24"), encoder="cinepak"),
    Kind("theora.ogv", coded(30, "libtheora"), encoder="libtheora"),
    Kind("rawvideo.avi", coded(12, "rawvideo", pix_fmt="yuv420p"), encoder="rawvideo"),
    Kind("snow.avi", coded(12, "snow", options={"strict": "-2"}), encoder="snow"),
]
TIMES = [
    Kind("five_frames.mp4", coded(5, options=x264()), num_frames(5)),
    Kind("two_frames.mp4", coded(2, options=x264()), num_frames(2)),
    Kind("two_frames.avi", coded(2, "mjpeg", pix_fmt="yuvj420p"), num_frames(2), encoder="mjpeg"),
    Kind("two_frames.gif", coded(2, "gif", pix_fmt="rgb8", rate=Fraction(20)), num_frames(2), encoder="gif"),
    Kind("odd_time_base.mp4", coded(60, options=x264(g=20), rate=Fraction(12345, 997)), has_b),
    Kind("slow.mp4", coded(20, options=x264(g=6), rate=Fraction(1, 10)), has_b),
    Kind("slow.mkv", coded(20, options=x264(g=6), rate=Fraction(1, 10)), has_b),
    Kind("fast.mp4", coded(60, options=x264(g=20), rate=Fraction(1000)), has_b),
    Kind("fast.mkv", coded(60, options=x264(g=20), rate=Fraction(1000)), has_b),
    Kind("faster_than_ticks.mkv", coded(60, options=x264(g=20), rate=Fraction(2500)), goes_back, clip_by_count),
    Kind("late_start.ts", edited(_B12_TS, shifted(_HOURS)), lambda whole: (whole.frames[0].pts or 0) > _HOURS),
    Kind(
        "late_start.mkv",
        edited(_B12, shifted(36_000 * 30_000), suffix=".mp4"),
        lambda whole: (whole.frames[0].pts or 0) > 35_000_000,
    ),
    Kind("frozen.mp4", coded(60, options=x264(g=20), pts=_FROZEN, time_base=_MILLISECOND), has_b),
    Kind("frozen.mkv", coded(60, options=x264(g=20), pts=_FROZEN, time_base=_MILLISECOND), has_b),
]
ZOO = {kind.name: kind for kind in [*H264, *HEVC, *MPEG, *VP, *PICTURES, *TIMES]}
"""All kinds by name."""

CORE_ENCODERS = frozenset(
    {"libx264", "libx265", "libvpx", "libvpx-vp9", "libsvtav1", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "gif"}
)
"""Without these encoders the zoo proves little; kinds of other encoders are skipped if these are missing."""
