"""Every executor does what the plain loop does: the same results, in any order, through a bounded window."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pipeline.executors import TASKS_PER_WORKER, DaskExecutor, WorkerDiedError, local_dask, run_synchronously
from store.errors import StoreWriteError

NUM_WORKERS = 1


@pytest.fixture(scope="module")
def dask() -> Iterator[DaskExecutor]:
    with local_dask(NUM_WORKERS) as executor:
        yield executor


def square(number: int) -> int:
    return number * number


def process_id(number: int) -> int:
    return os.getpid()


def refuse_three(number: int) -> int:
    if number == 3:
        raise StoreWriteError("cannot write number 3")
    return number


def die(number: int) -> int:
    os._exit(1)


def count_up_to(number: int, drawn: list[int]) -> Iterator[int]:
    for one in range(number):
        drawn.append(one)
        yield one


def test_the_loop_is_lazy_and_keeps_the_order() -> None:
    drawn: list[int] = []
    reports = run_synchronously(square, count_up_to(3, drawn))
    assert drawn == []
    assert next(reports) == 0
    assert drawn == [0]
    assert list(reports) == [1, 4]


def test_dask_gives_the_same_reports(dask: DaskExecutor) -> None:
    assert sorted(dask(square, range(20))) == list(run_synchronously(square, range(20)))
    assert list(dask(square, [])) == []


def test_equal_tasks_are_all_run(dask: DaskExecutor) -> None:
    assert list(dask(square, [2, 2, 2])) == [4, 4, 4]


def test_dask_works_in_other_processes(dask: DaskExecutor) -> None:
    assert os.getpid() not in set(dask(process_id, range(3)))


def test_dask_draws_tasks_through_a_bounded_window(dask: DaskExecutor) -> None:
    drawn: list[int] = []
    for num_done, _ in enumerate(dask(square, count_up_to(30, drawn)), start=1):
        assert len(drawn) <= num_done + NUM_WORKERS * TASKS_PER_WORKER
    assert len(drawn) == 30


def test_an_error_comes_back_as_it_was_raised(dask: DaskExecutor) -> None:
    with pytest.raises(StoreWriteError, match="cannot write number 3"):
        list(run_synchronously(refuse_three, range(10)))
    with pytest.raises(StoreWriteError, match="cannot write number 3"):
        list(dask(refuse_three, range(10)))
    assert list(dask(square, [5])) == [25]


def test_a_caller_may_stop_early(dask: DaskExecutor) -> None:
    reports = dask(square, range(100))
    next(reports)
    assert isinstance(reports, Iterator)
    del reports
    assert list(dask(square, [6])) == [36]


def test_a_task_that_kills_its_workers_is_named() -> None:
    with local_dask(1) as executor, pytest.raises(WorkerDiedError, match=r"^1 killed 3 workers.*fewer --workers"):
        list(executor(die, [1]))
