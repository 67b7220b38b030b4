"""Which videos are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.inspection.options import NUM_BY_DEFAULT, InspectOptions
from pipeline.inspection.ranks import Ranks
from pipeline.run.events import Reporter
from pipeline.run.randomness import Stream, generator
from pipeline.run.words import listed, plural
from store.clips.mask_sets import mask_attributes, mask_names
from store.completion import Pending, judged_of_each
from store.errors import NotInStoreError
from store.formats.columns import column
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store

_IDS_COMPARED = 200_000
"""Ids that one which is not there is compared with: these take a second."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """One video that is to be shown."""

    split: str
    row: int
    video_id: str
    chosen_by: dict[str, int]
    """Choice -> the video's place in it, from 1: `{"worst-rank": 1, "emptiest": 3}`."""


def choose(
    store: Store, options: InspectOptions, masks: Sequence[str], ranks: Ranks, report: Reporter
) -> tuple[Chosen, ...]:
    """Find the videos that are asked for, each once.

    Args:
        store: The store.
        options: What is asked for.
        masks: Mask sets that are there; choices go by the first.
        ranks: Of the captions.
        report: Hears which choice finds less than was asked for.

    Raises:
        NotInStoreError: There is no such video or split, or none of these splits has the features.
        InputError: Nothing is found, or masks are asked for and there are none.
    """
    splits = options.splits or tuple(store.manifest.splits)
    for split in splits:
        store.layout(split)
    found = {"named": _named(store, options.video_ids, splits)}
    if options.worst_rank is not None:
        # Ranks among the videos that a model was trained on say little.
        default = ("test",) if "test" in ranks.splits else ranks.splits
        worst = ranks.worst(options.worst_rank, options.splits or default)
        found["worst-rank"] = _rows_of(store, worst)
    drawn = NUM_BY_DEFAULT if options.draws_by_default else options.random
    if options.chooses_by_masks and not masks:
        raise InputError(f"{store.place} has no mask set to choose by: `fda masks STORE --masks NAME` makes one")
    if options.chooses_by_masks or drawn is not None or options.failed is not None:
        survey = _Survey.of(store, splits, masks[0] if options.chooses_by_masks else None, report)
        for name, count in (("emptiest", options.emptiest), ("fullest", options.fullest), ("camera", options.camera)):
            if count is not None:
                found[name] = survey.by_masks(name, count)
        if options.failed is not None:
            found["failed"] = survey.failed(options.failed, report)
        if drawn is not None:
            found["random"] = survey.drawn(drawn, options.seed)
    places: dict[tuple[str, int], dict[str, int]] = {}
    for name, videos in found.items():
        for place, video in enumerate(videos, 1):
            # A video that several choices find is shown once, where the first one has it.
            places.setdefault(video, {})[name] = place
    if not places:
        names = " and ".join(f"--{name}" for name in found if name != "named")
        raise InputError(f"nothing to show: {names} finds no video in {' and '.join(map(repr, splits))}")
    _report_less(found, options, report)
    return tuple(
        Chosen(split, row, store.catalog.video_ids(split, row, row + 1)[0], by) for (split, row), by in places.items()
    )


def existing_masks(store: Store, options: InspectOptions) -> tuple[str, ...]:
    """The mask sets that are asked for; without any, all that are there, `default` first.

    Raises:
        NotInStoreError: There is no such mask set, or no such split.
    """
    splits = options.splits or tuple(store.manifest.splits)
    there = {name for split in splits for name in mask_names(store, split)}
    for name in options.masks:
        if name not in there:
            mask_attributes(store, splits[0], name)  # raises, and lists those that are there
    return options.masks or tuple(sorted(there, key=lambda name: (name != "default", name)))


def _named(store: Store, video_ids: Sequence[str], splits: Sequence[str]) -> list[tuple[str, int]]:
    if not video_ids:
        return []
    wanted, videos = list(dict.fromkeys(video_ids)), store.catalog.videos
    videos = videos.filter(pc.is_in(videos["video_id"], column(wanted, pa.string())))
    columns = (videos[name].to_pylist() for name in ("video_id", "split", "row"))
    found = {video_id: (split, row) for video_id, split, row in zip(*columns, strict=True)}
    missing = [video_id for video_id in wanted if video_id not in found]
    if missing:
        raise NotInStoreError(_no_such_video(store, missing))
    elsewhere = [video_id for video_id in wanted if found[video_id][0] not in splits]
    if elsewhere:
        split = found[elsewhere[0]][0]
        raise NotInStoreError(
            f"video {elsewhere[0]!r} is in split {split!r}, and --split names {' and '.join(map(repr, splits))}"
        )
    return [found[video_id] for video_id in wanted]


def _no_such_video(store: Store, missing: Sequence[str]) -> str:
    known = (one.as_py() for one in islice(store.catalog.videos["video_id"], _IDS_COMPARED))
    close = get_close_matches(missing[0], known, n=3, cutoff=0.6)
    hint = f": did you mean {' or '.join(map(repr, close))}?" if close else ""
    if len(missing) > 1:
        return f"{len(missing)} of these videos are not in {store.place}: {listed(list(map(repr, missing)))}{hint}"
    return f"no video {missing[0]!r} in {store.place}{hint}"


def _rows_of(store: Store, videos: Iterable[tuple[str, str]]) -> list[tuple[str, int]]:
    """Split and row of videos by split and id."""
    wanted = list(videos)
    rows: dict[tuple[str, str], int] = {}
    for split in {split for split, _ in wanted}:
        ids = store.catalog.split_videos(split)["video_id"].to_pylist()
        rows |= {(split, video_id): row for row, video_id in enumerate(ids)}
    return [(split, rows[split, video_id]) for split, video_id in wanted]


@dataclass(frozen=True)
class _Survey:
    """What the commit records say of the videos of some splits, one after the other."""

    splits: NDArray[np.int64]
    """Shape (num_videos,): number of the split."""
    rows: NDArray[np.int64]
    is_filled: NDArray[np.bool_]
    has_failed: NDArray[np.bool_]
    coverage: NDArray[np.float64]
    """NaN where there are no masks."""
    camera_moves: NDArray[np.bool_]
    names: tuple[str, ...]
    """Of the splits."""

    @classmethod
    def of(cls, store: Store, splits: Sequence[str], masks: str | None, report: Reporter) -> _Survey:
        """Read the records of frames, and of one mask set; pending shards are left out, with a warning."""
        stages = [FRAMES_STAGE, *([] if masks is None else [masks_stage(masks)])]
        counts = [store.layout(split).num_videos for split in splits]
        survey = cls(
            splits=np.repeat(np.arange(len(splits)), counts),
            rows=np.concatenate([np.arange(count) for count in counts]),
            is_filled=np.zeros(sum(counts), np.bool_),
            has_failed=np.zeros(sum(counts), np.bool_),
            coverage=np.full(sum(counts), np.nan),
            camera_moves=np.zeros(sum(counts), np.bool_),
            names=tuple(splits),
        )
        first = 0
        for split, count in zip(splits, counts, strict=True):
            survey._read(store, split, first, stages, report)
            first += count
        return survey

    def _read(self, store: Store, split: str, first: int, stages: Sequence[str], report: Reporter) -> None:
        shards, num_pending = store.shards(split), dict.fromkeys(stages, 0)
        for _, judged in judged_of_each(store, shards, stages):
            for stage, record in zip(stages, judged, strict=True):
                if isinstance(record, Pending):
                    num_pending[stage] += 1
                    continue
                for outcome in record.outcomes:
                    place = first + outcome.row
                    if stage == FRAMES_STAGE:
                        self.is_filled[place], self.has_failed[place] = outcome.filled, not outcome.filled
                    elif outcome.filled and outcome.mask_coverage is not None:
                        self.coverage[place] = outcome.mask_coverage
                        self.camera_moves[place] = outcome.camera_motion is True
        for stage, number in num_pending.items():
            if number:
                report.warn(
                    f"split {split!r}: {stage} of {number:,} of {plural(len(shards), 'shard')} are pending, and their "
                    "videos are not chosen from"
                )

    def by_masks(self, name: str, count: int) -> list[tuple[str, int]]:
        """The videos with the emptiest or fullest masks, or of those whose camera moves the fullest."""
        places = np.flatnonzero(self.is_filled & np.isfinite(self.coverage))
        if name == "camera":
            places = places[self.camera_moves[places]]
        coverage = self.coverage[places]
        # Stable: equal ones in the order of the catalogue, in every run.
        order = np.argsort(coverage if name == "emptiest" else -coverage, kind="stable")
        return self._videos(places[order[:count]])

    def failed(self, count: int, report: Reporter) -> list[tuple[str, int]]:
        """The first videos that failed."""
        places = np.flatnonzero(self.has_failed)
        if len(places) > count:
            report.say(f"{plural(len(places), 'video')} failed, shown: the first {count:,}")
        return self._videos(places[:count])

    def drawn(self, count: int, seed: int) -> list[tuple[str, int]]:
        """Videos with a clip, at random."""
        places = np.flatnonzero(self.is_filled)
        return self._videos(generator(Stream.INSPECTION, seed).permutation(places)[:count])

    def _videos(self, places: NDArray[np.int64]) -> list[tuple[str, int]]:
        return [(self.names[self.splits[place]], int(self.rows[place])) for place in places.tolist()]


def _report_less(found: dict[str, list[tuple[str, int]]], options: InspectOptions, report: Reporter) -> None:
    """Tell which choice finds less than it asked for."""
    for name, videos in found.items():
        count = getattr(options, name.replace("-", "_"), None)
        if count is not None and len(videos) < count and name != "failed":  # as many as failed is what is meant
            report.say(f"--{name} {count:,} finds {plural(len(videos), 'video')}")
