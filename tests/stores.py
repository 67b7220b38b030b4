"""Small stores made by hand, without a video, for tests of what is on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from store.arrays.codec_names import CodecName
from store.arrays.shards import ArraySpec, ArrayValues, shard_content
from store.catalog import Catalog
from store.clips.shards import (
    FramesDraft,
    ShardFrames,
    create_clip_arrays,
    create_mask_arrays,
    draft_frames,
    slot_checksum,
    write_masks,
)
from store.commits import CommitRecord, VideoOutcome, commit_shards
from store.completion import require_committed
from store.errors import ShardIncompleteError
from store.growth import create_store
from store.places.folder import StoreFolder, WrittenFile
from store.places.opening import folder_at
from store.schema import Caption, Shard, SplitLayout, Video, VideoStatus
from store.store import Manifest, Store

SHARD_SIZE = 4
NUM_FRAMES = 3
SIZE = 8
MASKS = "default"


def write_shard(
    folder: StoreFolder, spec: ArraySpec, shard: Shard, values: ArrayValues, kept: Mapping[int, bytes] | None = None
) -> WrittenFile | None:
    """Write one shard of an array, without a record; None if every value is the fill value."""
    name, content = spec.shard_name(shard.index), shard_content(spec, shard, values, kept)
    if content is None:
        folder.remove(name)
        return None
    return folder.write(name, content)


def make_manifest(
    num_videos: int,
    shard_size: int = SHARD_SIZE,
    digest: str = "d" * 64,
    frame_codec: CodecName = "raw",
    neighbours: bool = False,
) -> Manifest:
    layout = SplitLayout(num_videos, 2 * num_videos, NUM_FRAMES, SIZE, SIZE)
    return Manifest(
        dataset={"name": "made by hand", "digest": digest},
        shard_size=shard_size,
        splits={"test": layout},
        options={"image_size": SIZE},
        software={"numpy": np.__version__},
        frame_codec=frame_codec,
        neighbours=neighbours,
    )


def make_catalog(num_videos: int) -> Catalog:
    videos = [Video(f"-vidéo_{row}", "test", row, f"clips/{row}.mp4") for row in range(num_videos)]
    captions = [
        Caption(f"{video.video_id}#{number}", video.video_id, "test", 2 * video.row + number, _text(video, number))
        for video in videos
        for number in range(2)
    ]
    return Catalog.of(videos, captions)


def _text(video: Video, number: int) -> str:
    """No two captions have one text, for these would have to tie."""
    return f"caption {number} of {video.row}"


def make_store(
    place: Path | str,
    num_videos: int,
    shard_size: int = SHARD_SIZE,
    frame_codec: CodecName = "raw",
    neighbours: bool = False,
) -> Store:
    manifest = make_manifest(num_videos, shard_size, frame_codec=frame_codec, neighbours=neighbours)
    store = create_store(folder_at(place), manifest, make_catalog(num_videos))[0]
    create_clip_arrays(store, {"made by": "hand"})
    create_mask_arrays(store, MASKS, {"options": {"threshold": 25}})
    return store


def clip_frames(row: int) -> np.ndarray:
    """What the video of a row shows: noise that only this row has."""
    return np.random.default_rng(row).integers(1, 255, (NUM_FRAMES, SIZE, SIZE, 3), dtype=np.uint8)


def clip_masks(row: int) -> np.ndarray:
    masks: np.ndarray = clip_frames(row)[..., 0] > 128
    return masks


def outcomes(store: Store, shard: Shard, failed: frozenset[int] = frozenset()) -> tuple[VideoOutcome, ...]:
    return tuple(
        VideoOutcome(
            video_id=video.video_id,
            row=video.row,
            status=VideoStatus.CORRUPT if video.row in failed else VideoStatus.OK,
            filled=video.row not in failed,
            reason="broken on purpose" if video.row in failed else None,
            checksum=None if video.row in failed else slot_checksum(clip_frames(video.row)),
        )
        for video in store.catalog.shard_videos(shard)
    )


def write_frames(
    store: Store,
    shard: Shard,
    clips: ShardFrames,
    outcomes: Sequence[VideoOutcome],
    *,
    kept_rows: Collection[int] = (),
) -> FramesDraft:
    """Write and commit the frames of a shard: see `draft_frames` and `commit_shards`."""
    made = draft_frames(store, shard, clips, outcomes, kept_rows=kept_rows)
    commit_shards(store.folder, [made.draft])
    return made


def committed(store: Store, shard: Shard, stage: str) -> CommitRecord | None:
    """The record of a complete shard, or None if the shard is pending."""
    try:
        return require_committed(store, shard, stage)
    except ShardIncompleteError:
        return None


def fill_shard(store: Store, shard: Shard, failed: frozenset[int] = frozenset()) -> None:
    """Write and commit frames and masks of one shard."""
    rows = range(shard.start, shard.stop)
    empty = np.zeros_like(clip_frames(0))
    frames = np.stack([empty if row in failed else clip_frames(row) for row in rows])
    times = np.stack([np.full(NUM_FRAMES, np.nan) if row in failed else np.arange(NUM_FRAMES) / 25 for row in rows])
    index = np.where(np.isnan(times), -1, np.arange(NUM_FRAMES)).astype(np.int64)
    written = write_frames(store, shard, ShardFrames(frames, times, index), outcomes(store, shard, failed))
    masks = np.stack([np.zeros_like(clip_masks(0)) if row in failed else clip_masks(row) for row in rows])
    write_masks(store, shard, MASKS, masks, outcomes(store, shard, failed), written.clips.inputs)


def fill_store(store: Store, failed: frozenset[int] = frozenset()) -> None:
    for shard in store.shards("test"):
        fill_shard(store, shard, failed)


def tree_digest(place: Path, leave_out: tuple[str, ...] = ("runs", "partial")) -> dict[str, str]:
    """Every file below a folder with the sha256 of its bytes."""
    return {
        str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.relative_to(place).parts[0] not in leave_out
    }
