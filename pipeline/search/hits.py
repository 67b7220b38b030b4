"""What was found, with what people want to see of it: the moment, the frames' scores, a caption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.search.answers import FrameScore, Hit, frame_scores
from pipeline.search.index import SplitIndex
from pipeline.search.options import Find, SearchOptions
from pipeline.search.scan import cosines

VIDEOS_AT_ONCE = 256
"""Videos whose frames are read at a time."""


@dataclass(frozen=True, slots=True)
class Found:
    """A video or a caption of one split, and its score."""

    index: SplitIndex
    item: int
    """Position among the videos, or captions, of the index."""
    score: float

    def video(self, find: Find) -> int:
        """Position of the video, or of the one that the caption describes."""
        return int(self.index.vectors.truth[self.item]) if find is Find.CAPTIONS else self.item


def hits_of(
    found: Sequence[Sequence[Found]], vectors: NDArray[np.float32], options: SearchOptions
) -> list[tuple[Hit, ...]]:
    """The hits of each query, in the order in which they were found.

    Args:
        found: Of each query, best first.
        vectors: The queries: shape (num_queries, dim).
        options: What was searched for.
    """
    # By the identity of the index: it has arrays in it, and cannot be a key itself.
    asked: dict[int, list[tuple[int, int, Found]]] = {}
    indices: dict[int, SplitIndex] = {}
    for number, its in enumerate(found):
        for rank, one in enumerate(its):
            indices[id(one.index)] = one.index
            asked.setdefault(id(one.index), []).append((number, rank, one))
    hits: list[dict[int, Hit]] = [{} for _ in found]
    for key, mine in asked.items():
        for (number, rank, _), hit in zip(mine, _hits_in(indices[key], mine, vectors, options), strict=True):
            hits[number][rank] = hit
    return [tuple(its[rank] for rank in sorted(its)) for its in hits]


def _hits_in(
    index: SplitIndex,
    asked: Sequence[tuple[int, int, Found]],
    vectors: NDArray[np.float32],
    options: SearchOptions,
) -> Iterator[Hit]:
    """Hits in one split: what several queries found is read once."""
    videos = [one.video(options.find) for _, _, one in asked]
    frames = _frames_of(index, asked, videos, vectors)
    ids, rows = index.vectors.video_ids, index.rows
    if options.find is Find.CAPTIONS:
        items = [one.item for _, _, one in asked]
        texts: Sequence[str | None] = index.captions_of(items)
        caption_ids: list[str | None] = [index.vectors.caption_ids[item] for item in items]
    else:
        texts, caption_ids = index.first_captions_of(videos), [None] * len(videos)
    for (_, rank, one), video, its, caption_id, text in zip(asked, videos, frames, caption_ids, texts, strict=True):
        yield Hit(
            rank=rank + 1,
            score=one.score,
            store=index.view.place,
            features=index.features,
            split=index.split,
            video_id=ids[video],
            row=int(rows[video]),
            frames=its,
            caption_id=caption_id,
            caption=text,
        )


def _frames_of(
    index: SplitIndex,
    asked: Sequence[tuple[int, int, Found]],
    videos: Sequence[int],
    vectors: NDArray[np.float32],
) -> list[tuple[FrameScore, ...]]:
    """The scores of the frames of each hit, for its own query."""
    scored: list[tuple[FrameScore, ...]] = [()] * len(videos)
    # In the order of rows, so that neighbours, and what several queries found, come from one reading of a chunk.
    order = np.argsort(videos, kind="stable").tolist()
    for start in range(0, len(order), VIDEOS_AT_ONCE):
        places = order[start : start + VIDEOS_AT_ONCE]
        # At most `VIDEOS_AT_ONCE`: a thousand hits of many frames each would not fit beside the index.
        distinct = sorted({videos[place] for place in places})
        frames = dict(zip(distinct, index.frames_of(distinct), strict=True))
        if not any(np.isfinite(its).any() for its in frames.values()):
            continue  # imported without frames: their times say nothing
        times = dict(zip(distinct, index.times_of(distinct).tolist(), strict=True))
        for place in places:
            video = videos[place]
            scored[place] = frame_scores(cosines(frames[video], vectors[asked[place][0]]).tolist(), times[video])
    return scored
