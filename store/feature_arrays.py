"""Which arrays a feature set is made of, how each is laid out, and how those that are there are opened."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from store.arrays.shards import ArraySpec, ZarrArray, open_array
from store.errors import NotInStoreError, StoreFormatError
from store.remedies import REBUILD
from store.schema import Shard, shards_of
from store.store import Store

CAPTIONS_PER_SHARD = 1024

MAX_DIM = 2**16
"""Numbers in an embedding: ten times as many as any model gives."""

FrameDtype = Literal["float32", "float16"]
"""Type of stored frame features. float16 takes half of the bytes, at a relative error of 2**-11."""


def caption_shards(store: Store, split: str) -> tuple[Shard, ...]:
    """The captions of a split, cut into shards; rows are caption rows."""
    return shards_of(split, store.layout(split).num_captions, CAPTIONS_PER_SHARD)


def feature_names(store: Store, split: str) -> tuple[str, ...]:
    """The feature sets that a split has, complete or not."""
    folders = store.folder.folders("features.zarr")
    return tuple(
        folder.rsplit("/", 1)[1]
        for folder in folders
        if store.folder.num_bytes(f"{folder}/{split}/video/zarr.json") is not None
    )


def feature_specs(
    store: Store, name: str, split: str, part: str, dim: int, frame_dtype: FrameDtype = "float32"
) -> tuple[ArraySpec, ...]:
    """The arrays of the `video` or the `text` part of a feature set."""
    if part == "text":
        return _text_specs(store, name, split, dim)
    return _clip_specs(store, name, split, dim, frame_dtype)


def stored_spec(store: Store, name: str, split: str, part: str) -> ArraySpec:
    """How an array of a feature set is laid out, as its metadata and the catalogue say.

    Raises:
        NotInStoreError: There is no such feature set.
        StoreFormatError: The array has another shape or type than a feature set of this store has.
    """
    its_name, array = features_name(name, split, part), open_features(store, name, split, part)
    dim = array.shape[-1] if len(array.shape) > 1 else 1
    frame_dtype: FrameDtype = "float16" if part == "frame" and array.dtype == np.float16 else "float32"
    specs = [*_clip_specs(store, name, split, dim, frame_dtype), *_text_specs(store, name, split, dim)]
    spec = next(spec for spec in specs if spec.name == its_name)
    # The number of rows is that of the catalogue: a store that has grown has more than its arrays, until they are made.
    if array.shape[1:] != spec.item_shape or array.dtype != np.dtype(spec.dtype) or dim > MAX_DIM:
        found = f"of type {array.dtype} and shape {array.shape}"
        raise StoreFormatError(f"{store.place}/{its_name}/zarr.json is {found}, not of features: {REBUILD}")
    return spec


def open_features(store: Store, name: str, split: str, part: str) -> ZarrArray:
    """Open an array of a feature set.

    Raises:
        NotInStoreError: There is none of this name.
    """
    store.layout(split)  # a split that does not exist has no features, and that is not what is wrong
    try:
        return open_array(store.folder, features_name(name, split, part))
    except NotInStoreError as error:
        existing = ", ".join(map(repr, feature_names(store, split))) or "none"
        raise NotInStoreError(
            f"no features {name!r} for split {split!r} in {store.place} (there: {existing}). `fda encode` makes them"
        ) from error


def features_name(name: str, split: str, part: str) -> str:
    """The name of an array of a feature set.

    >>> features_name("mine", "test", "video")
    'features.zarr/mine/test/video'
    """
    return f"features.zarr/{name}/{split}/{part}".rstrip("/")


def _clip_specs(
    store: Store, name: str, split: str, dim: int, frame_dtype: FrameDtype
) -> tuple[ArraySpec, ArraySpec, ArraySpec]:
    num_videos, rows = store.layout(split).num_videos, store.manifest.shard_size
    video = ArraySpec(
        name=features_name(name, split, "video"),
        num_rows=num_videos,
        item_shape=(dim,),
        dtype="float32",
        fill_value=np.nan,
        shard_rows=rows,
        chunk_rows=rows,
        dimensions=("video", "dim"),
    )
    frame = replace(
        video,
        name=features_name(name, split, "frame"),
        item_shape=(store.layout(split).num_frames, dim),
        dtype=frame_dtype,
        dimensions=("video", "frame", "dim"),
    )
    alpha_cosine = replace(video, name=features_name(name, split, "alpha_cosine"), item_shape=(), dimensions=("video",))
    return video, frame, alpha_cosine


def _text_specs(store: Store, name: str, split: str, dim: int) -> tuple[ArraySpec, ArraySpec]:
    text = ArraySpec(
        name=features_name(name, split, "text"),
        num_rows=store.layout(split).num_captions,
        item_shape=(dim,),
        dtype="float32",
        fill_value=np.nan,
        shard_rows=CAPTIONS_PER_SHARD,
        chunk_rows=CAPTIONS_PER_SHARD,
        dimensions=("caption", "dim"),
    )
    num_dropped = replace(
        text,
        name=features_name(name, split, "num_dropped"),
        item_shape=(),
        dtype="int64",
        fill_value=-1,
        dimensions=("caption",),
    )
    return text, num_dropped
