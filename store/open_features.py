"""A feature set of one split, open for searching: vectors of all videos at once, frames of a few videos at a time.

`store.features.read_features` reads everything that an evaluation needs, checks each chunk, and reads the commit
records again at the end. Here each file is compared with the checksum in the commit record that was read when the set
was opened. So what is read, then or hours later, is of that very version of the set, or refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xxhash
from numpy.typing import NDArray

from store.arrays.codecs import codec_named
from store.arrays.reading import in_threads, read_shard
from store.arrays.shards import ArraySpec, ArrayValues
from store.complete_features import complete_records, quick_records
from store.errors import ShardRebuiltError
from store.feature_arrays import caption_shards, stored_spec
from store.features import features_made_with
from store.json_values import JSON
from store.places.folder import OpenFile, StoreFolder, WrittenFile
from store.remedies import RUN_AGAIN
from store.schema import Shard
from store.stages import features_stage
from store.store import Store

_LOCAL_THREADS, _OBJECT_THREADS = 2, 16
_END_BYTES = 4 + 16 + 4
"""Of a shard of one chunk, after its values: the chunk's checksum, the index and its checksum."""

Files = Sequence[Mapping[str, WrittenFile]]
"""Of each shard, by their names."""
Tell = Callable[[int], None]
"""Hears how many more rows have been read; threads call it."""


def _tell_nobody(num_rows: int) -> None:
    pass


@dataclass(frozen=True)
class OpenFeatures:
    """A complete feature set of one split. Rows are those of the catalogue; threads may share it."""

    store: Store
    name: str
    split: str
    made_with: Mapping[str, JSON]
    """What made the features."""
    clip_files: Files

    @classmethod
    def open(cls, store: Store, name: str, split: str) -> OpenFeatures:
        """Look at the commit records of the videos.

        Raises:
            NotInStoreError: There is no such feature set.
            ShardIncompleteError: It is not complete, or out of date.
            StoreFormatError: Its metadata are damaged.
        """
        made_with = features_made_with(store, name, split)
        return cls(store, name, split, made_with, quick_records(store, name, split, features_stage(name, "video")))

    @property
    def dim(self) -> int:
        """Of the vectors."""
        return self._video.spec.item_shape[0]

    def video(self, tell: Tell = _tell_nobody) -> NDArray[np.float32]:
        """The embeddings of all videos: shape (num_videos, dim), unit norm; NaN for a video without features.

        Raises:
            ShardRebuiltError: The set was rebuilt since it was opened.
            ShardDamagedError: The bytes are not those that were written.
        """
        values = self._video.all(self.clip_files, tell)
        return np.asarray(values, np.float32)

    def video_parts(self, num_videos: int, tell: Tell = _tell_nobody) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """As `video`, about so many videos at a time: the row of the first, and shape (videos, dim)."""
        step = max(1, num_videos // self._video.spec.shard_rows)
        for first in range(0, len(self.clip_files), step):
            row = first * self._video.spec.shard_rows
            values = np.asarray(self._video.some(first, self.clip_files[first : first + step], tell), np.float32)
            yield row, values[: self._video.spec.num_rows - row]

    def videos(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """As `video`, of some videos in the order given: shape (len(rows), dim)."""
        return self._rows_of(self._video, rows)

    def all_frames(self, tell: Tell = _tell_nobody) -> NDArray[np.float32] | NDArray[np.float16]:
        """The embeddings of all frames: shape (num_videos, num_frames, dim), not normalised.

        float16 if they are stored so, which takes less memory. NaN where a video has no frame. Errors are those of
        `video`.
        """
        values = self._frame.all(self.clip_files, tell)
        return np.asarray(values)  # type: ignore[return-value]

    def frames(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """As `all_frames`, of some videos in the order given: shape (len(rows), num_frames, dim)."""
        return self._rows_of(self._frame, rows)

    def _rows_of(self, array: _VouchedArray, rows: Sequence[int]) -> NDArray[np.float32]:
        values = np.empty((len(rows), *array.spec.item_shape), np.float32)
        for shard, places, slots in self._by_shard(rows, self._shards):
            # Each shard is read once, however many of its rows are wanted.
            values[places] = array.shard(shard, self.clip_files[shard.index])[slots]
        return values

    def text(self) -> NDArray[np.float32]:
        """The embeddings of all captions: shape (num_captions, dim), unit norm; NaN for one without.

        Raises:
            ShardIncompleteError: The captions have changed since, or see `video`.
            ShardDamagedError: See `video`.
        """
        return np.asarray(self._text.all(self._text_files(self._caption_shards)), np.float32)

    def text_row(self, row: int) -> NDArray[np.float32]:
        """As `text`, of one caption: shape (dim,)."""
        ((shard, _, (slot,)),) = self._by_shard([row], self._caption_shards)
        (files,) = self._text_files([shard])
        return np.asarray(self._text.shard(shard, files)[slot], np.float32)

    def _text_files(self, shards: Sequence[Shard]) -> Files:
        records = complete_records(self.store, self.name, self.split, [(features_stage(self.name, "text"), shards)])
        return [{file.name: file for file in record.files} for record in records]

    @cached_property
    def _shards(self) -> tuple[Shard, ...]:
        return self.store.shards(self.split)

    @cached_property
    def _caption_shards(self) -> tuple[Shard, ...]:
        return caption_shards(self.store, self.split)

    @cached_property
    def _video(self) -> _VouchedArray:
        return self._array("video")

    @cached_property
    def _frame(self) -> _VouchedArray:
        return self._array("frame")

    @cached_property
    def _text(self) -> _VouchedArray:
        return self._array("text")

    def _array(self, part: str) -> _VouchedArray:
        return _VouchedArray(self.store.folder, stored_spec(self.store, self.name, self.split, part))

    @staticmethod
    def _by_shard(rows: Sequence[int], shards: Sequence[Shard]) -> Iterator[tuple[Shard, list[int], list[int]]]:
        """Each shard that some rows are in, with their positions among `rows`, and in the shard."""
        # All shards but the last have as many rows as the first.
        size = shards[0].num_rows
        places: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            places.setdefault(row // size, []).append(place)
        for index, its in sorted(places.items()):
            yield shards[index], its, [rows[place] % size for place in its]


class _VouchedArray:
    """An array with one chunk a shard, of which each file is compared with its checksum in a commit record."""

    def __init__(self, folder: StoreFolder, spec: ArraySpec) -> None:
        self.spec = spec
        self._folder = folder
        self._open = folder.opener(spec.name)

    def all(self, files: Files, tell: Tell = _tell_nobody) -> ArrayValues:
        """All rows: shape (num_rows, *item_shape)."""
        return self.some(0, files, tell)[: self.spec.num_rows]

    def some(self, first: int, files: Files, tell: Tell) -> ArrayValues:
        """The rows of some shards, from `first` on; behind those of the last, rows that it does not have."""
        values = np.empty((len(files), *self.spec.chunk_shape), self.spec.dtype)
        threads = _LOCAL_THREADS if self._folder.is_local else _OBJECT_THREADS

        def fill(number: int) -> None:
            self._fill(first + number, files[number], values[number])
            tell(self.spec.shard_rows)

        in_threads(fill, len(files), threads)
        return values.reshape(-1, *self.spec.item_shape)

    def shard(self, shard: Shard, files: Mapping[str, WrittenFile]) -> ArrayValues:
        """The rows of one shard, and behind them, if it is the last, those that it does not have."""
        values = np.empty(self.spec.chunk_shape, self.spec.dtype)
        self._fill(shard.index, files, values)
        return values

    def _fill(self, index: int, files: Mapping[str, WrittenFile], out: ArrayValues) -> None:
        name = self.spec.shard_name(index)
        written = files.get(name)
        if written is None:
            out[...] = self.spec.fill_value
            return
        file = self._open(name.rpartition("/")[2])
        is_raw = self.spec.codec == "raw"  # then it is read straight into its place
        # Of a compressed chunk, all but the end; of another one, exactly its values.
        size = out.nbytes if is_raw or file is None else max(0, file.num_bytes - _END_BYTES)
        content = out.reshape(-1).view(np.uint8) if is_raw else np.empty(size, np.uint8)
        if file is None or not self._is_whole(file, written, content, np.empty(_END_BYTES, np.uint8)):
            raise self._wrong(name, index)
        if not is_raw:
            try:
                codec_named(self.spec.codec).decode(content, out.view(np.uint8))
            except ValueError as error:  # the file is what its record says, so somebody else wrote both
                raise self._wrong(name, index) from error

    def _is_whole(
        self, file: OpenFile, written: WrittenFile, content: NDArray[np.uint8], end: NDArray[np.uint8]
    ) -> bool:
        if file.num_bytes != len(content) + len(end) or not file.fill(0, [content, end]):
            return False
        checksum = xxhash.xxh3_128(content.data)
        checksum.update(end.data)
        return checksum.hexdigest() == written.xxh128

    def _wrong(self, name: str, index: int) -> ShardRebuiltError:
        """The error for a file that is not what its record says: damaged, missing, or of another run."""
        rows = self.spec.chunk_rows
        read_shard(
            self._folder, self.spec, Shard("", index, index * rows, (index + 1) * rows)
        )  # raises if it is damaged
        return ShardRebuiltError(
            f"{name} of {self._folder.place} is not what its commit record says: a run has rebuilt it meanwhile, or it "
            f"was replaced. {RUN_AGAIN.capitalize()}; if that does not help, `fda verify` says more"
        )
