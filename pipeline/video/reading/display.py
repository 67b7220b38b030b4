"""How a container wants the pictures of a stream shown: the part that is shown, and the shape of a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

SQUARE = Fraction(1)


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of a stored picture that is shown: what lies outside is only there to fill blocks, or to be hidden."""

    stored: tuple[int, int]
    """Height and width of the pictures that it is for, in pixels."""
    rows: tuple[int, int]
    """The rows that are shown, `[first, last)`."""
    columns: tuple[int, int]

    def __post_init__(self) -> None:
        for (first, last), length in zip((self.rows, self.columns), self.stored, strict=True):
            if not 0 <= first < last <= length:
                raise ValueError(f"a part of a picture lies inside it and is not empty, got {self}")


@dataclass(frozen=True, slots=True)
class Display:
    """How the pictures of a stream are shown; rotation comes with each frame."""

    pixel_aspect: Fraction = SQUARE
    """Width over height of a pixel."""
    crop: Crop | None = None

    def crop_of(self, height: int, width: int) -> Crop | None:
        """The crop of a decoded picture; None if all of it is shown.

        A picture of another size than declared is shown whole: its decoder has cut it already, or the size changes on
        the way, and then nothing says what to cut.
        """
        return self.crop if self.crop is not None and self.crop.stored == (height, width) else None

    def shape_of(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of a decoded picture as shown, before it is turned: cut, its wider pixels made square.

        >>> Display(Fraction(2)).shape_of(10, 20)
        (10, 40)
        >>> Display(Fraction(1, 2), Crop((10, 20), (1, 9), (0, 20))).shape_of(10, 20)
        (16, 20)
        """
        crop = self.crop_of(height, width)
        if crop is not None:
            height, width = crop.rows[1] - crop.rows[0], crop.columns[1] - crop.columns[0]
        across, down = self.pixel_aspect.numerator, self.pixel_aspect.denominator  # compared faster than fractions are
        if across > down:
            return height, max(1, round(width * self.pixel_aspect))
        return (max(1, round(height / self.pixel_aspect)) if across < down else height), width


AS_STORED = Display()
