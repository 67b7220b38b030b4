"""Which arrays a feature set is made of, how each is laid out, and how those that are there are opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.arrays.int8_rows import INT8_ROWS_NAME, Int8RowsCodec, decode_rows, encode_rows
from store.arrays.shards import ArraySpec, ZarrArray, open_array
from store.errors import NotInStoreError, StoreFormatError
from store.feature_dtypes import FLOAT32, FeatureDtype, FeatureDtypes
from store.remedies import REBUILD
from store.schema import Shard, shards_of
from store.store import Store

CAPTIONS_PER_SHARD = 1024

MAX_DIM = 2**16
"""Numbers in an embedding: ten times as many as any model gives."""


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
    store: Store, name: str, split: str, part: str, dim: int, dtypes: FeatureDtypes = FLOAT32
) -> tuple[ArraySpec, ...]:
    """The arrays of the `video` or the `text` part of a feature set."""
    if part == "text":
        return _text_specs(store, name, split, dim, dtypes)
    return _clip_specs(store, name, split, dim, dtypes)


def in_dtype(spec: ArraySpec, dtype: FeatureDtype) -> ArraySpec:
    """An array of vectors, kept in another type."""
    if dtype == "int8":
        return replace(spec, dtype="float32", codec="int8-rows")
    return replace(spec, dtype=dtype, codec="raw")


def as_stored(vectors: NDArray[np.float32], dtype: FeatureDtype) -> NDArray[np.float32]:
    """Vectors as they are read again: shape (..., dim), NaN kept."""
    if dtype == "int8":
        read = np.empty(vectors.shape, dtype=np.float32)
        decode_rows(encode_rows(vectors), read.view(np.uint8))
        return read
    return vectors.astype(dtype).astype(np.float32)


def dtype_in(metadata: Mapping[str, Any]) -> FeatureDtype:
    """What an array of vectors is kept in, by the content of its `zarr.json`.

    Raises:
        LookupError, TypeError: It is not the metadata of an array.
    """
    # The only codec of such an array is that of shards, and the codecs of its chunks are within it.
    inner = metadata["codecs"][0]["configuration"]["codecs"]
    if inner[0]["name"] == INT8_ROWS_NAME:
        return "int8"
    return "float16" if metadata["data_type"] == "float16" else "float32"


def stored_dtypes(store: Store, name: str, split: str) -> FeatureDtypes:
    """What a feature set is kept in. Errors are those of `open_features`."""
    return FeatureDtypes(*(_dtype_of(open_features(store, name, split, part)) for part in ("video", "frame")))


def stored_spec(store: Store, name: str, split: str, part: str) -> ArraySpec:
    """How an array of a feature set is laid out, as its metadata and the catalogue say.

    Raises:
        NotInStoreError: There is no such feature set.
        StoreFormatError: The array has another shape or type than a feature set of this store has.
    """
    its_name, array = features_name(name, split, part), open_features(store, name, split, part)
    # An array of single numbers has one axis.
    dim = array.shape[-1] if len(array.shape) > 1 else 1
    specs = [*_clip_specs(store, name, split, dim, FLOAT32), *_text_specs(store, name, split, dim, FLOAT32)]
    spec = next(spec for spec in specs if spec.name == its_name)
    if part in ("video", "frame", "text"):
        spec = in_dtype(spec, _dtype_of(array))
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
    # Without a part, the folder of the split.
    return f"features.zarr/{name}/{split}/{part}".rstrip("/")


def _dtype_of(array: ZarrArray) -> FeatureDtype:
    if isinstance(array.serializer, Int8RowsCodec):
        return "int8"
    return "float16" if array.dtype == np.float16 else "float32"


def _clip_specs(
    store: Store, name: str, split: str, dim: int, dtypes: FeatureDtypes
) -> tuple[ArraySpec, ArraySpec, ArraySpec]:
    num_videos, rows = store.layout(split).num_videos, store.manifest.shard_size
    vectors = ArraySpec(
        name=features_name(name, split, "video"),
        num_rows=num_videos,
        item_shape=(dim,),
        dtype="float32",
        fill_value=np.nan,
        shard_rows=rows,
        # One chunk a shard, on which `store.open_features` relies: a file is its values and an end of fixed size.
        chunk_rows=rows,
        dimensions=("video", "dim"),
    )
    frame = replace(
        vectors,
        name=features_name(name, split, "frame"),
        item_shape=(store.layout(split).num_frames, dim),
        dimensions=("video", "frame", "dim"),
    )
    alpha_cosine = replace(
        vectors, name=features_name(name, split, "alpha_cosine"), item_shape=(), dimensions=("video",)
    )
    return in_dtype(vectors, dtypes.vectors), in_dtype(frame, dtypes.frames), alpha_cosine


def _text_specs(store: Store, name: str, split: str, dim: int, dtypes: FeatureDtypes) -> tuple[ArraySpec, ArraySpec]:
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
    return in_dtype(text, dtypes.vectors), num_dropped
