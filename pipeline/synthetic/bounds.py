"""How good a model can be that does not see motion, does not see its order, or sees everything.

Each is the text-to-video R@1, in percent, that such a model has on average: for a caption, it can only guess among the
clips of which it is true as far as the model sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.synthetic.planning import ClipPlan


def single_frame_bound(clips: Sequence[ClipPlan]) -> float:
    """Of an ideal model that sees every object and no motion: it guesses among the clips that show the named objects.

    Each of these is the more likely, the fewer captions its objects allow; it takes the likeliest. The frames must hide
    what moves, which they do but for a clip of one object.

    Args:
        clips: All clips of one split.
    """
    chances = []
    for clip in clips:
        weights = [1 / _num_captions(other) for other in clips if _shows(clip, other)]
        # It takes the likeliest clip: whether that is the right one has that clip's share of the weights.
        chances.append(max(weights) / sum(weights))
    return 100 * float(np.mean(chances))


def orderless_bound(clips: Sequence[ClipPlan]) -> float:
    """Of an ideal model that sees which objects move, and how often, but not in which order."""
    return _guessing(clips, lambda clip, other: _says_the_same(clip, other, in_order=False))


def best_bound(clips: Sequence[ClipPlan]) -> float:
    """Of an ideal model that sees everything. "is resting" may be true of several clips: there it has to guess, too."""
    return _guessing(clips, lambda clip, other: _says_the_same(clip, other, in_order=True))


def _guessing(clips: Sequence[ClipPlan], may_be: Callable[[ClipPlan, ClipPlan], bool]) -> float:
    return 100 * float(np.mean([1 / sum(may_be(clip, other) for other in clips) for clip in clips]))


def _shows(clip: ClipPlan, other: ClipPlan) -> bool:
    """Whether another clip shows the objects that the caption of a clip names; a caption tells how many events."""
    is_as_long = clip.story.rests or len(clip.story.events) == len(other.story.events)
    return is_as_long and clip.story.named <= set(other.story.kinds)


def _says_the_same(clip: ClipPlan, other: ClipPlan, *, in_order: bool) -> bool:
    """Whether the caption of a clip is true of another one, but perhaps for the order of events."""
    if clip.story.rests:
        moving = {other.story.kinds[index] for index in other.story.movers}
        return clip.story.named <= set(other.story.kinds) - moving
    events = [[one.story.kinds[event.index] for event in one.story.events] for one in (clip, other)]
    return events[0] == events[1] if in_order else sorted(events[0]) == sorted(events[1])


def _num_captions(clip: ClipPlan) -> int:
    """Captions that the objects of a clip allow, of as many events: no object twice in a row."""
    num_objects, num_events = len(clip.story.kinds), len(clip.story.events)
    return num_objects if clip.story.rests else num_objects * (num_objects - 1) ** (num_events - 1)
