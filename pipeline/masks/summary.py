"""What the commit records of a mask set say of its masks: how much moves, how many are empty or full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from store.commits import VideoOutcome
from store.json_values import JSON


@dataclass(frozen=True, slots=True)
class SplitMasks:
    """What the masks of one split say, over all videos that have any, before the rules for empty and full masks."""

    split: str
    num_videos: int
    num_videos_masked: int
    mean_coverage: float | None
    """Mean of the videos' mean coverage, 0..1. This and all below: None where no video has masks."""
    mean_components: float | None
    empty_share: float | None
    """Of all masks, those in which nothing moves, 0..1."""
    full_share: float | None
    camera_motion_share: float | None
    """Of the videos for which this is known, the share whose camera moved, 0..1."""
    num_camera_known: int
    """Videos for which this is known."""
    num_unregistered_pairs: int | None
    """Pairs of pictures whose camera motion could not be found; None if it was not looked for."""
    num_compared_frames: int | None
    """Frames of the videos for which it was looked for; None if of none."""
    picked_share: dict[str, float] | None = None
    """The share of the videos for which `auto` picked each kind of difference, 0..1; None where nothing was picked."""

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON."""
        return asdict(self)


@dataclass(slots=True)
class MaskCounts:
    """Sums over the videos of one split, taken shard by shard: there may be millions of videos."""

    num_videos: int = 0
    num_videos_masked: int = 0
    num_masks: int = 0
    coverage: float = 0.0
    components: float = 0.0
    num_empty: int = 0
    num_full: int = 0
    num_telling: int = 0
    """Videos for which it is known whether the camera moved."""
    num_moving: int = 0
    num_unregistered: int | None = None
    num_compared: int | None = None
    picked: Counter[str] = field(default_factory=Counter)
    """How often `auto` picked each kind of difference."""

    def add(self, outcomes: Iterable[VideoOutcome]) -> None:
        """Count the videos of a shard of the mask set; those that failed have no masks."""
        for outcome in outcomes:
            self.num_videos += 1
            if not outcome.filled:
                continue
            self.num_videos_masked += 1
            self.num_masks += outcome.num_masks or 0
            self.coverage += outcome.mask_coverage or 0.0
            self.components += outcome.mask_components or 0.0
            self.num_empty += outcome.num_empty_masks or 0
            self.num_full += outcome.num_full_masks or 0
            self.num_telling += outcome.camera_motion is not None
            self.num_moving += outcome.camera_motion is True
            if outcome.mask_difference is not None:
                self.picked[outcome.mask_difference] += 1
            if outcome.num_unregistered_pairs is not None:
                self.num_unregistered = (self.num_unregistered or 0) + outcome.num_unregistered_pairs
                self.num_compared = (self.num_compared or 0) + (outcome.num_masks or 0)

    def summary(self, split: str) -> SplitMasks:
        """The means and shares."""
        return SplitMasks(
            split=split,
            num_videos=self.num_videos,
            num_videos_masked=self.num_videos_masked,
            mean_coverage=_share(self.coverage, self.num_videos_masked),
            mean_components=_share(self.components, self.num_videos_masked),
            empty_share=_share(self.num_empty, self.num_masks),
            full_share=_share(self.num_full, self.num_masks),
            camera_motion_share=_share(self.num_moving, self.num_telling),
            num_camera_known=self.num_telling,
            num_unregistered_pairs=self.num_unregistered,
            num_compared_frames=self.num_compared,
            picked_share={kind: number / self.picked.total() for kind, number in sorted(self.picked.items())} or None,
        )


def _share(number: float, total: int) -> float | None:
    return number / total if total else None
