"""Which clip meets which caption in which step: drawn before training begins, so a run is a plan that can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

MIN_BATCH = 2
"""A contrastive loss over fewer pairs is zero."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One clip and one caption of it."""

    row: int
    text: str


Batch = tuple[Pair, ...]


def draw_epoch(captions: Mapping[int, Sequence[str]], batch_size: int, rng: np.random.Generator) -> tuple[Batch, ...]:
    """Draw the batches of one epoch: every clip once, with one of its captions, in random order.

    No batch holds one text twice: each would be a false negative of the other. A clip whose caption is in the batch
    already waits for the next. Batches of fewer than `MIN_BATCH` pairs come last and are dropped.

    Args:
        captions: Row of a clip -> its captions.
        batch_size: Pairs a batch, at most.
        rng: Draws orders and captions.

    >>> epoch = draw_epoch({0: ["a"], 1: ["a"], 2: ["b"], 3: ["c"]}, 2, np.random.default_rng(0))
    >>> sorted(pair.row for batch in epoch for pair in batch)
    [0, 1, 2, 3]
    """
    if batch_size < MIN_BATCH:
        raise ValueError(f"batch_size must be at least {MIN_BATCH}, got {batch_size}: a contrastive loss needs pairs")
    rows = sorted(captions)
    waiting = [
        Pair(rows[index], captions[rows[index]][int(rng.integers(len(captions[rows[index]])))])
        for index in rng.permutation(len(rows))
    ]
    batches: list[Batch] = []
    while waiting:
        batch, waiting = _take(waiting, batch_size)
        if len(batch) >= MIN_BATCH:
            batches.append(batch)
    return tuple(batches)


def _take(waiting: list[Pair], batch_size: int) -> tuple[Batch, list[Pair]]:
    """Take the first pairs with distinct texts; what is passed over stays in front of the rest."""
    batch: dict[str, Pair] = {}
    passed: list[Pair] = []
    for position, pair in enumerate(waiting):
        if len(batch) == batch_size:
            return tuple(batch.values()), passed + waiting[position:]
        if pair.text in batch:
            passed.append(pair)
        else:
            batch[pair.text] = pair
    return tuple(batch.values()), passed


def hold_out(rows: Sequence[int], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Split rows in two at random: those to train on, and a share of at least one to validate on.

    >>> train, held_out = hold_out(range(10), 0.2, seed=0)
    >>> len(train), len(held_out), sorted(train + held_out) == list(range(10))
    (8, 2, True)
    """
    if not 0 < share < 1:
        raise ValueError(f"the share held out must lie between 0 and 1, got {share}")
    num_held_out = max(1, round(len(rows) * share))
    order = np.random.default_rng(seed).permutation(len(rows))
    held_out = {rows[index] for index in order[:num_held_out]}
    return [row for row in rows if row not in held_out], sorted(held_out)
