"""The changes of frames against their background: `background`, `registered` and `auto`.

Pairs of frames show a moving thing twice, where it was and where it is. The background, the temporal median, shows what
is behind it, so that a frame differs from it where the thing is now, and as a whole. Where the camera moves, the frames
are first aligned by its motion.

Frames are compared in luma, and in chroma at half the size, as video has it: many a thing is as light as what is behind
it. Before, the background takes on the light of the frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.masks.backdrop import ENOUGH, Backdrop
from pipeline.masks.camera import CameraWatch
from pipeline.masks.comparison import Change, threshold_of
from pipeline.masks.ground import choose_ground
from pipeline.masks.lighting import EvenlyLit, evenly_lit
from pipeline.masks.motions import CameraPath, Run, camera_path
from pipeline.masks.options import Difference, MaskOptions
from pipeline.masks.registration import rescaled
from pipeline.masks.shots import Shot
from pipeline.video.grey import grey_of

_NEAR = np.ones((3, 3), dtype=np.uint8)
_TEXTURE = 20
"""Grey levels between the darkest and the lightest of 3 x 3 pixels, from which on they have texture."""
_UNRESTFUL = 10
"""Grey levels: a pixel that differs by more from the background of a camera at rest is unrestful."""
_CALM = 0.2
"""In most frames, no larger share of the textured pixels is unrestful if the camera rests: measured with
movers over a third of the picture it is .15 and less; with a camera that moves by two pixels, .3 and more."""
_MOST_FRAMES = 0.9
"""Of the frames, this share must be calm: the rest may be hidden by something close to the camera."""
_LEAST_TEXTURED = 0.004
"""Share of the picture: with less texture, nothing tells of a motion of the camera."""
_MOVED_SHARE = 0.25
"""A clip counts as moved if the camera took more of its frames from elsewhere; or if two of its frames, one after the
other, have so little in common that the camera is lost: be it by a cut that was not found."""


class BackgroundChanges:
    """The changes of a clip against its background. To be gone through once."""

    def __init__(self, frames: NDArray[np.uint8], options: MaskOptions, shots: Sequence[Shot]) -> None:
        """Find the motion of the camera, if it is needed.

        Args:
            frames: Shape (num_frames, height, width, 3), RGB.
            options: How they are compared.
            shots: Of the clip: each has its own background.
        """
        self._options, self._shots = options, shots
        self._luma = [grey_of(frame) for frame in frames]
        self._chroma = [_chroma(frame) for frame in frames]  # each (2, h // 2, w // 2)
        self.watch = CameraWatch()
        self._rests = [False] * len(frames)  # by the first frame of a pair; the last of each shot begins none
        self._at_rest: dict[tuple[int, int], EvenlyLit] = {}
        self.num_unregistered: int | None = None
        """Pairs whose camera motion was looked for and not found; None if the kind never looks for it."""
        self._watch()
        # Until motions are looked for, each shot is one run of a camera at rest.
        self._runs = tuple(Run(shot.start, np.tile(np.eye(3), (len(shot), 1, 1))) for shot in shots)
        self.difference = Difference.BACKGROUND
        """The kind that was used: of `auto`, the one it picked."""
        if options.difference != Difference.BACKGROUND:
            self._register(always=options.difference == Difference.REGISTERED)

    def __iter__(self) -> Iterator[tuple[int, Change]]:
        """The number of a frame and its change; those that have no background are left out."""
        for run in self._runs:
            if run.stop - run.start > 1:
                yield from self._changes(run)
                continue
            shot = next(shot for shot in self._shots if shot.start <= run.start < shot.stop)
            if len(shot) > 1:  # it was registered with none of its shot: against the frame beside it, as it is
                beside = run.start + (1 if run.start + 1 < shot.stop else -1)
                pair = Run(min(run.start, beside), np.tile(np.eye(3), (2, 1, 1)))
                yield from (found for found in self._changes(pair, is_still=True) if found[0] == run.start)

    def _changes(self, run: Run, *, is_still: bool = False) -> Iterator[tuple[int, Change]]:
        height, width = self._luma[0].shape
        low_height, low_width = self._chroma[0].shape[1:]
        is_still = is_still or self.difference == Difference.BACKGROUND
        motions = None if is_still else run.motions
        # Motions are in pixels, and those of chroma are larger.
        low_motions = None if is_still else rescaled(run.motions, low_width / width, low_height / height)
        part = slice(run.start, run.stop)
        lit = self._lit_at_rest(run.start, run.stop) if motions is None else evenly_lit(self._luma[part], motions)
        chroma = [lit.chroma(number, planes) for number, planes in enumerate(self._chroma[part])]
        backdrop, backdrops = lit.backdrop, [Backdrop([of[plane] for of in chroma], low_motions) for plane in range(2)]
        if run.stop - run.start >= ENOUGH:
            lumas = [_resized(luma, low_width, low_height) for luma in lit.lumas]
            low_luma = Backdrop(lumas, low_motions)
            ground = choose_ground([low_luma, *backdrops])
            if ground is not None:
                # The ground is chosen at the size of chroma, where all three planes have a value for each pixel.
                backdrop = backdrop.on_ground(backdrop.enlarged(ground, low_luma), 0)
                backdrops = [of.on_ground(ground, 1 + plane) for plane, of in enumerate(backdrops)]
        for number, (luma, planes) in enumerate(zip(lit.lumas, chroma, strict=True)):
            behind = backdrop.behind(number)
            low = [of.behind(number).difference(plane) for of, plane in zip(backdrops, planes, strict=True)]
            # (h // 2, w // 2) -> (h, w)
            coloured = cv2.resize(cv2.max(*low), (width, height), interpolation=cv2.INTER_LINEAR)
            difference = np.asarray(cv2.max(behind.difference(luma), coloured), dtype=np.uint8)
            yield run.start + number, Change(difference, threshold_of(self._options, behind.background, luma))

    def _lit_at_rest(self, start: int, stop: int) -> EvenlyLit:
        """Some of the pictures in one light, seen by a camera at rest: `auto` asks for them twice."""
        if (start, stop) not in self._at_rest:
            self._at_rest[start, stop] = evenly_lit(self._luma[start:stop])
        return self._at_rest[start, stop]

    def _watch(self) -> None:
        pairs = [number for shot in self._shots for number in range(shot.start, shot.stop - 1)]
        for number in pairs:
            self.watch.add(self._luma[number], self._luma[number + 1])
        for number, rests in zip(pairs, self.watch.pairs_at_rest(), strict=True):
            self._rests[number] = rests

    def _register(self, *, always: bool) -> None:
        self.num_unregistered = 0
        if not always and self._is_calm():
            return
        path: CameraPath = camera_path(self._luma, self._shots, self._rests)
        self.num_unregistered = path.num_unregistered
        if always or path.moved_share > _MOVED_SHARE or len(path.runs) > len(self._shots):
            self.difference, self._runs = Difference.REGISTERED, path.runs

    def _is_calm(self) -> bool:
        """Whether the texture of the picture stays where it is: far cheaper than finding motions."""
        lit = [self._lit_at_rest(shot.start, shot.stop) for shot in self._shots if len(shot) > 1]
        shares = [share for one in lit for share in _unrest(one)]
        return not shares or float(np.quantile(shares, _MOST_FRAMES)) <= _CALM


def _unrest(lit: EvenlyLit) -> list[float]:
    """For each picture that has texture, the share of it that differs from a background of a camera at rest."""
    shares = []
    for number, luma in enumerate(lit.lumas):
        contrast = cv2.subtract(cv2.dilate(luma, _NEAR), cv2.erode(luma, _NEAR))
        textured = cv2.threshold(contrast, _TEXTURE, 255, cv2.THRESH_BINARY)[1]
        num_textured = cv2.countNonZero(textured)
        if num_textured < _LEAST_TEXTURED * luma.size:
            continue
        differs = lit.backdrop.behind(number).difference(luma)
        unrestful = cv2.bitwise_and(cv2.threshold(differs, _UNRESTFUL, 255, cv2.THRESH_BINARY)[1], textured)
        shares.append(cv2.countNonZero(unrestful) / num_textured)
    return shares


def _resized(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _chroma(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cr and Cb at half the size, shape (2, height // 2, width // 2), at least one pixel."""
    height, width = max(frame.shape[0] // 2, 1), max(frame.shape[1] // 2, 1)
    converted = np.asarray(cv2.cvtColor(_resized(frame, width, height), cv2.COLOR_RGB2YCrCb), dtype=np.uint8)
    return np.ascontiguousarray(converted[..., 1:].transpose(2, 0, 1))
