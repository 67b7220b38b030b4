"""Equal embeddings score equally to the bit: the score of a repeated text or video is computed once, and copied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.scores.backend import Array, Rows, like, namespace, rows_of, take_columns


@dataclass(frozen=True, slots=True)
class Tile:
    """Scores of some videos with some texts, as each direction counts them: one array, if both count the same."""

    to_video: Array
    """Shape (num_videos, num_texts): by these a text ranks videos."""
    to_text: Array
    """Shape (num_videos, num_texts): by these a video ranks texts."""


Strip = Callable[[Rows], Tile]
"""Some texts -> their scores with the videos of the strip. A tile holds until the next one is asked for."""


@dataclass(frozen=True, slots=True)
class EqualRows:
    """Which texts, and which videos, have the embedding of an earlier one."""

    first_texts: NDArray[np.int64]
    """Shape (num_texts,): the first text with the same embedding, most often itself."""
    first_videos: NDArray[np.int64]
    """Shape (num_videos,)."""
    repeated: NDArray[np.int64]
    """The first texts of those that occur more than once, ascending."""
    slots: NDArray[np.int64]
    """Shape (num_texts,): where in `repeated` the first of a text is; -1 for a text that occurs once."""

    @classmethod
    def of(cls, text: NDArray[np.float32], video: NDArray[np.float32]) -> EqualRows:
        """Compare all rows of two matrices, each in itself."""
        first_texts = first_of_equal(text)
        repeated = np.flatnonzero(np.bincount(first_texts) > 1)
        slots = np.full(len(text), -1, np.int64)
        slots[repeated] = np.arange(len(repeated))
        return cls(first_texts, first_of_equal(video), repeated, slots[first_texts])

    def strip(self, product: Callable[[Rows, Rows], Array], videos: Rows) -> Strip:
        """Scores of some videos, from which every tile of them takes those of repeated texts.

        So a repeated text has one score with a video, in whichever tile. Of equal videos in the strip, one is computed.

        Args:
            product: Scores of some videos with some texts; it may reuse the memory of its last result.
            videos: Of the strip.
        """
        chosen = self.first_videos[videos]
        first, places = np.unique(chosen, return_inverse=True)
        all_differ = len(first) == len(chosen)
        rows = videos if all_differ else rows_of(first)
        repeated: Array = None
        if len(self.repeated):
            found = product(rows, self.repeated)
            # A copy, because `product` may put its next result into the same memory.
            repeated = namespace(found).asarray(found, copy=True)

        def tile(texts: Rows) -> Tile:
            scores = product(rows, texts)
            slots = self.slots[texts]
            columns = np.flatnonzero(slots >= 0)
            if len(columns):
                scores[:, like(columns, scores)] = take_columns(repeated, slots[columns])
            if not all_differ:
                scores = scores[like(places, scores)]
            return Tile(scores, scores)  # both directions rank by the same cosines

        return tile


def first_of_equal(embeddings: NDArray[np.float32]) -> NDArray[np.int64]:
    """For each row, the first row that equals it.

    >>> first_of_equal(np.array([[5, 0], [6, 0], [5, -0.0]], np.float32))
    array([0, 1, 0])
    """
    # Rows that differ in their first or last number are not equal. That leaves few to compare as a whole: of 28,000
    # captions it takes a fiftieth of the time of comparing all. Adding zero turns -0 into 0, which is equal to it.
    ends = [(embeddings[:, column] + np.float32(0)).view(np.uint32).astype(np.uint64) for column in (0, -1)]
    _, kinds, counts = np.unique(ends[0] << np.uint64(32) | ends[1], return_inverse=True, return_counts=True)
    first = np.arange(len(embeddings))
    seen: dict[bytes, int] = {}
    for row in np.flatnonzero(counts[kinds] > 1).tolist():
        # A digest, long enough not to collide by chance, saves keeping a second copy of these rows in memory.
        digest = blake2b((embeddings[row] + np.float32(0)).tobytes(), digest_size=16).digest()
        first[row] = seen.setdefault(digest, row)
    return first
