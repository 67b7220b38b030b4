"""The page of `fda inspect`: one HTML file, written video by video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.inspection.clips import InspectedClip, Strip, seconds_words
from pipeline.inspection.facts import InspectedCaption, InspectedVideo, MaskFacts
from pipeline.pages.environment import templates_of, write_page_in_parts
from pipeline.pages.pictures import data_url, joined, thumbnail
from pipeline.pages.texts import visible
from pipeline.run.events import Reporter
from pipeline.run.words import plural

SIDE = 144
"""Pixels: the height of a frame on the page."""
_LEAST_SIDE = 88
"""Pixels: on a narrow screen frames are scrolled rather than smaller."""
_JPEG_QUALITY = 80
_SHOWN_LETTERS = 400
"""Of a caption; the rest is unfolded."""
_SHOWN_CAPTIONS = 3
"""Where there are no ranks; the rest is unfolded."""
_BYTES_TO_WARN = 64 * 2**20
_CLIPS_TO_MEASURE = 4
"""After so many, the size of the page is told in advance."""

_CURVE_WIDTH, _CURVE_HEIGHT = 320, 100
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 8, 8, 22
"""Margins of the curve, in its own units."""


@dataclass(frozen=True, slots=True)
class PageHead:
    """What the page says before the videos."""

    store: str
    videos: Sequence[InspectedVideo]
    features: str | None
    attention: str
    """Which model looks, or why there is none."""
    has_attention: bool
    notes: Sequence[str] = ()
    """What a reader must know before trusting the page."""


def write_inspection_page(path: Path, head: PageHead, clips: Iterable[InspectedClip], report: Reporter) -> None:
    """Write the page; clips are taken one after the other, and none is kept.

    Args:
        path: Of the HTML file.
        head: What comes first.
        clips: The videos.
        report: Hears if the page becomes large.

    Raises:
        OSError: The file cannot be written.
    """
    template = templates_of("pipeline.inspection").get_template("inspection.html")
    parts = template.generate(
        store=visible(head.store),
        names=[visible(one.video.video_id) for one in head.videos],
        features=head.features,
        attention=visible(head.attention),
        has_attention=head.has_attention,
        notes=[visible(note) for note in head.notes],
        clips=map(_card, clips),
        curve_size=(_CURVE_WIDTH, _CURVE_HEIGHT),
        side=SIDE,
    )
    write_page_in_parts(path, _measured(parts, len(head.videos), report))


def _measured(parts: Iterable[str], num_videos: int, report: Reporter) -> Iterator[str]:
    """Pass the parts on, and warn early if all of them will be too much for a browser."""
    num_bytes = num_clips = 0
    for part in parts:
        # Letters, not bytes: pictures are base64, and nearly all of the page.
        num_bytes += len(part)
        num_clips += part.count("</article>")
        if num_clips == _CLIPS_TO_MEASURE:
            num_clips += 1  # once
            expected = num_bytes / _CLIPS_TO_MEASURE * num_videos
            if expected > _BYTES_TO_WARN:
                report.warn(
                    f"the page will have about {expected / 2**20:,.0f} MiB, which browsers open slowly: --frames, "
                    "--no-attention or fewer videos make it smaller"
                )
        yield part


def _card(clip: InspectedClip) -> dict[str, Any]:
    """What the template shows of one video."""
    facts = clip.facts
    width = 0
    strips = []
    for strip in clip.strips:
        picture = joined([thumbnail(one, SIDE) for one in strip.pictures])
        width = picture.shape[1]
        words = [facts.video.video_id, strip.title, plural(len(strip.pictures), "frame"), strip.meaning]
        alt = ", ".join(filter(None, words))
        strips.append((strip.title, strip.meaning, data_url(picture, ".jpg", _JPEG_QUALITY), visible(alt)))
    return {
        "video_id": visible(facts.video.video_id),
        "chosen_by": [f"{name} {place}" for name, place in facts.chosen_by.items() if name != "named"],
        "status": str(facts.status),
        "has_clip": facts.has_clip,
        "unreadable": None if clip.unreadable is None else visible(clip.unreadable),
        "reason": None if facts.reason is None else visible(facts.reason),
        "facts": [(name, visible(value)) for name, value in _facts(clip)],
        "times": seconds_words(clip.seconds),
        "strips": strips,
        "width": width,
        "least_width": width * _LEAST_SIDE // SIDE,
        "masks_pending": [(name, visible(why)) for name, why in facts.masks_pending.items()],
        "curves": _curves(clip),
        "span": _span(clip.times),
        "captions": _captions(facts),
        "instead": None if clip.instead is None else _instead(clip.instead, facts),
    }


def _facts(clip: InspectedClip) -> Iterator[tuple[str, str]]:
    """Name and value of what is known, in the order of the page."""
    facts, video = clip.facts, clip.facts.video
    yield "split", video.split
    if video.category is not None:
        yield "category", video.category
    yield "file", video.path
    if video.start_seconds or video.end_seconds is not None:
        end = "its end" if video.end_seconds is None else f"{video.end_seconds:g} s"
        yield "part of the file", f"{video.start_seconds:g} s to {end}"
    if facts.duration_seconds is not None:
        yield "duration", f"{facts.duration_seconds:.1f} s"
    if facts.fps is not None:
        yield "frames a second", f"{facts.fps:.3f}".rstrip("0").rstrip(".")
    if facts.codec is not None:
        yield "codec", facts.codec
    if facts.has_clip:
        shown = f" ({len(clip.seconds)} shown)" if len(clip.seconds) < len(clip.times) else ""
        yield "frames", f"{len(clip.times)}{shown}"
    yield "status", str(facts.status)
    for masks in facts.masks:
        yield f"masks {masks.name!r}", mask_words(masks)


def mask_words(masks: MaskFacts) -> str:
    """What the masks of a video show, in one line."""
    camera = {True: "the camera moves", False: "the camera rests", None: "camera not known"}[masks.camera_moves]
    words = [
        f"{masks.mean_coverage or 0:.1%} covered",
        f"{masks.mean_components or 0:.1f} parts",
        f"{masks.num_empty} empty and {masks.num_full} full of {masks.num_masks}",
        camera,
    ]
    if masks.num_unregistered_pairs is not None:
        words.append(f"{plural(masks.num_unregistered_pairs, 'pair')} not registered")
    return ", ".join(words)


def _curves(clip: InspectedClip) -> list[dict[str, Any]]:
    """The coverage of each mask set over time: points in the units of the drawing, and the numbers in words."""
    first, last = (float(clip.times[0]), float(clip.times[-1])) if len(clip.times) else (0.0, 0.0)
    width, height = _CURVE_WIDTH - _LEFT - _RIGHT, _CURVE_HEIGHT - _TOP - _BOTTOM
    places = (clip.times - first) / (last - first) if last > first else np.full(len(clip.times), 0.5)
    curves = []
    for name, shares in clip.coverage.items():
        points = [(_LEFT + x * width, _TOP + (1 - y) * height) for x, y in zip(places, shares, strict=True)]
        curves.append(
            {
                "name": name,
                "points": [(f"{x:.1f}", f"{y:.1f}") for x, y in points],
                "words": f"{shares.mean():.1%} on average, {shares.min():.1%} to {shares.max():.1%}",
            }
        )
    return curves


def _span(times: NDArray[np.float64]) -> tuple[str, str]:
    """The times at both ends of the curve."""
    words = seconds_words(times.tolist()) or [""]
    return words[0], words[-1]


def _captions(facts: InspectedVideo) -> dict[str, Any]:
    """The captions that are shown at once, and those that are unfolded."""
    ranked = facts.ranked
    if not ranked:
        captions = facts.captions
        return {
            "shown": [_caption(one) for one in captions[:_SHOWN_CAPTIONS]],
            "all": [_caption(one) for one in captions] if len(captions) > _SHOWN_CAPTIONS else [],
            "count": len(captions),
        }
    ends = [("best", ranked[0]), ("worst", ranked[-1])] if len(ranked) > 1 else [("", ranked[0])]
    unranked = [one for one in facts.captions if one.rank is None]
    return {
        "shown": [_caption(one, word) for word, one in ends],
        "all": [_caption(one) for one in (*ranked, *unranked)] if len(facts.captions) > len(ends) else [],
        "count": len(facts.captions),
    }


def _caption(caption: InspectedCaption, word: str = "") -> dict[str, Any]:
    text, rank = visible(caption.text), caption.rank
    return {
        "word": word,
        "text": text[:_SHOWN_LETTERS],
        "rest": text[_SHOWN_LETTERS:],
        "rank": None if rank is None else f"rank {rank.rank:,} of {rank.num_candidates:,}",
        "is_first": rank is not None and rank.rank == 1,
        "score": None if rank is None else f"{rank.score:.3f}",
    }


def _instead(strip: Strip, facts: InspectedVideo) -> dict[str, Any]:
    worst = facts.ranked[-1]
    assert worst.rank is not None  # only these have a video that came first
    video_id = visible(strip.title)
    return {
        "video_id": video_id,
        "picture": data_url(joined([thumbnail(one, SIDE) for one in strip.pictures]), ".jpg", _JPEG_QUALITY),
        "alt": f"{plural(len(strip.pictures), 'frame')} of {video_id}",
        "score": f"{worst.rank.first_score:.3f}",
        "own_score": f"{worst.rank.score:.3f}",
        "word": "worst " if len(facts.ranked) > 1 else "",
    }


def chosen_words(chosen_by: Mapping[str, int]) -> str:
    """Why a video is shown.

    >>> chosen_words({"worst-rank": 1, "emptiest": 3})
    'worst-rank 1, emptiest 3'
    """
    return ", ".join("named" if name == "named" else f"{name} {place}" for name, place in chosen_by.items())
