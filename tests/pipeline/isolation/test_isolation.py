"""A video that hangs or crashes its decoder, for real, costs that video and nothing else."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from multiprocessing import Pipe, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Timer

import numpy as np
import psutil
import pytest
import zarr.core.sync

from pipeline.datasets.read import read_dataset
from pipeline.frames.preprocess import VideoSource, plan_preprocess, preprocess_shards
from pipeline.isolation.decoder import Answer, DecodeRequest, IsolatedDecoder
from pipeline.isolation.process import DecoderStartError
from pipeline.run.plan import Tally
from pipeline.video.clips import DecodedClip, VideoError
from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions, Window
from pipeline.workers.dask import local_dask
from pipeline.workers.executors import Executor, run_synchronously
from pipeline.workers.threads import ThreadExecutor
from store.completion import outcomes_of
from store.errors import StoreWriteError
from store.store import Store
from tests.clips_on_disk import SMALL, opened_store, record, write_clip, write_manifest
from tests.decoders import KilledWhileItStarts, count_windows, misbehave_in_turn, misbehave_together
from tests.forked import Forked
from tests.forked import forked_decoders as forked_decoders  # a fixture

OPTIONS = DecodeOptions(3, 32, timeout_seconds=0.3)
DECODER = IsolatedDecoder(function=misbehave_in_turn, grace_seconds=0.3)


@pytest.fixture(scope="module")
def what_libraries_keep() -> None:
    """Started once for the life of a process: zarr's event loop, and the resource tracker of multiprocessing."""
    zarr.core.sync.sync(asyncio.sleep(0))
    resource_tracker.ensure_running()
    # What is there already is left out of the collections below: to walk through torch twice a test took half a minute.
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left(what_libraries_keep: None) -> Iterator[None]:
    """After every test: close what is kept, and nothing that was started or opened is there any more."""
    before = held()
    yield
    DECODER.close()
    num_files, descendants = held()
    assert num_files <= before[0]  # servers of other tests may close theirs meanwhile
    assert descendants <= before[1]


def held() -> tuple[int, set[int]]:
    """The open files of this process in number, and its descendants."""
    gc.collect()  # a closed event loop keeps its files until then
    me = psutil.Process()
    return me.num_fds(), {child.pid for child in me.children(recursive=True)}


def decode(*names: str, decoder: IsolatedDecoder = DECODER, options: DecodeOptions = OPTIONS) -> list[str]:
    """How each video ended: the value of its frames for a clip, else status and reason."""
    requests = [DecodeRequest(Path(f"{name}.mp4"), options) for name in names]
    answers = sorted(decoder.decode(requests), key=lambda answer: answer.position)
    assert [answer.position for answer in answers] == list(range(len(names)))
    return [ended(answer) for answer in answers]


def ended(answer: Answer) -> str:
    """How a video ended: the value of its frames for a clip, else status and reason."""
    clip = answer.outcome
    return str(int(clip.sample.frames.max())) if isinstance(clip, DecodedClip) else str(clip)


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


CRASHES = {
    "segfault": "corrupt: the decoder crashed (signal 11, SIGSEGV)",
    "abort": "corrupt: the decoder crashed (signal 6, SIGABRT)",
    "exit": "corrupt: the decoder ended with exit code 3",
    "hang": "timeout: the decoder hung: killed after 0.6 s",
    "stuck": "timeout: the decoder hung: killed after 0.6 s",
    "stopped": "timeout: the decoder hung: killed after 0.6 s",
}


KILLED = "pending: the decoder was killed (signal 9, SIGKILL), probably because the machine ran out of memory"
OF_THE_MACHINE = {
    "killed": KILLED,
    f"signal_{signal.SIGXCPU:d}": "pending: the decoder was killed (signal 24, SIGXCPU) from outside",
    f"signal_{signal.SIGUSR1:d}": "pending: the decoder was killed (signal 10, SIGUSR1) from outside",
    f"signal_{signal.SIGRTMIN + 1:d}": "pending: the decoder was killed (signal 35, a real-time signal) from outside",
    "kernel": "pending: the machine has no room for it: Cannot allocate memory",
    "files": "pending: the machine has no room for it: Too many open files",
    "capped": "pending: the machine gives less memory than the limit of 2048 MiB a video",
}


@pytest.mark.usefixtures("forked_decoders")
def test_what_the_machine_does_to_a_decoder_is_no_property_of_its_first_video_or_a_later_one() -> None:
    patient = replace(OPTIONS, timeout_seconds=20)
    names = ["killed", "clip_1", *OF_THE_MACHINE, "clip_2"]
    assert decode(*names, options=patient) == [KILLED, "1", *OF_THE_MACHINE.values(), "2"]


@pytest.mark.usefixtures("forked_decoders")
def test_a_decoder_that_is_killed_while_it_starts_leaves_its_video_pending() -> None:
    decoder = IsolatedDecoder(function=KilledWhileItStarts())
    assert decode("clip_1", "clip_2", decoder=decoder) == [KILLED, KILLED]


@pytest.mark.usefixtures("forked_decoders")
@pytest.mark.parametrize("name", CRASHES)
def test_a_video_that_takes_the_decoder_down_is_recorded_and_the_next_one_is_decoded(name: str) -> None:
    assert decode("clip_1", name, "clip_2", name) == ["1", CRASHES[name], "2", CRASHES[name]]
    assert decode("clip_3") == ["3"]


def test_a_video_that_wants_more_memory_than_the_limit_is_refused() -> None:
    decoder = replace(DECODER, memory_mib=100)
    with closing(decoder):
        reason = "unsupported: decoding it takes more than 100 MiB of memory"
        assert decode("greedy", "clip_1", decoder=decoder) == [reason, "1"]
        assert decode("fits", decoder=decoder, options=replace(OPTIONS, image_size=1024)) == ["0"]
        big = replace(OPTIONS, image_size=4096, timeout_seconds=20)  # 144 MiB
        assert decode("clip_1", decoder=decoder, options=big) == [reason]


def test_one_process_serves_shard_after_shard() -> None:
    before = children()
    assert decode("clip_1", "clip_2") == ["1", "2"]
    (pid,) = children() - before
    assert decode("clip_3", "bad_4") == ["3", "4"]
    assert children() - before == {pid}
    os.kill(pid, signal.SIGKILL)  # between two shards: nobody's fault
    psutil.Process(pid).wait()
    assert decode("clip_5") == ["5"]


def test_a_bug_costs_its_video_alone_and_the_log_shows_where_it_was(caplog: pytest.LogCaptureFixture) -> None:
    reason = "unsupported: a bug of the decoder: ZeroDivisionError: a frame rate of 0"
    assert decode("clip_1", "bug_1", "clip_2") == ["1", reason, "2"]
    (logged,) = caplog.records
    assert (logged.levelname, logged.name) == ("ERROR", "pipeline.isolation.decoder")
    assert "bug_1.mp4" in logged.getMessage()
    assert "in misbehave" in logged.getMessage()


@pytest.mark.usefixtures("forked_decoders")
def test_a_video_is_not_blamed_for_what_an_earlier_one_did_to_the_decoder() -> None:
    """The first damages the decoder, which goes down during the second: that is decoded again, in a new process."""
    patient = replace(OPTIONS, timeout_seconds=20)
    assert decode("damage_1", "slow_2", "clip_3", options=patient) == ["1", "2", "3"]
    assert decode("damage_1", "segfault", "clip_3", options=patient) == ["1", CRASHES["segfault"], "3"]


@pytest.mark.usefixtures("forked_decoders")
@pytest.mark.parametrize("name", ["segfault_7", "hang_7", "killed_7", "bug_7", "greedy_7", "kernel_7"])
def test_a_pass_that_fails_costs_no_window_of_its_file(name: str) -> None:
    decoder = IsolatedDecoder(function=misbehave_together, grace_seconds=0.3)
    with closing(decoder):
        assert decode("clip_1", name, name, name, "clip_2", decoder=decoder) == ["1", "7", "7", "7", "2"]
        assert decode(name, name, decoder=decoder) == ["7", "7"]  # at the last one


def test_windows_of_one_file_are_asked_for_together() -> None:
    decoder = IsolatedDecoder(function=count_windows)
    requests = [
        DecodeRequest(Path(name), OPTIONS, Window(0, end)) for name, end in zip("aaabba", range(1, 7), strict=True)
    ]
    with closing(decoder):
        counts = [ended(answer) for answer in decoder.decode(requests)]
    assert counts == ["3", "3", "3", "2", "2", "1"]


def test_a_process_outlives_the_thread_that_started_it() -> None:
    requests = [DecodeRequest(Path(f"slow_{number}.mp4"), replace(OPTIONS, timeout_seconds=20)) for number in (1, 2)]
    before = children()
    with closing(DECODER.decode(requests)) as outcomes:
        with ThreadPoolExecutor(1) as pool:
            assert ended(pool.submit(next, outcomes).result()) == "1"
        (pid,) = children() - before
        assert ended(next(outcomes)) == "2"
        assert children() - before == {pid}


def test_what_a_library_prints_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    assert decode("print", "clip_1") == ["0", "1"]
    said = capfd.readouterr()
    assert (said.out, sorted(said.err.splitlines())) == ("", ["what a C library prints", "what a library prints"])


def test_a_request_to_stop_is_the_workers_to_heed() -> None:
    """The decoder gets it too, from a terminal or a batch system, and must not seem to have crashed."""
    assert decode("terminated_1", "clip_2") == ["1", "2"]


def test_a_caller_who_is_slow_to_take_a_clip_still_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clip is larger than the buffers of the socket, as where net.core.wmem_max is 212,992: its sender waits."""
    monkeypatch.setattr("pipeline.isolation.messages.BUFFER_BYTES", 100_000)
    large = DecodeOptions(12, 224, timeout_seconds=0.9)
    before = children()
    with (
        closing(IsolatedDecoder(function=count_windows, grace_seconds=0.3)) as decoder,
        closing(decoder.decode([DecodeRequest(Path(name), large) for name in "ab"])) as clips,
    ):
        next(clips)
        (pid,) = children() - before
        time.sleep(1.5)  # past the limit of the second video, which is done
        os.kill(pid, signal.SIGSTOP)
        resumed = Timer(0.2, os.kill, (pid, signal.SIGCONT))  # on a busy machine, it does not go on at once
        resumed.start()
        assert ended(next(clips)) == "1"
        resumed.join()


def test_a_caller_may_stop_early() -> None:
    with closing(DECODER.decode([DecodeRequest(Path("clip_1.mp4"), OPTIONS)] * 5)) as clips:
        next(clips)
    assert decode("clip_2") == ["2"]


def test_a_process_that_cannot_start_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if "site-packages" in path])
    decoder = IsolatedDecoder(function=misbehave_in_turn)  # in tests/, which is found by no path now
    with pytest.raises(DecoderStartError, match=r"did not start \(exit code 1\)"):
        decode("clip_1", decoder=decoder)
    assert "ModuleNotFoundError" in capfd.readouterr().err


def test_a_process_that_the_system_does_not_start_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `ulimit -u` does it, but not to root. What was opened for it is closed, or a warning fails this test."""

    def refused(*arguments: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("pipeline.isolation.process.start_child", refused)
    with pytest.raises(DecoderStartError, match="Resource temporarily unavailable. Use fewer --workers"):
        decode("clip_1")
    gc.collect()


def test_clips_are_those_of_the_function_to_the_bit(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 3)
    options = DecodeOptions(3, 32, neighbours=True)
    decoder = IsolatedDecoder()
    with closing(decoder):
        requests = [DecodeRequest(tmp_path / "gone.mp4", options), DecodeRequest(path, options)]
        missing, isolated = (answer.outcome for answer in decoder.decode(requests))
    direct = decode_clip(path, options)
    assert isinstance(missing, VideoError)
    assert str(missing) == "missing: there is no such file"
    assert isinstance(isolated, DecodedClip)
    assert (isolated.source, isolated.truncated) == (direct.source, direct.truncated)
    for name in ("frames", "pts_seconds", "frame_index", "next_grey"):
        np.testing.assert_array_equal(getattr(isolated.sample, name), getattr(direct.sample, name))
    assert isolated.sample.frames.flags.writeable


def be_worker(told: Connection, *names: str) -> None:
    """Decode the first video, say so, and wait while the second is decoded."""
    requests = [DecodeRequest(Path(name), DecodeOptions(3, 32)) for name in names]
    clips = IsolatedDecoder(function=misbehave_in_turn).decode(requests)
    next(clips)
    told.send("decoded")
    time.sleep(3600)


@pytest.mark.parametrize(
    ("name", "death"),
    [("hang", signal.SIGKILL), ("stuck", signal.SIGKILL), ("stopped", signal.SIGKILL), ("clip_2", signal.SIGTERM)],
)
def test_a_decoder_does_not_outlive_its_worker(name: str, death: signal.Signals) -> None:
    mine, theirs = Pipe()
    with mine, theirs:
        worker = Forked(be_worker, theirs, "clip_1", name)
        assert mine.recv() == "decoded"
        (decoder,) = psutil.Process(worker.pid).children()
        worker.send_signal(death)
        worker.wait()
    decoder.wait(timeout=10)


# Whole shards


def two_shards(tmp_path: Path) -> tuple[Store, Path]:
    names = ["clip_1", "segfault", "bug", "hang", "exit", "clip_3"]
    for name in names:
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
    manifest = write_manifest(tmp_path, [record(name, f"{name}.mp4") for name in names])
    options = replace(SMALL, shard_size=4, timeout_seconds=0.3)
    return opened_store(read_dataset("jsonl", manifest), str(tmp_path / "store"), options), tmp_path


@pytest.mark.usefixtures("forked_decoders")
@pytest.mark.parametrize("workers", ["here", "threads", "processes"])
def test_the_shard_of_a_video_that_crashes_goes_on(tmp_path: Path, workers: str) -> None:
    store, root = two_shards(tmp_path)
    options = replace(SMALL, shard_size=4, timeout_seconds=0.3)
    plan, before = plan_preprocess(store, options), children()
    executors: dict[str, AbstractContextManager[Executor]] = {
        "here": nullcontext(run_synchronously),
        "threads": nullcontext(ThreadExecutor(2, DECODER.end_used_by)),
        "processes": local_dask(2),
    }
    with executors[workers] as executor:
        result = preprocess_shards(store, VideoSource(root, decoder=DECODER), plan, options, executor)
    assert children() <= before  # an idle decoder neither
    outcomes = [outcome for shard in store.shards("test") for outcome in outcomes_of(store, shard)]
    assert [str(outcome.status) for outcome in outcomes] == ["ok", "corrupt", "unsupported", "timeout", "corrupt", "ok"]
    assert [outcome.reason for outcome in outcomes if outcome.reason] == [
        "the decoder crashed (signal 11, SIGSEGV)",
        "a bug of the decoder: ZeroDivisionError: a frame rate of 0",
        "the decoder hung: killed after 0.6 s",
        "the decoder ended with exit code 3",
    ]
    assert result.tally == Tally.of("test", outcomes)
    assert result.num_frames == 2 * SMALL.eval_frames


@pytest.mark.usefixtures("forked_decoders")
def test_nothing_is_left_running_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, root = two_shards(tmp_path)
    options = replace(SMALL, shard_size=4, timeout_seconds=0.3)
    monkeypatch.setattr("pipeline.frames.shard.file_bytes", refuse)  # while the next video is being decoded
    before = children()
    with pytest.raises(StoreWriteError):
        preprocess_shards(store, VideoSource(root, decoder=DECODER), plan_preprocess(store, options), options)
    assert children() <= before


def refuse(path: Path) -> int:
    raise StoreWriteError("cannot write")


@pytest.mark.usefixtures("forked_decoders")
def test_an_error_ends_the_decoders_that_other_threads_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, root = two_shards(tmp_path)
    options = replace(SMALL, shard_size=4, timeout_seconds=600)  # one shard hangs for ever
    monkeypatch.setattr("pipeline.frames.task.draft_masks_of", refuse_masks)  # the other is decoded
    before = children()
    executor, plan = ThreadExecutor(2, DECODER.end_used_by), plan_preprocess(store, options)
    with pytest.raises(StoreWriteError):
        preprocess_shards(store, VideoSource(root, decoder=DECODER), plan, options, executor)
    assert children() <= before
    assert store.folder.names("commits/test/frames") == []


def refuse_masks(*arguments: object) -> None:
    raise StoreWriteError("cannot write")
