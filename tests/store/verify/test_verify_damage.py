"""Whatever is done to a file of a store, `verify` names it; after `repair`, the same runs give the same store."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from store.catalog import CAPTIONS_NAME, VIDEOS_NAME
from store.commits import CommitRecord
from store.places.folder import WrittenFile
from store.places.opening import folder_at
from store.store import MANIFEST_NAME, Store
from store.verify.findings import Finding, Kind
from store.verify.verification import verify
from tests.s3 import BUCKET, Server, use_server
from tests.store.verifying import (
    FIRST,
    FRAMES,
    LOW_MASKS,
    flip,
    kinds,
    look,
    make_everything,
    repair_under_claim,
    rewritten,
    write,
)
from tests.store.verifying import manifest as manifest
from tests.store.verifying import place as place
from tests.store.verifying import whole as whole
from tests.stores import tree_digest

DAMAGE: dict[str, tuple[str, Callable[[Path], object], Kind]] = {
    "a flipped bit of frames": (FRAMES, flip, Kind.CHUNK_DAMAGED),
    "a flipped bit of times": ("clips.zarr/test/pts_seconds/c.0.0", flip, Kind.CHUNK_DAMAGED),
    "a flipped bit of masks": (f"{LOW_MASKS}/c.0.0.0.0", flip, Kind.CHUNK_DAMAGED),
    "a flipped bit of features": ("features.zarr/mine/test/video/c.0.0", flip, Kind.CHUNK_DAMAGED),
    "a flipped bit of text features": ("features.zarr/mine/test/text/c.0.0", flip, Kind.CHUNK_DAMAGED),
    "a chunk cut short": (FRAMES, lambda path: os.truncate(path, 100), Kind.CHUNK_SIZE),
    "an empty chunk": (FRAMES, lambda path: os.truncate(path, 0), Kind.CHUNK_SIZE),
    "a chunk made longer": (FRAMES, lambda path: path.write_bytes(path.read_bytes() + b"x"), Kind.CHUNK_SIZE),
    "a chunk of another shard": (FRAMES, lambda path: copy_over(path, "c.1.0.0.0.0"), Kind.CHUNK_DAMAGED),
    "a chunk gone": (FRAMES, Path.unlink, Kind.CHUNK_MISSING),
    "a chunk outside the array": ("clips.zarr/test/frames/c.99.0.0.0.0", lambda p: write(p), Kind.CHUNK_FOREIGN),
    "a damaged record": ("commits/test/frames/00000.parquet", flip, Kind.RECORD_DAMAGED),
    "a record cut short": ("commits/test/frames/00001.parquet", lambda p: os.truncate(p, 50), Kind.RECORD_DAMAGED),
    "a damaged mask record": ("commits/test/masks/low/00000.parquet", flip, Kind.RECORD_DAMAGED),
    "a damaged feature record": ("commits/test/features/mine/text/00000.parquet", flip, Kind.RECORD_DAMAGED),
    "a record of no shard": ("commits/test/frames/00099.parquet", lambda p: write(p), Kind.RECORD_MISPLACED),
    "a damaged group": ("clips.zarr/zarr.json", flip, Kind.GROUP_DAMAGED),
    "a missing group": ("features.zarr/mine/zarr.json", Path.unlink, Kind.GROUP_DAMAGED),
    "damaged metadata of frames": ("clips.zarr/test/frames/zarr.json", flip, Kind.ARRAY_DAMAGED),
    "missing metadata of frames": ("clips.zarr/test/frames/zarr.json", Path.unlink, Kind.ARRAY_DAMAGED),
    "damaged metadata of masks": (f"{LOW_MASKS}/zarr.json", flip, Kind.ARRAY_DAMAGED),
    "missing metadata of masks": (f"{LOW_MASKS}/zarr.json", Path.unlink, Kind.ARRAY_DAMAGED),
    "damaged metadata of features": ("features.zarr/mine/test/frame/zarr.json", flip, Kind.ARRAY_DAMAGED),
    "missing metadata of features": ("features.zarr/mine/test/text/zarr.json", Path.unlink, Kind.ARRAY_DAMAGED),
    "a damaged table of failures": ("catalog/failures.parquet", flip, Kind.FAILURES_DAMAGED),
    "a damaged run record": ("runs/20260101T000000-preprocess-1.json", lambda p: write(p), Kind.RUN_DAMAGED),
}
"""What is done to which file, and what it is called. All of it can be repaired."""


def copy_over(path: Path, other: str) -> None:
    """Whose chunks have their checksums, so that a CRC-32C of the file is the same."""
    there = path.with_name(other)
    assert there.stat().st_size == path.stat().st_size
    assert there.read_bytes() != path.read_bytes()
    shutil.copy(there, path)


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named_and_repaired(place: Path, whole: Path, manifest: Path, case: str) -> None:
    name, do, kind = DAMAGE[case]
    do(place / name)
    found = look(place)
    assert [(one.kind, one.name) for one in found.findings] == [(kind, name)]
    assert found.num_wrong == 1
    assert found.findings[0].is_repairable
    is_seen_without_its_data = kind is not Kind.CHUNK_DAMAGED
    assert look(place, is_quick=True).findings == (found.findings if is_seen_without_its_data else ())
    repair_under_claim(place)
    assert look(place).num_wrong == 0
    make_everything(manifest, place)
    assert tree_digest(place) == tree_digest(whole)
    assert look(place).findings == ()


@pytest.mark.parametrize(
    ("name", "change", "kind"),
    [
        ("commits/test/frames/00001.parquet", lambda record: record, Kind.RECORD_MISPLACED),
        ("commits/test/masks/low/00000.parquet", lambda record: record, Kind.RECORD_MISPLACED),
        (FIRST, lambda record: replace(record, outcomes=record.outcomes[:1]), Kind.RECORD_DISAGREES),
        (FIRST, lambda record: replace(record, outcomes=record.outcomes[::-1]), Kind.RECORD_DISAGREES),
        (
            FIRST,
            lambda record: replace(
                record, outcomes=(replace(record.outcomes[0], video_id="other"), *record.outcomes[1:])
            ),
            Kind.RECORD_DISAGREES,
        ),
        (
            FIRST,
            lambda record: replace(record, files=(*record.files, WrittenFile("../elsewhere", 1, "0" * 8))),
            Kind.RECORD_DAMAGED,
        ),
        (
            FIRST,
            lambda record: replace(record, files=(*record.files, WrittenFile(f"{LOW_MASKS}/c.0.0.0.0", 1, "0" * 8))),
            Kind.RECORD_DISAGREES,
        ),
        (FIRST, lambda record: replace(record, files=record.files[1:]), Kind.CHUNK_FOREIGN),
    ],
)  # fmt: skip
def test_records_that_are_whole_and_wrong(
    place: Path, whole: Path, manifest: Path, name: str, change: Callable[[CommitRecord], CommitRecord], kind: Kind
) -> None:
    rewritten(place, name, change)
    found = look(place)
    assert kind in kinds(found)
    assert {one.name for one in found.findings} & {name, FRAMES}
    repair_under_claim(place)
    assert look(place).num_wrong == 0
    make_everything(manifest, place)
    assert tree_digest(place) == tree_digest(whole)


@pytest.mark.parametrize("name", [VIDEOS_NAME, CAPTIONS_NAME])
def test_a_damaged_catalogue_is_repaired_as_its_remedy_says(
    place: Path, whole: Path, manifest: Path, name: str
) -> None:
    flip(place / name)
    found = look(place)
    assert [(one.kind, one.name, one.is_repairable) for one in found.findings] == [(Kind.CATALOG_DAMAGED, name, False)]
    assert "run its `fda preprocess` again" in found.findings[0].remedy
    make_everything(manifest, place)
    assert tree_digest(place) == tree_digest(whole)


def test_a_manifest_that_counts_otherwise_and_one_that_is_damaged(place: Path) -> None:
    store = Store.open(place)
    layouts = store.manifest.splits
    fewer = {**layouts, "test": replace(layouts["test"], num_videos=4)}
    store.folder.write(MANIFEST_NAME, replace(store.manifest, splits=fewer).to_bytes())
    assert Kind.CATALOG_DISAGREES in kinds(look(place))
    assert not any(finding.is_repairable for finding in look(place).findings)
    more = {**layouts, "test": replace(layouts["test"], num_videos=9)}
    store.folder.write(MANIFEST_NAME, replace(store.manifest, splits=more).to_bytes())
    assert Kind.CATALOG_DISAGREES in kinds(look(place))
    assert not any(finding.is_repairable for finding in look(place).findings)
    flip(place / MANIFEST_NAME)
    found = look(place)
    assert [(one.kind, one.is_repairable) for one in found.findings] == [(Kind.MANIFEST_DAMAGED, False)]


def test_an_object_store(place: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    use_server(monkeypatch, server)
    objects = folder_at(f"s3://{BUCKET}/verified")
    here = folder_at(place)
    for stored in here.walk():
        objects.write(stored.name, here.read(stored.name))
    assert verify(objects).findings == ()
    content = bytearray(here.read(FRAMES))
    content[1000] ^= 1
    objects.write(FRAMES, bytes(content))
    assert [(one.kind, one.name) for one in verify(objects).findings] == [(Kind.CHUNK_DAMAGED, FRAMES)]


@contextmanager
def copied(whole: Path) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        shutil.copytree(whole, Path(folder, "store"))
        yield Path(folder, "store")


@settings(max_examples=10)
@given(data=st.data())
def test_any_change_of_any_file_is_named_and_repaired(whole: Path, manifest: Path, data: st.DataObject) -> None:
    names = list(tree_digest(whole))
    name = data.draw(st.sampled_from(names))
    how = data.draw(st.sampled_from(["flip", "cut", "extend", "delete", "add"]))
    with copied(whole) as place:
        path = place / name
        if how == "flip":
            flip(path, data.draw(st.integers(0, 8 * path.stat().st_size - 1)))
        elif how == "cut":
            os.truncate(path, data.draw(st.integers(0, path.stat().st_size - 1)))
        elif how == "extend":
            path.write_bytes(path.read_bytes() + data.draw(st.binary(min_size=1, max_size=9)))
        elif how == "delete":
            path.unlink()
        else:
            path = path.with_name(f"{path.name}-copy")
            path.write_bytes(b"anything")
            name = f"{name}-copy"
        if name == MANIFEST_NAME and how == "delete":
            return  # it is no store then
        found = look(place)
        record_gone = how == "delete" and name.startswith("commits/")
        if record_gone:
            assert found.pending
        elif not (how == "delete" and name == "catalog/failures.parquet"):
            assert name in {one.name for one in found.findings}
        if name == MANIFEST_NAME:
            assert not any(one.is_repairable for one in found.findings)
            return
        repair_under_claim(place)
        assert look(place).num_wrong == (name in (VIDEOS_NAME, CAPTIONS_NAME))  # which `fda preprocess` rebuilds
        make_everything(manifest, place)
        (place / name).unlink() if how == "add" and (place / name).exists() else None
        assert tree_digest(place) == tree_digest(whole)


def test_findings_are_plain_json(place: Path) -> None:
    flip(place / FRAMES)
    found: Finding = look(place).findings[0]
    assert json.loads(json.dumps(found.to_dict())) == {
        "kind": "chunk damaged", "name": FRAMES, "split": "test", "shard": 0, "stage": "frames",
        "what": found.what, "remedy": found.remedy, "harmless": False, "repairable": True,
    }  # fmt: skip
