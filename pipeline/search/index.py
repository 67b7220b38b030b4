"""The vectors of one feature set in one split of one store, with the ids of their videos and captions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.search.options import Filters
from store.completion import outcomes_of_each
from store.features import Features, read_features, read_frame_features
from store.stages import FRAMES_STAGE, masks_stage
from store.view import StoreView


@dataclass(frozen=True)
class SplitIndex:
    """One split of one feature set, read when it is first needed."""

    view: StoreView
    features: str
    split: str

    @cached_property
    def vectors(self) -> Features:
        """Of videos and captions."""
        return read_features(self.view.store, self.features, self.split)

    @cached_property
    def frames(self) -> NDArray[np.float32]:
        """Of the videos of `vectors`, unit norm: shape (num_videos, num_frames, dim), NaN where there is no frame."""
        _, frame = read_frame_features(self.view.store, self.features, self.split)
        return np.asarray(frame / np.linalg.norm(frame, axis=-1, keepdims=True))

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Shape (num_videos,): the row of each video of `vectors` in its split."""
        ids = self.view.videos(self.split)["video_id"]
        found = pa.compute.index_in(pa.array(self.vectors.video_ids, pa.string()), ids.combine_chunks())
        return np.asarray(found, dtype=np.int64)

    @cached_property
    def pts_seconds(self) -> NDArray[np.float64]:
        """Shape (num_videos, num_frames)."""
        return self.view.pts_seconds(self.rows, split=self.split)

    @cached_property
    def captions(self) -> tuple[str, ...]:
        """The text of each caption of `vectors`."""
        captions = self.view.captions(self.split)
        texts = dict(zip(captions["caption_id"].to_pylist(), captions["text"].to_pylist(), strict=True))
        return tuple(texts[caption_id] for caption_id in self.vectors.caption_ids)

    @cached_property
    def first_captions(self) -> dict[int, str]:
        """Position of a video in `vectors` -> its first caption."""
        pairs = zip(self.vectors.truth.tolist()[::-1], self.captions[::-1], strict=True)
        return dict(pairs)

    def candidates(self, filters: Filters) -> NDArray[np.bool_]:
        """Shape (num_videos,): which videos of `vectors` pass the filters."""
        passed = np.ones(len(self.vectors.video_ids), np.bool_)
        if filters.categories:
            categories = np.array(self.view.videos(self.split)["category"].to_pylist(), object)[self.rows]
            passed &= np.isin(categories, filters.categories)
        if filters.duration_seconds is not None:
            passed &= self._within("duration_seconds", FRAMES_STAGE, filters.duration_seconds)
        if filters.motion is not None:
            passed &= self._within("mask_coverage", self._masks, filters.motion)
        if filters.camera_moves is not None:
            passed &= self._within("camera_motion", self._masks, (filters.camera_moves,) * 2)
        return passed

    @property
    def _masks(self) -> str:
        masks = self.vectors.attributes.get("masks")
        return masks_stage(str(masks["name"]) if isinstance(masks, dict) else "default")

    def _within(self, field: str, stage: str, limits: tuple[float, float]) -> NDArray[np.bool_]:
        values = np.full(len(self.view.videos(self.split)), np.nan)
        for outcomes in outcomes_of_each(self.view.store, self.view.store.shards(self.split), stage):
            for outcome in outcomes:
                value = getattr(outcome, field)
                values[outcome.row] = np.nan if value is None else value
        return (values[self.rows] >= limits[0]) & (values[self.rows] <= limits[1])
