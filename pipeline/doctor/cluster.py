"""Batch systems, Kubernetes and S3: what could be reached from here. Nothing is submitted, and no server is asked."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from pipeline.doctor.checks import Check, State
from store.remedies import install_extra

GROUP, S3 = "cluster", "s3"
_SUBMITTING = {"slurm": "sbatch", "pbs": "qsub", "lsf": "bsub"}
"""Batch system -> the command that submits a job. SGE's is called like that of PBS."""
_JOBS = {"SLURM_JOB_ID": "SLURM", "PBS_JOBID": "PBS", "LSB_JOBID": "LSF", "JOB_ID": "SGE"}
"""Variable that a job has -> its batch system."""


def check(place: str | None) -> Iterator[Check]:
    """Batch systems, then S3."""
    yield from _jobs()
    yield from _batch_systems()
    yield from _kubernetes()
    yield from _s3()


def _jobs() -> Iterator[Check]:
    for variable, system in _JOBS.items():
        if os.environ.get(variable):
            found = f"this is job {os.environ[variable]} of {system}: cores and memory above are the job's"
            yield Check(GROUP, "job", State.OK, found)
            return


def _batch_systems() -> Iterator[Check]:
    there = {kind: path for kind, command in _SUBMITTING.items() if (path := shutil.which(command))}
    # Both call it qsub: SGE's own variable tells which it is.
    if "pbs" in there and "SGE_ROOT" in os.environ:
        there = {("sge" if kind == "pbs" else kind): path for kind, path in there.items()}
    for kind, path in there.items():
        if find_spec("dask_jobqueue") is None:
            found = f"{path}; dask-jobqueue, which submits the workers, is not installed"
            yield Check(GROUP, kind, State.WARNING, found, remedy=install_extra("cluster"))
        else:
            yield Check(GROUP, kind, State.OK, path, used=f"with --cluster {kind}")
    if not there:
        found = "no sbatch, qsub or bsub on the PATH"
        remedy = "to use a batch system, work on a machine from which jobs are submitted"
        yield Check(GROUP, "batch system", State.OPTIONAL, found, remedy=remedy)


def _kubernetes() -> Iterator[Check]:
    files = [Path(path) for path in os.environ.get("KUBECONFIG", "").split(os.pathsep) if path]
    files += [Path("~/.kube/config").expanduser(), Path("/var/run/secrets/kubernetes.io/serviceaccount/token")]
    found = next((path for path in files if path.exists()), None)
    if found is None:
        return
    if find_spec("dask_kubernetes") is None:
        text = f"{found} is there; dask-kubernetes is not installed"
        yield Check(GROUP, "kubernetes", State.WARNING, text, remedy=install_extra("kubernetes"))
    else:
        yield Check(GROUP, "kubernetes", State.OK, str(found), used="with --cluster kubernetes")


def _s3() -> Iterator[Check]:
    if find_spec("s3fs") is None:
        yield Check(S3, "s3fs", State.OPTIONAL, "not installed", remedy=f"for stores at s3://: {install_extra('s3')}")
        return
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"  # of this child alone: to ask for a role would be a request
    from botocore.session import Session

    session = Session()
    credentials = session.get_credentials()
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    at = f" for {_host(endpoint)}" if endpoint else ""
    if credentials is None:
        remedy = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; a role of the machine is found too"
        found = f"none{at} in the environment or in files; whether this machine has a role was not asked"
        yield Check(S3, "credentials", State.OPTIONAL, found, remedy=remedy)
    else:
        yield Check(S3, "credentials", State.OK, f"found{at}: {credentials.method}")


def _host(address: str) -> str:
    """The server of an address, without a user and a password.

    >>> _host("http://me:word@localhost:9000/path?x=1")
    'localhost:9000'
    """
    return re.sub(r"^.*@", "", re.sub(r"^\w+://", "", address).split("/")[0])
