"""What happens in a clip, and its captions: pure draws, made without a picture.

No single frame tells which object moves, as objects are exchangeable: the set of their kinds is as likely whichever of
them is named, and each may be the mover.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import OptionError
from pipeline.synthetic.factors import Settings
from pipeline.synthetic.objects import Kind, a

EVENT_SHARE = (0.5, 1.0)
"""How long an event lasts, as a share of the clip divided by one more than its events."""
_MAX_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Event:
    """One object moves for a while."""

    index: int
    """Of the object, in `Story.kinds`."""
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True)
class Story:
    """What happens in a clip."""

    kinds: tuple[Kind, ...]
    """The objects; the first one is named by the caption."""
    events: tuple[Event, ...]
    """In order, without overlap."""
    caption: str
    rests: bool = False
    """Whether the caption names an object that rests."""

    @property
    def movers(self) -> tuple[int, ...]:
        """The objects that move, each once, in the order in which they begin."""
        return tuple(dict.fromkeys(event.index for event in self.events))

    @property
    def named(self) -> frozenset[Kind]:
        """The kinds that the caption names."""
        indices = {0} if self.rests else {event.index for event in self.events}
        return frozenset(self.kinds[index] for index in indices)


def draw_kinds(rng: np.random.Generator, kinds: Sequence[Kind], named: int, settings: Settings) -> tuple[Kind, ...]:
    """The objects of a clip: the named one first, and others of other kinds.

    Args:
        rng: The clip's first draws.
        kinds: All that there are.
        named: Index of the one that the caption names.
        settings: How many others, and how alike.
    """
    num_others = round(settings.distractors)
    pool = np.arange(len(kinds)) if settings.lookalikes == 0 else _alike(rng, kinds, named, settings)
    # No kind twice: a caption would not say which of the two moves.
    others = rng.choice(pool[pool != named], num_others, replace=False)
    return tuple(kinds[kind] for kind in (named, *others))


def _alike(
    rng: np.random.Generator, kinds: Sequence[Kind], named: int, settings: Settings
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The kinds of some colours and shapes, those of the named one among them.

    The objects are drawn from all combinations of these, so that the named one is not the one that is like all others.
    """
    colours, shapes = (list(dict.fromkeys(kind[place] for kind in kinds)) for place in (0, 1))
    side = math.ceil(math.sqrt(settings.distractors + 1))
    chosen = []
    for place, names in ((0, colours), (1, shapes)):
        least = min(side, len(names))
        number = round(len(names) + settings.lookalikes * (least - len(names)))
        own = kinds[named][place]
        others = [name for name in names if name != own]
        chosen.append({own, *rng.choice(others, number - 1, replace=False)})
    return np.array([i for i, (colour, shape) in enumerate(kinds) if colour in chosen[0] and shape in chosen[1]])


def single_story(kinds: tuple[Kind, ...], settings: Settings, *, rests: bool) -> Story:
    """One object moves all the time: the named one, or if that `rests` another."""
    caption = f"{a(kinds[0])} is {'resting' if rests else 'moving'}"
    return Story(kinds, (Event(1 if rests else 0, 0.0, settings.seconds),), caption, rests)


def draw_events(
    rng: np.random.Generator, kinds: tuple[Kind, ...], settings: Settings, *, rests: bool, is_reversed: bool
) -> Story:
    """Objects move one after another, none twice in a row; the caption tells their order.

    Args:
        rng: Of the events alone.
        kinds: The objects.
        settings: How many events, and the length of the clip.
        rests: Whether the caption names an object that never moves, instead.
        is_reversed: Whether they move in the opposite order. Otherwise the first object moves first.
    """
    number = round(settings.events)
    order = _draw_order(rng, number, range(1 if rests else 0, len(kinds)))
    order = order[::-1] if is_reversed else order
    slot = settings.seconds / (number + 1)
    lengths = slot * rng.uniform(*EVENT_SHARE, number)
    pauses = rng.uniform(0.5, 1.0, number + 1)
    # Events and pauses together fill the clip.
    pauses *= (settings.seconds - lengths.sum()) / pauses.sum()
    # Each starts after all pauses and events before it; the last pause is the end of the clip.
    starts = np.cumsum(pauses[:-1]) + np.concatenate([[0.0], np.cumsum(lengths[:-1])])
    events = tuple(
        Event(index, round(float(start), 3), round(float(start + length), 3))
        for index, start, length in zip(order, starts, lengths, strict=True)
    )
    told = ", then ".join(f"{a(kinds[index])} moves" for index in order)
    return Story(kinds, events, f"{a(kinds[0])} is resting" if rests else told, rests)


def _draw_order(rng: np.random.Generator, number: int, movers: range) -> list[int]:
    """Which object moves when. The opposite order is another one."""
    if number > 1 and len(movers) < 2:
        raise OptionError(f"{number} events need at least 2 objects that may move: set distractors to more")
    # Two objects in turn, an odd number of times, read the same backwards: a b a.
    if number > 2 and number % 2 and len(movers) < 3:
        raise OptionError(f"{number} events need at least 3 objects that may move: set distractors to more")
    for _ in range(_MAX_DRAWS):
        order = [movers[0]]
        while len(order) < number:
            order.append(int(rng.choice([index for index in movers if index != order[-1]])))
        # The other clip of the pair tells the opposite order: it must be another caption.
        if number == 1 or order != order[::-1]:
            return order
    raise AssertionError(f"no order of {number} events among {len(movers)} objects in {_MAX_DRAWS} draws")
