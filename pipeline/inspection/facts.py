"""What is known of the videos that are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.inspection.choosing import Chosen
from pipeline.inspection.options import MAX_MASK_SETS
from pipeline.inspection.ranks import CaptionRank, Ranks
from pipeline.run.events import Reporter
from pipeline.run.words import listed, plural
from store.commits import CommitRecord, VideoOutcome
from store.completion import Pending, judged_of_each
from store.formats.columns import column
from store.json_values import JSON
from store.schema import Video, VideoStatus
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store


@dataclass(frozen=True, slots=True)
class MaskFacts:
    """What the masks of one video show, before the rules for empty and full masks."""

    name: str
    """Of the mask set."""
    num_masks: int | None
    mean_coverage: float | None
    """Share of the picture, 0..1."""
    mean_components: float | None
    num_empty: int | None
    num_full: int | None
    camera_moves: bool | None
    """None if that could not be told."""
    num_unregistered_pairs: int | None
    """Pairs of pictures whose camera motion was to be compensated and could not be found."""

    @classmethod
    def of(cls, name: str, outcome: VideoOutcome) -> MaskFacts:
        """Take them from a row of a commit record."""
        return cls(
            name=name,
            num_masks=outcome.num_masks,
            mean_coverage=outcome.mask_coverage,
            mean_components=outcome.mask_components,
            num_empty=outcome.num_empty_masks,
            num_full=outcome.num_full_masks,
            camera_moves=outcome.camera_motion,
            num_unregistered_pairs=outcome.num_unregistered_pairs,
        )


@dataclass(frozen=True, slots=True)
class InspectedCaption:
    """One caption of a video."""

    caption_id: str
    text: str
    rank: CaptionRank | None
    """None without features."""


@dataclass(frozen=True, slots=True)
class InspectedVideo:
    """All that is known of one video."""

    video: Video
    """Its row of the catalogue."""
    chosen_by: Mapping[str, int]
    """Choice -> the video's place in it, from 1."""
    status: VideoStatus
    """`pending` as well if its shard is not complete."""
    has_clip: bool
    reason: str | None
    """Why there is no clip; of a clip, its note."""
    duration_seconds: float | None
    fps: float | None
    codec: str | None
    masks: tuple[MaskFacts, ...]
    masks_pending: Mapping[str, str]
    """Mask set -> why its masks of this video cannot be shown."""
    captions: tuple[InspectedCaption, ...]

    @property
    def ranked(self) -> tuple[InspectedCaption, ...]:
        """The captions that have a rank, best first."""
        ranked = [one for one in self.captions if one.rank is not None]
        return tuple(sorted(ranked, key=lambda one: (one.rank.rank, -one.rank.score) if one.rank else (0, 0.0)))

    def to_dict(self) -> dict[str, JSON]:
        """The facts as JSON."""
        return {
            **asdict(self.video),
            "chosen_by": dict(self.chosen_by),
            "status": str(self.status),
            "has_clip": self.has_clip,
            "reason": self.reason,
            "duration_seconds": self.duration_seconds,
            "fps": self.fps,
            "codec": self.codec,
            "masks": [dict(asdict(one)) for one in self.masks],
            "masks_pending": dict(self.masks_pending),
            "captions": [dict(asdict(one)) for one in self.captions],
        }


def describe(store: Store, chosen: Sequence[Chosen], masks: Sequence[str], ranks: Ranks) -> tuple[InspectedVideo, ...]:
    """Gather what the catalogue, the commit records and the ranks say of some videos, in their order.

    Args:
        store: The store.
        chosen: The videos.
        masks: Mask sets to tell of.
        ranks: Of their captions.
    """
    found: dict[tuple[str, int], InspectedVideo] = {}
    for split in dict.fromkeys(one.split for one in chosen):
        here = {one.row: one for one in chosen if one.split == split}
        captions = _captions(store, split, {one.video_id for one in here.values()}, ranks)
        size, shards = store.manifest.shard_size, store.shards(split)
        # Only shards with a video that is shown: a store may have thousands.
        wanted = [shards[index] for index in sorted({row // size for row in here})]
        stages = [FRAMES_STAGE, *map(masks_stage, masks)]
        for shard, judged in judged_of_each(store, wanted, stages):
            for video in store.catalog.shard_videos(shard):
                if video.row in here:
                    its_captions = captions.get(video.video_id, ())
                    described = _described(video, here[video.row], judged, masks)
                    found[split, video.row] = replace(described, captions=its_captions)
    return tuple(found[one.split, one.row] for one in chosen)


def without_many_masks(
    videos: Sequence[InspectedVideo], is_named: bool, report: Reporter
) -> tuple[InspectedVideo, ...]:
    """Leave out mask sets that no video has; and where none was named, all but the first few.

    Args:
        videos: With all mask sets.
        is_named: Whether the user named the mask sets.
        report: Hears what was left out.
    """
    there = list(dict.fromkeys(masks.name for one in videos for masks in one.masks))
    asked = list(dict.fromkeys(name for one in videos for name in (*(m.name for m in one.masks), *one.masks_pending)))
    kept = asked if is_named else [name for name in asked if name in there][:MAX_MASK_SETS]
    if left_out := [name for name in there if name not in kept]:
        report.say(
            f"shown are {listed(list(map(repr, kept)))}; {plural(len(left_out), 'further mask set')}: "
            f"{listed(list(map(repr, left_out)))} (--masks NAME shows it)"
        )
    return tuple(
        replace(
            one,
            masks=tuple(masks for masks in one.masks if masks.name in kept),
            masks_pending={name: why for name, why in one.masks_pending.items() if name in kept},
        )
        for one in videos
    )


def _described(
    video: Video, chosen: Chosen, judged: Sequence[CommitRecord | Pending], masks: Sequence[str]
) -> InspectedVideo:
    outcome, why = _outcome(judged[0], video)
    made: list[MaskFacts] = []
    pending: dict[str, str] = {}
    if outcome is not None and outcome.filled:
        for name, record in zip(masks, judged[1:], strict=True):
            its, why_not = _outcome(record, video)
            if its is None:
                pending[name] = why_not or ""
            else:
                made.append(MaskFacts.of(name, its))
    return InspectedVideo(
        video=video,
        chosen_by=chosen.chosen_by,
        status=VideoStatus.PENDING if outcome is None else outcome.status,
        has_clip=outcome is not None and outcome.filled,
        reason=why if outcome is None else outcome.reason,
        duration_seconds=None if outcome is None else outcome.duration_seconds,
        fps=None if outcome is None else outcome.fps,
        codec=None if outcome is None else outcome.codec,
        masks=tuple(made),
        masks_pending=pending,
        captions=(),
    )


def _outcome(judged: CommitRecord | Pending, video: Video) -> tuple[VideoOutcome | None, str | None]:
    """How a video ended in a stage; or None, and why its shard is pending."""
    if isinstance(judged, Pending):
        return None, f"its shard is pending: {judged.why}"
    # Outcomes are in the order of rows, one for each row of the shard.
    return judged.outcomes[video.row - judged.shard.start], None


def _captions(store: Store, split: str, video_ids: set[str], ranks: Ranks) -> dict[str, tuple[InspectedCaption, ...]]:
    """Video id -> its captions, of some videos of a split."""
    table = store.catalog.split_captions(split)
    table = table.filter(pc.is_in(table["video_id"], column(sorted(video_ids), pa.string())))
    rows = list(zip(*(table[name].to_pylist() for name in ("video_id", "caption_id", "text")), strict=True))
    known = ranks.of(split, [caption_id for _, caption_id, _ in rows])
    found: dict[str, list[InspectedCaption]] = {}
    for video_id, caption_id, text in rows:
        found.setdefault(video_id, []).append(InspectedCaption(caption_id, text, known.get(caption_id)))
    return {video_id: tuple(captions) for video_id, captions in found.items()}
