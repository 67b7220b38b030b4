"""Reading a feature set shard by shard, so that its size does not matter."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from store.arrays.reading import ChunkReader
from store.arrays.shards import attributes_of
from store.feature_arrays import open_features, stored_spec
from store.json_values import JSON
from store.schema import Shard
from store.store import Store


class FeatureReader:
    """Embeddings of one split, by rows of the catalogue. Whether they are complete is for its user to check."""

    def __init__(self, store: Store, name: str, split: str) -> None:
        """Open the arrays.

        Raises:
            NotInStoreError: There is no such split or feature set.
            StoreFormatError: An array has another shape or type than a feature set of this store has.
        """
        self._videos, self._frames, self._texts = (
            ChunkReader(store.folder, stored_spec(store, name, split, part)) for part in ("video", "frame", "text")
        )
        self.made_with: Mapping[str, JSON] = attributes_of(open_features(store, name, split, "video"))
        """What made the features."""
        self.dim: int = self._videos.spec.item_shape[0]
        """Numbers of an embedding."""
        self._chunk: tuple[int, NDArray[np.generic]] | None = None
        """The chunk of texts that was read last, with its number: the next texts are mostly of the same one."""

    def videos(self, shard: Shard) -> NDArray[np.float32]:
        """Embeddings of videos, unit norm: shape (shard.num_rows, dim); NaN where there is no video.

        Raises:
            ShardDamagedError: Its bytes are not those that were written.
        """
        return np.asarray(self._videos.read([shard.index])[0, : shard.num_rows], dtype=np.float32)

    def frames(self, shard: Shard) -> NDArray[np.float32]:
        """Embeddings of frames, not normalised: shape (shard.num_rows, num_frames, dim); NaN where there is no frame.

        Raises:
            ShardDamagedError: Its bytes are not those that were written.
        """
        return np.asarray(self._frames.read([shard.index])[0, : shard.num_rows], dtype=np.float32)

    def texts(self, start: int, stop: int) -> NDArray[np.float32]:
        """Embeddings of the captions of the rows `[start, stop)`, unit norm: shape (stop - start, dim).

        Raises:
            ShardDamagedError: Its bytes are not those that were written.
        """
        rows = self._texts.spec.chunk_rows
        parts = [
            self._texts_of(chunk)[max(0, start - chunk * rows) : stop - chunk * rows]
            for chunk in range(start // rows, math.ceil(stop / rows))
        ]
        if len(parts) == 1:  # mostly, and then it is not copied
            return np.asarray(parts[0], dtype=np.float32)
        return np.asarray(np.concatenate(parts) if parts else np.empty((0, self.dim)), dtype=np.float32)

    def _texts_of(self, chunk: int) -> NDArray[np.generic]:
        if self._chunk is None or self._chunk[0] != chunk:
            self._chunk = chunk, self._texts.read([chunk])[0]
            self._chunk[1].flags.writeable = False  # what is given out may be a part of it
        return self._chunk[1]
