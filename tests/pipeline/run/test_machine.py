"""What cgroups allow, in trees of files as kernels, containers and batch systems lay them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.run import machine
from pipeline.run.machine import CgroupLimits, cgroup_limits, num_cores

SECOND = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
FIRST = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def tree(root: Path, group: str, mounts: str, files: dict[str, str]) -> Path:
    every = {"proc/self/cgroup": group, "proc/self/mountinfo": mounts}
    every |= {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in every.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_container_has_its_limits_at_the_root(tmp_path: Path) -> None:
    files = {"memory.max": "2147483648\n", "cpu.max": "150000 100000\n"}
    assert cgroup_limits(tree(tmp_path, "0::/\n", SECOND, files)) == CgroupLimits(1.5, 2 << 30)


def test_a_job_some_levels_down_has_the_tightest_limit_of_all_above_it(tmp_path: Path) -> None:
    job = "system.slice/slurmstepd.scope/job_7"
    files = {
        f"{job}/step_0/memory.max": "max\n",
        f"{job}/memory.max": "8589934592\n",
        "system.slice/memory.max": "68719476736\n",
        f"{job}/step_0/cpu.max": "max 100000\n",
        "system.slice/cpu.max": "800000 100000\n",
    }
    assert cgroup_limits(tree(tmp_path, f"0::/{job}/step_0\n", SECOND, files)) == CgroupLimits(8.0, 8 << 30)


@pytest.mark.parametrize("root", ["/", "/docker/1f"])
def test_the_first_version_of_cgroups_and_a_container_that_sees_its_group_as_the_root(
    tmp_path: Path, root: str
) -> None:
    inside = "/docker/1f" if root == "/" else ""
    files = {
        f"memory{inside}/memory.limit_in_bytes": f"{1 << 30}\n",
        f"cpu,cpuacct{inside}/cpu.cfs_quota_us": "50000\n",
        f"cpu,cpuacct{inside}/cpu.cfs_period_us": "100000\n",
    }
    group = "4:memory:/docker/1f\n1:cpu,cpuacct:/docker/1f\n0::/\n"
    assert cgroup_limits(tree(tmp_path, group, FIRST.format(root=root), files)) == CgroupLimits(0.5, 1 << 30)


def test_no_limit_is_none(tmp_path: Path) -> None:
    files = {
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    }
    nothing = CgroupLimits(None, None)
    assert cgroup_limits(tree(tmp_path, "4:memory:/\n1:cpu,cpuacct:/\n", FIRST.format(root="/"), files)) == nothing
    assert cgroup_limits(tmp_path / "nowhere") == nothing


@pytest.mark.parametrize(("quota", "cores"), [(None, 8), (1.5, 2), (0.2, 1), (64.0, 8)])
def test_workers_are_as_many_as_there_is_time_for(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int
) -> None:
    monkeypatch.setattr(machine, "affinity_cores", lambda: 8)
    monkeypatch.setattr(machine, "cgroup_limits", lambda: CgroupLimits(quota, None))
    assert num_cores() == cores
