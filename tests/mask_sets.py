"""Mask sets of stores, made without a command."""

from __future__ import annotations

from pipeline.masks.mask_sets import MaskTask, make_shards, mask_shard
from pipeline.masks.options import MaskOptions
from pipeline.run.events import Listener, ignore_events
from pipeline.run.plan import Plan
from pipeline.workers.executors import Executor, run_synchronously
from store.store import Store


def make_mask_set(
    store: Store,
    name: str,
    options: MaskOptions,
    plan: Plan,
    executor: Executor = run_synchronously,
    listener: Listener = ignore_events,
) -> None:
    """Run a plan."""
    make_shards(mask_shard, lambda shard: MaskTask(store.folder, shard, name, options), plan, executor, listener)
