"""Which clips there are: for each, its factors and its story. Pure, and made without a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from pipeline.errors import OptionError
from pipeline.run.events import Listener, Phase, ignore_events
from pipeline.synthetic.factors import FACTORS, Settings
from pipeline.synthetic.objects import Kind
from pipeline.synthetic.options import GenerateOptions
from pipeline.synthetic.stories import EVENT_SHARE, Story, draw_events, draw_kinds, single_story
from pipeline.synthetic.suites import LONG_SECONDS, SplitSpec

USUAL_SHARE = 0.7
"""Of the clips of a mixed split, those that have the usual level of a factor; the rest is shared by the others."""
SECONDS_AN_EVENT = 0.8
_MAX_REDRAWS = 1000
_PAIRS = 100
"""Added to the stream of clips that come in pairs: pair 3 is not the scene of clip 3."""


class Draw(IntEnum):
    """What is drawn beside the scene. The values are part of the data sets: never renumber them."""

    LEVELS = 1
    EVENTS = 2
    FLICKER = 3
    CUTS = 4
    CAMERA = 5
    """Plus `SHOT` times the number of the shot."""
    SCENE = 6
    """Of every shot but the first, whose draws are the clip's own; as above."""
    BACKGROUND = 7
    SHOT = 16


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """One clip, before it is rendered."""

    split: str
    index: int
    key: tuple[int, ...]
    """Seed of its draws."""
    named: int
    """Index of the kind that it is about first, among all kinds."""
    settings: Settings
    story: Story

    @property
    def video_id(self) -> str:
        """Also the name of its files."""
        return f"{self.split}_{self.index:05d}"

    def generator(self, draw: Draw, shot: int = 0) -> np.random.Generator:
        """The random numbers of one thing alone, which are the same whatever else is drawn."""
        return np.random.default_rng([*self.key, int(draw) + int(Draw.SHOT) * shot])

    def scene_generator(self, kinds: Sequence[Kind]) -> np.random.Generator:
        """The random numbers of the first scene, its ground and the noise, which follow those of the kinds."""
        # What `_plan_clip` has drawn from it is drawn again, so that the numbers continue from there.
        rng = np.random.default_rng(self.key)
        draw_kinds(rng, kinds, self.named, self.settings)
        return rng


def plan_clips(options: GenerateOptions, listener: Listener = ignore_events) -> tuple[ClipPlan, ...]:
    """All clips of a data set, in the order of the manifest.

    Args:
        options: What they follow from.
        listener: Hears how far it is, if it takes long.

    Raises:
        OptionError: The factors contradict each other or the suite.
    """
    phase = Phase("clips planned", sum(spec.num_clips for spec in options.splits), listener)
    return tuple(clip for spec in options.splits for clip in phase.each(plan_split(options, spec)))


def plan_split(options: GenerateOptions, spec: SplitSpec) -> Iterator[ClipPlan]:
    """The clips of one split, one by one; if its captions must differ, one that was there already is drawn again."""
    told: set[str] = set()
    for index in range(spec.num_clips):
        clip = _plan_clip(options, spec, index, 0)
        for attempt in range(1, _MAX_REDRAWS):
            if not spec.is_distinct or clip.story.caption not in told:
                break
            clip = _plan_clip(options, spec, index, attempt)
        else:
            raise OptionError(f"split {spec.name}: no {spec.num_clips} different captions; give fewer clips")
        told.add(clip.story.caption)
        yield clip


def _plan_clip(options: GenerateOptions, spec: SplitSpec, index: int, attempt: int) -> ClipPlan:
    """Clip `index` of a split: it is about kind `index` modulo their number, but in `long`, where it is about any."""
    kinds = options.amount.kinds
    settings = replace(options.base, **spec.levels)
    if spec.event_counts:
        settings = replace(settings, events=spec.event_counts[index // 2 % len(spec.event_counts)])
    rests = spec.rest_every > 0 and index // len(kinds) % spec.rest_every == spec.rest_every - 1
    # Two clips after each other show the same events in opposite orders, so that the order alone tells them apart.
    is_paired = settings.events > 1 and not rests
    scene, is_second = divmod(index, 2) if is_paired else (index, 0)
    # The two clips of a pair have equal keys, and so one scene.
    key = (options.seed, spec.stream + _PAIRS * is_paired, scene, *([attempt] if attempt else []))
    rng = np.random.default_rng([*key, int(Draw.LEVELS)])
    named = int(rng.integers(len(kinds))) if spec.event_counts else scene % len(kinds)
    settings = replace(settings, **{name: _draw_level(rng, options, name) for name in spec.mixed})
    if spec.event_counts:
        settings = replace(settings, seconds=_draw_seconds(rng, settings))
    _check_settings(options, settings, rests, spec.name)
    present = draw_kinds(np.random.default_rng(key), kinds, named, settings)
    if settings.events > 1 or spec.event_counts:
        events = np.random.default_rng([*key, int(Draw.EVENTS)])
        story = draw_events(events, present, settings, rests=rests, is_reversed=bool(is_second))
    else:
        story = single_story(present, settings, rests=rests)
    return ClipPlan(spec.name, index, key, named, settings, story)


def _check_settings(options: GenerateOptions, settings: Settings, rests: bool, split: str) -> None:
    """Refuse factors that contradict each other.

    Raises:
        OptionError: They do; the message says which one to change.
    """
    num_kinds = len(options.amount.kinds)
    if settings.distractors + 1 > num_kinds:
        raise OptionError(f"{settings.distractors:g} distractors need as many kinds of objects: there are {num_kinds}")
    if rests and settings.distractors < 1:
        raise OptionError(f"split {split} names objects that rest: set distractors to 1 or more")
    # The shortest event lasts half of a slot of seconds / (events + 1), and must last a frame.
    least = (settings.events + 1) / (EVENT_SHARE[0] * options.amount.fps)
    if settings.events > 1 and settings.seconds < least:
        raise OptionError(
            f"{settings.events:g} events in {settings.seconds:g} s: some would be shorter than a frame. Set seconds to "
            f"{math.ceil(10 * least) / 10:g} or more, or fewer events"
        )


def _draw_level(rng: np.random.Generator, options: GenerateOptions, name: str) -> float:
    """A level of a factor: mostly the usual one, which is the one that was set for all clips."""
    usual = float(getattr(options.base, name))
    others = [value for value in FACTORS[name].levels.values() if value != usual]
    # Both are always drawn, so that the levels of the factors that follow do not depend on this one.
    is_usual, other = rng.random() < USUAL_SHARE, float(rng.choice(others))
    return usual if is_usual else other


def _draw_seconds(rng: np.random.Generator, settings: Settings) -> float:
    """Up to a minute, all lengths as likely on a logarithmic scale, and enough for the events."""
    least = max(2.0, SECONDS_AN_EVENT * (settings.events + 1))
    return round(float(np.exp(rng.uniform(np.log(least), np.log(LONG_SECONDS)))), 2)
