"""What can be set, one by one: each factor is one number, some of which have names.

>>> value_of("speed", "slow"), value_of("noise", "7.5"), Settings().pan
(0.075, 7.5, 0.0)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from pipeline.errors import OptionError


@dataclass(frozen=True, slots=True)
class Settings:
    """The value of each factor for one clip; by default that of `fda demo`. Lengths are in heights of the picture."""

    distractors: float = 3
    """Objects besides the one that the caption names first."""
    size: float = 0.14
    """Mean radius of all objects, mover or not, heights; each is drawn within 0.01 of it."""
    speed: float = 0.5
    """Rounds that a mover makes a second, on an orbit of the usual size; drawn from 0.7 to 1.3 times this. At 144 lines
    and 12 frames a second, six times as many pixels a frame."""
    texture: float = 10.0
    """Standard deviation of the ground, grey levels."""
    lookalikes: float = 0.0
    """0: objects of any kinds. 1: as few colours and shapes in a clip as give objects of different kinds."""
    noise: float = 2.0
    """Standard deviation of the sensor's noise, grey levels."""
    flicker: float = 0.0
    """How far the light of all the picture goes up and down, as a share of it."""
    pan: float = 0.0
    """Heights a second that the camera shifts, in a straight line that turns back after 0.5 heights."""
    zoom: float = 0.0
    """Natural logarithm of the magnification that the camera gains a second; it turns back after 0.6."""
    shake: float = 0.0
    """Root mean square of a hand-held camera's shift, heights; it turns by the same number of radians."""
    cuts: float = 0
    """Cuts of a clip: the same objects on another ground, at other places."""
    compression: float = 23
    """Constant rate factor of the encoder: higher is smaller and worse."""
    seconds: float = 2.0
    """Length of a clip."""
    events: float = 1
    """Movements of a clip, one after another. With one, its object moves from the first frame to the last."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor: what its number is, and the names of some numbers."""

    name: str
    about: str
    """What the number says, in one line."""
    levels: Mapping[str, float]
    low: float
    high: float
    is_whole: bool = False

    @property
    def default(self) -> float:
        """The level of `fda demo`."""
        return float(getattr(Settings(), self.name))

    @property
    def others(self) -> tuple[str, ...]:
        """The names of all levels but the default one."""
        return tuple(name for name, value in self.levels.items() if value != self.default)


_ALL = (
    Factor("distractors", "objects that rest beside the mover", {"few": 1, "some": 3, "many": 8}, 0, 15, True),
    Factor("size", "radius of the objects, heights", {"small": 0.07, "medium": 0.14, "large": 0.18}, 0.04, 0.2),
    Factor("speed", "rounds of a mover a second", {"slow": 0.075, "medium": 0.5, "fast": 1.0}, 0.0, 2.0),
    Factor("texture", "contrast of the ground, grey levels", {"none": 0.0, "mild": 10.0, "strong": 30.0}, 0.0, 100.0),
    Factor("lookalikes", "how alike the objects are, 0..1", {"none": 0.0, "mild": 0.5, "strong": 1.0}, 0.0, 1.0),
    Factor("noise", "sensor noise, grey levels", {"none": 0.0, "mild": 2.0, "strong": 10.0}, 0.0, 100.0),
    Factor("flicker", "changes of the light, share of it", {"none": 0.0, "mild": 0.06, "strong": 0.25}, 0.0, 0.9),
    Factor("pan", "shift of the camera, heights a second", {"none": 0.0, "mild": 0.06, "strong": 0.25}, 0.0, 2.0),
    Factor("zoom", "log of the zoom a second", {"none": 0.0, "mild": 0.08, "strong": 0.3}, 0.0, 2.0),
    Factor("shake", "shift of a hand-held camera, heights", {"none": 0.0, "mild": 0.007, "strong": 0.025}, 0.0, 0.2),
    Factor("cuts", "cuts a clip", {"none": 0, "mild": 1, "strong": 3}, 0, 100, True),
    Factor("compression", "crf of the encoder", {"none": 10, "mild": 23, "strong": 38}, 0, 51, True),
    Factor("seconds", "length of a clip", {"short": 2.0, "medium": 8.0, "long": 30.0}, 0.2, 600.0),
    Factor("events", "movements one after another", {"one": 1, "two": 2, "four": 4, "eight": 8}, 1, 16, True),
)
FACTORS: Mapping[str, Factor] = {one.name: one for one in _ALL}
"""Name -> factor, in the order of `Settings`."""
PICTURE_FACTORS = tuple(FACTORS)[: list(FACTORS).index("compression") + 1]
"""Those that change how hard it is to see what moves, and not what a caption says."""

assert tuple(FACTORS) == tuple(one.name for one in fields(Settings))


def value_of(factor: str, level: str | float) -> float:
    """The number of a level, or of a number in writing.

    Raises:
        OptionError: There is no such factor or level, or the number is out of range.
    """
    if factor not in FACTORS:
        raise OptionError(f"no factor {factor!r}: there are {', '.join(FACTORS)}")
    one = FACTORS[factor]
    if isinstance(level, str) and level in one.levels:
        return float(one.levels[level])
    try:
        number = float(level)
    except ValueError as error:
        names = ", ".join(one.levels)
        raise OptionError(f"no level {level!r} of {factor}: use {names}, or a number ({one.about})") from error
    if not one.low <= number <= one.high or (one.is_whole and not math.isclose(number, round(number))):
        kind = "a whole number" if one.is_whole else "a number"
        raise OptionError(f"{factor} ({one.about}) must be {kind} in {one.low:g}..{one.high:g}, got {level}")
    return number
