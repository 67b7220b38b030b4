"""The claim that a command holds while it writes into a store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cli.output.printing import say
from pipeline.run.partition import WHOLE, Partition
from store.claims.holding import claimed
from store.json_values import JSON
from store.places.folder import StoreFolder


@contextmanager
def writing(
    folder: StoreFolder,
    command: str,
    stages: Sequence[str],
    partition: Partition = WHOLE,
    inputs: JSON = None,
    *,
    wait: bool = False,
) -> Iterator[StoreFolder]:
    """Hold a claim on the store for as long as a command writes into it.

    Args:
        folder: The store, or where it will be.
        command: Its name.
        stages: What it writes.
        partition: Which part of them.
        inputs: What the parts of one job have in common, and other jobs have not.
        wait: Whether to wait for another run that writes the same.

    Yields:
        The folder through which to write.
    """
    fingerprint = hashlib.sha256(json.dumps(inputs, default=str, sort_keys=True).encode()).hexdigest()
    with claimed(
        folder,
        f"fda {command}",
        stages,
        partition=None if partition == WHOLE else str(partition),
        inputs=fingerprint,
        wait_seconds=None if wait else 0,
        say=say,
    ) as mine:
        yield mine
