"""What goes into the alpha channel: a clip's own masks, or a control that says what the masks are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.options import AlphaSource, ClipSize
from pipeline.errors import InputError
from pipeline.run.randomness import Stream, generator
from pipeline.run.words import plural
from store.clips.layout import Masks, all_moving
from store.clips.reader import ClipBatch, ClipReader
from store.completion import require_committed_of_each
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store


class AlphaClips:
    """Reads clips of a split with the alpha channel that is asked for, as their `masks`."""

    def __init__(
        self,
        reader: ClipReader,
        source: AlphaSource,
        seed: int = 0,
        givers: Mapping[int, int] | None = None,
        size: ClipSize | None = None,
    ) -> None:
        """Choose the source.

        Args:
            reader: Reads the clips, and those whose masks they get.
            source: Of the alpha channel.
            seed: Random seed.
            givers: Row -> the row whose masks it gets, of all rows that are read, if masks are shuffled. By default,
                the rows of the reader are shuffled, which must then be those of the whole split.
            size: What clips are resized to, once they have their alpha; None: they stay as they are stored.

        Raises:
            ValueError: Masks are to be shuffled among fewer than two clips, or there is no such source.
        """
        self.reader = reader
        self.source = source = AlphaSource(source)  # a text would be taken for none of them, in silence
        self.size = size
        self._seed = seed
        if givers is None and source is AlphaSource.SHUFFLED:
            givers = shuffled_rows(sorted(reader.video_ids), seed)
        self.givers = givers or {}

    @property
    def video_ids(self) -> Mapping[int, str]:
        """Row -> id, of the rows that hold a video."""
        return self.reader.video_ids

    def read(self, rows: Sequence[int]) -> ClipBatch:
        """Read clips, in the order given."""
        clips = self._stored(rows)
        if self.size is None:
            return clips
        from pipeline.clips.resizing import resized  # which loads OpenCV and Pillow

        return resized(clips, self.size.side)

    def _stored(self, rows: Sequence[int]) -> ClipBatch:
        match self.source:
            case AlphaSource.MASKS:
                return self.reader.read(rows)
            case AlphaSource.SHUFFLED:
                frames = self.reader.read_frames(rows)
                # The other clip may have fewer frames than this one: its masks go on from its first.
                givers = [self.givers[row] for row in rows]
                masks = repeated(self.reader.read_masks(givers), self.reader.is_frame(givers))
                return self._with_masks(rows, frames, masks)
            case AlphaSource.RANDOM_AREA:
                clips = self.reader.read(rows)
                areas = [
                    random_areas(one, generator(Stream.AREA, self._seed, row))
                    for one, row in zip(clips.masks, rows, strict=True)
                ]
                return replace(clips, masks=np.stack(areas) if areas else clips.masks)
            case AlphaSource.ONES | AlphaSource.ZEROS:  # the stored masks are not read
                frames = self.reader.read_frames(rows)
                return self._with_masks(rows, frames, np.full(frames.shape[:-1], self.source is AlphaSource.ONES))

    def _with_masks(self, rows: Sequence[int], frames: NDArray[np.uint8], masks: Masks) -> ClipBatch:
        return ClipBatch(
            video_ids=tuple(self.video_ids[row] for row in rows),
            rows=np.asarray(rows, dtype=np.int64),
            frames=frames,
            masks=masks,
            is_frame=self.reader.is_frame(rows),
        )


def random_areas(masks: Masks, rng: np.random.Generator) -> Masks:
    """For each mask, a rectangle of its area as nearly as whole pixels allow, of random shape and in a random place.

    The area of a soft mask is the sum of its likelihoods, so that its mean is kept; the rectangle is all 255.

    Args:
        masks: Shape (num_frames, height, width), binary or soft.
        rng: Draws shapes and places.

    Returns:
        Shape (num_frames, height, width).
    """
    areas, most = np.zeros_like(masks), all_moving(masks)
    _, height, width = masks.shape
    for mask, area in zip(masks, areas, strict=True):
        wanted = round(int(mask.sum()) / most)  # pixels: 1 or 255 is one that moves
        if wanted == 0:
            continue
        # The sides' ratio is drawn from 1:2 to 2:1, evenly on a logarithmic scale, and cut where a side does not fit.
        # At least so many rows that the area fits into the width.
        rows = np.clip(round((wanted * 2 ** rng.uniform(-1, 1)) ** 0.5), max(1, -(-wanted // width)), height)
        columns = min(width, max(1, round(wanted / rows)))
        top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
        area[top : top + rows, left : left + columns] = most
    return areas


def repeated(masks: Masks, is_frame: NDArray[np.bool_]) -> Masks:
    """Fill the slots without a frame, which come last, with the masks of a clip's frames, again from the first.

    Args:
        masks: Shape (num_clips, num_frames, height, width).
        is_frame: Shape (num_clips, num_frames); at least one a clip.

    Returns:
        Shape (num_clips, num_frames, height, width).
    """
    # (num_clips, num_frames): 0, 1, ... n - 1, 0, 1, ...
    slots = np.arange(masks.shape[1]) % is_frame.sum(axis=1, keepdims=True)
    repeated: Masks = np.take_along_axis(masks, slots[:, :, None, None], axis=1)
    return repeated


def shuffled_masks(store: Store, split: str, mask_name: str, seed: int) -> dict[int, int]:
    """Row -> the row whose masks it gets, of every row of a split that holds a video. Reads all its commit records.

    Raises:
        ShardIncompleteError: Frames or masks of the split are not complete.
        ValueError: Fewer than two rows hold a video.
    """
    stages = FRAMES_STAGE, masks_stage(mask_name)
    rows: set[int] = set()
    for _, records in require_committed_of_each(store, store.shards(split), stages):
        rows.update(outcome.row for record in records for outcome in record.outcomes if outcome.filled)
    return shuffled_rows(sorted(rows), seed)


def shuffled_rows(rows: Sequence[int], seed: int) -> dict[int, int]:
    """Give each row another row, each used once: along one random cycle through all of them.

    >>> sorted(shuffled_rows([3, 5, 9], seed=0).values())
    [3, 5, 9]
    """
    if len(rows) < 2:
        raise InputError(f"masks cannot be shuffled among {plural(len(rows), 'clip')}: it takes two")
    # A cycle: a plain shuffle would leave some clips with their own masks.
    cycle = [rows[index] for index in generator(Stream.SHUFFLE, seed).permutation(len(rows))]
    return dict(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
