"""Frames of clips as small pictures in a page, within a number of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.pages.pictures import data_url, evenly, highlighted, joined, shrunk
from pipeline.run.events import Reporter
from store.arrays.reading import ChunkReader, read_shard
from store.clips.layout import Masks, as_masks, frames_spec, pts_spec
from store.clips.mask_sets import stored_masks_spec
from store.completion import require_committed
from store.errors import StoreError
from store.stages import FRAMES_STAGE, masks_stage
from store.view import StoreView

MAX_BYTES = 3_000_000
"""Of all pictures of a page: with all else, it stays below 5 MB."""
_MAX_CLIP_BYTES = 2**28
"""A clip is read whole: of larger ones no picture is made."""
_SIDE, _NUM_FRAMES, _QUALITY = 104, 4, 62


@dataclass(frozen=True, slots=True)
class Strip:
    """Some frames of a clip side by side, or why there are none."""

    video_id: str
    url: str | None
    """A URL that contains the picture; None without one."""
    why: str = ""
    """Half a sentence, if there is none; empty where none are wanted."""


@dataclass
class Thumbnails:
    """Makes strips until their bytes are used up."""

    view: StoreView
    report: Reporter
    are_wanted: bool
    num_bytes: int = 0
    _rows: dict[str, dict[str, int]] = field(default_factory=dict)
    """Split -> id -> row."""
    _told: set[str] = field(default_factory=set)
    """What was wrong, which may be so of many clips of a shard."""
    _made: dict[tuple[str, str, str | None], Strip] = field(default_factory=dict)

    def of(self, video_id: str, split: str, masks: str | None = None) -> Strip:
        """Frames of a video; with the name of a mask set, below them the same ones with what moves lit."""
        key = video_id, split, masks
        if key not in self._made:
            self._made[key] = self._strip(*key)
        return self._made[key]

    def _strip(self, video_id: str, split: str, masks: str | None) -> Strip:
        layout = self.view.splits[split]
        if not self.are_wanted:
            return Strip(video_id, None)
        if layout.num_frames * layout.height * layout.width * 3 > _MAX_CLIP_BYTES:
            return Strip(video_id, None, "its frames are too large for a thumbnail")
        # Looked at before a picture is made, so that the last one may exceed it: by some kilobytes.
        if self.num_bytes > MAX_BYTES:
            return Strip(video_id, None, "no room for more pictures on this page")
        try:
            frames, moving, times = self._clip(video_id, split, masks)
            there = np.flatnonzero(np.isfinite(times))
            if not len(there):  # its embeddings may have been imported
                return Strip(video_id, None, "it has no clip")
            shown = there[evenly(len(there), _NUM_FRAMES)]
            rows = [_row(list(frames[shown]))]
            if moving is not None:
                pairs = zip(frames[shown], moving[shown], strict=True)
                rows.append(_row([highlighted(*pair) for pair in pairs]))
        except StoreError as error:
            if str(error) not in self._told:
                self._told.add(str(error))
                self.report.warn(f"some frames are not shown, the first those of {video_id!r}: {error}")
            return Strip(video_id, None, "its frames cannot be read")
        url = data_url(np.concatenate(rows), ".jpg", _QUALITY)
        self.num_bytes += len(url)
        return Strip(video_id, url)

    def _clip(
        self, video_id: str, split: str, masks: str | None
    ) -> tuple[NDArray[np.uint8], Masks | None, NDArray[np.float64]]:
        """Frames, masks and times of one video: its own shard alone is looked at, as there are clips of many shards.

        Raises:
            StoreError: They are not there, or damaged.
        """
        store, folder = self.view.store, self.view.store.folder
        row = self._rows_of(split)[video_id]
        shard = store.shards(split)[row // store.manifest.shard_size]
        for stage in (FRAMES_STAGE, *([] if masks is None else [masks_stage(masks)])):
            require_committed(store, shard, stage)
        frames = ChunkReader(folder, frames_spec(store, split)).read([row])[0, 0]
        moving = (
            None if masks is None else ChunkReader(folder, stored_masks_spec(store, split, masks)).read([row])[0, 0]
        )
        times = read_shard(folder, pts_spec(store, split), shard)[row - shard.start]
        return (
            np.asarray(frames, np.uint8),
            None if moving is None else as_masks(moving),
            np.asarray(times, np.float64),
        )

    def _rows_of(self, split: str) -> dict[str, int]:
        if split not in self._rows:
            ids = self.view.videos(split)["video_id"].to_pylist()
            self._rows[split] = {video_id: row for row, video_id in enumerate(ids)}
        return self._rows[split]


def _row(frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return joined([shrunk(frame, _SIDE) for frame in frames])
