"""The objects of the generated world: their colours, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Kind: TypeAlias = tuple[str, str]
"""Colour and shape."""

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (235, 50, 50),
    "green": (50, 200, 70),
    "blue": (70, 110, 255),
    "yellow": (245, 225, 50),
    "purple": (200, 80, 230),
    "white": (245, 245, 245),
    "orange": (255, 140, 20),
    "cyan": (60, 225, 235),
    "pink": (255, 170, 195),
    "olive": (150, 150, 60),
}
"""RGB, 0..255. All differ from the mean ground by more than the masks' threshold. The order is part of every data set:
a set of few kinds has the first ones."""


SHAPE_NAMES = ("circle", "square", "triangle", "star", "cross", "diamond", "heart", "arrow")
"""See `COLOURS` for the order; `pipeline.synthetic.outlines` draws them."""


def kinds_of(num_colours: int, num_shapes: int) -> tuple[Kind, ...]:
    """Every kind of the first colours and shapes: one caption each, and so the size of a gallery.

    >>> kinds_of(1, 2), len(kinds_of(6, 4))
    ((('red', 'circle'), ('red', 'square')), 24)
    """
    if not (1 <= num_colours <= len(COLOURS) and 1 <= num_shapes <= len(SHAPE_NAMES)):
        raise ValueError(
            f"there are {len(COLOURS)} colours and {len(SHAPE_NAMES)} shapes, got {num_colours} and {num_shapes}"
        )
    return tuple((colour, shape) for colour in list(COLOURS)[:num_colours] for shape in SHAPE_NAMES[:num_shapes])


def words(kind: Kind) -> str:
    """An object in words.

    >>> words(("red", "star"))
    'red star'
    """
    return " ".join(kind)


def a(kind: Kind) -> str:
    """An object as captions name it.

    >>> a(("red", "star")), a(("orange", "heart"))
    ('a red star', 'an orange heart')
    """
    return f"{'an' if kind[0][0] in 'aeiou' else 'a'} {words(kind)}"
