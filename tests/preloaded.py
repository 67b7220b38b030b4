"""What the fork server of `tests/forked.py` imports, once for all processes that are forked from it.

Without garbage collections, which take a third of the time, and left out of all to come: each would look at all of
torch, in every process.
"""

from __future__ import annotations

import gc
from importlib import import_module

MODULES = (
    "cli.commands.finetune",
    "cli.commands.preprocess",
    "distributed.cli.dask_scheduler",
    "distributed.cli.dask_worker",
    "pipeline.frames.run",
    "pipeline.isolation.child",
    "pipeline.training.run",
    "pipeline.workers.local_worker",
    "pipeline.workers.worker_side",
    "store.places.local",
    "tests.claimants",
    "tests.decoders",
    "tests.forked",
    # What others import at the first call: these take longer than a tiny run does.
    "array_api_compat.numpy",
    "pandas",  # pyarrow, for the first table of Python objects
)

gc.disable()
for _name in MODULES:
    import_module(_name)
gc.freeze()
gc.enable()
