"""OpenCV uses one thread inside a task, and as many as before after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import pytest

from pipeline.datasets.read import read_dataset
from pipeline.frames.preprocess import VideoSource, plan_preprocess, preprocess_shards
from pipeline.masks.mask_sets import create_mask_set, plan_masks
from pipeline.run.events import Event, ItemsDone
from pipeline.run.threads import one_cv2_thread
from tests.clips_on_disk import SMALL, opened_store, write_small_dataset
from tests.mask_sets import make_mask_set
from tests.remembering import RememberingDecoder


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    yield
    cv2.setNumThreads(before)


@pytest.mark.usefixtures("three_threads")
def test_the_number_comes_back_also_after_an_error() -> None:
    inside = []

    @one_cv2_thread()
    def fail() -> None:
        inside.append(cv2.getNumThreads())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (inside, cv2.getNumThreads()) == ([1], 3)


@pytest.mark.usefixtures("three_threads")
def test_the_number_comes_back_when_the_last_of_several_blocks_ends() -> None:
    first, second = one_cv2_thread(), one_cv2_thread()  # as in two threads, whose blocks need not nest
    with ExitStack() as stack:
        with first:
            stack.enter_context(second)
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == 3


@pytest.mark.usefixtures("three_threads")
def test_tasks_in_the_callers_process_leave_its_threads(tmp_path: Path) -> None:
    inside: set[int] = set()

    def listen(event: Event) -> None:
        if isinstance(event, ItemsDone):  # sent from inside a task
            inside.add(cv2.getNumThreads())

    dataset = read_dataset("jsonl", write_small_dataset(tmp_path / "data", {"test": 3}))
    store = opened_store(dataset, tmp_path / "store", SMALL)
    source = VideoSource(dataset.root, decoder=RememberingDecoder())
    preprocess_shards(store, source, plan_preprocess(store, SMALL), SMALL, listener=listen)
    assert (inside, cv2.getNumThreads()) == ({1}, 3)
    create_mask_set(store, "other", SMALL.masks)
    make_mask_set(store, "other", SMALL.masks, plan_masks(store, "other"), listener=listen)
    assert (inside, cv2.getNumThreads()) == ({1}, 3)
