"""Whole runs on a store in an object store: disturbed or killed at any request, they end like undisturbed ones."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.read import read_dataset
from pipeline.frames.preprocess import VideoSource, open_store, plan_preprocess, preprocess_shards
from pipeline.masks.mask_sets import create_mask_set, plan_masks
from store.completion import input_digests, outcomes_of
from store.errors import StoreWriteError
from store.features import (
    ClipFeatures,
    TextFeatures,
    caption_shards,
    create_features,
    write_clip_features,
    write_text_features,
)
from store.places.folder import StoreFolder
from store.places.objects import ObjectFolder
from store.places.opening import folder_at
from store.stages import FRAMES_STAGE, features_stage, masks_stage
from store.store import Store
from tests.clips_on_disk import SMALL, write_small_dataset
from tests.mask_sets import make_mask_set
from tests.remembering import RememberingDecoder
from tests.s3 import IMPATIENT_SECONDS, Fault, Seen, Server, tree, use_server
from tests.seed import drawn
from tests.store.objects import FAULTS
from tests.store.objects import folder as folder
from tests.store.objects import reconnected as reconnected
from tests.stores import committed

REMEMBERING = RememberingDecoder()
NUM_PUTS = 20
"""At most as many as a run has."""
MASKS = replace(SMALL.masks, threshold=40)


def run(data: Path, folder: StoreFolder) -> None:
    """Frames, masks, another mask set, and features that no model made."""
    dataset = read_dataset("jsonl", data)
    there = open_store(dataset, folder, SMALL)[0]
    preprocess_shards(there, VideoSource(dataset.root, decoder=REMEMBERING), plan_preprocess(there, SMALL), SMALL)
    there = Store.open(folder)
    create_mask_set(there, "second", MASKS)
    make_mask_set(there, "second", MASKS, plan_masks(there, "second"))
    create_features(there, "fake", "test", 2, {"made by": "hand"})
    for shard in there.shards("test"):
        if committed(there, shard, features_stage("fake", "video")) is None:
            inputs = input_digests(there, shard, [FRAMES_STAGE, masks_stage("second")])
            outcomes = outcomes_of(there, shard)
            video = np.full((shard.num_rows, 2), shard.start, dtype=np.float32)
            frame = np.zeros((shard.num_rows, SMALL.eval_frames, 2), dtype=np.float32)
            write_clip_features(there, "fake", shard, ClipFeatures(video, frame, outcomes), inputs)
    for shard in caption_shards(there, "test"):
        if committed(there, shard, features_stage("fake", "text")) is None:
            write_text_features(there, "fake", shard, TextFeatures(np.ones((shard.num_rows, 2), dtype=np.float32)))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_dataset(tmp_path_factory.mktemp("data"), {"test": 1})


@pytest.fixture(scope="module")
def expected(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a run on a local disk makes, undisturbed."""
    folder = folder_at(tmp_path_factory.mktemp("store") / "store")
    run(data, folder)
    return tree(folder)


def test_a_run_of_which_every_request_fails_at_first_ends_like_any_other(
    folder: ObjectFolder, server: Server, data: Path, expected: dict[str, str]
) -> None:
    """Over many commits, each request meets each fault."""
    first = drawn("the first fault of a run").randrange(len(FAULTS))
    server.script.begin(lambda number, seen: None if number % 2 else FAULTS[(number // 2 + first) % len(FAULTS)])
    run(data, folder)
    assert len(server.script.seen) > 2 * len(expected)
    server.script.begin()
    assert tree(folder) == expected


def test_a_run_whose_answers_come_too_late_ends_like_any_other(
    folder: ObjectFolder,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    reconnected: None,
    data: Path,
    expected: dict[str, str],
) -> None:
    use_server(monkeypatch, server, read_seconds=IMPATIENT_SECONDS)
    server.script.begin(lambda number, seen: Fault.LATE if number % 20 == 5 else None)
    run(data, folder)
    server.script.begin()
    assert tree(folder) == expected


def test_a_run_that_dies_at_any_write_is_finished_by_the_next(
    folder: ObjectFolder, server: Server, monkeypatch: pytest.MonkeyPatch, data: Path, expected: dict[str, str]
) -> None:
    """Each run dies of its first change that no earlier one died of, and does not know that the server has made it."""
    use_server(monkeypatch, server, attempts=1)
    died_of: set[tuple[str, str]] = set()

    def die(number: int, seen: Seen) -> Fault | None:
        if seen.kind not in ("PUT", "DELETE", "POST") or (seen.kind, seen.path) in died_of:
            return None
        died_of.add((seen.kind, seen.path))
        return Fault.ANSWER_LOST

    for _ in range(100):
        server.script.begin(die)
        try:
            run(data, folder)
            break
        except StoreWriteError:
            continue
    server.script.begin()
    assert tree(folder) == expected
    assert len(died_of) >= len(expected)


def killed_at_put(number: int, pid: Callable[[], int], fault: Fault) -> Callable[[int, Seen], Fault | None]:
    """Kill a process at its n-th PUT, which the server then gets whole, or not at all."""
    counts: Counter[str] = Counter()

    def fault_of(_: int, seen: Seen) -> Fault | None:
        counts[seen.kind] += 1
        if seen.kind == "PUT" and counts["PUT"] == number:
            os.kill(pid(), signal.SIGKILL)
            return fault
        return None

    return fault_of


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.UPLOAD_CUT])
def test_a_process_killed_at_a_write_is_finished_by_the_next(
    folder: ObjectFolder, server: Server, data: Path, expected: dict[str, str], fault: Fault
) -> None:
    """It is a fork: the child has a connection of its own, though its parent had one."""
    number = drawn(f"the write of a kill, {fault}").randint(1, NUM_PUTS)
    folder.num_bytes("name")
    child = multiprocessing.get_context("fork").Process(target=run, args=(data, folder))
    server.script.begin(killed_at_put(number, lambda: child.pid or 0, fault))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    server.script.begin()
    run(data, folder)
    assert tree(folder) == expected


def test_a_run_that_is_repeated_writes_nothing(folder: ObjectFolder, server: Server, data: Path) -> None:
    run(data, folder)
    server.script.begin()
    run(data, folder)
    assert {seen.kind for seen in server.script.seen} <= {"GET", "HEAD", "LIST"}
