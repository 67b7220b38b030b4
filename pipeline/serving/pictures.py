"""Stored frames and masks as the bytes of pictures."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.pages.pictures import encoded, highlighted, outlined, shrunk
from pipeline.serving.library import Library, VideoKey
from store.arrays.reading import ChunkReader
from store.clips.layout import as_masks, frames_spec
from store.clips.mask_sets import mask_names, stored_masks_spec
from store.errors import NotInStoreError
from store.stages import masks_stage

MAX_SIDE = 512
MAX_SLOTS = 64
"""Frames side by side in one picture."""
_KEPT_BYTES = 64 << 20
"""Of pictures that were made."""


@dataclass(frozen=True, slots=True)
class PictureRequest:
    """Some frames of a video, side by side."""

    key: VideoKey
    slots: tuple[int, ...]
    side: int
    """Of a frame, in pixels."""
    masks: str = ""
    """Mask set that is shown on them; empty: none."""
    show: str = "dim"
    """`dim` what rests, or `outline` what moves."""


@dataclass
class Pictures:
    """Makes pictures, and keeps the last ones. Threads share it."""

    library: Library
    _kept: OrderedDict[tuple[PictureRequest, str], bytes] = field(default_factory=OrderedDict)
    _kept_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tag(self, request: PictureRequest) -> str:
        """What a picture is made from, as a digest: another one if the video or its masks were made again.

        Raises:
            NotInStoreError: The video has no clip or no such masks, now.
        """
        shelf = self.library.shelves[request.key.store]
        outcomes = [shelf.outcome(request.key)]
        if request.masks:
            if request.masks not in mask_names(shelf.view.store, request.key.split):
                raise NotInStoreError(f"no masks {request.masks!r}")
            outcomes.append(shelf.outcome(request.key, masks_stage(request.masks)))
        # Checksums of what is stored: a clip that is decoded again to the same bytes keeps its tag.
        sums = [one.checksum for one in outcomes if one is not None and one.filled]
        if len(sums) < len(outcomes):
            raise NotInStoreError(f"video {request.key.video_id!r} has no clip, or it is pending")
        return hashlib.sha256(repr((request, sums)).encode()).hexdigest()[:32]

    def jpeg(self, request: PictureRequest, tag: str) -> bytes:
        """The picture as a JPEG file.

        Raises:
            NotInStoreError: The video has no such frame.
            ShardDamagedError: The frames are damaged.
        """
        with self._lock:
            kept = self._kept.get((request, tag))
            if kept is not None:
                self._kept.move_to_end((request, tag))
                return kept
        # Outside the lock: it reads frames. Two threads may draw the same picture, and the first one is kept.
        content = encoded(self._drawn(request), ".jpg", 82)
        with self._lock:
            if (request, tag) not in self._kept:
                self._kept[request, tag] = content
                self._kept_bytes += len(content)
            while self._kept_bytes > _KEPT_BYTES:
                self._kept_bytes -= len(self._kept.popitem(last=False)[1])
        return content

    def _drawn(self, request: PictureRequest) -> NDArray[np.uint8]:
        key, slots = request.key, list(request.slots)
        store = self.library.shelves[key.store].view.store
        if max(slots) >= store.layout(key.split).num_frames:
            raise NotInStoreError(f"video {key.video_id!r} has no frame {max(slots)}")
        frames = np.asarray(ChunkReader(store.folder, frames_spec(store, key.split)).read([key.row])[0, 0])[slots]
        if request.masks:
            spec = stored_masks_spec(store, key.split, request.masks)
            masks = as_masks(ChunkReader(store.folder, spec).read([key.row])[0, 0])[slots]
            draw = outlined if request.show == "outline" else highlighted
            frames = np.stack([draw(frame, mask) for frame, mask in zip(frames, masks, strict=True)])
        # (side, slots * side, 3): side by side
        return np.concatenate([_sized(frame, request.side) for frame in frames], axis=1)


def evenly(count: int, most: int) -> list[int]:
    """At most so many of `count` places, evenly chosen, with the first and the last.

    >>> evenly(3, 12), evenly(9, 3)
    ([0, 1, 2], [0, 4, 8])
    """
    if count <= most:
        return list(range(count))
    return sorted(set(np.linspace(0, count - 1, most).round().astype(int).tolist()))


def _sized(frame: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return frame if side >= len(frame) else shrunk(frame, side)


def checked(key: VideoKey, slots: Sequence[int], side: int, masks: str = "", show: str = "dim") -> PictureRequest:
    """A request from anybody.

    Raises:
        ValueError: It asks for too much, or for nothing.
    """
    if not 1 <= len(slots) <= MAX_SLOTS or min(slots) < 0 or not 16 <= side <= MAX_SIDE or len(masks) > 200:
        raise ValueError(f"1 to {MAX_SLOTS} frames of 16 to {MAX_SIDE} pixels")
    return PictureRequest(key, tuple(slots), side, masks, show)
