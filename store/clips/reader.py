"""Reading clips with their masks by row, for batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from store.arrays.reading import ChunkReader, in_threads, read_shard
from store.arrays.shards import ArrayValues
from store.clips.layout import Masks, as_masks, frame_index_spec, frames_spec, next_grey_spec, no_neighbours
from store.clips.mask_sets import stored_masks_spec
from store.commits import read_commit
from store.completion import map_many, require_committed_of_each
from store.errors import NotInStoreError, ShardDamagedError, ShardIncompleteError
from store.places.folder import WrittenFile
from store.remedies import RUN_AGAIN
from store.schema import Shard
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store

NUM_READ_THREADS = min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
"""Threads that read one batch. With more than four, they wait for memory."""


@dataclass(frozen=True, slots=True)
class ClipBatch:
    """The clips of some rows that hold a video, with masks."""

    video_ids: tuple[str, ...]
    rows: NDArray[np.int64]
    """Shape (num_clips,)."""
    frames: NDArray[np.uint8]
    """Shape (num_clips, num_frames, height, width, 3), RGB."""
    masks: Masks
    """Shape (num_clips, num_frames, height, width): bool, True where something moves; of a soft mask set uint8, how
    likely it moves, 0..255."""
    is_frame: NDArray[np.bool_]
    """Shape (num_clips, num_frames); False in the last slots of a clip that has fewer frames than slots."""


class ClipReader:
    """Reads clips of one split by row, each with its masks."""

    def __init__(
        self,
        store: Store,
        split: str,
        mask_name: str,
        num_threads: int = NUM_READ_THREADS,
        shards: Sequence[Shard] | None = None,
    ) -> None:
        """Open the arrays, and find the rows that have a video.

        Args:
            store: The store.
            split: Of it.
            mask_name: Of the mask set.
            num_threads: That read a batch.
            shards: All that will be read, of which a plan has compared the records with the catalogue; None is the
                whole split, which is compared here.

        Raises:
            NotInStoreError: There is no such split or mask set.
            ShardIncompleteError: A shard is pending: not committed, data missing, or masks of other frames.
            ShardDamagedError: The index of frames is damaged.
        """
        if num_threads < 1:
            raise ValueError(f"num_threads must be at least 1, got {num_threads}")
        self.split = split
        self._num_threads = num_threads
        self._frames = ChunkReader(store.folder, frames_spec(store, split))
        self._masks = ChunkReader(store.folder, stored_masks_spec(store, split, mask_name))
        self._next_grey: ChunkReader | None = None
        if store.manifest.neighbours:
            self._next_grey = ChunkReader(store.folder, next_grey_spec(store, split))
        self._store = store
        is_whole = shards is None
        shards = store.shards(split) if shards is None else tuple(shards)
        self._stages = stages = (FRAMES_STAGE, masks_stage(mask_name))
        self._files: dict[int, tuple[Shard, list[tuple[WrittenFile, ...]]]] = {}
        """Index of each shard -> the files of each stage, with their checksums, as recorded when this was opened."""
        self.video_ids: dict[int, str] = {}
        """Row -> video id, for rows that have a video."""
        for shard, records in require_committed_of_each(store, shards, stages, with_catalog=is_whole):
            self._files[shard.index] = shard, [record.files for record in records]
            for outcomes in (record.outcomes for record in records):
                self.video_ids |= {outcome.row: outcome.video_id for outcome in outcomes if outcome.filled}
        self._is_frame = np.zeros((store.layout(split).num_videos, store.layout(split).num_frames), dtype=np.bool_)
        index_spec = frame_index_spec(store, split)
        # After the records: if the index is rebuilt in between, the first `read` of its shard finds another record.
        indexes = map_many(store.folder, lambda shard: read_shard(store.folder, index_spec, shard), shards)
        for shard, frame_index in zip(shards, indexes, strict=True):
            self._is_frame[shard.start : shard.stop] = frame_index >= 0

    def read(self, rows: Sequence[int]) -> ClipBatch:
        """Read clips, in the order given.

        Raises:
            NotInStoreError: A row has no video.
            ShardDamagedError: A clip is damaged: its checksum is wrong.
            ShardIncompleteError: A shard was rebuilt since this reader was opened.
        """
        self._check_filled(rows)
        frames, masks = self._frames.empty(len(rows)), self._masks.empty(len(rows))

        def read_one(number: int) -> None:
            # All masks, then all frames: the memory in which masks are decoded stays in the cache, where a clip of
            # frames between two of them would push it out. Of a batch in one thread, this saves an eighth.
            if number < len(rows):
                self._masks.read_into(rows[number], masks[number])
            else:
                self._frames.read_into(rows[number - len(rows)], frames[number - len(rows)])

        self._in_threads(read_one, 2 * len(rows))
        return ClipBatch(
            video_ids=tuple(self.video_ids[row] for row in rows),
            rows=np.asarray(rows, dtype=np.int64),
            # (clips, 1, frames, height, width, 3) -> (clips, frames, height, width, 3): a chunk has one video.
            frames=np.asarray(frames[:, 0], dtype=np.uint8),
            masks=as_masks(masks[:, 0]),
            is_frame=self._is_frame[list(rows)],
        )

    def read_frames(self, rows: Sequence[int], slots: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
        """Read frames alone.

        Args:
            rows: Of the clips.
            slots: Shape (len(rows), num_slots): the slots to take of each clip, -1 for none; None: all, in order.

        Returns:
            Shape (len(rows), num_slots, height, width, 3), RGB; black where there is no slot.

        Raises:
            NotInStoreError: A row has no video.
            ShardDamagedError: See `read`.
            ShardIncompleteError: See `read`.
        """
        return np.asarray(self._read_alone(self._frames, rows, slots), dtype=np.uint8)

    def read_masks(self, rows: Sequence[int], slots: NDArray[np.int64] | None = None) -> Masks:
        """Read masks alone, as `read_frames`: shape (len(rows), num_slots, height, width), empty where no slot is."""
        return as_masks(self._read_alone(self._masks, rows, slots))

    def read_next_grey(self, rows: Sequence[int], slots: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
        """Read the neighbour of each frame alone, in grey, as `read_masks`.

        Raises:
            NotInStoreError: The store was made without neighbours, or a row has no video.
        """
        if self._next_grey is None:
            raise no_neighbours(self._store)
        return np.asarray(self._read_alone(self._next_grey, rows, slots), dtype=np.uint8)

    def _read_alone(self, reader: ChunkReader, rows: Sequence[int], slots: NDArray[np.int64] | None) -> ArrayValues:
        self._check_filled(rows)
        num_slots, *picture = reader.spec.item_shape
        if slots is not None:
            num_slots = slots.shape[1]
        values = np.zeros((len(rows), num_slots, *picture), dtype=reader.spec.dtype)

        def read_one(position: int) -> None:
            if slots is None:
                # A chunk has one video: (frames, ...) -> (1, frames, ...), a view, so that it is read into its place.
                reader.read_into(rows[position], values[position][np.newaxis])
                return
            (whole,) = reader.read([rows[position]])  # its checksum is that of the whole clip
            for place, slot in enumerate(slots[position].tolist()):
                if slot >= 0:
                    values[position, place] = whole[0, slot]

        self._in_threads(read_one, len(rows))
        return values

    def is_frame(self, rows: Sequence[int]) -> NDArray[np.bool_]:
        """Which slots of clips have a frame, shape (len(rows), num_frames). Slots with a frame come first."""
        slots: NDArray[np.bool_] = self._is_frame[list(rows)]
        return slots

    def _in_threads(self, read_one: Callable[[int], None], count: int) -> None:
        try:
            in_threads(read_one, count, self._num_threads)
        except ShardDamagedError:
            # A mask set that is rebuilt as soft, or as binary, has another codec: chunks of the new files do not decode
            # as those of the old. Then it is not damaged.
            self._check_unchanged()
            raise
        self._check_unchanged()

    def _check_unchanged(self) -> None:
        """Refuse shards that were rebuilt between the opening of this reader and the opening of their files.

        Each shard is looked at once, after its files were first opened. They stay open, so they cannot change later.
        """
        readers = [reader for reader in (self._frames, self._masks, self._next_grey) if reader is not None]
        opened = sorted(set[int]().union(*(reader.opened for reader in readers)))
        for index, is_unchanged in zip(opened, map_many(self._store.folder, self._is_unchanged, opened), strict=True):
            if not is_unchanged:
                key = self._files[index][0].key
                raise ShardIncompleteError(
                    f"shard {key} of {self._store.place} was rebuilt while it was read: {RUN_AGAIN}"
                )
            for reader in readers:
                reader.opened.discard(index)

    def _is_unchanged(self, index: int) -> bool:
        shard, files = self._files[index]
        records = [read_commit(self._store.folder, shard, stage, with_outcomes=False) for stage in self._stages]
        return [record and record.files for record in records] == files

    def _check_filled(self, rows: Sequence[int]) -> None:
        unfilled = [row for row in rows if row not in self.video_ids]
        if unfilled:
            raise NotInStoreError(f"row {unfilled[0]} of split {self.split!r} has no video")
