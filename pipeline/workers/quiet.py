"""Settings of Dask on this machine: what nobody reads is not measured.

Dask watches itself for its dashboard: it profiles each worker every 10 ms, looks how late its event loop is every 20,
and at the memory and the network twice a second. That took 7% of a core of a run with two workers, whatever they did.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

QUIET: Mapping[str, object] = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "10s",
    "distributed.admin.system-monitor.interval": "60s",
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.scheduler.active-memory-manager.start": False,  # reports are fetched and forgotten: no replicas
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
"""By their names in Dask's configuration. For the scheduler and client of a run, and for its workers."""

HEARTBEAT_SECONDS = 10.0
"""Between two signs of life of a worker; Dask has half a second. A worker that ends is noticed at once, by its
connection. One that stands still counts as dead after 5 minutes (`distributed.scheduler.worker-ttl`)."""

_LOGGERS = ("distributed", "distributed.client", "tornado.application")
"""The client has a level of its own; Dask's event loop is tornado's."""


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Let Dask log nothing while the block runs: a failure is an error of the run, and this one would be a traceback.

    The levels are restored: the process may be a notebook, whose user has Dask for other work, too.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
