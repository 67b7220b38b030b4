"""Lists and videos as templates take them: all addresses made, all texts chosen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from pipeline.search.answers import FrameScore
from pipeline.serving.address import Address
from pipeline.serving.library import Library, Shelf, VideoKey
from pipeline.serving.pictures import MAX_SLOTS, evenly
from pipeline.serving.results import Item
from store.commits import VideoOutcome
from store.stages import masks_stage

STRIP_FRAMES = 12
"""Frames of a strip, at most."""
STRIP_SIDE, POSTER_SIDE, FRAME_SIDE = 96, 224, 512
"""Pixels of a frame in a strip, of the one above it, and beside the player."""
BAR_HEIGHT = 24


@dataclass(frozen=True, slots=True)
class StripFrame:
    """One frame of a strip."""

    slot: int
    seconds: float
    score: float | None
    height: float
    """Of its bar, 0..`BAR_HEIGHT`."""
    is_best: bool
    url: str
    """The page with the video at this moment."""


@dataclass(frozen=True, slots=True)
class Strip:
    """Frames side by side in one picture."""

    picture: str
    frames: tuple[StripFrame, ...]
    masked: str = ""
    """The same frames with what moves shown; empty without masks."""


@dataclass(frozen=True, slots=True)
class Card:
    """A video in a list."""

    item: Item
    name: str
    """By which the browser keeps it: number of its store and id."""
    poster: str
    strip: Strip | None
    """None where there is no clip."""
    problem: str
    """Why there is no clip."""
    url: str
    """The page with the video at its moment."""
    seconds: float | None
    """The moment."""
    num_more_captions: int
    is_selected: bool


@dataclass(frozen=True, slots=True)
class Player:
    """A video that is selected."""

    key: VideoKey
    name: str
    media: str
    """Address that says how the video plays."""
    file: str
    """Address of the video itself, for browsers without scripts."""
    start_seconds: float
    end_seconds: float | None
    seconds: float
    """Where it begins to play."""
    strip: Strip | None
    problem: str
    captions: tuple[tuple[str, str], ...]
    num_captions: int
    facts: tuple[tuple[str, str], ...]
    masks: tuple[str, ...]
    mask: str
    """The mask set that is shown; empty: none."""
    frame: str
    """Address of a stored frame, to which its slot is added."""
    page: str
    more: str
    """Address of the search for videos like this."""


def card_of(library: Library, item: Item, address: Address, between: tuple[float, float]) -> Card:
    """A video in a list."""
    key, shelf = item.key, library.shelves[item.key.store]
    outcome = None if item.frames else shelf.outcome(key)
    frames = item.frames or _without_scores(shelf, key, outcome)
    shown = _chosen(frames, STRIP_FRAMES)
    # Without scores the middle frame: the first one of a video is often black or a title.
    best = max(frames, key=lambda frame: frame.score) if item.frames else (frames[len(frames) // 2] if frames else None)
    # Both are seconds since the first frame of the file.
    at = best.seconds if best is not None and item.frames else shelf.window(key)[0]
    return Card(
        item=item,
        name=f"{key.store}:{key.video_id}",
        poster="" if best is None else picture_url(key, [best.frame], POSTER_SIDE),
        strip=_strip(key, shown, best if item.frames else None, address, between) if shown else None,
        problem="" if shown else _problem(outcome),
        url=address.to(store=key.store, video=key.video_id, time=at),
        seconds=at,
        num_more_captions=max(0, shelf.num_captions_of(key.video_id) - 1),
        is_selected=(key.store, key.video_id) == (address.store, address.video),
    )


def player_of(library: Library, key: VideoKey, item: Item | None, address: Address, path: str = "/") -> Player:
    """The video that is selected."""
    shelf = library.shelves[key.store]
    outcome, record = shelf.outcome(key), shelf.record(key)
    scored = item.frames if item is not None else ()
    frames = scored or _without_scores(shelf, key, outcome)
    best = max(scored, key=lambda frame: frame.score) if scored else None
    masks = tuple(name for name in shelf.view.mask_names() if _is_filled(shelf, key, masks_stage(name)))
    mask = address.masks if address.masks in masks else (masks[0] if masks else "")
    start, end = shelf.window(key)
    at = address.time if address.time is not None else (best.seconds if best is not None else start)
    query = {"s": key.store, "id": key.video_id}
    scores = [frame.score for frame in scored]
    between = (min(scores), max(scores)) if scores else (0.0, 1.0)
    strip = _strip(key, _chosen(frames, MAX_SLOTS), best, address, between, mask, path) if frames else None
    return Player(
        key=key,
        name=f"{key.store}:{key.video_id}",
        media=f"/media/about?{urlencode(query)}",
        file=f"/media?{urlencode(query)}",
        start_seconds=start,
        end_seconds=end,
        seconds=at,
        strip=strip,
        problem="" if frames else _problem(outcome),
        captions=tuple(shelf.captions_of(key.video_id, 3)),
        num_captions=shelf.num_captions_of(key.video_id),
        facts=tuple(_facts(shelf, key, outcome, record, mask)),
        masks=masks,
        mask="" if address.show == "none" else mask,
        frame=f"/frame?{urlencode({**query, 'side': FRAME_SIDE})}",
        page=address.to("/video", store=key.store, video=key.video_id, time=at),
        more=Address(query=key.video_id, kind="video", features=address.features).to(),
    )


def picture_url(key: VideoKey, slots: Sequence[int], side: int, masks: str = "", show: str = "dim") -> str:
    """The address of frames side by side."""
    query = {"s": key.store, "id": key.video_id, "side": side, "slots": ",".join(map(str, slots))}
    return f"/frame?{urlencode({**query, 'masks': masks, 'show': show} if masks else query)}"


def _strip(
    key: VideoKey,
    frames: Sequence[FrameScore],
    best: FrameScore | None,
    address: Address,
    between: tuple[float, float],
    mask: str = "",
    path: str = "/",
) -> Strip:
    low, high = between
    address = address.short
    found = [
        StripFrame(
            slot=one.frame,
            seconds=one.seconds,
            score=None if math.isnan(one.score) else one.score,
            height=0.0 if math.isnan(one.score) else _height(one.score, low, high),
            is_best=one is best,
            url=address.to(path, store=key.store, video=key.video_id, time=one.seconds),
        )
        for one in frames
    ]
    slots = [one.frame for one in frames]
    masked = picture_url(key, slots, STRIP_SIDE, mask, "dim") if mask else ""
    return Strip(picture_url(key, slots, STRIP_SIDE), tuple(found), masked)


def _height(score: float, low: float, high: float) -> float:
    """A bar for a score, from one that is just seen to the whole height."""
    share = (score - low) / (high - low) if high > low else 1.0
    return round(2 + min(1.0, max(0.0, share)) * (BAR_HEIGHT - 2), 1)


def _chosen(frames: Sequence[FrameScore], most: int) -> list[FrameScore]:
    """Frames for a strip: evenly chosen, and the best one of all in any case."""
    chosen = [frames[place] for place in evenly(len(frames), most)]
    best = max(frames, key=lambda one: -math.inf if math.isnan(one.score) else one.score, default=None)
    if best is not None and not math.isnan(best.score) and best not in chosen:
        nearest = min(range(len(chosen)), key=lambda place: abs(chosen[place].frame - best.frame))
        # In place of the frame nearest to it, so that the strip stays in order of time.
        chosen[nearest] = best
    return chosen


def _without_scores(shelf: Shelf, key: VideoKey, outcome: VideoOutcome | None) -> tuple[FrameScore, ...]:
    if outcome is None or not outcome.filled:
        return ()
    return tuple(FrameScore(slot, seconds, math.nan) for slot, seconds in enumerate(shelf.pts_seconds(key).tolist()))


def _problem(outcome: VideoOutcome | None) -> str:
    if outcome is None:
        return "Its frames are not in the store yet: `fda preprocess` has not come to it."
    return f"It has no frames: {outcome.status}{f', {outcome.reason}' if outcome.reason else ''}."


def _is_filled(shelf: Shelf, key: VideoKey, stage: str) -> bool:
    outcome = shelf.outcome(key, stage)
    return outcome is not None and outcome.filled


def _facts(
    shelf: Shelf, key: VideoKey, outcome: VideoOutcome | None, record: Mapping[str, object], mask: str
) -> Iterator[tuple[str, str]]:
    """What is known of a video, in words."""
    yield "split", key.split
    if record["category"]:
        yield "category", str(record["category"])
    if outcome is not None and outcome.duration_seconds is not None:
        rate = f", {outcome.fps:.4g} frames/s" if outcome.fps else ""
        yield "clip", f"{outcome.duration_seconds:.2f} s{rate}{f', {outcome.codec}' if outcome.codec else ''}"
    masks = shelf.outcome(key, masks_stage(mask)) if mask else None
    if masks is not None and masks.mask_coverage is not None:
        moves = {True: "; the camera moves", False: "; the camera rests", None: ""}[masks.camera_motion]
        yield "motion", f"{100 * masks.mask_coverage:.1f} % of the picture in masks {mask!r}{moves}"
    yield "file", str(record["path"])
    if outcome is not None and outcome.reason and outcome.filled:
        yield "note", outcome.reason
