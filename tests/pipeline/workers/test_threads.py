"""Tasks in threads of this process: what the plain loop gives, told in the caller's thread, and nothing left."""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import closing
from threading import Event, get_ident

import pytest

from pipeline.isolation.signals import REQUESTS_TO_STOP
from pipeline.run.events import ItemsDone, Tell, ignore_events
from pipeline.workers.executors import run_synchronously
from pipeline.workers.threads import ThreadExecutor
from store.errors import StoreWriteError


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before  # those of servers of other tests may end meanwhile


def executor(num_threads: int = 2) -> ThreadExecutor:
    return ThreadExecutor(num_threads, lambda threads: None)


def tell_of_each(number: int, tell: Tell) -> int:
    for item in range(number):
        tell(ItemsDone(1, item % 2))
    return number * number


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("num_tasks", [0, 1, 20])
def test_reports_and_items_are_those_of_the_plain_loop(num_threads: int, num_tasks: int) -> None:
    told: list[ItemsDone] = []
    reports = executor(num_threads)(tell_of_each, range(num_tasks), told.append)
    assert sorted(reports) == sorted(run_synchronously(tell_of_each, range(num_tasks), ignore_events))
    num_items = sum(range(num_tasks))
    assert sum(told, ItemsDone()) == ItemsDone(num_items, sum(number // 2 for number in range(num_tasks)))
    assert len(told) == num_items


def test_tasks_run_beside_each_other_and_the_caller_hears_of_them_in_its_own_thread() -> None:
    meeting, here = threading.Barrier(2), set[int]()

    def meet(number: int, tell: Tell) -> int:
        meeting.wait(60)
        tell(ItemsDone(1))
        return get_ident()

    threads = set(executor()(meet, [1, 2], lambda _: here.add(get_ident())))
    assert (len(threads), here) == (2, {get_ident()})
    assert get_ident() not in threads


def test_signals_that_ask_for_an_end_go_to_the_callers_thread() -> None:
    def blocked(number: int, tell: Tell) -> bool:
        return set(REQUESTS_TO_STOP) <= signal.pthread_sigmask(signal.SIG_BLOCK, [])

    assert list(executor()(blocked, range(3), ignore_events)) == [True] * 3
    assert not set(REQUESTS_TO_STOP) & signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_the_first_error_ends_the_run_and_what_other_tasks_wait_for() -> None:
    is_waiting, may_go_on, drawn = Event(), Event(), list[int]()

    def run(number: int, tell: Tell) -> int:
        if number == 0:
            is_waiting.set()
            assert may_go_on.wait(60)
            tell(ItemsDone(1))  # which ends the task
            raise AssertionError("the task went on")
        assert is_waiting.wait(60)
        raise StoreWriteError(f"cannot write number {number}")

    def tasks() -> Iterator[int]:
        for number in range(100):
            drawn.append(number)
            yield number

    threads, told = ThreadExecutor(2, lambda waiting: may_go_on.set()), list[ItemsDone]()
    with pytest.raises(StoreWriteError, match="number 1"):
        list(threads(run, tasks(), told.append))
    assert (drawn, told) == ([0, 1], [])


def test_a_run_that_ends_well_ends_nothing_that_others_may_use() -> None:
    def refuse(threads: Collection[int]) -> None:
        raise AssertionError("nobody waits")

    for _ in range(20):
        assert sorted(ThreadExecutor(3, refuse)(tell_of_each, range(5), ignore_events)) == [0, 1, 4, 9, 16]


def test_threads_end_if_not_all_of_them_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started, may_go_on = threading.Thread.start, list[threading.Thread](), Event()

    def start_one(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    def wait(number: int, tell: Tell) -> None:
        assert may_go_on.wait(60)

    def end_waiting(threads: Collection[int]) -> None:
        assert threads == {started[0].ident}
        may_go_on.set()

    monkeypatch.setattr(threading.Thread, "start", start_one)
    with pytest.raises(RuntimeError, match="can't start"):
        list(ThreadExecutor(2, end_waiting)(wait, range(2), ignore_events))


def test_a_caller_that_takes_no_more_reports_ends_the_run() -> None:
    drawn: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(10_000):
            drawn.append(number)
            yield number

    with closing(executor()(tell_of_each, tasks(), ignore_events)) as reports:
        next(reports)
    assert len(drawn) < 10_000


@pytest.mark.parametrize("error", [StopIteration, KeyError, SystemExit])
def test_whatever_a_task_raises_ends_the_run(error: type[BaseException]) -> None:
    def run(number: int, tell: Tell) -> int:
        raise error

    iterator = executor()(run, range(3), ignore_events)
    # A generator may not end by StopIteration: Python makes a RuntimeError of it.
    with pytest.raises(RuntimeError if error is StopIteration else error):
        list(iterator)


def test_an_error_of_the_list_of_tasks_is_raised() -> None:
    def tasks() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(executor()(tell_of_each, tasks(), ignore_events))
