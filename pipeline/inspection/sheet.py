"""The contact sheet of `fda inspect`: one picture, for slides and messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from encoders.replacing import replacing
from pipeline.inspection.clips import InspectedClip, Strip, seconds_words
from pipeline.inspection.facts import InspectedVideo
from pipeline.inspection.lettering import Lettering, Line
from pipeline.pages.pictures import GAP, evenly, joined, thumbnail
from pipeline.run.events import Reporter
from pipeline.run.words import plural

_SIDE, _NUM_SHOWN = 128, 6
_MARGIN, _BETWEEN = 24, 36
_MAX_PIXELS = 12_000_000
"""Of the sheet: 36 MiB in memory, and a file that can be sent. Further videos are on the page only."""
_GROUND, _TEXT, _DIM, _BAD, _LINE = (255, 255, 255), (27, 29, 33), (91, 97, 107), (179, 38, 30), (217, 220, 225)
"""Its own ground, so that it is legible on a dark screen, too."""
_HEADING, _TITLE, _CAPTION, _FACTS, _LABEL = 24, 18, 16, 14, 13
"""Sizes of text, pixels."""


class Sheet:
    """Takes videos one by one; only the picture is kept."""

    def __init__(self, store: str, num_videos: int, proportion: float) -> None:
        """Begin a sheet.

        Args:
            store: Where the store is.
            num_videos: How many will be added.
            proportion: Of the widest frame: its width over its height.
        """
        self._store, self._num_videos = store, num_videos
        self._card_width = _NUM_SHOWN * max(1, round(_SIDE * proportion)) + (_NUM_SHOWN - 1) * GAP
        self._columns = min(num_videos, 2 if num_videos <= 6 else 3)
        self._lettering = Lettering()
        self._cards: list[Image.Image] = []
        """Of the row that is being filled."""
        self._have_clips = True
        self._rows: list[Image.Image] = []
        self._num_left_out = 0

    @property
    def width(self) -> int:
        """Pixels."""
        return 2 * _MARGIN + self._columns * self._card_width + (self._columns - 1) * _BETWEEN

    def add(self, clip: InspectedClip) -> None:
        """Draw one video, unless the sheet is full."""
        height = sum(row.height + _BETWEEN for row in self._rows)
        # Once one is left out, all that follow are: otherwise small ones would slip in, out of order.
        if self._num_left_out or height * self.width > _MAX_PIXELS:
            self._num_left_out += 1
            return
        if bool(clip.strips) is not self._have_clips:  # a line of text and a clip side by side leave a hole
            self._end_row()
            self._have_clips = bool(clip.strips)
        self._cards.append(self._card(clip))
        if len(self._cards) == self._columns:
            self._end_row()

    def write(self, path: Path, report: Reporter) -> None:
        """Write the picture, PNG.

        Raises:
            OSError: The file cannot be written.
        """
        self._end_row()
        heading = f"{plural(self._num_videos, 'video')} of {self._store}"
        if self._num_left_out:
            heading += f"; {self._num_left_out:,} of them are on the page only"
            report.warn(
                f"the sheet has no room for {self._num_left_out:,} of {plural(self._num_videos, 'video')}: they are on "
                "the page only"
            )
        lines = self._lettering.lines(heading, _HEADING, self.width - 2 * _MARGIN, most=2, bold=True)
        blocks = [_text_block(self.width - 2 * _MARGIN, [(line, _TEXT) for line in lines]), *self._rows]
        height = 2 * _MARGIN + sum(block.height for block in blocks) + (len(blocks) - 1) * _BETWEEN
        picture = Image.new("RGB", (self.width, height), _GROUND)
        top = _MARGIN
        for block in blocks:
            picture.paste(block, (_MARGIN, top))
            top += block.height + _BETWEEN
        if self._lettering.num_lacking:
            report.warn(
                f"{plural(self._lettering.num_lacking, 'text')} of the sheet: letters that no font of this machine has "
                "are left out there, and the page has them; a font such as Noto Sans CJK adds them"
            )
        with replacing(path) as temporary:
            picture.save(temporary, format="PNG", compress_level=4)  # 1.03x of the usual size, in 0.4x of the time

    def _end_row(self) -> None:
        if not self._cards:
            return
        height = max(card.height for card in self._cards)
        row = Image.new("RGB", (self.width - 2 * _MARGIN, height), _GROUND)
        # A last row that is not full leaves its places blank.
        for number, card in enumerate(self._cards):
            row.paste(card, (number * (self._card_width + _BETWEEN), 0))
        self._rows.append(row)
        self._cards = []

    def _card(self, clip: InspectedClip) -> Image.Image:
        parts = [self._texts(clip)]
        shown = evenly(len(clip.seconds), _NUM_SHOWN) if clip.seconds else np.empty(0, np.int64)
        for number, strip in enumerate(clip.strips):
            times = seconds_words([clip.seconds[place] for place in shown.tolist()]) if number == 0 else []
            parts.append(self._strip(strip, shown.tolist(), times))
        card = Image.new("RGB", (self._card_width, sum(part.height for part in parts)), _GROUND)
        top = 0
        for part in parts:
            card.paste(part, (0, top))
            top += part.height
        return card

    def _texts(self, clip: InspectedClip) -> Image.Image:
        """The id, facts and captions of a video."""
        facts = clip.facts
        fit, width = self._lettering.lines, self._card_width
        lines = [(line, _TEXT) for line in fit(facts.video.video_id, _TITLE, width, bold=True)]
        lines += [(line, _DIM) for line in fit(_facts_line(facts), _FACTS, width, most=2)]
        if not facts.has_clip or clip.unreadable:
            status, why = ("cannot be read", clip.unreadable) if clip.unreadable else (facts.status, facts.reason)
            reason = f"{status}: {why}" if why else str(status)
            lines += [(line, _BAD) for line in fit(reason, _CAPTION, width, most=3)]
        for rank, text in _captions(facts):
            lines += [(line, _DIM) for line in fit(rank, _FACTS, width)] if rank else []
            lines += [(line, _TEXT) for line in fit(text, _CAPTION, width, most=2)]
        return _text_block(width, lines, rule=True)

    def _strip(self, strip: Strip, shown: list[int], times: list[str]) -> Image.Image:
        pictures = joined([thumbnail(strip.pictures[place], _SIDE) for place in shown], grey=255)
        step = pictures.shape[1] // len(shown)
        top = 2 * (_LABEL + 5) if times else _LABEL + 7
        drawn = Image.new("RGB", (self._card_width, top + _SIDE + 4), _GROUND)
        drawn.paste(Image.fromarray(pictures), (0, top))
        draw = ImageDraw.Draw(drawn)
        for line in self._lettering.lines(strip.title, _LABEL, self._card_width):
            draw.text((0, 2), line.text, _DIM, font=line.font)
        for number, seconds in enumerate(times):
            for line in self._lettering.lines(seconds, _LABEL, step):
                draw.text((number * step, _LABEL + 6), line.text, _TEXT, font=line.font)
        return drawn


def _text_block(width: int, lines: list[tuple[Line, tuple[int, int, int]]], *, rule: bool = False) -> Image.Image:
    """Lines below each other, each drawn by itself: a right-to-left one turns no other."""
    heights = [round(line.font.size * 1.35) for line, _ in lines]
    top = 10 if rule else 0
    block = Image.new("RGB", (width, sum(heights) + top + 4), _GROUND)
    draw = ImageDraw.Draw(block)
    if rule:
        draw.line([(0, 0), (width, 0)], _LINE, 2)
    for (line, colour), height in zip(lines, heights, strict=True):
        draw.text((0, top), line.text, colour, font=line.font)
        top += height
    return block


def _facts_line(facts: InspectedVideo) -> str:
    parts = [facts.video.split]
    parts += [facts.video.category] if facts.video.category else []
    parts += [f"{facts.duration_seconds:.1f} s"] if facts.duration_seconds is not None else []
    parts += [
        f"{masks.name}: {masks.mean_coverage or 0:.1%} covered{', camera moves' if masks.camera_moves else ''}"
        for masks in facts.masks
    ]
    parts += [f"{name} {place}" for name, place in facts.chosen_by.items() if name != "named"]
    return " · ".join(parts)


def _captions(facts: InspectedVideo) -> Iterator[tuple[str, str]]:
    """Rank and text of the captions that are shown: the best and the worst, or the first."""
    ranked = facts.ranked
    ends = [("best", ranked[0]), ("worst", ranked[-1])] if len(ranked) > 1 else [("", one) for one in ranked]
    for word, one in ends:
        if one.rank is not None:
            its = f"rank {one.rank.rank:,} of {one.rank.num_candidates:,}"
            first = one.rank.first_video_id
            instead = "" if first == facts.video.video_id else f", first is {first}"
            yield f"{word + ': ' if word else ''}{its}{instead}", one.text
    if not ranked and facts.captions:
        more = len(facts.captions) - 1
        yield f"1 of {more + 1:,} captions" if more else "", facts.captions[0].text
