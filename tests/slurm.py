"""A real SLURM for tests: a controller and a node on this machine, in a folder and on ports of their own.

It takes root, and Debian's packages `slurm-wlm` and `munge`; neither systemd nor anything in /etc is used. The node
claims far more cores and memory than there are, so that scripts run with what they ask for. A process of its own
(`tests/slurm_daemons.py`) starts the daemons, and kills them and all jobs when the tests end, however they end. Each
process of pytest that needs SLURM has one of its own: none knows of another, and one takes half a second of CPU time.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from tests.dask_processes import wait_until
from tests.paths import ROOT

DAEMONS = ("munged", "slurmctld", "slurmd")
PROGRAMS = (*DAEMONS, "sbatch", "srun", "sinfo", "squeue", "scontrol", "scancel")
SEARCHED = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
CONF = "SLURM_CONF"
"""What tells SLURM's programs which SLURM they belong to."""
REQUIRED = "FDA_REQUIRE_SLURM"
PARTITION = "cpu"
"""As in docs/clusters.md."""
PAUSE_SECONDS = 0.2
"""Between two looks at SLURM, each of which is a program that connects to the controller."""

SLURM_CONF = """\
ClusterName=fda
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MailProg=/bin/true
MpiDefault=none
# Neither cgroups nor pinning to cores: a container may offer neither.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
# A busy machine is slow, and nothing here is lost by waiting.
MessageTimeout=100
KillWait=120
SlurmdTimeout=0
# Jobs whose time has come are looked for each second, and not each half minute.
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=256 RealMemory=1000000
PartitionName={partition} Nodes=ALL Default=YES
"""


@dataclass(frozen=True, slots=True)
class Slurm:
    """A running one."""

    conf: Path
    version: str

    def __call__(self, *words: str | Path) -> str:
        """What a command prints, `sbatch` or `scontrol` say."""
        given = {**os.environ, CONF: str(self.conf)}
        ended = subprocess.run(words, capture_output=True, text=True, check=False, env=given)
        assert ended.returncode == 0, f"{words}: {ended.stderr}"
        return ended.stdout

    def show(self, job: str) -> dict[str, str]:
        """What `scontrol` shows of a job, or of one task of an array (`4_2`); an ended one is known for minutes."""
        (line,) = self("scontrol", "--oneliner", "show", "job", job).splitlines()
        return dict(re.findall(r"(\S+?)=(\S*)", line))

    def state(self, job: str) -> str:
        return self.show(job)["JobState"]

    def queue(self) -> list[str]:
        """The ids of all jobs that have not ended."""
        return self("squeue", "--noheader", "--format=%A").split()

    def wait_for_end(self, job: str) -> dict[str, str]:
        """How a job ended: its state, its exit code (`3:0`), where its output lies."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        wait_until(lambda: self.state(job) in over, f"job {job} does not end", seconds=600, pause=PAUSE_SECONDS)
        return self.show(job)

    def cancel_all(self) -> None:
        for job in self.queue():
            self("scancel", "--full", "--signal=KILL", job)  # or a shell that waits for its children takes 30 s to end
            self("scancel", job)
        wait_until(lambda: not self.queue(), "cancelled jobs do not end", pause=PAUSE_SECONDS)


@pytest.fixture(scope="session")
def slurm_server() -> Iterator[Slurm]:
    """Of this process of pytest; what needs it is skipped where there can be none."""
    if lacking := [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]:
        _give_up(f"no SLURM: {', '.join(lacking)} cannot be found (Debian's slurm-wlm and munge)")
    if os.geteuid() != 0:
        _give_up("no SLURM: it starts jobs as their users, which takes root")
    with running_slurm() as running:
        yield running


@pytest.fixture
def slurm(slurm_server: Slurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    """For a user who has `fda` on the PATH; no job is left from one test to the next."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_", "SRUN_"))]:
        monkeypatch.delenv(name)  # the tests may themselves run in a job
    monkeypatch.setenv(CONF, str(slurm_server.conf))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield slurm_server
    slurm_server.cancel_all()


def _give_up(reason: str) -> NoReturn:
    """Skip what needs SLURM, or fail where it is promised."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def running_slurm() -> Iterator[Slurm]:
    """Start it, and wait until its node takes jobs."""
    # Not pytest's folder: only its owner can enter that, which munged refuses, and the name of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="fda-slurm-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        slurm = _write_settings(folder)
        output = stack.enter_context((folder / "output").open("w"))
        command = [sys.executable, "-m", "tests.slurm_daemons", str(folder), *map(_found, DAEMONS)]
        server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, cwd=ROOT, start_new_session=True
        )
        with server:  # closes its stdin at the end, and waits for it
            wait_until(lambda: _is_idle(slurm, server), "SLURM does not start", pause=PAUSE_SECONDS)
            yield slurm


def _write_settings(folder: Path) -> Slurm:
    """All files that the daemons find in their folder."""
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    controller_port, node_port = _free_ports(2)
    fields = {"host": socket.gethostname().split(".")[0], "folder": folder, "partition": PARTITION}
    ports = {"controller_port": controller_port, "node_port": node_port}
    conf = folder / "slurm.conf"
    conf.write_text(SLURM_CONF.format(**fields, **ports))
    printed = subprocess.run([_found("slurmd"), "-V"], capture_output=True, text=True, check=True).stdout
    version = printed.split()[-1]
    # The plugin is loaded although nothing uses it: one that starts where there are no cgroups, by version.
    knows_disabled = tuple(map(int, version.split(".")[:2])) >= (23, 2)
    plugin = "disabled" if knows_disabled else f"cgroup/v1\nCgroupMountpoint={folder}/none"
    (folder / "cgroup.conf").write_text(f"CgroupPlugin={plugin}\n")
    return Slurm(conf, version)


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [one.getsockname()[1] for one in sockets]


def _found(name: str) -> str:
    path = shutil.which(name, path=SEARCHED)
    assert path is not None, name
    return path


def _is_idle(slurm: Slurm, server: subprocess.Popen[bytes]) -> bool:
    if server.poll() is not None:
        logs = [slurm.conf.with_name(name) for name in ("output", "slurmctld.log", "slurmd.log")]
        _give_up("\n".join(["SLURM does not start here", *(log.read_text() for log in logs if log.exists())]))
    asked = ["sinfo", "--noheader", "--format=%T"]
    given = {**os.environ, CONF: str(slurm.conf)}
    return subprocess.run(asked, capture_output=True, text=True, check=False, env=given).stdout.strip() == "idle"
