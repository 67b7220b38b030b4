"""Which arrays the clips of a split are made of, and how each is laid out."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from store.arrays.codec_names import CodecName
from store.arrays.shards import ArraySpec
from store.errors import NotInStoreError
from store.store import Store

Masks = NDArray[np.bool_ | np.uint8]
"""Binary masks are bool: True where something moves. Soft masks are uint8: how likely it moves, 0 to `SURE`."""

SURE = 255
MOVES = 128
"""A pixel of a soft mask with this or more is more likely to move than not."""


def moving(masks: Masks) -> NDArray[np.bool_]:
    """Where something moves, by binary masks or by soft ones, of any shape: soft ones are cut at one half.

    >>> moving(np.array([0, 127, 128, 255], np.uint8)).tolist()
    [False, False, True, True]
    """
    return masks >= MOVES if masks.dtype == np.uint8 else np.asarray(masks, np.bool_)


def as_masks(values: NDArray[np.generic]) -> Masks:
    """What was read of a mask set, as masks; not copied."""
    return np.asarray(values, np.uint8 if values.dtype == np.uint8 else np.bool_)


def levels(masks: Masks) -> NDArray[np.uint8]:
    """How likely each pixel moves, 0..255, by masks of either kind: a binary mask is 0 or `SURE`."""
    return np.asarray(masks) if masks.dtype == np.uint8 else np.where(masks, SURE, 0).astype(np.uint8)


def all_moving(masks: Masks) -> bool | int:
    """The value of a pixel that surely moves, in masks of this kind: True or `SURE`."""
    return SURE if masks.dtype == np.uint8 else True


def clips_name(split: str, array: str) -> str:
    """The name of an array of a split.

    >>> clips_name("test", "frames")
    'clips.zarr/test/frames'
    """
    return f"clips.zarr/{split}/{array}"


def frames_spec(store: Store, split: str) -> ArraySpec:
    """Frames, a video a chunk: uint8 (num_videos, num_frames, height, width, 3), RGB."""
    return _pictures_spec(store, split, "frames", store.manifest.frame_codec, colour=True)


def next_grey_spec(store: Store, split: str) -> ArraySpec:
    """The neighbour of each frame in grey, a video a chunk, stored like the frames that it is compared with."""
    return _pictures_spec(store, split, "next_grey", store.manifest.frame_codec)


def masks_spec(store: Store, split: str, name: str, *, soft: bool) -> ArraySpec:
    """A mask set, a video a chunk: bool, or uint8 if it is soft, (num_videos, num_frames, height, width).

    `store.clips.mask_sets.stored_masks_spec` is that of a mask set which is there.
    """
    # Blosc's shuffle of bits is for masks of one bit a byte: soft ones of real clips take 1.9 times the space with it.
    return _pictures_spec(store, split, f"masks/{name}", "zstd" if soft else "blosc", binary=not soft)


def pts_spec(store: Store, split: str) -> ArraySpec:
    """When each frame is shown, seconds, a shard a chunk; NaN where there is no frame."""
    return _numbers_spec(store, split, "pts_seconds", "float64", np.nan)


def frame_index_spec(store: Store, split: str) -> ArraySpec:
    """Position of each frame in its video, a shard a chunk; -1 where there is no frame."""
    return _numbers_spec(store, split, "frame_index", "int64", -1)


def _numbers_spec(
    store: Store, split: str, part: str, dtype: Literal["int64", "float64"], fill_value: float
) -> ArraySpec:
    """An array with a number for each frame."""
    layout, rows = store.layout(split), store.manifest.shard_size
    return ArraySpec(
        name=clips_name(split, part),
        num_rows=layout.num_videos,
        item_shape=(layout.num_frames,),
        dtype=dtype,
        fill_value=fill_value,
        shard_rows=rows,
        chunk_rows=rows,
        dimensions=("video", "frame"),
    )


def _pictures_spec(
    store: Store, split: str, array: str, codec: CodecName, *, colour: bool = False, binary: bool = False
) -> ArraySpec:
    layout = store.layout(split)
    return ArraySpec(
        name=clips_name(split, array),
        num_rows=layout.num_videos,
        item_shape=(layout.num_frames, layout.height, layout.width, *((3,) if colour else ())),
        dtype="bool" if binary else "uint8",
        fill_value=False if binary else 0,
        shard_rows=store.manifest.shard_size,
        # A clip is a chunk, as training reads clips in any order.
        chunk_rows=1,
        dimensions=("video", "frame", "height", "width", *(("channel",) if colour else ())),
        codec=codec,
    )


def no_neighbours(store: Store) -> NotInStoreError:
    """The store was made without neighbours."""
    return NotInStoreError(
        f"{store.place} has no neighbours of its frames: make a store with `fda preprocess --neighbours`"
    )
