"""Rows of `fda.doctor`: what is broken is a row with its remedy, never an error, and nothing is left behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fda
from encoders import probe
from encoders.probe import Gpu, TorchFound
from fda import Check, State
from pipeline.doctor import cluster, codecs, devices, disk, lanes, machine, place, run, software
from pipeline.doctor.lanes import checks_in_children
from pipeline.doctor.probes import LANES, Probe
from pipeline.run.events import ItemsDone, RunPlanned
from pipeline.run.machine import CgroupLimits
from store.claims.claim import Claim, write_claim
from store.remedies import install_extra
from tests.stores import fill_store, make_store

TORCH = Probe("devices", "software", "torch", True, 60.0, "install it again")
CODECS = Probe("codecs", "video", "decoders", True, 60.0, "")


def named(checks: Iterable[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


class TestChildren:
    @pytest.fixture
    def broken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A `torch` that children find first."""
        monkeypatch.syspath_prepend(tmp_path)
        return tmp_path / "torch.py"

    @pytest.mark.parametrize(
        ("program", "limit", "why"),
        [
            ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", 60.0, "its process died of SIGILL"),
            ("import os; os._exit(3)", 60.0, "its process ended with code 3"),
            ("import time; time.sleep(600)", 0.3, "no answer within 0.3 s: given up"),
        ],
    )
    def test_what_kills_or_holds_a_process_is_a_row_and_the_next_probe_runs(
        self, broken: Path, program: str, limit: float, why: str
    ) -> None:
        broken.write_text(program)
        told: list[ItemsDone] = []
        torch = Probe(TORCH.module, TORCH.group, TORCH.name, True, limit, TORCH.remedy)
        found = list(checks_in_children([[torch, CODECS]], None, told.append))
        assert found[0] == Check("software", "torch", State.MISSING, why, remedy="install it again")
        assert named(found[1:], "decoders").state is State.OK
        assert sum(one.num_done for one in told) == 2

    @pytest.mark.parametrize(
        ("act", "why"),
        [
            ("connection.sendall(b'1')", "its answer stopped in the middle for 0.5 s: given up"),
            ("connection.close()", "its process said nothing more, and did not end: given up"),
        ],
    )
    def test_a_child_that_stalls_in_a_message_is_given_up(
        self, broken: Path, monkeypatch: pytest.MonkeyPatch, act: str, why: str
    ) -> None:
        monkeypatch.setattr(lanes, "_MESSAGE_SECONDS", 0.5)
        broken.write_text(
            f"import socket, sys, time; connection = socket.socket(fileno=int(sys.argv[1])); {act}; time.sleep(600)"
        )
        found = list(checks_in_children([[TORCH]], None, lambda done: None))
        assert found == [Check("software", "torch", State.MISSING, why, remedy="install it again")]

    def test_children_end_with_the_one_that_stops_listening(self, broken: Path) -> None:
        broken.write_text("import time; time.sleep(600)")
        started: list[lanes._Lane] = []
        rows = checks_in_children([[TORCH], [CODECS]], None, lambda done: None)
        next(rows)
        started += rows.gi_frame.f_locals["running"]  # type: ignore[attr-defined]
        rows.close()  # type: ignore[attr-defined]
        assert [lane._process.poll() is not None for lane in started] == [True, True]


def test_a_probe_that_raises_is_a_row() -> None:
    found = list(Probe("no_such_module", "disk", "speed", False, 1.0, "look").checks(None))
    missing = "does not work: No module named 'pipeline.doctor.no_such_module'"
    assert found == [Check("disk", "speed", State.WARNING, missing, remedy="look")]


def test_the_result_counts_and_says_whether_a_run_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Check("video", "decoders", State.OK, "all"), Check("software", "torch", State.OK, "2.13")]
    monkeypatch.setattr(run, "checks_in_children", lambda lanes, place, tell: iter(rows))
    heard: list[object] = []
    result = fda.doctor(listener=heard.append)
    assert heard[:2] == [RunPlanned("checks", sum(map(len, LANES)) + 1, 0), ItemsDone(1)]
    assert result.is_fit
    assert [check.group for check in result.checks[:2]] == ["software", "video"]
    assert [check.group for check in result.checks[-1:]] == ["terminal"]
    rows.append(Check("software", "numpy", State.MISSING, "not installed", remedy="pip install numpy"))
    broken = fda.doctor("somewhere")
    assert not broken.is_fit
    told = broken.to_dict()
    assert (told["fit"], told["place"]) == (False, "somewhere")


class TestSoftware:
    def check(self, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], *lines: str) -> list[Check]:
        def version(name: str) -> str:
            try:
                return {"fda": "0.1.0", **versions}[name]
            except KeyError:
                raise PackageNotFoundError(name) from None

        monkeypatch.setattr(software, "version", version)
        monkeypatch.setattr(software, "requires", lambda name: list(lines))
        return list(software.check(None))

    def test_versions_below_the_minimum_and_packages_that_are_missing_are_marked(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = self.check(monkeypatch, {"av": "17.2.0", "click": "8.1"}, "av>=18", "zarr<4,>=3.1", "click>=8.1")
        assert named(found, "av").found == "17.2.0, and fda needs >=18"
        assert named(found, "av").remedy == "pip install 'av>=18'"
        assert named(found, "zarr").found == "not installed, and fda needs it <4,>=3.1"
        assert [named(found, name).state for name in ("av", "zarr", "others")] == [
            *[State.MISSING] * 2,
            State.OK,
        ]

    def test_what_cannot_be_imported_is_missing(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "cv2")
        found = self.check(monkeypatch, {"opencv-python-headless": "5.0"}, "opencv-python-headless>=4.10")
        row = named(found, "OpenCV")
        assert (row.state, row.found) == (
            State.MISSING,
            "cannot be imported: libGL.so.1: cannot open shared object file",
        )

    def test_extras_are_optional_and_those_of_developers_are_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = (
            's3fs>=2025.1; extra == "s3"',
            'usearch>=2; extra == "search"',
            'starlette>=1; extra == "serve"',
            'pytest>=8; extra == "dev"',
        )
        monkeypatch.setenv("PATH", "")
        found = self.check(monkeypatch, {"s3fs": "2026.1", "usearch": "1.9"}, *lines)
        extras = {check.name: check for check in found if check.group == software.EXTRAS}
        assert {name: check.state for name, check in extras.items()} == {
            "browser": State.OPTIONAL,
            "s3": State.OK,
            "search": State.OPTIONAL,
            "serve": State.OPTIONAL,
        }
        assert extras["search"].found == "usearch 1.9, and fda needs >=2"
        assert extras["serve"].remedy == install_extra("serve")

    def test_a_checkout_that_is_not_installed_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def nothing(name: str) -> str:
            raise PackageNotFoundError(name)

        monkeypatch.setattr(software, "version", nothing)
        row = named(software.check(None), "fda")
        assert (row.state, "make setup" in str(row.remedy)) == (State.WARNING, True)

    def test_every_package_that_is_tried_is_one_that_fda_requires(self) -> None:
        required = {one.split(">")[0].split("<")[0] for one in requires("fda") or ()}
        assert set(software._IMPORTED) | set(software._ELSEWHERE) <= required


def test_a_codec_that_is_missing_has_a_row_and_without_h264_nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "_has", lambda name, mode: name not in ("hevc", "libx264"))
    found = list(codecs.check(None))
    assert [named(found, name).state for name in ("decoders", "HEVC", "H.264 encoder")] == [
        State.OK,
        State.WARNING,
        State.WARNING,
    ]
    assert "HEVC" not in named(found, "decoders").found
    monkeypatch.setattr(codecs, "_has", lambda name, mode: name != "h264")
    assert named(codecs.check(None), "H.264").state is State.MISSING


class TestDevices:
    FOUND = TorchFound("2.13.0", "CUDA 12.6", "cpu", True, (), None, has_mps=False)

    def check(self, monkeypatch: pytest.MonkeyPatch, driver: str | None = None, **changed: Any) -> list[Check]:
        found = replace(self.FOUND, **changed)
        monkeypatch.setattr(probe, "look_for_devices", lambda: found)
        monkeypatch.setattr(devices, "_driver", lambda: driver)
        return list(devices.check(None))

    def test_why_no_gpu_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        why = "Found no NVIDIA driver on your system"
        row = named(self.check(monkeypatch, why_no_gpu=why), "GPU")
        assert (row.state, row.found) == (State.WARNING, f"none is used: {why}")
        assert "--gpus all" in str(row.remedy)
        old = named(self.check(monkeypatch, driver="NVIDIA's driver (470)", why_no_gpu="too old"), "GPU")
        assert old.remedy == "there is NVIDIA's driver (470): install a newer one, or a torch for an older CUDA"
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        hidden = named(self.check(monkeypatch, why_no_gpu="No CUDA GPUs are available"), "GPU")
        assert hidden.remedy == "CUDA_VISIBLE_DEVICES is '', which hides GPUs: unset it"

    def test_a_torch_for_the_cpu_beside_a_driver_is_a_warning_and_without_one_is_not(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert named(self.check(monkeypatch, "NVIDIA's driver", build="CPU"), "GPU").state is State.WARNING
        assert named(self.check(monkeypatch, build="CPU"), "GPU").state is State.OPTIONAL
        mps = self.check(monkeypatch, build="CPU", has_mps=True)
        assert [check.name for check in mps] == ["torch", "mps", "precision"]

    def test_gpus_have_their_memory_and_one_in_use_is_marked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        gpus = (
            Gpu("cuda:0", "H200", 140 << 30, 139 << 30, computes_bf16=True),
            Gpu("cuda:1", "V100", 32 << 30, 1 << 30, computes_bf16=False),
        )
        found = self.check(monkeypatch, gpus=gpus, auto="cuda:0", auto_computes_bf16=False)
        assert named(found, "cuda:0").found == "H200, 140 GiB, 139 GiB of it free"
        assert named(found, "cuda:1").state is State.WARNING
        assert named(found, "cuda:1").found.endswith("no bf16")
        assert named(found, "precision").used == "--device auto: cuda:0; --precision auto: fp32"

    def test_torch_here(self) -> None:
        found = probe.look_for_devices()
        assert (found.auto == "cpu") == (not found.gpus)
        assert found.version.startswith("2.")


class TestDisk:
    def test_it_is_measured_and_nothing_is_left(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(disk, "WRITING_SECONDS", 0.0)
        monkeypatch.setattr(disk, "FLUSHING_SECONDS", 0.0)
        found = list(disk.check(str(tmp_path / "not-yet" / "store")))
        assert named(found, "speed").found.startswith("writes ")
        assert str(tmp_path) in named(found, "free").found
        assert list(tmp_path.iterdir()) == []

    def test_a_place_that_cannot_be_written_to_and_one_in_s3(self) -> None:
        row = named(disk.check("/proc/self/store"), "speed")
        assert row.found.startswith("this user cannot write into /proc/self: ")
        assert list(disk.check("s3://bucket/store")) == []

    def test_a_slow_disk_and_a_full_one_are_marked(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(disk, "_measured", lambda file: (5e6, 0.2, 1e9))
        monkeypatch.setattr(
            "pipeline.doctor.disk.shutil.disk_usage", lambda folder: SimpleNamespace(free=1 << 30, total=1 << 40)
        )
        found = list(disk.check(str(tmp_path)))
        assert [check.state for check in found] == [State.WARNING] * 2
        monkeypatch.setattr(
            "pipeline.doctor.disk.shutil.disk_usage", lambda folder: SimpleNamespace(free=1 << 20, total=1 << 40)
        )
        assert [check.name for check in disk.check(str(tmp_path))] == ["free"]


class TestPlace:
    def test_a_store_opens_and_says_who_writes_into_it(self, tmp_path: Path) -> None:
        store = make_store(tmp_path / "store", 6)
        fill_store(store)
        found = list(place.check(store.place))
        assert named(found, "place").found == f"{store.place} opens: test 6 videos"
        assert named(found, "claims").state is State.OK
        claim = Claim.of_this_process("preprocess", ["frames"], None, "inputs")
        write_claim(store.folder, claim)
        row = named(place.check(store.place), "claim")
        assert (row.state, row.found) == (State.WARNING, f"claimed by {claim}")

    def test_what_is_no_store(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_text("x")
        assert list(place.check(None)) == []
        assert named(place.check(str(tmp_path)), "place").found.endswith("a folder without a store")
        assert named(place.check(str(tmp_path / "new")), "place").found.endswith("nothing yet")
        assert named(place.check(str(file)), "place").state is State.MISSING
        refused = named(place.check("/proc/self/store"), "place")
        assert (refused.state, refused.used) == (State.WARNING, None)
        assert "nothing yet; this user cannot write into /proc/self: " in refused.found
        assert named(place.check("s3://b"), "place").state is State.MISSING
        (tmp_path / "store.json").write_text("[]")
        assert named(place.check(str(tmp_path)), "place").state is State.MISSING


class TestCluster:
    @pytest.fixture(autouse=True)
    def bare(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        """Nothing is on the PATH, and nobody has credentials."""
        for name in [*cluster._JOBS, "SGE_ROOT", "KUBECONFIG", *(one for one in os.environ if one.startswith("AWS_"))]:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv("HOME", str(tmp_path))
        return tmp_path

    def test_nothing_is_optional(self) -> None:
        found = list(cluster.check(None))
        assert [(check.name, check.state) for check in found] == [
            ("batch system", State.OPTIONAL),
            ("credentials", State.OPTIONAL),
        ]

    def test_a_batch_system_and_a_job_in_it(self, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for command in ("sbatch", "qsub"):
            (bare / command).touch(mode=0o755)
        monkeypatch.setenv("SLURM_JOB_ID", "17")
        monkeypatch.setenv("SGE_ROOT", "/opt/sge")
        found = list(cluster.check(None))
        assert named(found, "job").found.startswith("this is job 17 of SLURM")
        assert named(found, "slurm").used == "with --cluster slurm"
        assert named(found, "sge").state is State.OK
        monkeypatch.setattr(cluster, "find_spec", lambda name: None)
        found = list(cluster.check(None))
        assert named(found, "slurm").remedy == install_extra("cluster")
        assert named(found, "s3fs").state is State.OPTIONAL

    def test_credentials_are_found_and_never_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASECRET")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "topsecret")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:password@localhost:9000/x?y=z")
        found = list(cluster.check(None))
        assert named(found, "credentials").found == "found for localhost:9000: env"
        assert not any(secret in str(found) for secret in ("AKIASECRET", "topsecret", "password"))


class TestMachine:
    def test_limits_are_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "affinity_cores", lambda: 8)
        monkeypatch.setattr(machine, "cgroup_limits", lambda: CgroupLimits(2.0, 1 << 30))
        monkeypatch.setattr(machine, "num_cores", lambda: 2)
        monkeypatch.setattr(machine, "memory_bytes", lambda: 1 << 30)
        monkeypatch.setattr("pipeline.doctor.machine.os.cpu_count", lambda: 64)
        monkeypatch.setattr("pipeline.doctor.machine.resource.getrlimit", lambda which: (256, 65536))
        monkeypatch.setattr(
            "pipeline.doctor.machine.os.statvfs", lambda path: SimpleNamespace(f_bavail=16, f_frsize=1 << 20)
        )
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        found = list(machine.check(None))
        assert named(found, "CPU").found.endswith("64 cores; this process may run on 8; a cgroup gives the time of 2")
        used = "1 worker in preprocess, of at most 2,483 MiB; more do not fit into memory"
        assert named(found, "CPU").used == used
        assert "limited to 1.0 GiB" in named(found, "memory").found
        assert named(found, "open files").remedy == "ulimit -n 4096"
        for name in ("memory", "open files", "/dev/shm", "OMP_NUM_THREADS"):
            assert named(found, name).state is State.WARNING

    def test_a_terminal_without_unicode_is_marked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pipeline.doctor.machine.sys.stdout", SimpleNamespace(encoding="ANSI_X3.4-1968"))
        row = named(machine.check(None), "encoding")
        assert (row.state, row.remedy) == (State.WARNING, "export LC_ALL=C.UTF-8, or PYTHONUTF8=1")
