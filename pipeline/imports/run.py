"""`fda import-features`, as one function: match embeddings with the catalogue, and write them as a feature set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluation.arrays import unit_rows
from pipeline.evaluation.scores.pooling import pool_frames
from pipeline.imports.embeddings import Embeddings
from pipeline.imports.matching import Given, Matched, check_matches, matched
from pipeline.imports.options import ImportOptions
from pipeline.run.events import ItemsDone, Listener, Phase, Reporter, RunPlanned, ignore_events
from pipeline.run.fields import check_kinds
from pipeline.run.options import RunOptions
from pipeline.run.overwriting import announce
from pipeline.run.plan import make_plan
from pipeline.run.records import RunClock
from pipeline.run.words import plural
from pipeline.run.writing import Job, claim_on, recorded
from store.clips.shards import slot_checksum
from store.commits import VideoOutcome
from store.features import (
    ClipFeatures,
    TextFeatures,
    caption_shards,
    create_features,
    feature_set_files,
    write_clip_features,
    write_text_features,
)
from store.json_values import JSON
from store.own_files import remove_own
from store.schema import Shard, VideoStatus
from store.stages import features_stage
from store.store import Store


@dataclass(frozen=True, slots=True)
class SplitImported:
    """What was imported of one split."""

    split: str
    num_videos: int
    """Videos with an embedding."""
    num_videos_expected: int
    """All videos of the split."""
    num_captions: int
    """Captions with an embedding."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """How a run of `import_features` ended."""

    store: str
    features: str
    """Name of the feature set."""
    splits: tuple[SplitImported, ...]
    dim: int
    has_frames: bool
    """Whether embeddings of frames are stored, so that frames can be pooled again or scored one by one."""
    seconds: float
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        return {
            **asdict(self),
            "splits": [asdict(split) for split in self.splits],
            "seconds": round(self.seconds, 3),
            "warnings": list(self.warnings),
        }


def import_features(
    store: str | PathLike[str],
    options: ImportOptions,
    *,
    wait: bool = False,
    listener: Listener = ignore_events,
) -> ImportResult:
    """Write embeddings that another program has made into a store, as a feature set like any other.

    Every embedding is scaled to unit norm, so that scores are cosines. Killed and called again, it continues where it
    was. Features of a split and a name are never mixed.

    Args:
        store: A folder, or `s3://bucket/prefix`; its catalogue says which videos and captions there are.
        options: What to import.
        wait: Wait until another run that writes the same has ended, rather than refuse.
        listener: Hears how far the run is.

    Raises:
        InputError: A file cannot be read, ids are not those of the catalogue, or an embedding has no direction.
        StoreMismatchError: Features of this name were made from other embeddings.
        NotInStoreError: There is no such split.
        StoreBusyError: Another run writes the same.
        UnconfirmedError: `overwrite` would remove features that are there, and `yes` is not set.
    """
    clock, report = RunClock(), Reporter(listener)
    check_kinds(options=(options, ImportOptions))
    opened = Store.open(store)
    given = Given.of(options)
    parts = [matched(opened, split, given) for split in options.splits or opened.manifest.splits]
    # Without a choice, splits of which nothing was given are none of its business. A split that was named is refused
    # below.
    parts = [part for part in parts if part.video or options.splits]
    check_matches(opened, given, parts, report)
    # By the content of the embeddings, so that a run with other files goes not on with what an earlier one has begun.
    identity = given.identity(options)
    job = Job(
        "import-features",
        [f"features/{options.features}/{part.split}" for part in parts],
        identity,
        {
            "features": options.features,
            "splits": [part.split for part in parts],
            "sources": given.sources,
            **identity,
        },
    )
    with claim_on(opened.folder, job, RunOptions(wait=wait), report) as folder, recorded(folder, job, clock) as record:
        writer = _Writer(Store.open(folder), options, given)
        for part in parts:  # all, before anything is written: half a feature set would have to be removed again
            writer.check(part, listener)
        # After the check: old features are not removed for new ones that cannot be used.
        if options.overwrite:
            files = [own for part in parts for own in feature_set_files(folder, options.features, part.split)]
            announce(files, opened.place, report, yes=options.yes)
            remove_own(folder, files)
        for part in parts:
            writer.write(part, identity, listener)
        # Counted by `check`, over all shards: a run that resumes writes only some of them.
        if writer.num_scaled:
            report.warn(
                f"{plural(writer.num_scaled, 'embedding')} of texts or videos had a norm other than 1: all are scaled "
                "to it, so that scores are cosines"
            )
        result = ImportResult(
            store=opened.place,
            features=options.features,
            splits=tuple(
                SplitImported(part.split, len(part.video), opened.layout(part.split).num_videos, len(part.text))
                for part in parts
            ),
            dim=given.text.dim,
            has_frames=given.frame is not None,
            seconds=clock.seconds,
            warnings=report.warnings,
        )
        record.result = result.to_dict()
    return result


@dataclass
class _Writer:
    """Writes the shards of a feature set that are pending."""

    store: Store
    options: ImportOptions
    given: Given
    num_scaled: int = 0
    """Embeddings that were not of unit norm."""

    def check(self, part: Matched, listener: Listener) -> None:
        """Refuse a split with an embedding that cannot be scored, or with more frames than fit; and count."""
        captions, clips = caption_shards(self.store, part.split), self.store.shards(part.split)
        phase = Phase("shards checked", len(captions) + len(clips), listener)
        for shard in phase.each(captions):
            self.num_scaled += self._texts(part, shard)[1]
        for shard in phase.each(clips):
            self.num_scaled += self._clips(part, shard)[1]

    def write(self, part: Matched, identity: Mapping[str, JSON], listener: Listener) -> None:
        """Write one split."""
        store, name, split = self.store, self.options.features, part.split
        # Refuses features of that name that were made of anything else.
        create_features(store, name, split, self.given.text.dim, identity, self.options.dtypes)
        clips = make_plan(store, store.shards(split), [features_stage(name, "video")]).pending
        captions = make_plan(store, caption_shards(store, split), [features_stage(name, "text")]).pending
        listener(
            RunPlanned(
                "videos",
                store.layout(split).num_videos,
                store.layout(split).num_videos - sum(one.shard.num_rows for one in clips),
            )
        )
        for pending in captions:
            found = TextFeatures(self._texts(part, pending.shard)[0], dtype=self.options.dtypes.vectors)
            write_text_features(store, name, pending.shard, found)
        for pending in clips:
            features, _ = self._clips(part, pending.shard)
            # No inputs: what becomes of the store's frames and masks does not make these out of date.
            write_clip_features(store, name, pending.shard, features, {})
            num_failed = sum(not outcome.filled for outcome in features.outcomes)
            listener(ItemsDone(pending.shard.num_rows, num_failed))

    def _texts(self, part: Matched, shard: Shard) -> tuple[NDArray[np.float32], int]:
        """The captions of a shard, and how many were not of unit norm."""
        given = self.given.text
        rows = [row for row in range(shard.start, shard.stop) if row in part.text]
        # NaN stays for captions of videos that have no embedding: `check_matches` has refused all others without one.
        found = np.full((shard.num_rows, given.dim), np.nan, np.float32)
        num_scaled = 0
        if rows:
            # (len(rows), dim): a text has one row
            values = np.stack([given.frames_of(part.text[row])[0] for row in rows])
            ids = self.store.catalog.split_captions(part.split)["caption_id"].slice(shard.start, shard.num_rows)
            units, num_scaled = unit_rows(values, given.source, [ids[row - shard.start].as_py() for row in rows])
            found[np.array(rows) - shard.start] = units
        return found, num_scaled

    def _clips(self, part: Matched, shard: Shard) -> tuple[ClipFeatures, int]:
        """The videos of a shard, and how many were not of unit norm."""
        layout = self.store.layout(part.split)
        video = np.full((shard.num_rows, self.given.text.dim), np.nan, np.float32)
        # As many frames as the store's clips have, also where none were given: readers know no other shape.
        frame = np.full((shard.num_rows, layout.num_frames, self.given.text.dim), np.nan, np.float32)
        ids = self.store.catalog.split_videos(part.split)["video_id"].slice(shard.start, shard.num_rows).to_pylist()
        outcomes, num_scaled = [], 0
        for slot, (row, video_id) in enumerate(zip(range(shard.start, shard.stop), ids, strict=True)):
            index = part.video.get(row)
            if index is None:
                reason = f"no embedding of it in {PurePosixPath(self.given.video.source).name}"
                outcomes.append(VideoOutcome(video_id, row, VideoStatus.MISSING, filled=False, reason=reason))
                continue
            (video[slot],), is_scaled = self._pooled(index, video_id)  # one row, and 0 or 1
            num_scaled += is_scaled
            if self.given.frame is not None:
                frames = self._frames(part, row, video_id, layout.num_frames)
                frame[slot, : len(frames)] = frames
            checksum = slot_checksum(video[slot])
            outcomes.append(VideoOutcome(video_id, row, VideoStatus.OK, filled=True, checksum=checksum))
        dtypes = self.options.dtypes
        # Only frames: videos are of unit norm. NaN, for no frame, compares false.
        if dtypes.frames == "float16" and (np.abs(frame) > np.finfo(np.float16).max).any():
            raise InputError("embeddings of frames are too large for float16 (65,504 at most): store them as float32")
        return ClipFeatures(video, frame, tuple(outcomes), dtypes=dtypes), num_scaled

    def _pooled(self, index: int, video_id: str) -> tuple[NDArray[np.float32], int]:
        given = self.given.video
        rows = given.frames_of(index)
        if given.are_frames:
            rows = _present(rows, given, video_id)
            # (num_frames, dim) -> (1, num_frames, dim) -> (1, dim)
            rows = pool_frames(rows[None], str(self.options.pooling))
        return unit_rows(rows, given.source, [video_id])

    def _frames(self, part: Matched, row: int, video_id: str, num_frames: int) -> NDArray[np.float32]:
        given = self.given.frame
        assert given is not None, "only called with frames"
        if row not in part.frame:
            raise InputError(f"{given.source} has no frames of video {video_id!r}, of which there is an embedding")
        # Not scaled: pooling by `mean` weights frames by their norms, as encoders give them.
        rows = _present(given.frames_of(part.frame[row]), given, video_id)
        if len(rows) > num_frames:
            raise InputError(
                f"{given.source} has {len(rows)} frames of video {video_id!r}, and this store has room for "
                f"{num_frames}: give them as the embeddings of videos (video) alone, then they are pooled"
            )
        return rows


def _present(rows: NDArray[np.float32], given: Embeddings, video_id: str) -> NDArray[np.float32]:
    """The frames that there are: a row of NaN stands for none."""
    found = rows[~np.isnan(rows).all(axis=1)]
    if not len(found) or not np.isfinite(found).all() or not found.any(axis=1).all():
        raise InputError(f"{given.source}: video {video_id!r} has no frames, or some that are NaN, infinite or zero")
    return found
