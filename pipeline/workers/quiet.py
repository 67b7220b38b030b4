"""Settings of Dask on this machine: what nobody reads is not measured.

Dask watches itself for its dashboard: it profiles each worker every 10 ms, looks how late its event loop is every 20,
and at the memory and the network twice a second. That took 7% of a core of a run with two workers, whatever they did.
"""

from __future__ import annotations

from collections.abc import Mapping

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
