"""What keeping fewer bytes or numbers of embeddings does to ranks: measured on clips of the store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.encoding.encoder import Encoder
from pipeline.clips.alpha import AlphaClips
from pipeline.clips.options import AlphaSource
from pipeline.features.options import FeatureRecipe
from pipeline.features.remarks import numbers_kept
from pipeline.run.partition import Partition
from pipeline.run.words import plural
from store.clips.reader import ClipReader
from store.feature_arrays import as_stored
from store.feature_dtypes import FeatureDtype
from store.json_values import JSON
from store.store import Store

Vectors = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Of videos and of texts."""
MEASURED_CPU, MEASURED_GPU = 32, 256
"""Videos that are encoded for it, each with one caption."""
_FEWEST = 2
"""With one video, every rank is 1."""


@dataclass(frozen=True, slots=True)
class RoundingEffect:
    """Embeddings as they are stored against all their numbers in float32, from text to video."""

    dtype: FeatureDtype
    dim: int | None
    """First numbers that are kept; None: all."""
    num_videos: int
    """Each with one caption."""
    num_changed: int
    """Captions for which their video has another rank."""
    r1: float
    """In float32, percent of these captions."""
    r1_stored: float
    cosine: float
    """The lowest between an embedding and what is stored of it, with zeros for what is left out."""

    def __str__(self) -> str:
        """One sentence for people.

        >>> str(RoundingEffect("int8", None, 32, 1, 43.75, 43.75, 0.99991))
        'stored as int8: 1 of 32 captions ranks its video differently, R@1 43.8 and 43.8 in float32, cosine to float32 \
at least 0.999910, on 32 videos of the store'
        >>> str(RoundingEffect("float32", 128, 32, 20, 43.75, 34.375, 0.61))
        'the first 128 numbers: 20 of 32 captions rank their videos differently, R@1 34.4 and 43.8 with all, cosine \
to all at least 0.610000, on 32 videos of the store'
        """
        stored = [] if self.dim is None else [numbers_kept(self.dim)]
        stored += [] if self.dtype == "float32" else [f"stored as {self.dtype}"]
        whole = "float32" if self.dim is None else "all"
        verb, whose = ("ranks", "its video") if self.num_changed == 1 else ("rank", "their videos")
        return (
            f"{', '.join(stored)}: {self.num_changed} of {plural(self.num_videos, 'caption')} {verb} {whose} "
            f"differently, R@1 {self.r1_stored:.1f} and {self.r1:.1f} {'in' if self.dim is None else 'with'} {whole}, "
            f"cosine to {whole} at least "
            f"{self.cosine:.6f}, on {plural(self.num_videos, 'video')} of the store"
        )

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON."""
        return {
            "truncate_dim": self.dim,
            "num_videos": self.num_videos,
            "num_changed_ranks": self.num_changed,
            "r1": round(self.r1, 2),
            "r1_stored": round(self.r1_stored, 2),
            "lowest_cosine": round(self.cosine, 6),
        }

    @classmethod
    def of(cls, dtype: FeatureDtype, whole: Vectors, kept: Vectors) -> RoundingEffect:
        """Compare.

        Args:
            dtype: What is stored.
            whole: Videos and one caption of each, each of shape (num_videos, dim), unit norm.
            kept: The same with the numbers that are kept, unit norm.
        """
        stored = tuple(as_stored(one, dtype) for one in kept)
        dim, (video, text) = stored[0].shape[1], whole
        exact, ranks = _ranks(video, text), _ranks(*stored)
        # Of unit rows, the product over the kept numbers is the product over all, with zeros for those left out.
        cosines = [
            (one[:, :dim] * other).sum(axis=1) / np.linalg.norm(other, axis=1)
            for one, other in zip(whole, stored, strict=True)
        ]
        return cls(
            dtype=dtype,
            dim=None if dim == video.shape[1] else dim,
            num_videos=len(video),
            num_changed=int((exact != ranks).sum()),
            r1=100 * float((exact == 1).mean()),
            r1_stored=100 * float((ranks == 1).mean()),
            cosine=min(1.0, float(np.concatenate(cosines).min())),
        )


def measure_rounding(
    store: Store, encoder: Encoder, options: FeatureRecipe, partition: Partition
) -> RoundingEffect | None:
    """Encode some videos of a split, each with its first caption; None if all is kept, or there are too few."""
    if options.dtypes.vectors == "float32" and options.truncate_dim is None:
        return None
    whole = encoder.whole()
    most = MEASURED_CPU if encoder.device.type == "cpu" else MEASURED_GPU
    for split in options.splits:
        reader = ClipReader(store, split, options.mask_name, shards=partition.take(store.shards(split))[:most])
        captions = store.catalog.split_captions(split)
        owners, texts = captions["video_id"].to_pylist(), captions["text"].to_pylist()
        # The first caption of each video is set last, and stays.
        first = dict(zip(reversed(owners), reversed(texts), strict=True))
        rows = [row for row in sorted(reader.video_ids) if reader.video_ids[row] in first][:most]
        if len(rows) < _FEWEST:
            continue
        # Rounding is the same whatever the masks are; and shuffled ones would need the whole split.
        alpha = AlphaSource.MASKS if options.alpha is AlphaSource.SHUFFLED else options.alpha
        clips = AlphaClips(reader, alpha, options.seed, size=options.size)
        size = store.manifest.shard_size  # clips at once, as `encode` takes them
        batches = (clips.read(rows[start : start + size]) for start in range(0, len(rows), size))
        videos: list[NDArray[np.float32]] = []
        cut: list[NDArray[np.float32]] = []
        for one in batches:
            embedded = whole.encode_clips(one.frames, one.masks, one.is_frame)
            videos.append(embedded.video)
            cut.append(encoder.cut_clips(embedded, one.is_frame).video)
        text = whole.encode_texts([first[reader.video_ids[row]] for row in rows]).text
        kept = np.concatenate(cut), encoder.cut_texts(text)
        return RoundingEffect.of(options.dtypes.vectors, (np.concatenate(videos), text), kept)
    return None


def _ranks(video: NDArray[np.float32], text: NDArray[np.float32]) -> NDArray[np.int64]:
    """Of each text's own video: how many videos are as near or nearer, itself among them. Ties count against it."""
    cosines = text @ video.T
    ranks: NDArray[np.int64] = (cosines >= np.diag(cosines)[:, None]).sum(axis=1)
    return ranks
