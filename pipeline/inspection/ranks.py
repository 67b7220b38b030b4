"""Text-to-video ranks of captions, as `fda eval` counts them, and which video came first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.errors import InputError
from pipeline.evaluation.evaluate import TooManyMissingError, scorable_features
from pipeline.evaluation.grid import Grid
from pipeline.evaluation.ranking import CaptionQueries, RankCounts, go_through
from pipeline.evaluation.scores.dot import DotScores
from pipeline.evaluation.top_candidates import TopCandidates, TopVideos
from pipeline.run.events import ItemsDone, Reporter, RunPlanned
from pipeline.run.limits import ALL
from store.errors import NotInStoreError
from store.features import Features, feature_names, features_made_with
from store.json_values import JSON
from store.store import Store


@dataclass(frozen=True, slots=True)
class CaptionRank:
    """Where a caption finds its own video."""

    rank: int
    """From 1; a video that scores as high counts as above."""
    num_candidates: int
    """Videos of the split that have features."""
    score: float
    """Cosine of the caption and its own video."""
    first_video_id: str
    """The video that scores highest: its own one, if it is rank 1."""
    first_score: float


@dataclass(frozen=True)
class SplitRanks:
    """One split of one feature set, whose captions can be ranked."""

    features: Features
    scores: DotScores

    @classmethod
    def read(cls, store: Store, features: str, split: str) -> SplitRanks:
        """Read the features of a split.

        Raises:
            NotInStoreError: There are none of this name.
            ShardIncompleteError: They are not complete, or out of date.
            InputError: No caption has a video with features, or embeddings are NaN or not of unit norm.
            TooManyMissingError: No video has features.
        """
        found = scorable_features(store, features, split, max_missing=ALL)
        return cls(found, DotScores(found.text, found.video))

    def worst(self, count: int, report: Reporter) -> list[tuple[float, str]]:
        """The videos with the worst rank among their captions, worst first; of equal ones, the first in the catalogue.

        Returns:
            The rank as a share of the candidates, and the id.
        """
        truth = self.features.truth
        report.listener(RunPlanned("captions", len(truth), 0))
        counts, _ = self._ranked
        report.listener(ItemsDone(len(truth)))
        worst = np.zeros(len(self.features.video_ids), np.int64)
        # (num_captions,) -> (num_videos,). `level` counts the video itself, so that ranks begin at 1.
        np.maximum.at(worst, truth, counts.above + counts.level)
        order = np.argsort(-worst, kind="stable")[:count]
        shares = worst / counts.num_candidates
        # 0 is a video without captions.
        return [(float(shares[place]), self.features.video_ids[place]) for place in order.tolist() if worst[place]]

    @cached_property
    def _ranked(self) -> tuple[RankCounts, TopCandidates]:
        grid = Grid.of(self.features.truth, self.scores.first_videos)
        captions, top = CaptionQueries(grid), TopVideos(grid, 1)
        go_through(self.scores, grid, (captions, top), lambda num_queries: None)
        return captions.counts(self.scores.num_videos), top.found()

    def of(self, caption_ids: Iterable[str]) -> dict[str, CaptionRank]:
        """The ranks of some captions; those of videos without features have none.

        Every caption of the split is ranked, in the tiles of `fda eval`: in others, the last bits of scores might
        differ, and with them ranks.
        """
        wanted, (counts, top), names = set(caption_ids), self._ranked, self.features.video_ids
        return {
            name: CaptionRank(
                rank=int(counts.above[row] + counts.level[row]),
                num_candidates=self.scores.num_videos,
                score=float(top.own[row]),
                first_video_id=names[int(top.items[row, 0])],
                first_score=float(top.scores[row, 0]),
            )
            for row, name in enumerate(self.features.caption_ids)
            if name in wanted
        }


class Ranks:
    """The ranks of a feature set; each split is read once, when it is first needed."""

    def __init__(self, store: Store, features: str | None, report: Reporter) -> None:
        """Check that there are such features.

        Raises:
            NotInStoreError: No split has any.
        """
        self.features = features
        self._store, self._report = store, report
        self._read: dict[str, SplitRanks | None] = {}
        splits = tuple(store.manifest.splits)
        self.splits = tuple(
            split for split in splits if features is not None and features in feature_names(store, split)
        )
        """Those that have the features."""
        if features is not None and not self.splits:
            features_made_with(store, features, splits[0])  # raises, and lists those that are there

    @property
    def made_with(self) -> dict[str, JSON] | None:
        """What made the features; None without any."""
        if self.features is None:
            return None
        return features_made_with(self._store, self.features, self.splits[0])

    def worst(self, count: int, splits: Iterable[str]) -> list[tuple[str, str]]:
        """Split and id of the videos with the worst ranks, worst first; in several splits, as shares of their videos.

        Raises:
            NotInStoreError: None of these splits has the features.
            InputError: See `SplitRanks.read`, which has the other errors too.
        """
        asked = tuple(splits)
        here = [split for split in asked if split in self.splits]
        if not here:
            raise NotInStoreError(
                f"--worst-rank: {' and '.join(map(repr, asked))} of {self._store.place} have no features "
                f"{self.features!r}: these are in {' and '.join(map(repr, self.splits))}"
            )
        assert self.features is not None  # `InspectOptions` has made sure
        found = []
        for split in here:
            read = self._read[split] = SplitRanks.read(self._store, self.features, split)
            found += [(share, split, video_id) for share, video_id in read.worst(count, self._report)]
        found.sort(key=lambda one: -one[0])
        return [(split, video_id) for _, split, video_id in found[:count]]

    def of(self, split: str, caption_ids: Iterable[str]) -> dict[str, CaptionRank]:
        """The ranks of some captions of a split; none, with a warning, where there is nothing to rank."""
        if self.features is None:
            return {}
        if split not in self._read:
            self._read[split] = self._read_if_there(split, self.features)
        read = self._read[split]
        return {} if read is None else read.of(caption_ids)

    def _read_if_there(self, split: str, features: str) -> SplitRanks | None:
        if split not in self.splits:
            self._report.warn(f"no ranks for split {split!r}: it has no features {features!r}")
            return None
        try:
            return SplitRanks.read(self._store, features, split)
        except (InputError, TooManyMissingError) as error:
            self._report.warn(f"no ranks for split {split!r}: {error}")
            return None
