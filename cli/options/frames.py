"""The flags that say which frames of a video are kept, and how."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import click

from pipeline.frames.options import PreprocessOptions
from pipeline.video.options import MAX_FPS, MAX_LIMITS, MAX_TIMEOUT_SECONDS, Keep, Resize, SamplingMode
from store.arrays.codec_names import FRAME_CODECS

_DEFAULTS = PreprocessOptions()
_COUNT = click.IntRange(1, 1024)


class Rate(click.ParamType[Fraction]):
    """A positive number up to `MAX_FPS`, exactly: `2`, `0.5` or `30000/1001`."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        """Read it.

        >>> Rate().convert("30000/1001", None, None)
        Fraction(30000, 1001)
        """
        try:
            rate = Fraction(str(value))
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is not a number of frames a second, such as 2, 0.5 or 30000/1001", param, ctx)
        if not 0 < rate <= MAX_FPS:
            self.fail(f"{value!r} must be more than 0 and at most {MAX_FPS}", param, ctx)
        return rate


FRAME_OPTIONS: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...] = (
    click.option(
        "--train-frames",
        type=_COUNT,
        default=_DEFAULTS.train_frames,
        show_default=True,
        help="Frames per clip on `train`.",
    ),
    click.option(
        "--eval-frames",
        type=_COUNT,
        default=_DEFAULTS.eval_frames,
        show_default=True,
        help="Frames per clip on all other splits.",
    ),
    click.option(
        "--sampling",
        type=click.Choice([str(mode) for mode in SamplingMode]),
        default=str(_DEFAULTS.sampling.mode),
        show_default=True,
        help="Which frames are taken. uniform: at the centres of equal spans of time. fps: --fps a second, from the "
        "start. clip4clip: as CLIP4Clip counts: one a second, with the frame rate cut to an integer. prompt-switch: "
        "those that Prompt Switch and FDA-CLIP's code test on, not in the order of time, so that masks compare frames "
        "far apart.",
    ),
    click.option(
        "--eval-sampling",
        type=click.Choice([str(mode) for mode in SamplingMode]),
        help="The same for all splits but `train`.  [default: as --sampling]",
    ),
    click.option("--fps", type=Rate(), help="Frames per second of --sampling fps.  [default: 1]"),
    click.option(
        "--keep",
        type=click.Choice([str(keep) for keep in Keep]),
        help="If --sampling fps or clip4clip find too many frames: keep the first, the last, or evenly spaced ones.  "
        "[default: uniform]",
    ),
    click.option(
        "--image-size",
        type=click.IntRange(16, 1024),
        default=_DEFAULTS.image_size,
        show_default=True,
        help="Side of the frames, pixels.",
    ),
    click.option(
        "--resize",
        type=click.Choice([str(resize) for resize in Resize]),
        default=str(_DEFAULTS.resize),
        show_default=True,
        help="swscale: bicubic, in one step from the video's own pixels. clip: PIL's bicubic, as CLIP does it, slower.",
    ),
    click.option(
        "--frame-codec",
        type=click.Choice(FRAME_CODECS),
        default=_DEFAULTS.frame_codec,
        show_default=True,
        help="How frames are stored: raw reads fastest, zstd and blosc are smaller, jpeg is far smaller and lossy.",
    ),
    click.option(
        "--neighbours",
        is_flag=True,
        help="Also store the grey next frame of each frame; `--difference consecutive` needs it.",
    ),
    click.option(
        "--shard-size", type=_COUNT, default=_DEFAULTS.shard_size, show_default=True, help="Videos per shard."
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(0, MAX_TIMEOUT_SECONDS, min_open=True),
        default=_DEFAULTS.timeout_seconds,
        show_default=True,
        help="Maximum seconds for one video.",
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(1, MAX_LIMITS["max_pixels"]),
        default=_DEFAULTS.max_pixels,
        show_default=True,
        help="Maximum width times height; a video with larger pictures is refused.",
    ),
    click.option(
        "--max-packets",
        type=click.IntRange(1, MAX_LIMITS["max_packets"]),
        default=_DEFAULTS.max_packets,
        show_default=True,
        help="Maximum number of coded pictures; a video with more is refused.",
    ),
    click.option(
        "--max-streams",
        type=click.IntRange(1, MAX_LIMITS["max_streams"]),
        default=_DEFAULTS.max_streams,
        show_default=True,
        help="Maximum number of streams; a file with more is refused.",
    ),
)
"""All of them; the values are for `pipeline.frames.named.named_clips`."""
