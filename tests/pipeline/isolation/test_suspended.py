"""A run whose processes are all stopped for longer than a video may take, for real: no video fails by that."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from pipeline.isolation.decoder import DecodeRequest, IsolatedDecoder
from pipeline.video.clips import DecodedClip
from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions
from store.completion import outcomes_of
from store.store import Store
from tests.clips_on_disk import SERIAL_FLAGS, record, write_manifest
from tests.dask_processes import wait_until
from tests.decoders import misbehave_in_turn
from tests.forked import Forked, forked_fda
from tests.videos import textured_frames, write_video

LIMIT_SECONDS = 2.5
NUM_CLIPS = 8


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It is decoded in many short steps."""
    return write_video(tmp_path_factory.mktemp("video") / "video.mkv", textured_frames(250, height=240, width=320))


def suspend(leader: int) -> None:
    """Stop a process group, as Ctrl-Z does, for longer than the limit."""
    os.killpg(leader, signal.SIGSTOP)
    time.sleep(LIMIT_SECONDS + 0.5)
    os.killpg(leader, signal.SIGCONT)


def decode_again_and_again(told: Connection, path: Path) -> None:
    for _ in range(NUM_CLIPS):
        told.send(str(decode_clip(path, DecodeOptions(12, 32, timeout_seconds=LIMIT_SECONDS)).source.num_frames))


def test_the_limit_of_the_decoder_does_not_count_it(video: Path) -> None:
    mine, theirs = Pipe(duplex=False)
    with mine:
        with theirs:
            worker = Forked(decode_again_and_again, theirs, video)
        assert mine.recv() == "250"
        suspend(worker.pid)
        assert [mine.recv() for _ in range(1, NUM_CLIPS)] == ["250"] * (NUM_CLIPS - 1)
        worker.wait(60)


def decode_one(told: Connection, path: Path) -> None:
    decoder = IsolatedDecoder(function=misbehave_in_turn, grace_seconds=0)
    requests = [DecodeRequest(path, DecodeOptions(3, 32, timeout_seconds=LIMIT_SECONDS))]
    with closing(decoder), closing(decoder.decode(requests)) as answers:
        told.send([one.outcome for one in answers])


def test_the_limit_of_who_waits_for_the_decoder_does_not_count_it(tmp_path: Path) -> None:
    mine, theirs = Pipe(duplex=False)
    with mine:
        with theirs:
            worker = Forked(decode_one, theirs, tmp_path / "gate_3.mp4")
        wait_until((tmp_path / "gate_3.begun").exists, "it is not decoded")
        suspend(worker.pid)
        time.sleep(0.2)
        (tmp_path / "gate_3.open").touch()
        (outcome,) = mine.recv()
        assert isinstance(outcome, DecodedClip), outcome
        worker.wait(60)


def test_a_run_that_is_suspended_and_continued_has_all_clips(tmp_path: Path, video: Path) -> None:
    names = [f"video_{number}" for number in range(20)]  # so many that one is seen while it is decoded
    for name in names:
        (tmp_path / f"{name}.mkv").hardlink_to(video)
    manifest, place = write_manifest(tmp_path, [record(name, f"{name}.mkv") for name in names]), tmp_path / "store"
    flags = (*SERIAL_FLAGS, "--eval-frames", "12", "--timeout", str(LIMIT_SECONDS))
    run = forked_fda(tmp_path, "preprocess", manifest, place, *flags)
    wait_until(lambda: is_decoding(run.pid), "no video is open", pause=0.001)
    suspend(run.pid)
    assert run.wait(120) == 0, run.communicate()
    store = Store.open(place)
    outcomes = [one for shard in store.all_shards() for one in outcomes_of(store, shard)]
    assert [str(one.status) for one in outcomes] == ["ok"] * len(names)


def is_decoding(pid: int) -> bool:
    """Whether one of its decoders has a video open."""
    files = (file.path for child in psutil.Process(pid).children() for file in child.open_files())
    return any(path.endswith(".mkv") for path in files)
