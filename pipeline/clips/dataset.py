"""Clips of a store as a map-style dataset, for torch's DataLoader or any code that indexes."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.alpha import AlphaClips
from pipeline.clips.options import AlphaSource
from pipeline.clips.resizing import resized
from pipeline.errors import OptionError
from store.clips.layout import Masks
from store.clips.reader import ClipReader
from store.store import Store


class ClipItem(TypedDict):
    """One clip; torch's `default_collate` makes tensors of the arrays of several."""

    video_id: str
    row: int
    """Its row in the arrays of its split."""
    frames: NDArray[np.uint8]
    """Shape (num_frames, height, width, 3), RGB."""
    masks: Masks
    """Shape (num_frames, height, width): bool, or uint8 if the mask set is soft."""
    is_frame: NDArray[np.bool_]
    """Shape (num_frames,): False for frames that a short clip does not have."""


class ClipDataset:
    """The clips of a split, in the order of their rows, without the videos that failed: a map-style dataset.

    It needs no torch. It reads the clips of a batch together, in several threads, so that a DataLoader is fast without
    workers. With workers, each opens the store's files itself.
    """

    def __init__(
        self,
        store: Store | str | PathLike[str],
        split: str,
        mask_name: str = "default",
        alpha: AlphaSource = AlphaSource.MASKS,
        seed: int = 0,
        image_size: int | None = None,
    ) -> None:
        """Open a split.

        Args:
            store: The store, or where it is.
            split: Name of the split.
            mask_name: Name of the mask set.
            alpha: What `ClipItem.masks` contains: the masks, or a control.
            seed: Random seed of `alpha`.
            image_size: Side to which frames and masks are resized, pixels, as `fda finetune --resize-frames` does it
                (`pipeline.clips.resizing.resized`); None leaves them as they are stored.

        Raises:
            OptionError: `image_size` is no size.
            NotInStoreError: There is no such split or mask set.
            ShardIncompleteError: Frames or masks are not complete.
        """
        if image_size is not None and image_size < 1:
            raise OptionError(f"image_size must be at least 1, not {image_size}")
        store = store if isinstance(store, Store) else Store.open(store)
        self._clips = AlphaClips(ClipReader(store, split, mask_name), alpha, seed)
        self._image_size = image_size
        self._rows = sorted(self._clips.video_ids)
        self.video_ids = tuple(self._clips.video_ids[row] for row in self._rows)
        """In order: `dataset[i]` is the clip of `video_ids[i]`."""
        texts: dict[str, list[str]] = {}
        for fields in store.catalog.split_captions(split).select(["video_id", "text"]).to_pylist():
            texts.setdefault(fields["video_id"], []).append(fields["text"])
        self.captions = tuple(tuple(texts.get(video_id, ())) for video_id in self.video_ids)
        """The captions of each video, in the same order."""

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> ClipItem:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[ClipItem]:
        """Several clips, read together: a DataLoader calls this for each batch."""
        batch = self._clips.read([self._rows[index] for index in indices])
        if self._image_size is not None:
            batch = resized(batch, self._image_size)
        return [
            ClipItem(video_id=video_id, row=int(row), frames=frames, masks=masks, is_frame=is_frame)
            for video_id, row, frames, masks, is_frame in zip(
                batch.video_ids, batch.rows, batch.frames, batch.masks, batch.is_frame, strict=True
            )
        ]
