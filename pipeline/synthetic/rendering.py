"""A planned clip -> its frames, each with the truth of what moves: a pure function, a frame at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.synthetic.camera import camera_path, ground_view, margin_of, path_or_still, seen_from
from pipeline.synthetic.factors import Settings
from pipeline.synthetic.grounds import draw_ground, fitted
from pipeline.synthetic.planning import ClipPlan, Draw
from pipeline.synthetic.scenes import Scene, covered, draw_scene, paint_object
from pipeline.synthetic.suites import Amount

_FLICKER_HERTZ = (0.5, 5.0)
_NUM_WAVES = 3


@dataclass(frozen=True, slots=True)
class RenderedFrame:
    """One frame, and what is known of it."""

    rgb: NDArray[np.uint8]
    """Shape (height, width, 3)."""
    mask: NDArray[np.bool_]
    """Shape (height, width): what is seen of objects that move at this moment, against the world."""
    view: NDArray[np.float64]
    """Shape (2, 3): the camera, see `camera_path`."""


@dataclass(frozen=True, slots=True)
class _Shot:
    """What is seen between two cuts."""

    first: int
    """Its first frame."""
    stop: int
    scene: Scene
    grounds: Sequence[NDArray[np.uint8]]
    """One, or one for each frame of the clip."""
    path: NDArray[np.float64] | None
    margin: int


def num_frames_of(settings: Settings, amount: Amount) -> int:
    """Frames of a clip.

    >>> num_frames_of(Settings(), Amount(1, 1))
    24
    """
    return max(1, round(settings.seconds * amount.fps))


def render(
    plan: ClipPlan, amount: Amount, background: Sequence[NDArray[np.uint8]] | None = None
) -> Iterator[RenderedFrame]:
    """Render a clip.

    Args:
        plan: Which one.
        amount: Size and rate of the video, and the kinds of objects.
        background: Frames of another video, each of shape (height, width, 3), RGB: one that stays, or one for each
            frame, in turn. None: a drawn ground.
    """
    rng = plan.scene_generator(amount.kinds)
    num_frames = num_frames_of(plan.settings, amount)
    starts = _cuts(plan, num_frames)
    gains = _gains(plan, num_frames, amount)
    passed = _frames_moved(plan, num_frames, amount)
    shot: _Shot | None = None
    for number in range(num_frames):
        if number in starts:
            place = starts.index(number)
            stop = starts[place + 1] if place + 1 < len(starts) else num_frames
            # Later shots have generators of their own: the noise, which goes on from `rng`, is the same with cuts and
            # without.
            scene_rng = rng if place == 0 else plan.generator(Draw.SCENE, place)
            shot = _shot(plan, amount, scene_rng, (place, number, stop), background)
        assert shot is not None, "the first frame begins a shot"
        picture, mask, view = _picture(plan, shot, number, passed, amount)
        # (h, w): one value for all three colours. It is drawn also at noise 0, so that levels differ in nothing else.
        noise = plan.settings.noise * rng.standard_normal(picture.shape[:2], dtype=np.float32)
        lit = picture if plan.settings.flicker == 0 else picture * gains[number]
        yield RenderedFrame(np.clip(lit + noise[..., None], 0, 255).astype(np.uint8), mask, view)


def _shot(
    plan: ClipPlan,
    amount: Amount,
    rng: np.random.Generator,
    place: tuple[int, int, int],
    background: Sequence[NDArray[np.uint8]] | None,
) -> _Shot:
    """Draw what is seen in a shot: its number, its first frame and the one after its last are `place`."""
    number, first, stop = place
    scene = draw_scene(rng, plan.settings, len(plan.story.kinds), amount)
    path = camera_path(plan.generator(Draw.CAMERA, number), plan.settings, stop - first, amount)
    margin = margin_of(path, amount)
    if background is None:
        grounds = [draw_ground(rng, plan.settings, amount, margin)]
    else:
        grounds = [fitted(frame, amount, margin) for frame in background]
        # Mirrored in every second shot: a cut must change the ground, and there is one video for all of a clip.
        grounds = [np.ascontiguousarray(ground[:, ::-1]) for ground in grounds] if number % 2 else grounds
    return _Shot(first, stop, scene, grounds, path, margin)


def _picture(
    plan: ClipPlan, shot: _Shot, number: int, passed: NDArray[np.float64], amount: Amount
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.float64]]:
    """One frame before the sensor, the truth of it, and the camera."""
    ground = shot.grounds[number % len(shot.grounds)]
    view = None if shot.path is None else shot.path[number - shot.first]
    if view is None:
        picture = ground.copy()
    else:
        picture = cv2.warpAffine(
            ground,
            ground_view(view, shot.margin),
            (amount.width, amount.height),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT,
        ).astype(np.uint8, copy=False)
    kinds, movers = plan.story.kinds, plan.story.movers
    mask = np.zeros(picture.shape[:2], np.bool_)
    # An event is [start, end): as in `_frames_moved`.
    seconds = number / amount.fps
    moving = {event.index for event in plan.story.events if event.start_seconds <= seconds < event.end_seconds}
    # What moves comes last, so that nothing is painted over it and its mask is what is seen.
    for index in (*(index for index in range(len(kinds)) if index not in movers), *movers):
        corners = seen_from(shot.scene.corners(index, kinds[index], passed[index, number]), view)
        paint_object(picture, corners, kinds[index])
        if index in moving:
            mask |= covered((amount.height, amount.width), corners)
    return picture, mask, path_or_still(None, 1)[0] if view is None else view


def _cuts(plan: ClipPlan, num_frames: int) -> list[int]:
    """The first frame of each shot, about evenly apart."""
    number = round(plan.settings.cuts)
    if not number:
        return [0]
    places = (np.arange(1, number + 1) + plan.generator(Draw.CUTS).uniform(-0.25, 0.25, number)) / (number + 1)
    return sorted({0, *(np.clip(np.round(places * num_frames), 1, num_frames - 1).astype(int).tolist())})


def _gains(plan: ClipPlan, num_frames: int, amount: Amount) -> NDArray[np.float32]:
    """The light of each frame, shape (num_frames,), 1 on average: a few waves, and a random part for each frame."""
    rng = plan.generator(Draw.FLICKER)
    hertz, phases = rng.uniform(*_FLICKER_HERTZ, _NUM_WAVES), rng.uniform(0, 2 * np.pi, _NUM_WAVES)
    seconds = np.arange(num_frames) / amount.fps
    waves = np.sin(2 * np.pi * seconds[:, None] * hertz + phases).mean(axis=1)
    gains = 1 + plan.settings.flicker * (waves + 0.5 * rng.uniform(-1, 1, num_frames))
    return np.asarray(gains, np.float32)


def _frames_moved(plan: ClipPlan, num_frames: int, amount: Amount) -> NDArray[np.float64]:
    """For how many frames each object has moved when each frame is taken: shape (num_objects, num_frames)."""
    seconds = np.arange(num_frames) / amount.fps
    passed = np.zeros((len(plan.story.kinds), num_frames))
    for event in plan.story.events:
        if event.start_seconds == 0:  # a whole number of frames stays one, to the bit
            moved = np.minimum(np.arange(num_frames), event.end_seconds * amount.fps)
        else:
            moved = np.clip(seconds - event.start_seconds, 0, event.end_seconds - event.start_seconds) * amount.fps
        # An object that moves again goes on from where it stopped.
        passed[event.index] += moved
    return passed
