"""Which arrays the clips of a split are made of, and how each is laid out."""

from __future__ import annotations

import numpy as np

from store.arrays.codec_names import CodecName
from store.arrays.shards import ArraySpec
from store.store import Store


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


def masks_spec(store: Store, split: str, name: str) -> ArraySpec:
    """A mask set, a video a chunk: bool (num_videos, num_frames, height, width)."""
    return _pictures_spec(store, split, f"masks/{name}", "blosc", masks=True)


def pts_spec(store: Store, split: str) -> ArraySpec:
    """When each frame is shown, seconds, a shard a chunk; NaN where there is no frame."""
    layout, rows = store.layout(split), store.manifest.shard_size
    return ArraySpec(
        name=clips_name(split, "pts_seconds"),
        num_rows=layout.num_videos,
        item_shape=(layout.num_frames,),
        dtype="float64",
        fill_value=np.nan,
        shard_rows=rows,
        chunk_rows=rows,
        dimensions=("video", "frame"),
    )


def frame_index_spec(store: Store, split: str) -> ArraySpec:
    """Position of each frame in its video, a shard a chunk; -1 where there is no frame."""
    layout, rows = store.layout(split), store.manifest.shard_size
    return ArraySpec(
        name=clips_name(split, "frame_index"),
        num_rows=layout.num_videos,
        item_shape=(layout.num_frames,),
        dtype="int64",
        fill_value=-1,
        shard_rows=rows,
        chunk_rows=rows,
        dimensions=("video", "frame"),
    )


def _pictures_spec(
    store: Store, split: str, array: str, codec: CodecName, *, colour: bool = False, masks: bool = False
) -> ArraySpec:
    layout = store.layout(split)
    return ArraySpec(
        name=clips_name(split, array),
        num_rows=layout.num_videos,
        item_shape=(layout.num_frames, layout.height, layout.width, *((3,) if colour else ())),
        dtype="bool" if masks else "uint8",
        fill_value=False if masks else 0,
        shard_rows=store.manifest.shard_size,
        chunk_rows=1,
        dimensions=("video", "frame", "height", "width", *(("channel",) if colour else ())),
        codec=codec,
    )
