"""A real SLURM runs the scripts of docs/clusters.md, as they stand there but for what is in `edited`.

Whatever happens to a job, the store ends with the bytes that one undisturbed run in this process makes.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.clips_on_disk import Commands
from tests.dask_processes import wait_until
from tests.docs.pages import blocks_of
from tests.forked import forked_fda
from tests.many_shards import FLAGS, NUM_VIDEOS
from tests.many_shards import manifest as manifest  # a fixture
from tests.many_shards import whole as whole  # another
from tests.paths import ROOT
from tests.slurm import PARTITION, PAUSE_SECONDS, Slurm
from tests.stores import tree_digest

NUM_COMMITS = 2 * NUM_VIDEOS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the reader submits jobs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def block(language: str, *words: str) -> str:
    """The only one of the page in which all these words stand."""
    blocks = blocks_of(ROOT / "docs/clusters.md")
    (found,) = [one.text for one in blocks if one.language == language and all(word in one.text for word in words)]
    return found


def edited(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, f"{old} is not in\n{text}"
        text = text.replace(old, new)
    return text


def num_commits(store: Path) -> int:
    return sum(1 for _ in store.glob("commits/**/*.parquet"))


def wait_while(goes_on: Callable[[], object], condition: Callable[[], bool]) -> None:
    """Wait for what a job makes, and no longer than it can be made."""
    looks = itertools.count(1)
    wait_until(lambda: condition() or (next(looks) % 100 == 0 and not goes_on()), "the job makes no progress")
    assert condition(), outputs(Path.cwd())


def outputs(folder: Path) -> str:
    """What all jobs have printed, and commands that run beside them."""
    return "\n".join(path.read_text() for kind in ("out", "err") for path in sorted(folder.rglob(f"*.{kind}")))


def requeue(slurm: Slurm, job: str, store: Path) -> int:
    """Let a job end, and begin again a few seconds later; how many commits it has made."""
    slurm("scontrol", "requeue", job)
    wait_until(lambda: slurm.state(job) == "PENDING", "the job is not requeued", pause=PAUSE_SECONDS)
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now+1")  # SLURM would wait for two minutes
    return num_commits(store)


def test_a_job_that_is_requeued_in_mid_run_goes_on(
    manifest: Path, folder: Path, whole: dict[str, str], slurm: Slurm
) -> None:
    store = folder / "store"
    changes = {
        "/data/clips.jsonl": str(manifest),
        "/data/store": str(store),
        "--cpus-per-task=32": "--cpus-per-task=1",
        '"$SLURM_CPUS_PER_TASK"': " ".join(['"$SLURM_CPUS_PER_TASK"', *FLAGS]),
    }
    (folder / "preprocess.sbatch").write_text(edited(block("bash", "--job-name=fda-preprocess"), changes))
    job = slurm("sbatch", "--parsable", "preprocess.sbatch").strip()
    wait_while(slurm.queue, lambda: num_commits(store) >= 3)
    assert requeue(slurm, job, store) < NUM_COMMITS
    ended = slurm.wait_for_end(job)
    said = outputs(folder)
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), said
    # Both runs write into one file.
    assert re.search(
        rf"fda: error: interrupted: \d+ of {NUM_VIDEOS} videos (is|are) kept in {re.escape(str(store))}; ", said
    )
    (made,) = re.findall(r"(\d+) videos? in ", said)
    assert 0 < int(made) < NUM_VIDEOS
    assert tree_digest(store) == whole


def test_a_part_that_is_cancelled_is_pending_until_it_runs_again(
    manifest: Path, folder: Path, whole: dict[str, str], slurm: Slurm
) -> None:
    store = folder / "store"
    changes = {
        "/data/clips.jsonl": str(manifest),
        "/data/store": str(store),
        "--array=1-64": "--array=1-2%1",  # one after the other: a part that has begun may end before it is cancelled
        "$SLURM_ARRAY_TASK_ID/64": "$SLURM_ARRAY_TASK_ID/2",
        "--workers 4": " ".join(["--workers", "0", *FLAGS]),
    }
    (folder / "preprocess.sbatch").write_text(edited(block("bash", "--array=1-64"), changes))
    submit = edited(block("bash", "sbatch --parsable preprocess.sbatch"), {"/data/store": str(store)})

    finalise, parts = submitted(slurm, submit)
    slurm("scancel", f"{parts}_2")
    ended = slurm.wait_for_end(finalise)
    said = outputs(folder)
    assert slurm.state(f"{parts}_1") == "COMPLETED", said
    assert (ended["JobState"], ended["ExitCode"]) == ("FAILED", "1:0"), said
    assert f" of {NUM_VIDEOS} shards of frames are pending, the first is test/000" in said

    again = edited(submit, {"--parsable": "--parsable --array=2"})
    ended = slurm.wait_for_end(submitted(slurm, again)[0])
    assert ended["JobState"] == "COMPLETED", outputs(folder)
    assert tree_digest(store) == whole


def submitted(slurm: Slurm, snippet: str) -> tuple[str, str]:
    """Run the shell that submits an array, and a job after it; the ids of the job and of the array."""
    ended = subprocess.run(["bash", "-e", "-c", snippet], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    job = ended.stdout.split()[-1]
    return job, slurm.show(job)["Dependency"].removeprefix("afterany:").partition("_")[0]


def cluster_command(manifest: Path, folder: Path, queue: str = PARTITION) -> list[str]:
    """The page's `fda preprocess --cluster slurm`, with its settings."""
    settings = {
        "cores = 8": "cores = 1",
        '"cpu"': f'"{queue}"',
        "/data/venv": f"{folder}/venv",
        '"/tmp"': f'"{folder}"',
        "/data/logs": f"{folder}/logs",
    }
    (folder / "fda.toml").write_text(edited(block("toml", "[cluster.slurm]"), settings))
    activate = folder / "venv/bin/activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f"touch '{folder}/activated'\n")
    changes = {"/data/clips.jsonl": str(manifest), "/data/store": f"{folder}/store", "--workers 64": "--workers 1"}
    _, line = edited(block("bash", "--cluster slurm"), changes).splitlines()
    return [*shlex.split(line)[1:], *FLAGS]


def test_one_command_whose_job_is_requeued_and_then_cancelled_and_the_same_command_again(
    fda: Commands,
    manifest: Path,
    folder: Path,
    whole: dict[str, str],
    slurm: Slurm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT", "100ms")  # Dask's default would cancel it later
    store = folder / "store"
    command = cluster_command(manifest, folder)
    run = forked_fda(folder, *command, notice_seconds=1)
    try:
        wait_while(lambda: run.poll() is None, lambda: num_commits(store) >= 3)
        (job,) = slurm.queue()
        made = requeue(slurm, job, store)
        wait_while(slurm.queue, lambda: num_commits(store) >= made + 3)
        slurm("scancel", job)
        told = folder / "fda.0.err"
        notice = "come back only when this command is run again"
        wait_until(lambda: notice in told.read_text() or run.poll() is not None, "nobody is told of the end of the job")
        os.killpg(run.pid, signal.SIGINT)
        _, err = run.communicate(timeout=300)
    finally:
        run.kill()
    assert (run.returncode, "fda: error: interrupted: " in err) == (1, True), err
    wait_until(lambda: slurm.queue() == [], "the job outlives the command", pause=PAUSE_SECONDS)
    assert 0 < num_commits(store) < NUM_COMMITS

    ended = fda(*command, "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["num_shards_made"] < NUM_VIDEOS
    assert (folder / "activated").exists()
    assert tree_digest(store) == whole
    wait_until(lambda: slurm.queue() == [], "the job outlives the command", pause=PAUSE_SECONDS)


def test_a_partition_that_is_not_there(fda: Commands, manifest: Path, folder: Path, slurm: Slurm) -> None:
    ended = fda(*cluster_command(manifest, folder, queue="nowhere"))
    assert ended.code == 1
    assert ended.error_line == (
        "fda: error: sbatch rejected the job: invalid partition specified: nowhere; Batch job submission failed: "
        "Invalid partition name specified"
    )
    assert slurm.queue() == []
