"""What filters look at: facts of each video of a split, read once."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.run.words import listed
from pipeline.search.options import Filters
from store.commits import OUTCOME_FIELDS, CommitRecord, VideoOutcome, commit_name
from store.completion import map_many, outcomes_of
from store.errors import ShardRebuiltError, StoreError
from store.formats.columns import column
from store.remedies import RUN_AGAIN
from store.schema import Shard
from store.stages import FRAMES_STAGE
from store.view import StoreView

FACTS_OF_FRAMES = ("duration_seconds",)
FACTS_OF_MASKS = ("mask_coverage", "camera_motion")
"""Fields of a `VideoOutcome`, of frames and of masks."""


@dataclass
class Facts:
    """Facts of the videos of one split, by row."""

    view: StoreView
    split: str
    masks_stage: str
    """Of the masks that the features were made with."""
    _values: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def passing(self, filters: Filters) -> NDArray[np.bool_]:
        """Shape (num_videos of the split,): which pass; a video of which a fact is not known does not.

        Raises:
            ShardIncompleteError: Frames or masks are pending.
            ShardRebuiltError: The store has got other videos since it was opened.
        """
        videos = self.view.videos(self.split)
        passed = np.ones(len(videos), np.bool_)
        if filters.categories:
            found = pc.is_in(videos["category"].combine_chunks(), column(filters.categories, pa.string()))
            passed &= np.asarray(found, np.bool_)
        if filters.duration_seconds is not None:
            passed &= self._within("duration_seconds", FRAMES_STAGE, filters.duration_seconds)
        if filters.motion is not None:
            passed &= self._within("mask_coverage", self.masks_stage, filters.motion)
        if filters.camera_moves is not None:
            # Of a truth value both limits are the value: True is 1.0 in the column.
            passed &= self._within("camera_motion", self.masks_stage, (filters.camera_moves,) * 2)
        return passed

    def _within(self, name: str, stage: str, limits: tuple[float, float]) -> NDArray[np.bool_]:
        if name not in self._values:
            # All facts of a stage at once, as they lie in the same commit records.
            self._values |= self._read(stage)
        values = self._values[name]
        # NaN is in no range: what was not measured does not pass.
        return (values >= limits[0]) & (values <= limits[1])

    def _read(self, stage: str) -> dict[str, NDArray[np.float64]]:
        """The facts that one stage knows, each of shape (num_videos of the split,); NaN where one is not known."""
        names, store = FACTS_OF_FRAMES if stage == FRAMES_STAGE else FACTS_OF_MASKS, self.view.store
        values = {name: np.full(len(self.view.videos(self.split)), np.nan) for name in names}

        def outcomes(shard: Shard) -> tuple[VideoOutcome, ...]:
            name = commit_name(shard, stage)
            try:
                # Only these columns: a split may have a million outcomes.
                record = CommitRecord.from_bytes(store.folder.read(name), name, (*OUTCOME_FIELDS, *names))
            except StoreError:
                return outcomes_of(store, shard, stage)  # which says what is wrong
            # The shard was made again after the catalogue was read: its rows are other videos now.
            if len(record.outcomes) != shard.num_rows:
                raise ShardRebuiltError(f"{store.place} has got other videos since it was opened: {RUN_AGAIN}")
            return record.outcomes

        for of_shard in map_many(store.folder, outcomes, store.shards(self.split)):
            for outcome in of_shard:
                for name, its in values.items():
                    value = getattr(outcome, name)
                    its[outcome.row] = np.nan if value is None else value
        return values


def check_categories(views: tuple[StoreView, ...], filters: Filters) -> None:
    """Refuse a category that no video has.

    Raises:
        InputError: There is none such; the message has those that are spelt like it, or some of those that there are.
    """
    if not filters.categories:
        return
    known = {name for view in views for name in pc.unique(view.videos()["category"]).to_pylist() if name is not None}
    for name in filters.categories:
        if name not in known:
            close = get_close_matches(name, known) or sorted(known)
            raise InputError(f"no video has the category {name!r}; there: {listed([repr(one) for one in close])}")
