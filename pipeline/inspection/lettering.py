"""Texts in a picture: in which font, what no font has, and what fits.

DejaVu Sans comes with matplotlib, so that it is on every machine: Latin, Greek, Cyrillic, Hebrew, Arabic, and signs. A
text with other letters takes the first font of the machine that has all of its letters. Where none has, the letters
that are lacking are counted in the text itself: a box in the place of each would look like a letter.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path

import matplotlib as mpl
from matplotlib.ft2font import FT2Font
from PIL import ImageFont, features

from pipeline.run.words import plural

_CUT = "…"
_LONGEST = 600
"""Letters of a text that are looked at: more never fit."""
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
_JOINERS = "\u200c\u200d"
_LACKING = "\0"
_RUN = re.compile(f"{_LACKING}(?:[{_LACKING} ]*{_LACKING})?")


class Lettering:
    """Fonts for the texts of one picture, and how many letters none of them has."""

    def __init__(self) -> None:
        self.num_lacking = 0
        """Texts of which letters are left out."""

    def lines(self, text: str, size: int, width: int, *, most: int = 1, bold: bool = False) -> list[Line]:
        """Break a text into lines that fit, and cut what is too much.

        Args:
            text: Of anybody.
            size: Of the font, pixels.
            width: Of a line, pixels.
            most: Lines, at most.
            bold: Whether it is a title.
        """
        words, font = self._drawable(clean(text), size, bold=bold)
        found: list[str] = []
        for word in words.split():
            longer = f"{found[-1]} {word}" if found else word
            if found and font.getlength(longer) <= width:
                found[-1] = longer
            else:
                found += _broken(word, font, width)
            if len(found) > most:
                found = [*found[: most - 1], _cut(f"{found[most - 1]}{_CUT}", font, width)]
                break
        return [Line(line, font) for line in found]

    def _drawable(self, text: str, size: int, *, bold: bool) -> tuple[str, ImageFont.FreeTypeFont]:
        """A text without what cannot be drawn, and its font."""
        own = _own_font(bold=bold)
        letters = {letter for letter in text if not _is_ignorable(letter)}
        if not letters - _letters_of(own):
            return text, _font(own, size)
        for path in _other_fonts():
            if not letters - _letters_of(path):
                return text, _font(path, size)
        self.num_lacking += 1
        return _without(text, _letters_of(own)), _font(own, size)


class Line:
    """One line of text in its font."""

    def __init__(self, text: str, font: ImageFont.FreeTypeFont) -> None:
        self.text, self.font = text, font


def clean(text: str) -> str:
    """One line, without controls and marks of direction, which would turn what stands beside.

    >>> clean("a\\n b\\x1b[2J \\u202ec")
    'a b[2J c'
    """
    shown = (
        letter if letter in _JOINERS or unicodedata.category(letter) not in ("Cc", "Cf") else " " * letter.isspace()
        for letter in text[:_LONGEST]
    )
    return " ".join("".join(shown).split())


def _without(text: str, known: frozenset[str]) -> str:
    """The text with each run of letters that are lacking counted, over the blanks between them.

    >>> _without("a 中文 字 b", frozenset("ab "))
    'a [3 letters without a font] b'
    """
    shown = "".join(letter if letter in known else _LACKING for letter in text if not _is_ignorable(letter))
    return _RUN.sub(lambda run: f"[{plural(run[0].count(_LACKING), 'letter')} without a font]", shown)


def _broken(word: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """A word in pieces that fit."""
    pieces = []
    while word:
        piece = _cut(word, font, width, mark="")
        pieces.append(piece)
        word = word[len(piece) :]
    return pieces


def _cut(text: str, font: ImageFont.FreeTypeFont, width: int, mark: str = _CUT) -> str:
    """As much of a text as fits, at least one letter."""
    if font.getlength(text) <= width:
        return text
    low, high = 1, len(text)  # so many letters fit, and so many do not
    while high - low > 1:
        middle = (low + high) // 2
        # By bisection: measuring lays out the whole text, so that letter by letter takes time by its square.
        low, high = (middle, high) if font.getlength(text[:middle] + mark) <= width else (low, middle)
    return text[:low] + mark


def _is_ignorable(letter: str) -> bool:
    """Whether a letter has no picture of its own: joiners and variation selectors."""
    return letter in _JOINERS or "\ufe00" <= letter <= "\ufe0f"


def _own_font(*, bold: bool) -> Path:
    return Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")


@cache
def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@cache
def _letters_of(path: Path) -> frozenset[str]:
    """What a font can draw; nothing, if it cannot be read or has one size only, as fonts of coloured pictures have."""
    try:
        font = FT2Font(str(path))
        is_scalable = bool(font.scalable)
    except (OSError, RuntimeError, ValueError):
        return frozenset()
    if not is_scalable:
        return frozenset()
    letters = frozenset(map(chr, font.get_charmap()))
    if features.check("raqm"):
        return letters
    # Without this library, letters are drawn one by one from left to right.
    return frozenset(letter for letter in letters if unicodedata.bidirectional(letter) not in _RIGHT_TO_LEFT)


@cache
def _other_fonts() -> tuple[Path, ...]:
    """The fonts of the machine, those of plain text first."""
    from matplotlib.font_manager import findSystemFonts  # which looks through all folders of fonts

    paths = map(Path, findSystemFonts())
    return tuple(sorted(paths, key=lambda path: ("Regular" not in path.stem, len(path.stem), str(path))))
