"""The videos of one `decode` call are dealt over several decoder processes: how each ends does not depend on it."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from queue import SimpleQueue
from threading import Thread, get_ident
from typing import Any

import psutil
import pytest

from pipeline.isolation import decoder as decoder_module
from pipeline.isolation.decoder import Answer, DecodeRequest, IsolatedDecoder, OneAtATime
from pipeline.run.running_time import SLICE_SECONDS
from pipeline.video.clips import DecodedClip
from pipeline.video.options import DecodeOptions
from tests.dask_processes import wait_until
from tests.decoders import misbehave_in_turn, misbehave_together
from tests.forked import Forked, forked_child
from tests.forked import forked_decoders as forked_decoders  # a fixture
from tests.seed import drawn

PATIENT, HURRIED = DecodeOptions(3, 32, timeout_seconds=60), DecodeOptions(3, 32, timeout_seconds=0.3)
DECODER = IsolatedDecoder(function=misbehave_in_turn, grace_seconds=0.3)
TOGETHER = IsolatedDecoder(function=misbehave_together, grace_seconds=0.3)
PENDING = "pending: the run ended before a decoder was free"
KINDS = ("clip", "clip", "slow", "segfault", "abort", "exit", "bug", "greedy", "killed", "damage", "kernel")
SECONDS = 60
"""That a test waits for what should come at once."""


@pytest.fixture(autouse=True)
def nothing_left(forked_decoders: None) -> Iterator[None]:
    before = children()
    yield
    DECODER.close()
    TOGETHER.close()
    assert children() <= before


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def of(number: int) -> IsolatedDecoder:
    return replace(DECODER, num_processes=number)


def asked(folder: Path, *names: str) -> list[DecodeRequest]:
    """Those that hang have little time, all others much: a machine may be busy."""
    return [DecodeRequest(folder / f"{name}.mp4", HURRIED if "hang" in name else PATIENT) for name in names]


def ended(answer: Answer) -> str:
    clip = answer.outcome
    return str(int(clip.sample.frames.max())) if isinstance(clip, DecodedClip) else str(clip)


def all_ended(answers: Iterator[Answer]) -> list[str]:
    """In the order of the requests, each once."""
    found = sorted(answers, key=lambda answer: answer.position)
    assert [answer.position for answer in found] == list(range(len(found)))
    return [ended(answer) for answer in found]


class InThread:
    """A `decode` call in a thread of its own, and its answers as they come."""

    def __init__(self, decoder: IsolatedDecoder, requests: list[DecodeRequest]) -> None:
        self.answers: SimpleQueue[str] = SimpleQueue()
        self._thread = Thread(target=self._run, args=(decoder, requests))
        self._thread.start()
        assert self._thread.ident is not None
        self.ident = self._thread.ident

    def _run(self, decoder: IsolatedDecoder, requests: list[DecodeRequest]) -> None:
        for answer in decoder.decode(requests):
            self.answers.put(ended(answer))

    def next(self) -> str:
        return self.answers.get(timeout=SECONDS)

    def join(self) -> None:
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()


class Gates:
    """Videos called `gate_...`, which are being decoded until they are opened."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def wait_for(self, *names: str) -> None:
        """Until they are being decoded."""
        begun = [self._folder / f"{name}.begun" for name in names]
        wait_until(lambda: all(mark.exists() for mark in begun), f"{names} are not decoded at a time")

    def open(self, *names: str) -> None:
        for name in names:
            (self._folder / f"{name}.open").touch()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each thread has begun to wait."""
    number = Counter[int]()

    def counted(connections: Iterable[socket.socket], seconds: float | None) -> list[object]:
        number[get_ident()] += 1
        return list(wait(connections, seconds))

    monkeypatch.setattr(decoder_module, "wait", counted)
    return number


@pytest.fixture
def gates(tmp_path: Path) -> Gates:
    return Gates(tmp_path)


def test_crashes_hangs_and_damage_end_as_with_one_process(tmp_path: Path) -> None:
    rng = drawn("videos that are dealt")
    kinds = ["hang", "damage", *rng.choices(KINDS, k=8)]
    rng.shuffle(kinds)
    names = [f"{kind}_{number % 10}" for number, kind in enumerate(kinds)]
    requests = asked(tmp_path, *names)
    alone = all_ended(of(1).decode(requests))
    assert len(alone) == len(names)
    for number in (2, 3, 4):
        assert all_ended(of(number).decode(requests)) == alone, names


@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.parametrize("name", ["segfault_7", "hang_7", "bug_7"])
def test_a_pass_that_fails_costs_no_window_of_its_file(tmp_path: Path, name: str, number: int) -> None:
    requests = asked(tmp_path, "clip_1", name, name, name, "clip_2", name, name)
    decoder = replace(TOGETHER, num_processes=number)
    assert all_ended(decoder.decode(requests)) == ["1", "7", "7", "7", "2", "7", "7"]


def test_as_many_are_decoded_at_once_as_there_may_be_processes_and_no_more(tmp_path: Path, gates: Gates) -> None:
    names = [f"gate_{number}" for number in range(5)]
    before = children()
    call = InThread(of(3), asked(tmp_path, *names))
    gates.wait_for(*names[:3])
    assert len(children() - before) == 3
    gates.open(*names)
    assert sorted(call.next() for _ in names) == list("01234")
    call.join()
    assert len(children() - before) == 3
    numbers = all_ended(of(2).decode(asked(tmp_path, *(f"beside_{number}" for number in range(20)))))
    assert set(map(int, numbers)) <= {1, 2}


def test_threads_together_use_no_more_than_there_may_be(tmp_path: Path) -> None:
    before = children()

    def decode(thread: int) -> list[int]:
        names = [f"beside_{thread}_{number}" for number in range(20)]
        return list(map(int, all_ended(of(3).decode(asked(tmp_path, *names)))))

    with ThreadPoolExecutor(3) as pool:
        numbers = [number for of_thread in pool.map(decode, range(3)) for number in of_thread]
    assert len(numbers) == 60
    assert max(numbers) <= 3
    assert len(children() - before) <= 3


def test_a_slow_video_holds_up_no_other_and_nothing_waits_in_a_loop(
    tmp_path: Path, gates: Gates, waits: Counter[int]
) -> None:
    names, began = [f"clip_{number}" for number in range(1, 9)], time.monotonic()
    with closing(of(2).decode(asked(tmp_path, "gate_0", *names))) as answers:
        assert [ended(next(answers)) for _ in names] == list("12345678")
        gates.open("gate_0")
        assert ended(next(answers)) == "0"
        assert next(answers, None) is None
    num_slices = (time.monotonic() - began) / SLICE_SECONDS
    assert waits.total() <= len(names) + 1 + 2 + num_slices  # an answer each; a start each


def test_a_call_that_has_none_gets_the_next_that_another_call_is_done_with(
    tmp_path: Path, gates: Gates, waits: Counter[int]
) -> None:
    decoder, before = of(2), children()
    first = InThread(decoder, asked(tmp_path, "gate_1", "gate_2", "gate_3"))
    gates.wait_for("gate_1", "gate_2")
    second = InThread(decoder, asked(tmp_path, "clip_8", "clip_9"))
    wait_until(lambda: waits[second.ident] > 0, "it does not wait")
    assert second.answers.empty()
    gates.open("gate_1")
    assert (second.next(), second.next()) == ("8", "9")
    second.join()
    gates.open("gate_2", "gate_3")
    assert sorted(first.next() for _ in range(3)) == ["1", "2", "3"]
    first.join()
    assert len(children() - before) == 2


def test_what_a_call_gives_back_another_uses_at_once(tmp_path: Path, gates: Gates) -> None:
    decoder = of(2)
    first = InThread(decoder, asked(tmp_path, "gate_5"))
    gates.wait_for("gate_5")
    second = InThread(decoder, asked(tmp_path, "gate_1", "clip_2", "clip_3"))
    gates.wait_for("gate_1")
    assert second.answers.empty()
    gates.open("gate_5")
    assert (first.next(), second.next(), second.next()) == ("5", "2", "3")
    gates.open("gate_1")
    assert second.next() == "1"
    first.join()
    second.join()


def test_who_waits_for_a_first_process_is_ended_too(tmp_path: Path, gates: Gates, waits: Counter[int]) -> None:
    decoder = of(2)
    first = InThread(decoder, asked(tmp_path, "gate_1", "gate_2"))
    gates.wait_for("gate_1", "gate_2")
    second = InThread(decoder, asked(tmp_path, "clip_8"))
    wait_until(lambda: waits[second.ident] > 0, "it does not wait")
    decoder.end_used_by({second.ident})
    assert second.next() == PENDING
    second.join()
    decoder.end_used_by({first.ident})
    assert {first.next(), first.next()} == {_killed()}
    first.join()


def test_a_call_goes_on_with_those_that_the_system_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = children()

    def start_two(*arguments: Any) -> Forked:
        if len(children() - before) == 2:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return forked_child(*arguments)

    monkeypatch.setattr("pipeline.isolation.process.start_child", start_two)
    names = [f"clip_{number}" for number in range(8)]
    assert all_ended(of(4).decode(asked(tmp_path, *names))) == list("01234567")
    (warning,) = caplog.messages
    assert warning.startswith("a shard is decoded by 2 processes: a decoder process cannot be started: Resource")


def test_a_thread_gets_the_process_that_it_used_last(tmp_path: Path) -> None:
    """Which may have the scan of a film, of which it decodes more now."""
    decoder = of(2)
    with ThreadPoolExecutor(1) as other:

        def in_turn(*names: str) -> list[str]:
            return other.submit(lambda: all_ended(decoder.decode(asked(tmp_path, *names)))).result()

        with closing(decoder.decode(asked(tmp_path, "turn", "turn", "turn"))) as mine:
            assert [ended(next(mine)) for _ in range(2)] == ["1", "2"]
            assert in_turn("turn") == ["1"]
            assert [ended(one) for one in mine] == ["3"]
        assert in_turn("turn") == ["2"]
        assert all_ended(decoder.decode(asked(tmp_path, "turn"))) == ["4"]


def test_more_calls_than_there_may_be_processes_have_one_each(tmp_path: Path) -> None:
    """Also in one thread, where nobody gives one back while the thread waits."""
    before = children()
    with closing(of(2).decode(asked(tmp_path, *["clip_1"] * 3))) as outer:
        assert ended(next(outer)) == "1"
        assert all_ended(of(2).decode(asked(tmp_path, "clip_2", "clip_3"))) == ["2", "3"]
        with closing(of(2).decode(asked(tmp_path, "clip_4", "clip_5"))) as inner:
            assert {ended(next(inner)), ended(next(outer))} <= {"1", "4", "5"}
    assert len(children() - before) <= 3


@pytest.mark.parametrize("name", ["gate", "hang"])
def test_a_caller_who_stops_early_leaves_no_busy_process(tmp_path: Path, name: str) -> None:
    before = children()
    with closing(of(3).decode(asked(tmp_path, "clip_1", *(f"{name}_{number}" for number in range(3))))) as answers:
        assert ended(next(answers)) == "1"
    assert children() <= before


def test_one_at_a_time_is_one_at_a_time_whatever_the_decoder_could(tmp_path: Path) -> None:
    requests = asked(tmp_path, *(f"beside_{number}" for number in range(6)))
    assert all_ended(OneAtATime(of(3)).decode(requests)) == ["1"] * 6


def test_the_number_of_processes_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="num_processes must be at least 1"):
        of(0)


def _killed() -> str:
    number = signal.SIGKILL
    return (
        f"pending: the decoder was killed (signal {number:d}, SIGKILL), probably because the machine ran out of memory"
    )
