"""What is in the store: splits, stages, feature sets, and the options of the frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.reporting.page import Section, first_of
from pipeline.reporting.subject import Subject
from pipeline.upkeep.status import FeatureStatus, SplitStatus, StageStatus
from store.features import num_videos_expected
from store.json_values import JSON, flattened, mapping_at, text_at
from store.schema import SplitLayout

MOST_ROWS = 40
"""Of a table."""


@dataclass(frozen=True, slots=True)
class SplitRow:
    """One split."""

    split: str
    layout: SplitLayout
    num_expected: int
    """Videos: the published number, if the store has fewer."""
    num_clips: int | None
    """Videos with a clip, of complete shards; None if that is not known."""
    num_failed: int | None
    num_pending: int | None
    """Videos of shards that are not complete."""


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One feature set of one split."""

    split: str
    name: str
    state: str
    model: str
    weights: str
    precision: str
    pooling: str
    alpha: str
    """What was in the alpha channel, with the mask set."""
    alpha_cosine: float | None


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage of one split."""

    split: str
    status: StageStatus


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that is in the store."""

    dataset: Mapping[str, JSON]
    splits: tuple[SplitRow, ...]
    num_more_splits: int
    total: SplitRow
    stages: tuple[StageRow, ...]
    num_more_stages: int
    features: tuple[FeatureRow, ...]
    num_more_features: int
    num_bytes: int | None
    frame_codec: str
    shard_size: int
    neighbours: bool
    format_version: int
    options: Mapping[str, JSON]
    """Of the frames."""
    masks: Mapping[str, Mapping[str, JSON]]
    """Mask set -> options."""


def contents_section(subject: Subject) -> Section:
    """The section."""
    manifest, status = subject.store.manifest, subject.status
    of_split = {} if status is None else {one.split: one for one in status.splits}
    rows = [
        _split_row(split, layout, num_videos_expected(subject.store, split), of_split.get(split))
        for split, layout in manifest.splits.items()
    ]
    stages = [StageRow(one.split, stage) for one in of_split.values() for stage in one.stages]
    features = [_feature_row(one.split, its) for one in of_split.values() for its in one.features]
    (shown, num_more), (first_stages, more_stages) = first_of(rows, MOST_ROWS), first_of(stages, MOST_ROWS)
    first_features, more_features = first_of(features, MOST_ROWS)
    values = Contents(
        dataset={key: value for key, value in manifest.dataset.items() if not isinstance(value, Mapping)},
        splits=shown,
        num_more_splits=num_more,
        total=_total(rows),
        stages=first_stages,
        num_more_stages=more_stages,
        features=first_features,
        num_more_features=more_features,
        num_bytes=None if status is None else status.num_bytes,
        frame_codec=manifest.frame_codec,
        shard_size=manifest.shard_size,
        neighbours=manifest.neighbours,
        format_version=manifest.format_version,
        options=flattened(manifest.options),
        masks={name: mapping_at(one, "options") for name, one in subject.masks.items()},
    )
    return Section.of("contents", "What is in the store", values)


def _split_row(split: str, layout: SplitLayout, num_expected: int, status: SplitStatus | None) -> SplitRow:
    if status is None:
        return SplitRow(split, layout, num_expected, None, None, None)
    # `stages_of` gives the stage of frames first.
    frames = status.stages[0]
    num_seen = sum(frames.outcomes.values())
    return SplitRow(
        split, layout, num_expected, frames.num_filled, num_seen - frames.num_filled, layout.num_videos - num_seen
    )


def _total(rows: list[SplitRow]) -> SplitRow:
    def summed(name: str) -> int | None:
        values = [getattr(row, name) for row in rows]
        # A sum of what is known would look like the whole.
        return None if None in values else sum(values)

    num_videos, num_captions = (
        sum(getattr(row.layout, name) for row in rows) for name in ("num_videos", "num_captions")
    )
    # Only numbers of videos and captions are shown of the total; a layout must have the rest.
    first = rows[0].layout
    return SplitRow(
        "all",
        SplitLayout(num_videos, num_captions, first.num_frames, first.height, first.width),
        sum(row.num_expected for row in rows),
        summed("num_clips"),
        summed("num_failed"),
        summed("num_pending"),
    )


def _feature_row(split: str, status: FeatureStatus) -> FeatureRow:
    made_with = status.made_with
    model, alpha = mapping_at(made_with, "model"), made_with.get("alpha")
    masks = text_at(mapping_at(made_with, "masks"), "name") or "?"
    source = text_at(alpha, "source") if isinstance(alpha, Mapping) else alpha
    is_imported = "imported" in made_with
    return FeatureRow(
        split=split,
        name=status.name,
        state=status.state,
        model="imported" if is_imported else text_at(model, "name") or "?",
        weights=(text_at(model, "weights_sha256") or "-")[:12],
        precision=text_at(made_with, "precision") or "-",
        pooling=text_at(made_with, "pooling") or "?",
        alpha="-" if is_imported or source is None else str(source) if source == "ones" else f"{source} of {masks}",
        alpha_cosine=status.alpha_cosine,
    )
