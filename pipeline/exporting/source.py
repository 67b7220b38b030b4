"""What is exported of a store, shard by shard: no more than the arrays of one are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.clips.read_ahead import read_ahead
from pipeline.errors import InputError
from pipeline.exporting.options import ExportOptions
from pipeline.run.events import Reporter
from store.arrays.reading import ChunkReader
from store.clips.layout import Masks, as_masks, frames_spec, pts_spec
from store.clips.mask_sets import mask_attributes, mask_names, stored_masks_spec
from store.commits import CommitRecord, commit_name
from store.completion import input_digests, require_committed_of_each
from store.errors import ShardIncompleteError, StoreFormatError
from store.feature_reader import FeatureReader
from store.features import caption_shards
from store.json_values import JSON, differences
from store.remedies import REBUILD_CATALOG, RUN_AGAIN
from store.schema import Shard
from store.stages import FRAMES_STAGE, features_stage, masks_stage
from store.store import Store

DEFAULT_MASKS = "default"
CLIP_FACTS = ("duration_seconds", "fps")
MASK_FACTS = ("num_masks", "mask_coverage", "num_empty_masks", "num_full_masks", "camera_motion")
"""What is read of the outcomes of frames and of masks: each column of a record takes its time."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Which parts of a store a format has a place for."""

    features: bool = True
    """Embeddings of videos and captions."""
    requires_features: bool = True
    frame_features: bool = False
    """Embeddings of frames; they are required then."""
    times: bool = True
    """When frames are shown, and what is known of the files: taken if there are frames."""
    requires_times: bool = False
    frames: bool = False
    """Pictures of frames; they are required then."""
    masks: bool = True
    """Statistics of masks, and their pictures where there are those of frames."""


@dataclass(frozen=True)
class Selected:
    """What is exported of one split, open for reading."""

    store: Store
    split: str
    parts: Parts
    features: str | None
    masks: str | None
    has_clips: bool
    """Whether times and the outcomes of the frames are read."""

    @classmethod
    def of(cls, store: Store, split: str, options: ExportOptions, parts: Parts, report: Reporter) -> Selected:
        """Find what there is.

        Raises:
            NotInStoreError: There is no such split, mask set or feature set.
            ShardIncompleteError: Embeddings of captions are pending.
        """
        store.layout(split)  # raises if there is no such split
        masks = options.masks if parts.masks else None
        if masks is not None:
            mask_attributes(store, split, masks)
        elif parts.masks and DEFAULT_MASKS in mask_names(store, split):
            masks = DEFAULT_MASKS
        features = options.features if parts.features else None
        found = cls(store, split, parts, features, masks, has_clips=True)
        # Captions have shards of their own, which `batches` does not go through.
        if found.reader is not None:
            shards = caption_shards(store, split)
            for _ in require_committed_of_each(
                store, shards, [features_stage(str(features), "text")], with_catalog=False
            ):
                pass
        if options.masks is not None or parts.frames:
            return found
        # Embeddings may have been imported into a store without frames, and masks may not be made yet.
        # Asked once here, so that a format that can do without is told in a warning, and not by an error halfway.
        missing = found._first_missing()
        if missing == FRAMES_STAGE and features is not None and not parts.requires_times:
            report.warn(
                f"frames of split {split!r} are pending: no times and no statistics of masks are exported of it"
            )
            return cls(store, split, parts, features, None, has_clips=False)
        if missing == masks_stage(str(masks)):
            report.warn(f"masks {masks!r} of split {split!r} are pending: no statistics of masks are exported of it")
            return cls(store, split, parts, features, None, has_clips=True)
        return found

    @cached_property
    def reader(self) -> FeatureReader | None:
        """The feature set, if one is exported."""
        return None if self.features is None else FeatureReader(self.store, self.features, self.split)

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of videos that must be complete, in the order in which they build on each other."""
        return (
            *([FRAMES_STAGE] if self.has_clips and (self.parts.frames or self.parts.times) else []),
            *([masks_stage(self.masks)] if self.masks is not None else []),
            *([features_stage(self.features, "video")] if self.features is not None else []),
        )

    @cached_property
    def times(self) -> ChunkReader:
        """When frames are shown."""
        return ChunkReader(self.store.folder, pts_spec(self.store, self.split))

    @property
    def is_imported(self) -> bool:
        """Whether another program made the embeddings: of which frames is then not known."""
        return self.reader is not None and "imported" in self.reader.made_with

    @property
    def dim(self) -> int | None:
        """Numbers of an embedding."""
        return None if self.reader is None else self.reader.dim

    @cached_property
    def made_with(self) -> dict[str, JSON]:
        """What made that which is exported."""
        made: dict[str, JSON] = {"frames": dict(self.store.manifest.options)}
        if self.masks is not None:
            made["masks"] = mask_attributes(self.store, self.split, self.masks)
        if self.reader is not None:
            made["features"] = dict(self.reader.made_with)
        return made

    def batches(self) -> Iterator[Batch]:
        """The shards, one after the other. Read what you need of one before you ask for the next.

        Raises:
            ShardIncompleteError: A shard is pending, or was rebuilt while it was read.
        """
        store, stages = self.store, self.stages
        videos, captions = store.catalog.split_videos(self.split), store.catalog.split_captions(self.split)
        owners = _owners(captions, videos, store.place)
        made_with = self.made_with
        facts = {FRAMES_STAGE: CLIP_FACTS, **({} if self.masks is None else {masks_stage(self.masks): MASK_FACTS})}
        columns = {stage: ("filled", *facts.get(stage, ())) for stage in stages}
        shards = store.shards(self.split)
        # A generator: records are read as it is drawn from, which only the thread of `read_ahead` does.
        found = require_committed_of_each(store, shards, stages, columns=columns)
        for shard, records in read_ahead(lambda _: next(found), shards):
            before = {commit_name(shard, record.stage): record.sha256 for record in records}
            # Captions are in the order of their videos: those of a shard lie between these two.
            start, stop = np.searchsorted(owners, [shard.start, shard.stop]).tolist()
            batch = Batch(
                selected=self,
                shard=shard,
                all_videos=videos.slice(shard.start, shard.num_rows),
                all_captions=captions.slice(start, stop - start),
                all_owners=owners[start:stop] - shard.start,
                first_caption=start,
                records=dict(zip(stages, records, strict=True)),
            )
            yield batch
            # After the caller has read what it needs: another run may have rebuilt the shard between two of its reads.
            if input_digests(store, shard, stages) != before:
                raise ShardIncompleteError(
                    f"shard {shard.key} of {store.place} was rebuilt while it was read: {RUN_AGAIN}"
                )
        # Made again: `made_with` of this one is remembered, and would equal itself.
        now = Selected(store, self.split, self.parts, self.features, self.masks, self.has_clips).made_with
        if now != made_with:
            raise ShardIncompleteError(
                f"split {self.split!r} of {store.place} was rebuilt while it was read "
                f"({differences(made_with, now)}): {RUN_AGAIN}"
            )

    def _first_missing(self) -> str | None:
        """The first stage of which a shard has no record; names of records are listed, which is fast."""
        shards = self.store.shards(self.split)
        for stage in self.stages:
            names = set(self.store.folder.names(f"commits/{self.split}/{stage}"))
            if any(commit_name(shard, stage) not in names for shard in shards):
                return stage
        return None


@dataclass(frozen=True)
class Batch:
    """The videos of one shard, and what is exported of them. Arrays are read when they are asked for."""

    selected: Selected
    shard: Shard
    all_videos: pa.Table
    """Rows of the catalogue; of all its videos, as the two below."""
    all_captions: pa.Table
    all_owners: NDArray[np.int64]
    """Slot of the video of each caption."""
    first_caption: int
    records: Mapping[str, CommitRecord]
    """Stage -> its record."""

    @cached_property
    def slots(self) -> NDArray[np.int64]:
        """Slots in the shard of the videos that are exported: all of them have what the format requires."""
        parts, selected = self.selected.parts, self.selected
        wanted = [features_stage(selected.features, "video")] if selected.features is not None else []
        # Without features, a video is exported if it has a clip. With them, one may have an embedding and no clip.
        wanted += [FRAMES_STAGE] if parts.frames or parts.requires_times or not wanted else []
        filled = np.ones(self.shard.num_rows, dtype=np.bool_)
        for stage in wanted:
            if stage in self.records:
                filled &= self._filled(stage)
        return np.flatnonzero(filled)

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def split(self) -> str:
        """Its split."""
        return self.shard.split

    @property
    def num_left_out(self) -> int:
        """Videos of the shard that are not exported, as they failed."""
        return self.shard.num_rows - len(self)

    @cached_property
    def videos(self) -> pa.Table:
        """Rows of the catalogue of the videos that are exported."""
        # The slice itself where nothing is left out, which is usual: a copy of each table would take its time.
        return self.all_videos if not self.num_left_out else self.all_videos.take(pa.array(self.slots))

    @cached_property
    def ids(self) -> list[str]:
        """Of the videos."""
        ids: list[str] = self.videos["video_id"].to_pylist()
        return ids

    @cached_property
    def captions(self) -> pa.Table:
        """Rows of the catalogue of the captions of these videos."""
        return self.all_captions if not self.num_left_out else self.all_captions.take(pa.array(self._kept))

    @cached_property
    def owners(self) -> NDArray[np.int64]:
        """Position among the videos of the video of each caption; ascending."""
        # `slots` are ascending: from the slot in the shard to the place among those that are left.
        return np.searchsorted(self.slots, self.all_owners[self._kept]) if self.num_left_out else self.all_owners

    @cached_property
    def _kept(self) -> NDArray[np.int64]:
        return np.flatnonzero(np.isin(self.all_owners, self.slots))

    @cached_property
    def clip_facts(self) -> pa.Table | None:
        """What is known of the clip of each video: `CLIP_FACTS`, null if there is no clip of it. None: nothing is."""
        return self._facts(FRAMES_STAGE)

    @cached_property
    def mask_facts(self) -> pa.Table | None:
        """The statistics of the masks of each video: `MASK_FACTS`, as above."""
        return self._facts(masks_stage(str(self.selected.masks)))

    def _facts(self, stage: str) -> pa.Table | None:
        if stage not in self.records:
            return None
        table, filled = self._table(stage), self._filled(stage)
        if len(self) == len(filled) and filled.all():
            return table
        # A masked index takes a row of nulls: a video with an embedding, and without a clip.
        return table.take(pa.array(self.slots, mask=~filled[self.slots]))

    def _filled(self, stage: str) -> NDArray[np.bool_]:
        return np.array(self._table(stage)["filled"].to_pylist(), dtype=np.bool_)

    def _table(self, stage: str) -> pa.Table:
        table = self.records[stage].table
        assert table is not None, "it was asked for"
        return table

    def vectors(self) -> NDArray[np.float32]:
        """Embeddings of the videos: shape (len(self), dim)."""
        vectors = self._reader.videos(self.shard)
        return vectors[self.slots] if self.num_left_out else vectors

    def frame_vectors(self) -> list[NDArray[np.float32]]:
        """Embeddings of the frames of each video: shape (number of its frames, dim).

        Raises:
            InputError: The feature set has none.
        """
        frames = self.padded_frame_vectors()
        found = [rows[~np.isnan(rows).all(axis=1)] for rows in frames]
        without = [video_id for video_id, rows in zip(self.ids, found, strict=True) if not len(rows)]
        if without:
            raise InputError(
                f"features {self.selected.features!r} have no embeddings of frames (first without: video "
                f"{without[0]!r}): they were imported without. `npz`, `parquet` and `clip-retrieval` need none"
            )
        return found

    def padded_frame_vectors(self) -> NDArray[np.float32]:
        """The same as one array: shape (len(self), num_frames, dim); NaN where there is no frame."""
        # (num_rows, num_frames, dim) -> (len(self), num_frames, dim)
        return self._reader.frames(self.shard)[self.slots]

    def text_vectors(self) -> NDArray[np.float32]:
        """Embeddings of `captions`: shape (number of captions, dim)."""
        start = self.first_caption
        vectors = self._reader.texts(start, start + len(self.all_owners))
        return vectors[self._kept] if self.num_left_out else vectors

    def times(self) -> list[NDArray[np.float64]]:
        """When each frame is shown, seconds: shape (number of its frames,)."""
        return [times[~np.isnan(times)] for times in self.padded_times()]

    def padded_times(self) -> NDArray[np.float64]:
        """The same as one array: shape (len(self), num_frames); NaN where there is no frame."""
        # A chunk has the times of a whole shard, (1, shard_size, num_frames); the last shard may have fewer rows.
        found = self.selected.times.read([self.shard.index])[0, : self.shard.num_rows]
        return np.asarray(found, dtype=np.float64)[self.slots]

    def pictures(self) -> Iterator[tuple[NDArray[np.uint8], Masks | None]]:
        """Frames and masks of each video, one video at a time: shape (num_frames, height, width, 3), and without 3.

        Masks are as they are stored: bool, or uint8 if they are soft.
        """
        store, masks = self.selected.store, self.selected.masks
        frames = ChunkReader(store.folder, frames_spec(store, self.split))
        shapes = None if masks is None else ChunkReader(store.folder, stored_masks_spec(store, self.split, masks))
        for slot in self.slots.tolist():
            row = self.shard.start + slot
            # A chunk of frames or masks is one clip, so that one video is in memory at a time.
            its = None if shapes is None else as_masks(shapes.read([row])[0, 0])
            yield np.asarray(frames.read([row])[0, 0], dtype=np.uint8), its

    @property
    def _reader(self) -> FeatureReader:
        assert self.selected.reader is not None, "formats with vectors require features"
        return self.selected.reader


def _owners(captions: pa.Table, videos: pa.Table, place: str) -> NDArray[np.int64]:
    """Row of the video of each caption of a split; ascending, as the captions of a video follow each other.

    Raises:
        StoreFormatError: They do not.
    """
    found = pc.index_in(captions["video_id"].combine_chunks(), value_set=videos["video_id"].combine_chunks())
    owners = np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), dtype=np.int64)
    # -1, no such video, would be the lowest, and so the first
    if len(owners) and (owners[0] < 0 or (np.diff(owners) < 0).any()):
        raise StoreFormatError(f"the captions of {place} are in another order than its videos: {REBUILD_CATALOG}")
    return owners
