"""The pictures of the videos that are shown: frames, masks and attention, a few videos in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from encoders.errors import ModelError, NotFiniteError
from pipeline.clips.resizing import resized
from pipeline.inspection.attention import Attention
from pipeline.inspection.facts import InspectedVideo
from pipeline.pages.pictures import evenly, heated, highlighted, outlined
from pipeline.run.events import Reporter
from store.clips.layout import Masks, moving
from store.clips.reader import ClipBatch
from store.errors import NotInStoreError, ShardDamagedError, ShardIncompleteError, StoreError
from store.view import StoreView

_BYTES_AT_ONCE = 2**27
"""Of frames and masks that are read at once; one clip, if that is larger."""
_OF_ONE_CLIP = (ShardDamagedError, ShardIncompleteError, NotInStoreError)
"""Damaged, rebuilt while it is read, or without a clip: no reason to show nothing of the others."""
_CLIPS_AT_ONCE = 16
_FRAMES_INSTEAD = 4


@dataclass(frozen=True)
class Strip:
    """One row of pictures of a video, in order of time."""

    title: str
    meaning: str
    """What its pictures show, in a few words."""
    pictures: tuple[NDArray[np.uint8], ...]
    """Each of shape (height, width, 3), RGB."""


@dataclass(frozen=True)
class InspectedClip:
    """One video as it is shown."""

    facts: InspectedVideo
    seconds: tuple[float, ...]
    """When each frame that is shown is shown in the video; none without a clip."""
    strips: tuple[Strip, ...]
    times: NDArray[np.float64]
    """Shape (num_frames,): of all frames of the clip, seconds."""
    coverage: Mapping[str, NDArray[np.float64]]
    """Mask set -> share of the picture that each mask covers, shape (num_frames,), 0..1."""
    instead: Strip | None
    """The video that comes first for the caption with the worst rank; None if that is this one, or cannot be read."""
    unreadable: str | None = None
    """Why its clip cannot be shown, though the store has one."""


def inspected_clips(
    view: StoreView, videos: Sequence[InspectedVideo], num_shown: int, attention: Attention, report: Reporter
) -> Iterator[InspectedClip]:
    """Read the clips of videos one after the other, in their order.

    Args:
        view: Of the store.
        videos: Those to be shown.
        num_shown: Frames to show of each, at most.
        attention: The model, if there is one.
        report: Hears why attention cannot be computed, and which clip cannot be read: that costs no other video.
    """
    attending = _Attending(attention, report)
    for batch in _batches(view, videos):
        if not batch[0].has_clip:
            yield from (InspectedClip(one, (), (), np.empty(0), {}, None) for one in batch)
            continue
        firsts = _firsts(view, batch, report)
        for facts, read in zip(batch, _read(view, batch), strict=True):
            instead = firsts.get(_first_instead(facts))
            if isinstance(read, StoreError):
                report.warn(f"the clip of {facts.video.video_id!r} cannot be shown: {read}")
                yield InspectedClip(facts, (), (), np.empty(0), {}, instead, str(read))
            elif not len(read.times):  # no writer leaves a clip like this
                yield InspectedClip(facts, (), (), np.empty(0), {}, None)
            else:
                yield _inspected(facts, read, num_shown=num_shown, attending=attending, instead=instead)


@dataclass(frozen=True, slots=True)
class _Read:
    """The clip of one video, with the masks of each mask set that has some."""

    frames: NDArray[np.uint8]
    times: NDArray[np.float64]
    masks: Mapping[str, Masks]


def _read(view: StoreView, batch: Sequence[InspectedVideo]) -> list[_Read | StoreError]:
    """Clips of one split; of one that is damaged, or rebuilt meanwhile, the error."""
    split, rows = batch[0].video.split, [one.video.row for one in batch]
    try:
        frames, times, masks = view.frames(rows, split=split), view.pts_seconds(rows, split=split), _masks(view, batch)
    except _OF_ONE_CLIP as error:
        # One by one, to find out which: the others are shown.
        return [error] if len(batch) == 1 else [read for one in batch for read in _read(view, [one])]
    # (clips, t): slots that a short video does not fill have no time.
    is_frame = np.isfinite(times)
    return [
        _Read(
            frames[place][shown],
            times[place][shown],
            {name: its[row][shown] for name, its in masks.items() if row in its},
        )
        for place, (row, shown) in enumerate(zip(rows, is_frame, strict=True))
    ]


def _batches(view: StoreView, videos: Sequence[InspectedVideo]) -> Iterator[list[InspectedVideo]]:
    """Videos of one split side by side, with clips or all without, as many as may be in memory."""
    batch: list[InspectedVideo] = []
    for one in videos:
        layout = view.splits[one.video.split]
        clip_bytes = layout.num_frames * layout.height * layout.width * (6 + len(one.masks))
        most = max(1, min(_CLIPS_AT_ONCE, _BYTES_AT_ONCE // clip_bytes))
        is_other = batch and (batch[0].video.split, batch[0].has_clip) != (one.video.split, one.has_clip)
        if is_other or len(batch) >= most:
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


def _masks(view: StoreView, batch: Sequence[InspectedVideo]) -> dict[str, dict[int, Masks]]:
    """Mask set -> row -> masks, of those videos that have them."""
    found: dict[str, dict[int, Masks]] = {}
    for name in dict.fromkeys(masks.name for one in batch for masks in one.masks):
        rows = [one.video.row for one in batch if any(masks.name == name for masks in one.masks)]
        read = view.masks(rows, name, split=batch[0].video.split)
        found[name] = dict(zip(rows, read, strict=True))
    return found


def _inspected(
    facts: InspectedVideo, read: _Read, *, num_shown: int, attending: _Attending, instead: Strip | None
) -> InspectedClip:
    frames, times, masks = read.frames, read.times, read.masks
    shown = evenly(len(frames), num_shown)
    strips = [Strip("frames", "", tuple(frames[shown]))]
    for name, its in masks.items():
        pairs = [(frames[index], its[index]) for index in shown]
        is_soft = its.dtype == np.uint8
        edge = "where it is as likely to move as not" if is_soft else "the edge of what moves"
        light = "the likelier it moves, the lighter" if is_soft else "what rests is dark"
        strips += [
            Strip(f"masks {name!r}, outline", edge, tuple(outlined(*pair) for pair in pairs)),
            Strip(f"masks {name!r}, overlay", light, tuple(highlighted(*pair) for pair in pairs)),
        ]
    strips += attending.strips(frames[shown], {name: its[shown] for name, its in masks.items()})
    return InspectedClip(
        facts=facts,
        seconds=tuple(times[shown].tolist()),
        strips=tuple(strips),
        times=times,
        coverage={name: moving(its).mean(axis=(1, 2)) for name, its in masks.items()},  # (t, h, w) -> (t,)
        instead=instead,
    )


def seconds_words(times: Sequence[float]) -> list[str]:
    """Times as people read them, as exact as they are dense.

    >>> seconds_words([0.5, 1.25, 2.0]), seconds_words([0.04, 0.08])
    (['0.5 s', '1.2 s', '2.0 s'], ['0.04 s', '0.08 s'])
    """
    step = min((after - before for before, after in pairwise(times)), default=1.0)
    return [f"{one:.{1 if step >= 0.1 else 2}f} s" for one in times]


def _first_instead(facts: InspectedVideo) -> str | None:
    """The video that comes first for the worst caption, if it is another one."""
    worst = facts.ranked[-1].rank if facts.ranked else None
    return None if worst is None or worst.first_video_id == facts.video.video_id else worst.first_video_id


def _firsts(view: StoreView, batch: Sequence[InspectedVideo], report: Reporter) -> dict[str | None, Strip]:
    """Id -> a few frames, of the videos that come first instead of those of a batch."""
    found: dict[str | None, Strip] = {}
    for video_id in dict.fromkeys(map(_first_instead, batch)):
        if video_id is None:
            continue
        try:
            clip = view.frames(video_id)[np.isfinite(view.pts_seconds(video_id))]
        except _OF_ONE_CLIP as error:
            report.warn(f"{video_id!r}, which is first for a caption of another video, cannot be shown: {error}")
            continue
        if len(clip):
            found[video_id] = Strip(video_id, "", tuple(clip[evenly(len(clip), _FRAMES_INSTEAD)]))
    return found


def _at_size(frames: NDArray[np.uint8], alpha: Masks, side: int) -> tuple[NDArray[np.uint8], Masks]:
    """Frames and alpha of a video as its model reads them, as `fda encode --resize-frames` does it."""
    is_frame = np.ones((1, len(frames)), dtype=np.bool_)
    clips = resized(ClipBatch(("",), np.zeros(1, dtype=np.int64), frames[None], alpha[None], is_frame), side)
    return clips.frames[0], clips.masks[0]


class _Attending:
    """Computes attention until it cannot, and says why then."""

    def __init__(self, attention: Attention, report: Reporter) -> None:
        self._attention, self._report = attention, report
        self._encoder = attention.encoder

    def strips(self, frames: NDArray[np.uint8], masks: Mapping[str, Masks]) -> list[Strip]:
        """Attention with the masks of the features and with an alpha of all ones, on one scale."""
        if self._encoder is None:
            return []
        name = self._attention.mask_name
        # The features' masks are not shown here: the first that are stand in for them, and the title names them.
        if name not in masks and masks:
            name = next(iter(masks))
        alphas: dict[str, Masks] = {"an alpha of all ones": np.ones(frames.shape[:-1], np.bool_)}
        if name is not None and name in masks:
            alphas = {f"masks {name!r}": masks[name], **alphas}
        size = self._encoder.config.image_size
        try:
            maps = {words: self._encoder.attention(*_at_size(frames, alpha, size)) for words, alpha in alphas.items()}
        except (NotFiniteError, MemoryError, ModelError) as error:
            return self._none(str(error))
        # Of both together: on a scale each, no difference would be seen.
        limits = min(float(one.min()) for one in maps.values()), max(float(one.max()) for one in maps.values())
        return [
            Strip(
                f"attention with {words}",
                f"{limits[0]:.1%} (dark) to {limits[1]:.1%} (bright) on one patch",
                tuple(heated(frame, heat, limits) for frame, heat in zip(frames, its, strict=True)),
            )
            for words, its in maps.items()
        ]

    def _none(self, why: str) -> list[Strip]:
        self._report.warn(f"no attention: {why}")
        # What fails for one video fails for all: it is reported once.
        self._encoder = None
        return []
