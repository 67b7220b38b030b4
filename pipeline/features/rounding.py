"""What keeping embeddings in fewer bytes does to ranks: measured on clips of the store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.encoding.encoder import Encoder
from pipeline.clips.alpha import AlphaClips
from pipeline.clips.options import AlphaSource
from pipeline.features.options import FeatureRecipe
from pipeline.run.partition import Partition
from pipeline.run.words import plural
from store.clips.reader import ClipReader
from store.feature_arrays import as_stored
from store.feature_dtypes import FeatureDtype
from store.json_values import JSON
from store.store import Store

MEASURED_CPU, MEASURED_GPU = 32, 256
"""Videos that are encoded for it, each with one caption."""
_FEWEST = 2
"""With one video, every rank is 1."""


@dataclass(frozen=True, slots=True)
class RoundingEffect:
    """Embeddings as they are stored against the same in float32, from text to video."""

    dtype: FeatureDtype
    num_videos: int
    """Each with one caption."""
    num_changed: int
    """Captions for which their video has another rank."""
    r1: float
    """In float32, percent of these captions."""
    r1_stored: float
    cosine: float
    """The lowest between an embedding and what is stored of it."""

    def __str__(self) -> str:
        """One sentence for people.

        >>> str(RoundingEffect("int8", 32, 1, 43.75, 43.75, 0.99991))
        'stored as int8: 1 of 32 captions ranks its video differently, R@1 43.8 and 43.8 in float32, cosine to float32 \
at least 0.999910, on 32 videos of the store'
        """
        verb, whose = ("ranks", "its video") if self.num_changed == 1 else ("rank", "their videos")
        return (
            f"stored as {self.dtype}: {self.num_changed} of {plural(self.num_videos, 'caption')} {verb} {whose} "
            f"differently, R@1 {self.r1_stored:.1f} and {self.r1:.1f} in float32, cosine to float32 at least "
            f"{self.cosine:.6f}, on {plural(self.num_videos, 'video')} of the store"
        )

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON."""
        return {
            "num_videos": self.num_videos,
            "num_changed_ranks": self.num_changed,
            "r1": round(self.r1, 2),
            "r1_stored": round(self.r1_stored, 2),
            "lowest_cosine": round(self.cosine, 6),
        }

    @classmethod
    def of(cls, dtype: FeatureDtype, video: NDArray[np.float32], text: NDArray[np.float32]) -> RoundingEffect:
        """Compare.

        Args:
            dtype: What is stored.
            video: Shape (num_videos, dim), unit norm.
            text: Likewise, of one caption of each.
        """
        kept = [as_stored(one, dtype) for one in (video, text)]
        exact, stored = _ranks(video, text), _ranks(*kept)
        cosines = [
            (one * other).sum(axis=1) / np.linalg.norm(other, axis=1)
            for one, other in zip((video, text), kept, strict=True)
        ]
        return cls(
            dtype=dtype,
            num_videos=len(video),
            num_changed=int((exact != stored).sum()),
            r1=100 * float((exact == 1).mean()),
            r1_stored=100 * float((stored == 1).mean()),
            cosine=min(1.0, float(np.concatenate(cosines).min())),
        )


def measure_rounding(
    store: Store, encoder: Encoder, options: FeatureRecipe, partition: Partition
) -> RoundingEffect | None:
    """Encode some videos of a split, each with its first caption; None if nothing is rounded, or there are too few."""
    if options.dtypes.vectors == "float32":
        return None
    most = MEASURED_CPU if encoder.device.type == "cpu" else MEASURED_GPU
    for split in options.splits:
        reader = ClipReader(store, split, options.mask_name, shards=partition.take(store.shards(split))[:most])
        captions = store.catalog.split_captions(split)
        owners, texts = captions["video_id"].to_pylist(), captions["text"].to_pylist()
        first = dict(zip(reversed(owners), reversed(texts), strict=True))
        rows = [row for row in sorted(reader.video_ids) if reader.video_ids[row] in first][:most]
        if len(rows) < _FEWEST:
            continue
        # Rounding is the same whatever the masks are; and shuffled ones would need the whole split.
        alpha = AlphaSource.MASKS if options.alpha is AlphaSource.SHUFFLED else options.alpha
        clips = AlphaClips(reader, alpha, options.seed)
        size = store.manifest.shard_size  # clips at once, as `encode` takes them
        batches = (clips.read(rows[start : start + size]) for start in range(0, len(rows), size))
        video = np.concatenate([encoder.encode_clips(one.frames, one.masks, one.is_frame).video for one in batches])
        text = encoder.encode_texts([first[reader.video_ids[row]] for row in rows]).text
        return RoundingEffect.of(options.dtypes.vectors, video, text)
    return None


def _ranks(video: NDArray[np.float32], text: NDArray[np.float32]) -> NDArray[np.int64]:
    """Of each text's own video: one more than the videos that are nearer."""
    cosines = text @ video.T
    ranks: NDArray[np.int64] = 1 + (cosines > np.diag(cosines)[:, None]).sum(axis=1)
    return ranks
