"""Feature sets: cached embeddings of the clips and captions of a split, under a name, with what made them.

Row *i* of `video` and `frame` belongs to the video of row *i* in `catalog/videos.parquet`, row *i* of `text` to the
caption of row *i* in `catalog/captions.parquet`, each within its split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from store.arrays.reading import read_array
from store.arrays.shards import attributes_of, create_array, shard_content
from store.commits import CommitRecord, VideoOutcome, commit_shards, draft_shard, read_commit
from store.complete_features import complete_records
from store.completion import map_many
from store.errors import ShardIncompleteError
from store.feature_arrays import MAX_DIM as MAX_DIM
from store.feature_arrays import caption_shards as caption_shards
from store.feature_arrays import feature_names as feature_names
from store.feature_arrays import feature_specs as feature_specs
from store.feature_arrays import features_name, open_features, stored_spec
from store.feature_dtypes import FLOAT32, FeatureDtype, FeatureDtypes
from store.formats.columns import integers
from store.json_values import JSON
from store.names import check_name
from store.own_files import OwnFile, own_files
from store.places.folder import StoreFolder
from store.remedies import RUN_AGAIN
from store.schema import Shard
from store.stages import captions_input, features_stage
from store.store import Store


@dataclass(frozen=True, slots=True)
class Features:
    """The features of one split for evaluation: only videos that have features, and their captions."""

    video_ids: tuple[str, ...]
    video: NDArray[np.float32]
    """Shape (num_videos, dim), unit rows."""
    caption_ids: tuple[str, ...]
    text: NDArray[np.float32]
    """Shape (num_captions, dim), unit rows."""
    truth: NDArray[np.int64]
    """Shape (num_captions,): index into `video_ids` of the video that each caption describes."""
    num_dropped: NDArray[np.int64]
    """Shape (num_captions,): tokens of each caption that did not fit into the model's context; -1 if not known."""
    num_videos_expected: int
    """Videos that the split should have, with features or without: those of the store, or the published number."""
    missing_video_ids: tuple[str, ...]
    """Videos of the store without features."""
    num_captions_expected: int
    alpha_cosine: NDArray[np.float32]
    """Shape (num_videos,): cosine between the video with its alpha and with one of all ones; NaN if not measured."""
    attributes: Mapping[str, JSON]
    """What made the features."""


@dataclass(frozen=True, slots=True)
class ClipFeatures:
    """The features of the videos of one shard, to be written."""

    video: NDArray[np.float32]
    """Shape (num_rows, dim), unit rows; NaN where there is no video."""
    frame: NDArray[np.float32]
    """Shape (num_rows, num_frames, dim), not normalised; NaN where there is no video."""
    outcomes: tuple[VideoOutcome, ...]
    """One for each video."""
    alpha_cosine: NDArray[np.float32] | None = None
    """Shape (num_rows,): see `Features.alpha_cosine`; None if it was measured of no video."""
    dtypes: FeatureDtypes = FLOAT32
    """What they are kept in: that which the feature set was created with."""


@dataclass(frozen=True, slots=True)
class TextFeatures:
    """The features of the captions of one shard, to be written."""

    text: NDArray[np.float32]
    """Shape (num_rows, dim), unit rows."""
    num_dropped: NDArray[np.int64] | None = None
    """Shape (num_rows,): see `Features.num_dropped`; None if not known."""
    dtype: FeatureDtype = "float32"
    """What they are kept in: that which the feature set was created with."""


def feature_stages(store: Store, name: str, split: str) -> tuple[tuple[str, tuple[Shard, ...]], ...]:
    """The two stages of a feature set, each with its shards: those of videos, then those of captions."""
    return (
        (features_stage(name, "video"), store.shards(split)),
        (features_stage(name, "text"), caption_shards(store, split)),
    )


def create_features(
    store: Store,
    name: str,
    split: str,
    dim: int,
    attributes: Mapping[str, JSON],
    dtypes: FeatureDtypes = FLOAT32,
) -> None:
    """Create the arrays of a feature set for one split, unless they exist.

    Raises:
        StoreMismatchError: Features of this name were made with other options.
    """
    check_name("feature set", name)
    for part in ("video", "text"):
        for spec in feature_specs(store, name, split, part, dim, dtypes):
            create_array(store.folder, spec, attributes)


def feature_set_files(folder: StoreFolder, name: str, split: str) -> tuple[OwnFile, ...]:
    """The files of a feature set of one split, to be removed (`remove_own`).

    Raises:
        ValueError: This cannot be the name of a feature set, or of a split.
    """
    check_name("feature set", name)
    check_name("split", split)
    return own_files(folder, f"commits/{split}/features/{name}", features_name(name, split, ""))


def write_clip_features(
    store: Store, name: str, shard: Shard, features: ClipFeatures, inputs: Mapping[str, str]
) -> CommitRecord:
    """Write and commit the clip features of a shard.

    Args:
        store: The store.
        name: The feature set.
        shard: Of videos.
        features: One row for each video of the shard.
        inputs: `input_digests` of the stages that the features were computed from, taken before these were read.
    """
    cosines = features.alpha_cosine
    if cosines is None:
        # Nothing but the fill value: no file is written.
        cosines = np.full(shard.num_rows, np.nan, dtype=np.float32)
    specs = feature_specs(store, name, shard.split, "video", features.video.shape[-1], features.dtypes)
    parts = (features.video, features.frame, cosines)
    contents = {
        # int8 is float32 here: its codec rounds.
        spec.shard_name(shard.index): shard_content(spec, shard, values.astype(spec.dtype, copy=False))
        for spec, values in zip(specs, parts, strict=True)
    }
    draft = draft_shard(shard, features_stage(name, "video"), features.outcomes, contents, inputs)
    commit_shards(store.folder, [draft])
    return draft.record


def write_text_features(
    store: Store, name: str, shard: Shard, features: TextFeatures, inputs: Mapping[str, str] = MappingProxyType({})
) -> CommitRecord:
    """Write and commit the text features of a shard of captions. They are out of date once the captions change.

    Args:
        store: The store.
        name: The feature set.
        shard: Of captions.
        features: One row for each caption of the shard.
        inputs: `input_digests` of other stages that they were made from, taken before these were read.
    """
    text, dropped = features.text, features.num_dropped
    if dropped is None:
        dropped = np.full(shard.num_rows, -1, dtype=np.int64)
    made_from = {**inputs, captions_input(shard): store.catalog.captions_digest(shard)}
    dtypes = FeatureDtypes(vectors=features.dtype)
    text_spec, dropped_spec = feature_specs(store, name, shard.split, "text", text.shape[-1], dtypes)
    contents = {
        text_spec.shard_name(shard.index): shard_content(text_spec, shard, text.astype(text_spec.dtype, copy=False)),
        dropped_spec.shard_name(shard.index): shard_content(dropped_spec, shard, dropped),
    }
    draft = draft_shard(shard, features_stage(name, "text"), (), contents, made_from)
    commit_shards(store.folder, [draft])
    return draft.record


def read_features(store: Store, name: str, split: str) -> Features:
    """Read a feature set for evaluation.

    Raises:
        NotInStoreError: There is none of this name for this split.
        ShardIncompleteError: It is not complete, out of date, or was rebuilt while it was read.
        ShardDamagedError: Its bytes are not those that were written.
        StoreFormatError: Its metadata, or the catalogue, is damaged.
    """
    attributes = features_made_with(store, name, split)
    filled = _filled(records := complete_records(store, name, split, feature_stages(store, name, split)))
    # Rows of the catalogue that have features, and position of each id among these: indexes of `truth`.
    rows, position = list(filled), {video_id: index for index, video_id in enumerate(filled.values())}
    catalogued: list[str] = store.catalog.split_videos(split)["video_id"].to_pylist()
    captions = store.catalog.split_captions(split)
    owners = captions["video_id"].to_pylist()
    # A caption of a video without features is no query.
    used = [row for row, video_id in enumerate(owners) if video_id in position]
    features = Features(
        video_ids=tuple(filled.values()),
        video=np.asarray(_read(store, name, split, "video"), dtype=np.float32)[rows],
        caption_ids=tuple(captions["caption_id"].take(integers(used)).to_pylist()),
        text=np.asarray(_read(store, name, split, "text"), dtype=np.float32)[used],
        truth=np.asarray([position[owners[row]] for row in used], dtype=np.int64),
        num_dropped=np.asarray(_read(store, name, split, "num_dropped"), dtype=np.int64)[used],
        num_videos_expected=num_videos_expected(store, split),
        missing_video_ids=tuple(video_id for video_id in catalogued if video_id not in position),
        num_captions_expected=captions.num_rows,
        alpha_cosine=np.asarray(_read(store, name, split, "alpha_cosine"), dtype=np.float32)[rows],
        attributes=attributes,
    )
    # Records, arrays, records again: a shard that is rebuilt meanwhile would mix rows of two versions.
    _check_unchanged(store, name, split, records)
    return features


def num_videos_expected(store: Store, split: str) -> int:
    """Videos that a split should have: the published number, if the store has fewer."""
    published = store.manifest.dataset.get("num_videos_expected")
    known = published.get(split) if isinstance(published, Mapping) else None
    return max(store.layout(split).num_videos, known if isinstance(known, int) else 0)


def read_frame_features(store: Store, name: str, split: str) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Read the frame features of a split's videos, from which other poolings can be computed.

    Returns:
        Ids of the videos that have features, and their frames: shape (num_videos, num_frames, dim), not normalised, NaN
        where a video has no frame.

    Raises:
        NotInStoreError: There is none of this name for this split.
        ShardIncompleteError: It is not complete, out of date, or was rebuilt while it was read.
        ShardDamagedError: Its bytes are not those that were written.
        StoreFormatError: Its metadata, or the catalogue, is damaged.
    """
    filled = _filled(records := complete_records(store, name, split, feature_stages(store, name, split)))
    frame = np.asarray(_read(store, name, split, "frame"), dtype=np.float32)[list(filled)]
    _check_unchanged(store, name, split, records)
    return tuple(filled.values()), frame


def features_made_with(store: Store, name: str, split: str) -> dict[str, JSON]:
    """What made the features of a split.

    Raises:
        NotInStoreError: There are none of this name.
    """
    return attributes_of(open_features(store, name, split, "video"))


def read_num_dropped(store: Store, name: str, split: str) -> NDArray[np.int64]:
    """Read `Features.num_dropped` of all captions of a split, in the order of the catalogue.

    Raises:
        NotInStoreError: There are no such features.
        ShardDamagedError: They are damaged.
    """
    return np.asarray(_read(store, name, split, "num_dropped"), dtype=np.int64)


def read_alpha_cosines(store: Store, name: str, split: str) -> NDArray[np.float32]:
    """Read the cosines of `Features.alpha_cosine` that were measured, whether or not the features are complete.

    Raises:
        NotInStoreError: There are no such features.
        ShardDamagedError: They are damaged.
    """
    cosines = np.asarray(_read(store, name, split, "alpha_cosine"), dtype=np.float32)
    return cosines[np.isfinite(cosines)]


def _filled(records: Sequence[CommitRecord]) -> dict[int, str]:
    """Row -> id of the videos that have features, in row order."""
    # Records of captions have none.
    outcomes = (outcome for record in records for outcome in record.outcomes)
    return {outcome.row: outcome.video_id for outcome in outcomes if outcome.filled}


def _check_unchanged(store: Store, name: str, split: str, records: Sequence[CommitRecord]) -> None:
    """Compare each shard's files with those of its record before the arrays were read: another run may rebuild them.

    Only the records of the features are read again. Frames that are rebuilt in the meantime make these features out of
    date for the next reader; what was read is still of one version.

    Raises:
        ShardIncompleteError: They were rebuilt.
    """

    def is_unchanged(record: CommitRecord) -> bool:
        now = read_commit(store.folder, record.shard, record.stage, with_outcomes=False)
        return now is not None and now.files == record.files

    if not all(map_many(store.folder, is_unchanged, records)):
        raise ShardIncompleteError(
            f"features {name!r} of split {split!r} were rebuilt while they were read: {RUN_AGAIN}"
        )


def _read(store: Store, name: str, split: str, part: str) -> NDArray[np.generic]:
    """All rows of one array of a feature set; its fill value where there are none.

    Raises:
        NotInStoreError: There is no such feature set.
        StoreFormatError: See `stored_spec`.
        ShardDamagedError: Its bytes are not those that were written.
    """
    return np.asarray(read_array(store.folder, stored_spec(store, name, split, part)))
