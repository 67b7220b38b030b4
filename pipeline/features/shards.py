"""What one task of `fda encode` does: shards read ahead of the encoder, and written behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from encoders.encoding.encoder import Encoder, StagedClips
from pipeline.clips.alpha import AlphaClips
from pipeline.clips.read_ahead import read_ahead, write_behind
from pipeline.features.encoders import Encoders
from pipeline.run.events import ItemsDone, Tell
from pipeline.run.plan import Tally
from store.clips.reader import ClipReader
from store.clips.shards import slot_checksum
from store.commits import VideoOutcome
from store.completion import input_digests, outcomes_of
from store.errors import ShardIncompleteError
from store.features import ClipFeatures, TextFeatures, write_clip_features, write_text_features
from store.json_values import JSON
from store.places.folder import StoreFolder
from store.schema import Shard
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store

if TYPE_CHECKING:
    from pipeline.features.options import FeatureRecipe


@dataclass(frozen=True, slots=True)
class SplitInputs:
    """What a split is encoded from, and what it was when the run was planned."""

    split: str
    identity: Mapping[str, JSON]
    """What will have made the features. This and the digests are taken before the clips are opened: if another run
    rebuilds frames or masks after that, the features are out of date."""
    digests: Mapping[Shard, Mapping[str, str]]
    """Shard -> what `input_digests` gave for it."""
    mask_givers: Mapping[int, int] | None = None
    """Row -> the row whose masks it gets, if masks are shuffled. Drawn once, because it takes the records of the whole
    split: if each task drew it, a run would read as many records as the square of the number of shards."""

    def of(self, shards: Sequence[Shard]) -> SplitInputs:
        """The part of these shards."""
        givers = self.mask_givers
        if givers is not None:
            # A task is sent to its worker whole: the table of a large split would go along with each.
            rows = (row for shard in shards for row in range(shard.start, shard.stop))
            givers = {row: givers[row] for row in rows if row in givers}
        return SplitInputs(self.split, self.identity, {shard: self.digests[shard] for shard in shards}, givers)


@dataclass(frozen=True, slots=True)
class EncodeTask:
    """Some shards of clips, or of captions, of one split."""

    folder: StoreFolder
    options: FeatureRecipe
    inputs: SplitInputs
    clips: tuple[Shard, ...]
    captions: tuple[Shard, ...]
    encoders: Encoders

    def __str__(self) -> str:
        shards = self.clips or self.captions
        return f"shards {shards[0].key} to {shards[-1].key}" if shards else "no shards"


@dataclass(frozen=True, slots=True)
class EncodeReport:
    """What became of a task."""

    tally: Tally
    num_frames: int
    num_captions_truncated: int


@dataclass(frozen=True, slots=True)
class _Staged:
    """A shard that was read."""

    shard: Shard
    outcomes: tuple[VideoOutcome, ...]
    slots: NDArray[np.int64]
    """Where in the shard its clips belong."""
    clips: StagedClips
    probed: NDArray[np.int64]
    """Which of the clips are encoded with an alpha of all ones, too."""
    probes: StagedClips | None


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A shard whose features are to be written; NaN where there is no video."""

    shard: Shard
    video: NDArray[np.float32]
    frame: NDArray[np.float32]
    alpha_cosine: NDArray[np.float32]
    outcomes: tuple[VideoOutcome, ...]
    num_frames: int


@dataclass
class _Counts:
    tallies: list[Tally] = field(default_factory=list)
    num_frames: int = 0
    num_truncated: int = 0


def run_task(task: EncodeTask, tell: Tell) -> EncodeReport:
    """Encode and commit the shards of a task.

    A batch never spans two shards: what a frame's features are to the last bit depends on the batch it is in, and a
    shard must come out the same wherever a run was killed and whichever machine goes on.

    Raises:
        ShardIncompleteError: Frames or masks were rebuilt since the run was planned.
    """
    store, counts = Store.open(task.folder), _Counts()
    encoder = task.encoders()
    if task.clips:
        options, split, givers = task.options, task.inputs.split, task.inputs.mask_givers
        reader = ClipReader(store, split, options.mask_name, shards=_shards_to_read(store, task))
        clips = AlphaClips(reader, options.alpha, options.seed, givers, options.size)
        shards = _Shards(store, options, task.inputs, encoder, clips)
        # Three at a time: one is read, one encoded, one written. `map` is lazy, and runs in this thread, as the model
        # must.
        for encoded in write_behind(shards.write, map(shards.encode, read_ahead(shards.stage, task.clips))):
            tally = Tally.of(encoded.shard.split, encoded.outcomes)
            counts.tallies.append(tally)
            counts.num_frames += encoded.num_frames
            tell(ItemsDone(tally.num_videos, len(tally.failures), encoded.num_frames))
    for shard in task.captions:
        counts.num_truncated += _encode_captions(store, encoder, task.options, shard)
    return EncodeReport(Tally.sum(counts.tallies), counts.num_frames, counts.num_truncated)


def _shards_to_read(store: Store, task: EncodeTask) -> tuple[Shard, ...]:
    """The shards of a task, and those whose masks their clips get: no more records are read for a larger split."""
    shards = store.shards(task.inputs.split)
    size = store.manifest.shard_size
    givers = {shards[row // size] for row in (task.inputs.mask_givers or {}).values()}
    return (*task.clips, *sorted(givers - set(task.clips), key=lambda shard: shard.index))


@dataclass(frozen=True, slots=True)
class _Shards:
    """The three things that are done to a shard, each in a thread of its own."""

    store: Store
    options: FeatureRecipe
    inputs: SplitInputs
    encoder: Encoder
    clips: AlphaClips

    def stage(self, shard: Shard) -> _Staged:
        """Read a shard, and send it on its way to the device."""
        outcomes = outcomes_of(self.store, shard, masks_stage(self.options.mask_name))
        stages = FRAMES_STAGE, masks_stage(self.options.mask_name)
        # The commit record will name the inputs of the plan, so the clips must be those.
        if input_digests(self.store, shard, stages) != self.inputs.digests[shard]:
            raise ShardIncompleteError(
                f"shard {shard.key} of {self.store.place} has been rebuilt since this run opened it: "
                "run the same command again"
            )
        # Only rows with a clip: a failed video has zeros there, and would get an embedding.
        batch = self.clips.read([outcome.row for outcome in outcomes if outcome.filled])
        every = self.options.sensitivity_every
        probed = np.flatnonzero(batch.rows % every == 0) if self.options.measures_sensitivity else np.empty(0, np.int64)
        probes = None
        if len(probed):
            ones = np.ones(batch.masks[probed].shape, np.bool_)
            # In a batch of its own: what is in a batch changes the last bits of the features.
            probes = self.encoder.stage(batch.frames[probed], ones, batch.is_frame[probed])
        clips = self.encoder.stage(batch.frames, batch.masks, batch.is_frame)
        return _Staged(shard, outcomes, batch.rows - shard.start, clips, probed, probes)

    def encode(self, staged: _Staged) -> _Encoded:
        """Embed a shard. Slots without a video keep NaN: never a vector that could be scored."""
        shard, embedded = staged.shard, self.encoder.encode_staged(staged.clips)
        video = np.full((shard.num_rows, *embedded.video.shape[1:]), np.nan, dtype=np.float32)
        frame = np.full((shard.num_rows, *embedded.frame.shape[1:]), np.nan, dtype=np.float32)
        alpha_cosine = np.full(shard.num_rows, np.nan, dtype=np.float32)
        video[staged.slots], frame[staged.slots] = embedded.video, embedded.frame
        if staged.probes is not None:
            ones = self.encoder.encode_staged(staged.probes).video
            # Both of unit norm.
            alpha_cosine[staged.slots[staged.probed]] = (ones * embedded.video[staged.probed]).sum(axis=1)
        num_frames = int(staged.clips.is_frame.sum())
        return _Encoded(shard, video, frame, alpha_cosine, staged.outcomes, num_frames)

    def write(self, encoded: _Encoded) -> _Encoded:
        """Commit a shard."""
        shard, name = encoded.shard, self.options.features
        outcomes = tuple(
            VideoOutcome(
                video_id=outcome.video_id,
                row=outcome.row,
                status=outcome.status,
                filled=outcome.filled,
                checksum=slot_checksum(encoded.video[outcome.row - shard.start]) if outcome.filled else None,
            )
            for outcome in encoded.outcomes
        )
        made = ClipFeatures(encoded.video, encoded.frame, outcomes, encoded.alpha_cosine, self.options.dtypes)
        write_clip_features(self.store, name, shard, made, self.inputs.digests[shard])
        return encoded


def _encode_captions(store: Store, encoder: Encoder, options: FeatureRecipe, shard: Shard) -> int:
    """Encode and commit one shard of captions, and return how many were cut to the model's context."""
    texts: Sequence[str] = (
        store.catalog.split_captions(shard.split)["text"].slice(shard.start, shard.num_rows).to_pylist()
    )
    embedded = encoder.encode_texts(texts)
    made = TextFeatures(embedded.text, embedded.num_dropped, options.dtypes.vectors)
    write_text_features(store, options.features, shard, made)
    return int((embedded.num_dropped > 0).sum())
