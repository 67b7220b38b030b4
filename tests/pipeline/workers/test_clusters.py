"""Jobs of batch systems: their scripts as text, and a whole run on a SLURM that two shell scripts imitate."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import fda as api
from pipeline.run.options import BATCH_SYSTEMS, ClusterOptions
from pipeline.run.resources import ONE_THREAD, WorkerMemory
from pipeline.workers.job_settings import JobSettings, job_class, settings_of
from pipeline.workers.preflight import Preflight, UnfitWorkerError, check_here
from store.claims.holding import claimed
from store.errors import StorePlaceError
from store.places.folder import StoreFolder
from store.places.local import LocalFolder
from store.places.opening import folder_at
from tests.clips_on_disk import SMALL_FLAGS, Commands, of_the_run, write_small_dataset
from tests.stores import make_store, tree_digest

FLAGS = (*SMALL_FLAGS, "--no-progress")
DIRECTIVES = {
    "slurm": ["#SBATCH -J fda", "#SBATCH -p long", "#SBATCH --cpus-per-task=4", "#SBATCH --mem=16G", "#SBATCH -t 4:00"],
    "pbs": ["#PBS -N fda", "#PBS -q long", "#PBS -l select=1:ncpus=4:mem=16GB", "#PBS -l walltime=4:00"],
    "lsf": ["#BSUB -J fda", "#BSUB -q long", "#BSUB -n 4", "#BSUB -M 17179870", "#BSUB -W 4:00"],
    "sge": ["#$ -N fda", "#$ -q long", "#$ -l h_rt=4:00"],
}


def settings(kind: str, **more: object) -> JobSettings:
    return JobSettings.of(cluster(kind, **more))


def cluster(kind: str, **more: object) -> ClusterOptions:
    return ClusterOptions(kind, {"cores": 4, "memory": "16 GiB", "queue": "long", "walltime": "4:00", **more})


@pytest.mark.parametrize("kind", DIRECTIVES)
def test_a_job_is_several_workers_of_one_thread(kind: str) -> None:
    lines = api.job_script(cluster(kind, job_script_prologue=["module load ffmpeg"])).splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert set(DIRECTIVES[kind]) <= set(lines)
    exports = [f"export {name}={value}" for name, value in ONE_THREAD.items()]
    first = lines.index(exports[0])
    assert lines[first : first + len(exports) + 1] == [*exports, "module load ffmpeg"]
    command = lines[-1].split()
    assert command[:4] == [sys.executable, "-m", "distributed.cli.dask_worker", "tcp://SCHEDULER"]
    assert command[command.index("--nthreads") + 1] == "1"
    assert command[command.index("--nworkers") + 1] == "4"
    # The last --memory-limit counts.
    assert command[-4:] == ["--memory-limit", "0", "--preload", "fda"]


def test_a_worker_of_kubernetes_is_a_pod() -> None:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    mount = {"name": "data", "mountPath": "/data"}
    table = {
        "memory": "4 GiB",
        "image": "registry.example/fda:1",
        "volumes": [volume],
        "volume_mounts": [mount],
        "env": {"AWS_PROFILE": "data"},
    }
    spec = json.loads(api.job_script(ClusterOptions("kubernetes", table)))
    assert spec["kind"] == "DaskCluster"
    worker = spec["spec"]["worker"]["spec"]
    (container,) = worker["containers"]
    worker_command = ["dask", "worker", "--nthreads", "1", "--memory-limit", "0", "--preload", "fda"]
    assert container["args"][: len(worker_command)] == worker_command
    assert container["image"] == "registry.example/fda:1"
    assert container["resources"]["limits"] == {"memory": "4096Mi", "cpu": "1"}
    assert {one["name"]: one["value"] for one in container["env"]} == {**ONE_THREAD, "AWS_PROFILE": "data"}
    assert (worker["volumes"], container["volumeMounts"]) == ([volume], [mount])


@pytest.mark.parametrize(
    ("kind", "table", "message"),
    [
        ("slurm", {"memory": "8 GiB", "que": "long"}, r"\[cluster.slurm\] has no setting 'que'; there are account, .*"),
        ("slurm", {"memory": "8 GiB", "resource_spec": "x"}, "has no setting 'resource_spec'"),
        ("pbs", {"memory": "8 GiB", "env_extra": ["x"]}, "has no setting 'env_extra'"),
        ("pbs", {"memory": "8 GiB", "processes": 4}, "has no setting 'processes'"),
        ("pbs", {"memory": 8}, "memory must be text, got 8"),
        ("pbs", {"memory": "much"}, "memory 'much': write it as '16 GiB'"),
        ("sge", {"memory": "8 GiB", "cores": "4"}, "cores must be a whole number, got '4'"),
        ("sge", {"memory": "8 GiB", "cores": True}, "cores must be a whole number, got True"),
        ("slurm", {"memory": "8 GiB", "death_timeout": "1m"}, "death_timeout must be a number, got '1m'"),
        ("lsf", {"memory": "8 GiB", "use_stdin": 1}, "use_stdin must be true or false, got 1"),
        ("slurm", {"memory": "8 GiB", "job_extra_directives": "--x"}, "job_extra_directives must be a list, got '--x'"),
        ("lsf", {"memory": "8 GiB", "cores": 0}, "cores must be at least 1, got 0"),
        ("lsf", {}, r"\[cluster.lsf\] needs memory"),
        ("kubernetes", {"memory": "8 GiB"}, r"\[cluster.kubernetes\] needs image"),
    ],
)
def test_wrong_settings_are_named(kind: str, table: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JobSettings(kind, table)


def test_jobs_must_have_room_for_their_workers() -> None:
    memory = WorkerMemory(shard_size=16, num_frames=12, image_size=224)
    settings("slurm").check_memory(memory)
    with pytest.raises(ValueError, match=r"a job of 8,192 MiB is too small for 4 workers.*give memory = '10 GiB'"):
        settings("slurm", memory="8 GiB").check_memory(memory)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_small_dataset(tmp_path / "data", {"test": 8})


@pytest.mark.parametrize(
    ("toml", "options", "message"),
    [
        ("[cluster.slurm]\nmemory = '9 GiB'\nnodes = 3", ["--workers", "1"], "has no setting 'nodes'"),
        ("[cluster.slurm]\nmemory = '9 GiB'", [], "--cluster needs --workers"),
        ("[cluster.slurm]\nmemory = '1 GiB'", ["--workers", "1"], "a job of 1,024 MiB is too small for 1 worker"),
        (
            "[cluster.condor]\nmemory = '9 GiB'",
            ["--workers", "1"],
            "condor is not a table of a cluster; there are slurm",
        ),
        ("cluster = 3", ["--workers", "1"], "write [cluster.NAME], with NAME one of slurm"),
        ("", ["--workers", "1"], "[cluster.slurm] needs memory"),
    ],
)
def test_a_wrong_configuration_is_wrong_usage_and_nothing_begins(
    fda: Commands, manifest: Path, tmp_path: Path, toml: str, options: list[str], message: str
) -> None:
    config = tmp_path / "fda.toml"
    config.write_text(toml)
    store = tmp_path / "store"
    ended = fda("preprocess", manifest, store, *FLAGS, "--cluster", "slurm", "--config", config, *options)
    assert ended.code == 2
    assert message in " ".join(ended.err.split())
    assert not store.exists()


def test_the_job_script_is_printed_and_nothing_begins(fda: Commands, manifest: Path, tmp_path: Path) -> None:
    config = tmp_path / "fda.toml"
    config.write_text("[preprocess]\nworkers = 8\n[cluster.pbs]\ncores = 2\nmemory = '6 GiB'\n")
    store = tmp_path / "store"
    ended = fda("preprocess", manifest, store, *FLAGS, "--cluster", "pbs", "--config", config, "--print-job-script")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == api.job_script(ClusterOptions("pbs", tomllib.loads(config.read_text())["cluster"]["pbs"]))
    assert not store.exists()


def test_the_job_script_of_wrong_settings_is_refused() -> None:
    with pytest.raises(api.OptionError, match=r"\[cluster.pbs\] has no setting 'nodes'"):
        api.job_script(api.ClusterOptions("pbs", {"memory": "9 GiB", "nodes": 3}))


SLURM = {
    "sbatch": """#!/bin/sh
cp "$1" "$FAKE_SLURM/script.$$"
setsid bash "$FAKE_SLURM/script.$$" > "$FAKE_SLURM/job.$$" 2>&1 &
echo $! > "$FAKE_SLURM/$!.running"
echo "Submitted batch job $!"
""",
    "scancel": """#!/bin/sh
mv "$FAKE_SLURM/$1.running" "$FAKE_SLURM/$1.cancelled"
kill -TERM -- "-$1"
""",
}


@pytest.fixture
def imitated_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which the imitated SLURM records its jobs."""
    programs, traces = tmp_path / "bin", tmp_path / "slurm"
    programs.mkdir()
    traces.mkdir()
    for name, text in SLURM.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(traces))
    yield traces
    for trace in traces.glob("*.running"):
        os.killpg(int(trace.stem), signal.SIGKILL)


CONFIG = "[cluster.slurm]\ncores = 2\nmemory = '6 GiB'\ninterface = 'lo'\nqueue = 'long'\n"


def test_a_run_on_slurm_submits_jobs_and_cancels_them(
    fda: Commands, manifest: Path, tmp_path: Path, imitated_slurm: Path
) -> None:
    config = tmp_path / "fda.toml"
    config.write_text(CONFIG)
    assert fda("preprocess", manifest, tmp_path / "whole", *FLAGS, "--workers", "0").code == 0
    submit = ("--cluster", "slurm", "--config", config, "--worker-timeout", "60")
    ended = fda("preprocess", manifest, tmp_path / "store", *FLAGS, *submit, "--workers", "2", "--json")
    assert ended.code == 0, [path.read_text() for path in imitated_slurm.glob("job.*")]
    assert json.loads(ended.out)["workers"] == 2
    assert "2 workers as 1 job\n" in ended.err
    assert tree_digest(tmp_path / "store") == tree_digest(tmp_path / "whole")
    assert [path.suffix for path in imitated_slurm.iterdir() if path.stem.isdigit()] == [".cancelled"]
    (script,) = imitated_slurm.glob("script.*")
    assert "#SBATCH -p long" in script.read_text()
    again = fda("preprocess", manifest, tmp_path / "store", *FLAGS, *submit, "--workers", "2")
    assert of_the_run(again.err).startswith("nothing to do")  # and nothing is submitted
    assert len(list(imitated_slurm.glob("script.*"))) == 1


def test_a_rejected_job_ends_the_run_with_the_message_of_slurm(
    fda: Commands, manifest: Path, tmp_path: Path, imitated_slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fda.toml").write_text(CONFIG)
    (tmp_path / "bin/sbatch").write_text("#!/bin/sh\necho 'error: no partition long' >&2\nexit 1\n")
    place = ("--cluster", "slurm", "--config", tmp_path / "fda.toml", "--workers", "1")
    ended = fda("preprocess", manifest, tmp_path / "store", *FLAGS, *place)
    assert ended.code == 1
    assert ended.error_line == "fda: error: sbatch rejected the job: no partition long"
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    missing = fda("preprocess", manifest, tmp_path / "store", *FLAGS, *place)
    assert missing.error_line == "fda: error: sbatch is not on the PATH: run this where jobs are submitted"


def test_dask_jobqueue_does_not_take_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its import does; so it is imported once more here."""
    for name in [name for name in sys.modules if name.split(".")[0] == "dask_jobqueue"]:
        monkeypatch.delitem(sys.modules, name)
    before = signal.getsignal(signal.SIGINT)
    assert job_class("slurm").submit_command == "sbatch"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture
def store_folder(tmp_path: Path) -> StoreFolder:
    return make_store(tmp_path / "store", 3).folder


def test_a_worker_like_the_coordinator_has_no_problem(store_folder: StoreFolder, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"video")
    before = tree_digest(tmp_path / "store")
    preflight = Preflight.of(store_folder, [tmp_path / "gone.mp4", tmp_path / "a.mp4"])
    assert preflight.video == (tmp_path / "a.mp4", 5)
    assert preflight.problem() is None
    check_here(preflight, "tcp://here")
    store_folder.remove_partial_files()
    assert tree_digest(tmp_path / "store") == before


def test_each_problem_of_a_worker_is_one_sentence(store_folder: StoreFolder, tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"video")
    preflight = Preflight.of(store_folder, [video])
    python = replace(preflight, software=(("python", "3.9.1"), ("av", "1.0")))
    assert "not 3.9.1" in str(python.problem())
    assert "not 1.0: results would differ. Install the same environment there" in str(python.problem())
    elsewhere = replace(preflight, folder=folder_at(tmp_path / "elsewhere"))
    assert "must be on a file system that all machines share" in str(elsewhere.problem())
    other = replace(preflight, folder=make_store(tmp_path / "other", 4).folder)
    assert "is another folder there" in str(other.problem())
    video.write_bytes(b"other video")
    assert "has 11 bytes there, not 5" in str(preflight.problem())
    video.unlink()
    assert f"it does not see the video {video}" in str(preflight.problem())
    with pytest.raises(UnfitWorkerError, match=r"^worker tcp://here \(host .*\) cannot be used: it does not see"):
        check_here(preflight, "tcp://here")


def test_a_store_that_cannot_be_written_to(store_folder: StoreFolder, tmp_path: Path) -> None:
    preflight = Preflight.of(store_folder)
    assert preflight.video is None
    shutil.rmtree(tmp_path / "store/partial")
    (tmp_path / "store/partial").write_text("in place of a folder, which stops even root")
    assert "must be able to write there" in str(preflight.problem())


def test_a_store_that_cannot_be_read_is_a_problem_of_the_worker(
    store_folder: StoreFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    preflight = Preflight.of(store_folder)

    def read(*_: object) -> bytes:
        raise StorePlaceError("Credentials come from the environment alone")

    monkeypatch.setattr(LocalFolder, "read", read)
    assert preflight.problem() == "it cannot read the store: Credentials come from the environment alone"


def test_the_claim_of_the_run_proves_the_store_to_be_the_same(store_folder: StoreFolder, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "store", copy)
    with claimed(store_folder, "preprocess", ["frames"]) as mine:
        preflight = Preflight.of(mine)
        assert preflight.problem() is None
        same_but_copied = replace(preflight, folder=folder_at(copy).claimed_by(mine.claim))
        assert f"it has no claims/{mine.claim}.json in {copy}" in str(same_but_copied.problem())


@pytest.mark.parametrize("kind", BATCH_SYSTEMS)
def test_the_settings_of_a_batch_system_are_those_of_dask_jobqueue(kind: str) -> None:
    """Every one with a type: a version of dask-jobqueue that documents its arguments in another way shows here."""
    known = settings_of(kind)
    assert known.keys() >= {"cores", "memory", "queue", "walltime", "interface", "job_extra_directives", "python"}
    assert all(known.values()), known
    assert not known.keys() & {"extra", "job_extra", "env_extra", "header_skip"}  # deprecated
    assert settings(kind, death_timeout=60, log_directory="/logs").num_workers == 4
