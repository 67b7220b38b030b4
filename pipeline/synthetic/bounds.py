"""How good a model can be that does not see motion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.synthetic.planning import ClipPlan


def single_frame_bound(clips: Sequence[ClipPlan]) -> float:
    """The text-to-video R@1, in percent, of an ideal model that sees every object and no motion.

    For a caption, it can only guess among the clips that contain the named objects. Each is the more likely, the fewer
    stories its objects allow that name as many: it guesses the likeliest. Pairs of clips that show the same events in
    opposite orders look alike to it. The frames must hide what moves, which they do unless an object has no distractor.

    Args:
        clips: All clips of one split.
    """
    chances = []
    for clip in clips:
        weights = [
            1 / _num_stories(other) if clip.story.named <= set(other.story.kinds) else 0.0
            for other in clips
            if len(other.story.events) == len(clip.story.events)
        ]
        chances.append(max(weights) / sum(weights))
    return 100 * float(np.mean(chances))


def orderless_bound(clips: Sequence[ClipPlan]) -> float:
    """The same of an ideal model that sees which objects move, and how often, but not in which order."""
    moves = [sorted(clip.story.kinds[event.index] for event in clip.story.events) for clip in clips]
    named = [clip.story.kinds[0] if clip.story.rests else None for clip in clips]
    told = list(zip(moves, named, strict=True))
    return 100 * float(np.mean([1 / told.count(one) for one in told]))


def _num_stories(clip: ClipPlan) -> int:
    """Captions that the objects of a clip allow, of as many events: no object twice in a row."""
    num_objects, num_events = len(clip.story.kinds), len(clip.story.events)
    return num_objects if clip.story.rests else num_objects * (num_objects - 1) ** (num_events - 1)
