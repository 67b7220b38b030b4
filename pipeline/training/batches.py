"""Which clip and caption are in which step: drawn before training begins, so that a run is a plan which can be read."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.run.randomness import Stream, generator
from pipeline.training.options import BatchOptions

MIN_BATCH = 2
"""A contrastive loss over fewer pairs is zero."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The pairs of one step."""

    rows: NDArray[np.int64]
    """Shape (num_pairs,): of the clips."""
    captions: NDArray[np.int64]
    """Shape (num_pairs,): the caption of each pair, as an index into the captions of its clip."""

    def __len__(self) -> int:
        return len(self.rows)


def draw_epoch(
    captions: Mapping[int, Sequence[Hashable]], batch_size: int, options: BatchOptions, rng: np.random.Generator
) -> tuple[Batch, ...]:
    """Draw the batches of one epoch, in random order.

    No batch contains one text of two videos: each would be a false negative of the other. A pair with such a text, or a
    second pair of a video that must be alone in its batch, waits for the next batch. Batches of fewer than `MIN_BATCH`
    pairs come last and are dropped.

    Args:
        captions: Row of a clip -> its captions, as the model sees them: what it cannot tell apart is equal.
        batch_size: Most pairs in a batch.
        options: Which pairs there are, and which may be in one batch.
        rng: Draws orders and captions.

    >>> epoch = draw_epoch({0: ["a"], 1: ["a"], 2: ["b"], 3: ["c"]}, 2, BatchOptions(), np.random.default_rng(0))
    >>> sorted(int(row) for batch in epoch for row in batch.rows)
    [0, 1, 2, 3]
    """
    if batch_size < MIN_BATCH:
        raise InputError(f"batch_size must be at least {MIN_BATCH}, got {batch_size}: a contrastive loss needs pairs")
    # In the order of rows, so that what is drawn does not depend on the order of the mapping.
    pairs = list(_pairs(captions, options, rng))
    waiting = deque(pairs[index] for index in rng.permutation(len(pairs)))
    batches: list[Batch] = []
    while waiting:
        taken = _take(waiting, captions, batch_size, apart=options.same_video == "apart")
        if len(taken) >= MIN_BATCH:
            rows, numbers = zip(*taken, strict=True)
            batches.append(Batch(np.asarray(rows, dtype=np.int64), np.asarray(numbers, dtype=np.int64)))
    return tuple(batches)


def num_pairs(captions: Mapping[int, Sequence[Hashable]], options: BatchOptions) -> int:
    """Pairs of a clip and a caption that an epoch would have if each had a place in a batch."""
    return sum(map(len, captions.values())) if options.captions == "all" else len(captions)


def _pairs(
    captions: Mapping[int, Sequence[Hashable]], options: BatchOptions, rng: np.random.Generator
) -> Iterator[tuple[int, int]]:
    for row in sorted(captions):
        count = len(captions[row])
        if options.captions == "all":
            yield from ((row, number) for number in range(count))
        else:
            yield row, int(rng.integers(count))


def _take(
    waiting: deque[tuple[int, int]], captions: Mapping[int, Sequence[Hashable]], batch_size: int, *, apart: bool
) -> list[tuple[int, int]]:
    """Take the first waiting pairs that may be in one batch; skipped pairs stay in front of the rest."""
    taken: list[tuple[int, int]] = []
    skipped: list[tuple[int, int]] = []
    owners: dict[Hashable, int] = {}
    rows: set[int] = set()
    while waiting and len(taken) < batch_size:
        row, number = pair = waiting.popleft()
        text = captions[row][number]
        # Its text is there for another video, or its video is there already.
        if owners.get(text, row) != row or (apart and row in rows):
            skipped.append(pair)
            continue
        owners[text] = row
        rows.add(row)
        taken.append(pair)
    # In front, for the next batch: put at the end, pairs of common texts would all meet in the last batches.
    waiting.extendleft(reversed(skipped))
    return taken


def held_out_words(share: float, train_split: str, val_split: str) -> str:
    """Where the videos come from that `hold_out` took to validate on.

    >>> held_out_words(0.1, "train", "val")
    "10% of split 'train', held out: there is no split 'val'"
    """
    return f"{100 * share:.3g}% of split {train_split!r}, held out: there is no split {val_split!r}"


def hold_out(rows: Sequence[int], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Split rows in two at random: those to train on, and a share of at least one to validate on.

    >>> train, held_out = hold_out(range(10), 0.2, seed=0)
    >>> len(train), len(held_out), sorted(train + held_out) == list(range(10))
    (8, 2, True)
    """
    if not 0 < share < 1:
        raise InputError(f"the share held out must lie between 0 and 1, got {share}")
    # By the seed alone: the same videos are held out whenever the run is resumed.
    num_held_out = max(1, round(len(rows) * share))
    order = generator(Stream.HOLD_OUT, seed).permutation(len(rows))
    held_out = {rows[index] for index in order[:num_held_out]}
    return [row for row in rows if row not in held_out], sorted(held_out)
