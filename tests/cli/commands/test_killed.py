"""The real `fda preprocess`, killed for real (SIGKILL) or on a disk that is full for real, and run again."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from pipeline.isolation.decoder import IsolatedDecoder
from tests.clips_on_disk import (
    SMALL_FLAGS,
    Commands,
    fda_in_a_process,
    of_the_run,
    record,
    write_manifest,
    write_small_dataset,
)
from tests.decoders import misbehave_in_turn, still_clips
from tests.forked import forked_fda
from tests.seed import drawn
from tests.stores import tree_digest

NUM_VIDEOS = 20
FLAGS = (*SMALL_FLAGS, "--shard-size", "1", "--no-progress")
NUM_COMMITS = 2 * NUM_VIDEOS
MAX_THREADS = {"here": 0, "threads": 2, "processes": 0}
"""By where the work is done."""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_dataset(tmp_path_factory.mktemp("many"), {"test": NUM_VIDEOS})


@pytest.fixture
def whole(fda: Commands, manifest: Path, tmp_path: Path) -> dict[str, str]:
    """What the store holds after a run that nothing disturbed."""
    assert fda("preprocess", manifest, tmp_path / "whole", *FLAGS, "--workers", "0").code == 0
    return tree_digest(tmp_path / "whole")


def num_commits(place: Path) -> int:
    return sum(1 for _ in place.glob("commits/**/*.parquet"))


class OwnGroup:
    """`fda preprocess` with two workers, all in a process group of their own."""

    def __init__(self, manifest: Path, place: Path, max_threads: int) -> None:
        words = ("preprocess", manifest, place, *FLAGS, "--workers", "2")
        self.parent = forked_fda(place.parent, *words, max_threads=max_threads)

    def wait_for(self, place: Path, commits: int, seconds: float = 300) -> None:
        end = time.monotonic() + seconds
        while num_commits(place) < commits and self.parent.poll() is None:
            assert time.monotonic() < end, "the run does not get on"
            time.sleep(0.005)  # a look at forty files takes as long

    def kill(self, *, everyone: bool) -> None:
        if everyone:
            os.killpg(self.parent.pid, signal.SIGKILL)
        else:
            os.kill(self.parent.pid, signal.SIGKILL)
        self.parent.wait()

    def is_gone(self) -> bool:
        try:
            os.killpg(self.parent.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def wait_until_gone(self, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not self.is_gone():
            assert time.monotonic() < end, "workers outlive the run that was killed"
            time.sleep(0.05)


@pytest.fixture
def groups() -> Iterator[list[OwnGroup]]:
    started: list[OwnGroup] = []
    yield started
    for group in started:
        if not group.is_gone():
            os.killpg(group.parent.pid, signal.SIGKILL)
        group.parent.wait()


def test_killed_at_random_moments_and_run_again(
    fda: Commands,
    manifest: Path,
    tmp_path: Path,
    whole: dict[str, str],
    groups: list[OwnGroup],
) -> None:
    rng, place = drawn("moments of a kill"), tmp_path / "store"
    # After at most 18 of 40 commits: on a busy machine, this process may be late, and the run at its end.
    kills = [(rng.randint(0, 8), True, "threads"), (rng.randint(9, 18), False, "processes")]
    for commits, everyone, workers in kills:
        group = OwnGroup(manifest, place, MAX_THREADS[workers])
        groups.append(group)
        group.wait_for(place, commits)
        time.sleep(rng.uniform(0, 0.02))
        group.kill(everyone=everyone)
    assert num_commits(place) < NUM_COMMITS
    again = fda("preprocess", manifest, place, *FLAGS, "--workers", "0", "--json")  # workers may still be dying
    assert again.code == 0
    assert 0 < json.loads(again.out)["num_shards_made"] <= NUM_VIDEOS
    for group in groups:
        group.wait_until_gone()
    idle = fda("preprocess", manifest, place, *FLAGS)
    assert of_the_run(idle.err) == f"nothing to do: {NUM_VIDEOS} shards, all complete\n"
    assert tree_digest(place) == whole
    assert not (place / "partial").exists()


@pytest.mark.parametrize(
    ("number", "workers", "num_processes"),
    [(signal.SIGINT, "here", 1), (signal.SIGTERM, "processes", 4), (signal.SIGHUP, "threads", 2)],
)
def test_an_interrupt_says_how_to_go_on_with_exit_code_1_and_leaves_no_process(
    manifest: Path,
    tmp_path: Path,
    number: signal.Signals,
    workers: str,
    num_processes: int,
) -> None:
    """By impatient people, a terminal that is closed, or a batch system: it comes to every process, several times."""
    num_workers = "0" if workers == "here" else "2"
    place = tmp_path / "store"
    one = json.loads(manifest.read_text().splitlines()[0])
    many = manifest.with_name("many.jsonl")  # one video 500 times: far from done when the signal comes
    many.write_text("".join(json.dumps({**one, "video_id": f"v{number}"}) + "\n" for number in range(500)))
    words = ("preprocess", many, place, *FLAGS, "--workers", num_workers)
    process = forked_fda(tmp_path, *words, max_threads=MAX_THREADS[workers])
    try:
        end, started = time.monotonic() + 300, list[psutil.Process]()
        # One worker may have made three shards before the other has its decoder.
        while num_commits(place) < 3 or len(started) < num_processes:
            assert time.monotonic() < end, "the run does not get on"
            time.sleep(0.1)  # to look for children is to look at all processes of the machine
            started = psutil.Process(process.pid).children(recursive=True)
        # Semaphores of multiprocessing: they would stay in /dev/shm if all these processes were killed at once.
        assert not [one.path for each in started for one in each.memory_maps() if "/sem.mp-" in one.path]
        while process.poll() is None:
            with suppress(ProcessLookupError):  # it may end at this moment, and not be our child
                os.killpg(process.pid, number)
            time.sleep(0.01)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert (process.returncode, out) == (1, "")
    line = shlex.join(["fda", *map(str, words)])
    # click ends the line on which the terminal shows ^C
    _, empty, message, *rest = of_the_run(err).split("\n")
    kept = re.fullmatch(f"fda: error: interrupted: ([0-9]+) of 500 videos are kept in {place}; to resume:", message)
    assert (empty, rest) == ("", [f"  {line}", ""])
    assert kept is not None
    assert int(kept[1]) == len(list(place.glob("commits/*/frames/*.parquet"))) > 0
    assert psutil.wait_procs(started, timeout=120)[1] == []


def test_a_video_whose_decoder_is_killed_is_pending_and_the_same_command_decodes_it(
    fda: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two good videos, one of which takes all memory of a machine, and a later run on a larger one."""
    flags = (*SMALL_FLAGS, "--workers", "0")
    for name in ("killed_1", "clip_2"):
        (tmp_path / f"{name}.mp4").write_bytes(b"a video")
    manifest = write_manifest(tmp_path, [record(name, f"{name}.mp4") for name in ("killed_1", "clip_2")])
    monkeypatch.setattr("pipeline.frames.run.IsolatedDecoder", partial(IsolatedDecoder, function=misbehave_in_turn))
    ended = fda("preprocess", manifest, tmp_path / "store", *flags)
    why = "the decoder was killed (signal 9, SIGKILL), probably because the machine ran out of memory"
    assert ended.code == 1
    assert f"warning: 1 video still pending, the first is 'killed_1': {why}" in ended.err
    assert f"  killed_1  pending: {why}\n1 clip; no video failed\n" in ended.out
    status = json.loads(fda("status", tmp_path / "store", "--json").out)
    assert [(one["video_id"], one["reason"]) for one in status["pending"]] == [("killed_1", why)]
    assert (status["splits"]["test"]["stages"]["frames"]["num_done"], status["failures"]) == (0, [])
    assert "1 video pending: the machine stopped the decoding" in fda("status", tmp_path / "store").out
    assert why in fda("status", tmp_path / "store", "--failures").out.replace("\n", "")
    assert fda("verify", tmp_path / "store").code == 0
    assert fda("finalise", tmp_path / "store").code == 1

    monkeypatch.setattr("pipeline.frames.run.IsolatedDecoder", partial(IsolatedDecoder, function=still_clips))
    ended = fda("preprocess", manifest, tmp_path / "store", *flags)
    assert (ended.code, "2 clips; no video failed" in ended.out) == (0, True)
    assert fda("preprocess", manifest, tmp_path / "whole", *flags).code == 0
    assert tree_digest(tmp_path / "store") == tree_digest(tmp_path / "whole")


def may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    try_it = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]
    return subprocess.run(try_it, capture_output=True, check=False).returncode == 0


ON_A_SMALL_DISK = """
import os, shutil, subprocess, sys
from cli.main import main
import pipeline.frames.run  # once for all runs

disk, *command = sys.argv[1:]

def mount(*words):
    subprocess.run(["mount", *words, disk], check=True)

def run(name, *more):
    pid = os.fork()
    if pid == 0:
        for number, kind in enumerate(("out", "err"), start=1):
            os.dup2(os.open(f"{name}.{kind}", os.O_WRONLY | os.O_CREAT), number)
        sys.argv = ["fda", *command, "--workers", *more]
        main()
    with open(f"{name}.code", "w") as file:
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=file)

mount("-t", "tmpfs", "-o", "size=400k", "tmpfs")
run("full", "1")
shutil.copytree(f"{disk}/store", "full")
mount("-o", "remount,size=20m")
run("room", "0")
mount("-o", "remount,ro")
run("read_only", "0", "--masks", "other")
run("nothing", "0")
shutil.copytree(f"{disk}/store", "room")
"""
"""A program for a file system of its own: it runs a command on a disk that is full, has room, and takes nothing."""


@pytest.mark.skipif(not may_mount(), reason="no file system can be mounted here (unshare -rm)")
def test_a_disk_that_is_full_and_then_has_room(
    fda: Commands, manifest: Path, tmp_path: Path, whole: dict[str, str]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = map(str, (disk, "preprocess", manifest, disk / "store", *FLAGS))
    program = ["unshare", "-rm", sys.executable, "-c", ON_A_SMALL_DISK, *command]
    subprocess.run(program, cwd=tmp_path, check=True, timeout=600)

    def said(name: str) -> tuple[int, str, str]:
        code, out, err = ((tmp_path / f"{name}.{kind}").read_text() for kind in ("code", "out", "err"))
        return int(code), out, err

    code, out, err = said("full")
    takes, err = of_the_run(err).split("\n", 1)
    assert "at most about" in takes
    err = err[err.index("fda: error: ") :]  # on a busy machine, after a warning that the claim cannot be renewed
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("fda: error: cannot write ")
    assert "no space left on the disk" in err
    assert "run the same command again" in err
    left = tree_digest(tmp_path / "full")
    assert {name: whole.get(name) for name in left} == left
    assert 0 < num_commits(tmp_path / "full") < NUM_COMMITS
    assert said("room")[0] == 0
    assert tree_digest(tmp_path / "room") == whole
    code, out, err = said("read_only")
    err = of_the_run(err)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "Read-only file system" in err
    code, out, err = said("nothing")  # a run claims the store before it looks what is pending
    assert (code, out) == (1, "")
    assert of_the_run(err).startswith("fda: error: cannot write claims/")


def test_a_store_in_a_place_where_nothing_can_be_made(fda: Commands, manifest: Path) -> None:
    ended = fda("preprocess", manifest, "/proc/store", *SMALL_FLAGS, "--workers", "0")
    assert (ended.code, ended.out) == (1, "")
    assert ended.error_line.startswith("fda: error: cannot write claims/")


def test_the_shell_command_is_the_same(manifest: Path, tmp_path: Path, whole: dict[str, str]) -> None:
    ended = fda_in_a_process("preprocess", manifest, tmp_path / "store", *FLAGS, "--json")
    assert ended.code == 0
    assert json.loads(ended.out)["num_videos_made"] == NUM_VIDEOS
    assert tree_digest(tmp_path / "store") == whole
