"""One flipped bit in any Parquet or JSON file of a store: every reader gives the same as before, or names the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import fda
from pipeline.run.limits import Limit
from pipeline.run.records import RunClock, recorded_run
from pipeline.upkeep.finalise import finalise
from store.catalog import CAPTIONS_NAME, VIDEOS_NAME
from store.clips.shards import create_clip_arrays, create_mask_arrays
from store.completion import input_digests
from store.errors import StoreError
from store.features import (
    ClipFeatures,
    TextFeatures,
    caption_shards,
    create_features,
    write_clip_features,
    write_text_features,
)
from store.growth import create_store
from store.places.opening import folder_at
from store.stages import FRAMES_STAGE, masks_stage
from store.store import MANIFEST_NAME, Store
from tests.seed import drawn
from tests.stores import MASKS, NUM_FRAMES, fill_store, make_catalog, make_manifest, outcomes

NUM_VIDEOS, FAILED, DIM = 6, 2, 5
NUM_OTHERS = 6
"""Files that are drawn in each run, beside those that count all others. Over many runs, every bit is tried."""


def unit(row: int, salt: int) -> np.ndarray:
    vector = np.random.default_rng((row, salt)).normal(size=DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


def write_features(store: Store, name: str, salt: int) -> None:
    create_features(store, name, "test", DIM, {"pooling": "mean", "masks": {"name": MASKS}})
    for shard in store.shards("test"):
        rows = range(shard.start, shard.stop)
        video = np.stack([np.full(DIM, np.nan, np.float32) if row == FAILED else unit(row, salt) for row in rows])
        made = ClipFeatures(
            video, np.repeat(video[:, None], NUM_FRAMES, 1), outcomes(store, shard, frozenset({FAILED}))
        )
        inputs = input_digests(store, shard, (FRAMES_STAGE, masks_stage(MASKS)))
        write_clip_features(store, name, shard, made, inputs)
    for shard in caption_shards(store, "test"):
        text = np.stack([unit(row, salt + 1) for row in range(shard.start, shard.stop)])
        write_text_features(store, name, shard, TextFeatures(text))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a file of every kind. Each test leaves it as it was."""
    place = tmp_path_factory.mktemp("flipped") / "store"
    catalog, manifest = make_catalog(NUM_VIDEOS), make_manifest(NUM_VIDEOS)
    manifest = replace(manifest, dataset={"name": "made by hand", "digest": catalog.digest()})
    store, _ = create_store(folder_at(place), manifest, catalog)
    create_clip_arrays(store, {"software": dict(manifest.software), "options": dict(manifest.options)})
    create_mask_arrays(store, MASKS, {"options": {"threshold": 25}})
    fill_store(store, failed=frozenset({FAILED}))
    for salt, name in enumerate(("mine", "other")):
        write_features(store, name, 2 * salt)
    with recorded_run(store.folder, "preprocess", RunClock(datetime(2026, 1, 1, tzinfo=UTC)), {}):
        finalise(store)
    return place


def plain(value: object) -> str:
    return json.dumps(value, default=str, sort_keys=True)


def of_view(place: Path) -> str:
    view = fda.open_store(place)
    tables = [table.to_pylist() for table in (view.videos(), view.captions(), view.failures())]
    arrays: list[NDArray[np.generic]] = [
        view.frames([0, 1], split="test"),
        view.masks([0, 1], split="test"),
        view.pts_seconds([0], split="test"),
    ]
    features = view.features("mine")
    arrays += [features.video, features.text, view.frame_features("mine", [0], split="test")]
    ids = features.video_ids, features.caption_ids
    return plain([repr(view), tables, [array.tobytes().hex() for array in arrays], ids])


def of_clips(place: Path) -> str:
    clips = fda.ClipDataset(place, "test")
    return plain([clips.video_ids, clips.captions, clips[0]["frames"].tobytes().hex()])


def of_eval(place: Path) -> str:
    extras = fda.EvalExtras(fda.BootstrapOptions(num_resamples=100), ("all",))
    report = fda.evaluate(place, "mine", fda.EvalOptions("test", max_missing=Limit.of(0.5)), extras=extras)
    return plain(report.to_dict())


def of_compare(place: Path) -> str:
    options = fda.CompareOptions(
        max_missing=Limit.of(0.5), num_permutations=100, bootstrap=fda.BootstrapOptions(num_resamples=100)
    )
    return plain(fda.compare(place, ["mine", "other"], options).to_dict())


def of_preview(place: Path) -> str:
    return plain(fda.remove(place, fda.RemoveOptions(features=("mine",)), preview=True).to_dict())


READERS: Mapping[str, Callable[[Path], str]] = {
    "open_store": of_view,
    "ClipDataset": of_clips,
    "eval": of_eval,
    "compare": of_compare,
    "remove --preview": of_preview,
    "status": lambda place: plain(fda.status(place).to_dict()),
}


def small_files(place: Path) -> set[str]:
    found = (path for path in place.rglob("*") if path.suffix in (".json", ".parquet"))
    return {path.relative_to(place).as_posix() for path in found}


def names_file(name: str, message: str) -> bool:
    """Whether one line names the file, and the command that repairs it."""
    return name in message and "\n" not in message and "`fda " in message


def what_is_said(read: Callable[[Path], str], place: Path) -> tuple[str | None, list[str]]:
    """What a reader gives, None if it refuses; and what it says of damage."""
    try:
        found = read(place)
    except StoreError as error:
        return None, [str(error)]
    return found, json.loads(found)["damaged"] if read is READERS["status"] else []


def test_a_flipped_bit_changes_no_result_in_silence(place: Path) -> None:
    rng = drawn("flipped bits")
    before = {reader: what_is_said(read, place) for reader, read in READERS.items()}
    assert all(found is not None and not damage for found, damage in before.values())
    assert fda.verify(place).found.findings == ()
    num_changed = 0
    names = [MANIFEST_NAME, VIDEOS_NAME, CAPTIONS_NAME]
    for name in [*names, *rng.sample(sorted(small_files(place) - set(names)), NUM_OTHERS)]:
        path = place / name
        content = path.read_bytes()
        bit = rng.randrange(8 * len(content))
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        for reader, read in READERS.items():
            now = what_is_said(read, place)
            if now != before[reader]:
                num_changed += 1
                is_named = any(names_file(name, sentence) for sentence in now[1])
                assert is_named, f"bit {bit} of {name}: {reader} says {now}"
        assert {finding.name for finding in fda.verify(place, quick=True).found.findings} == {name}
        path.write_bytes(content)
    assert num_changed >= len(names) * (len(READERS) - 1)
    assert {reader: what_is_said(read, place) for reader, read in READERS.items()} == before
