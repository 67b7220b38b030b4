"""Names and numbers of the worker options. No imports: `fda --help` reads this, and must not load Dask."""

from __future__ import annotations

BATCH_SYSTEMS = ("slurm", "pbs", "lsf", "sge")
"""Those of `dask-jobqueue` that this package has been tried with, as job scripts at least."""

CLUSTER_KINDS = (*BATCH_SYSTEMS, "kubernetes")

WAIT_SECONDS = 300.0
"""How long to wait for the workers of a running scheduler. Jobs are waited for without a limit: they may queue for
days."""
