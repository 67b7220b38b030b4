"""How well one mask set covers what another marks: a mask set against the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from store.clips.layout import Masks, moving
from store.clips.reader import ClipReader
from store.json_values import JSON
from store.store import Store

_CLIPS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class VideoOverlap:
    """The masks of one video against others, over all pixels of all its frames; soft masks are cut at one half."""

    video_id: str
    iou: float | None
    """Pixels in both over pixels in either, 0..1; None where neither marks any: there is nothing to agree on."""
    precision: float | None
    """Share of the marked pixels that the reference marks, too; None if none is marked."""
    recall: float | None
    """Share of the reference's pixels that are marked; None if it marks none."""
    coverage: float
    """Share of the picture that is marked."""
    reference_coverage: float
    """Share of the picture that the reference marks."""


@dataclass(frozen=True, slots=True)
class MaskOverlap:
    """One mask set of a split against another."""

    masks: str
    against: str
    """The reference."""
    split: str
    videos: tuple[VideoOverlap, ...]
    """All that have a clip, in the order of the store."""

    @property
    def mean_iou(self) -> float | None:
        """Of the videos that have one. This and the others: None if no video has."""
        return self._mean("iou")

    @property
    def mean_precision(self) -> float | None:
        """Of the videos that have one."""
        return self._mean("precision")

    @property
    def mean_recall(self) -> float | None:
        """Of the videos that have one."""
        return self._mean("recall")

    @property
    def mean_coverage(self) -> float | None:
        """Of all videos."""
        return self._mean("coverage")

    def _mean(self, name: str) -> float | None:
        values = [value for one in self.videos if (value := getattr(one, name)) is not None]
        return float(np.mean(values)) if values else None

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        return {
            "masks": self.masks,
            "against": self.against,
            "split": self.split,
            "mean_iou": self.mean_iou,
            "mean_precision": self.mean_precision,
            "mean_recall": self.mean_recall,
            "mean_coverage": self.mean_coverage,
            "videos": [asdict(one) for one in self.videos],
        }


def mask_overlap(store: str | PathLike[str], masks: str, against: str, split: str) -> MaskOverlap:
    """Compare a mask set with another, such as imported truth, video by video.

    Args:
        store: A folder, or `s3://bucket/prefix`.
        masks: The mask set.
        against: The reference.
        split: Of which videos.

    Raises:
        InputError: The split has no clip.
        NotInStoreError: There is no such split or mask set.
        ShardIncompleteError: A shard of either is pending.
    """
    opened = Store.open(store)
    found = tuple(
        overlap(video_id, its, reference) for video_id, its, reference in _pairs(opened, masks, against, split)
    )
    if not found:
        raise InputError(f"split {split!r} of {opened.place} has no clip: there are no masks to compare")
    return MaskOverlap(masks, against, split, found)


def overlap(video_id: str, masks: Masks, reference: Masks) -> VideoOverlap:
    """Compare the masks of one video with a reference, both of one shape, over all pixels.

    >>> one = overlap("v", np.array([[[True, True, False, False]]]), np.array([[[False, True, True, True]]]))
    >>> one.iou, one.precision, one.recall, one.coverage
    (0.25, 0.5, 0.3333333333333333, 0.5)
    """
    if masks.shape != reference.shape or masks.size == 0:
        raise ValueError(f"masks of one shape are compared, got {masks.shape} and {reference.shape}")
    marked, wanted = moving(masks), moving(reference)
    num_marked, num_wanted, num_both = (int(one.sum()) for one in (marked, wanted, marked & wanted))
    num_either = num_marked + num_wanted - num_both
    return VideoOverlap(
        video_id=video_id,
        iou=num_both / num_either if num_either else None,
        precision=num_both / num_marked if num_marked else None,
        recall=num_both / num_wanted if num_wanted else None,
        coverage=num_marked / masks.size,
        reference_coverage=num_wanted / masks.size,
    )


def _pairs(store: Store, masks: str, against: str, split: str) -> Iterator[tuple[str, Masks, Masks]]:
    """The masks of each video by both sets, of its frames alone."""
    readers = [ClipReader(store, split, name) for name in (masks, against)]
    rows = sorted(readers[0].video_ids)
    for start in range(0, len(rows), _CLIPS_AT_ONCE):
        some = rows[start : start + _CLIPS_AT_ONCE]
        is_frame: NDArray[np.bool_] = readers[0].is_frame(some)
        for row, its, reference, shown in zip(
            some, readers[0].read_masks(some), readers[1].read_masks(some), is_frame, strict=True
        ):
            # (num_slots, h, w) -> (num_frames, h, w): an empty slot is no picture, and would lower the coverage.
            yield readers[0].video_ids[row], its[shown], reference[shown]
