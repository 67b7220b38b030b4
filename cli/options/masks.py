"""The flags that say what makes a mask."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import click

from pipeline.masks.options import (
    Compensation,
    Cuts,
    Difference,
    Fill,
    MaskOptions,
    ThresholdMode,
    WhenEmpty,
    WhenFull,
)

_DEFAULTS = MaskOptions()


def _check_odd(ctx: click.Context, param: click.Parameter, value: int) -> int:
    if value % 2 == 0:
        raise click.BadParameter(f"{value} is even: it must be odd, such as {value - 1} or {value + 1}", ctx, param)
    return value


def _choice(values: type[StrEnum]) -> click.Choice[str]:
    return click.Choice([str(value) for value in values])


MASK_OPTIONS: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...] = (
    click.option(
        "--threshold",
        type=click.FloatRange(0, 255),
        default=None,
        help="Grey levels (0..255) by more than which a moving pixel differs.  [default: 25; 15 against a background]",
    ),
    click.option(
        "--threshold-mode",
        type=_choice(ThresholdMode),
        default=str(_DEFAULTS.threshold_mode),
        show_default=True,
        help="How the threshold is set. fixed: by --threshold. noise: --noise-sigmas times the noise of each pair of "
        "frames.",
    ),
    click.option(
        "--noise-sigmas",
        type=click.FloatRange(0, 1000, min_open=True),
        default=_DEFAULTS.noise_sigmas,
        show_default=True,
        help="Threshold of --threshold-mode noise, standard deviations.",
    ),
    click.option(
        "--noise-floor",
        type=click.FloatRange(0, 255),
        default=_DEFAULTS.noise_floor,
        show_default=True,
        help="Lowest threshold of --threshold-mode noise, grey levels.",
    ),
    click.option(
        "--kernel-size",
        type=click.IntRange(1, 1023),
        callback=_check_odd,
        default=_DEFAULTS.kernel_size,
        show_default=True,
        help="Diameter of the ellipse of closing and opening, pixels; odd.",
    ),
    click.option(
        "--min-area",
        type=click.IntRange(min=0),
        default=_DEFAULTS.min_area,
        show_default=True,
        help="Connected components of fewer pixels are dropped.",
    ),
    click.option(
        "--difference",
        type=_choice(Difference),
        default=str(_DEFAULTS.difference),
        show_default=True,
        help="What a frame is compared with. sampled: the next frame of the clip. consecutive: the next one of the "
        "video; the store must have been made with --neighbours. background: the temporal median of the clip. "
        "registered: the same, after the motion of the camera is taken out. auto: background where the camera rests, "
        "else registered.",
    ),
    click.option(
        "--compensation",
        type=_choice(Compensation),
        default=str(_DEFAULTS.compensation),
        show_default=True,
        help="Camera motion to remove first. translation: a shift. similarity: shift, zoom, rotation.",
    ),
    click.option(
        "--fill",
        type=_choice(Fill),
        default=None,
        help="How a mask grows to whole objects. contours: what an outline encloses. hysteresis: pixels over half of "
        "the threshold that are connected to it. both.  [default: none; hysteresis against a background]",
    ),
    click.option(
        "--cuts",
        type=_choice(Cuts),
        default=None,
        help="Find cuts, so that no frame is compared across one. difference: by the stored frames. content: by "
        "PySceneDetect, an optional package.  [default: ignore; difference against a background]",
    ),
    click.option(
        "--when-empty",
        type=_choice(WhenEmpty),
        default=str(_DEFAULTS.when_empty),
        show_default=True,
        help="What to do with a mask in which nothing moves. ones: the whole picture, Alpha-CLIP's neutral input. "
        "stretch, with --soft: the faint motion in it, up to 255.",
    ),
    click.option(
        "--when-full",
        type=_choice(WhenFull),
        default=str(_DEFAULTS.when_full),
        show_default=True,
        help="What to do with a mask that covers --full-coverage.",
    ),
    click.option(
        "--full-coverage",
        type=click.FloatRange(0, 1, min_open=True),
        default=_DEFAULTS.full_coverage,
        show_default=True,
        help="A mask counts as full if it covers at least this share of the picture.",
    ),
    click.option(
        "--soft",
        is_flag=True,
        help="Store how likely each pixel moves (0 to 255), not whether it does: the share of the thresholds, from "
        "half to twice the chosen one, that its difference exceeds.",
    ),
)
"""All of them; the values are for `pipeline.frames.named.named_masks`."""
