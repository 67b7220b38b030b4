"""Stores of features alone: no clip, one caption a video, and the features of frames as they are given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import fda
from store.catalog import Catalog
from store.growth import create_store
from store.places.opening import folder_at
from store.schema import Caption, SplitLayout, Video
from store.store import Manifest, Store

Arrays = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Texts, shape (num_videos, dim); and frames, shape (num_videos, num_frames, dim), NaN for one that there is not."""


def frame_store(place: Path, splits: Mapping[str, Arrays], *, with_frames: bool = True) -> Store:
    """A store with the features `mine` of these splits; text `i` describes video `i`."""
    videos, captions = [], []
    for split, (text, _) in splits.items():
        for row in range(len(text)):
            videos.append(Video(f"{split}-{row}", split, row, f"{row}.mp4"))
            captions.append(Caption(f"{split}-{row}#0", f"{split}-{row}", split, row, f"{split} caption {row}"))
    manifest = Manifest(
        dataset={"name": "made by hand", "digest": "d" * 64},
        shard_size=8,
        splits={
            split: SplitLayout(len(text), len(text), frame.shape[1], 8, 8) for split, (text, frame) in splits.items()
        },
        options={"image_size": 8},
        software={"numpy": np.__version__},
        frame_codec="raw",
    )
    store = create_store(folder_at(place), manifest, Catalog.of(videos, captions))[0]
    import_frames(store, splits, with_frames=with_frames)
    return store


def import_frames(store: Store, splits: Mapping[str, Arrays], *, with_frames: bool = True) -> None:
    """Write the features `mine`, in place of those that are there."""
    for split, (text, frame) in splits.items():
        videos = fda.Embeddings(frame, tuple(f"{split}-{row}" for row in range(len(frame))), "hand")
        options = fda.ImportOptions(
            features="mine",
            text=fda.Embeddings(text, tuple(f"{split}-{row}#0" for row in range(len(text))), "hand"),
            video=None if with_frames else videos,
            frame=videos if with_frames else None,
            splits=(split,),
            overwrite=True,
            yes=True,
        )
        fda.import_features(store.place, options)
