"""Filling a large store for a benchmark: by a process a core, and without waiting for the disk."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from functools import partial
from unittest import mock

from store.schema import Shard
from store.store import Store
from tests.benchmarks.machine import NUM_CORES

Write = Callable[[Store, Shard], None]


def fill_shards(store: Store, write: Write, split: str = "test") -> None:
    """Call `write`, a function of a module, for each shard."""
    context = multiprocessing.get_context("spawn")  # a fork would lack the threads that write here
    with context.Pool(NUM_CORES) as pool:
        pool.map(partial(_fill_some, str(store.place), write, split), range(NUM_CORES))


def _fill_some(place: str, write: Write, split: str, number: int) -> None:
    store = Store.open(place)
    with mock.patch("os.fsync"):
        for shard in store.shards(split)[number::NUM_CORES]:
            write(store, shard)
