"""Files of a store that are intact and say what no writer says: every reader refuses them in one line, at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fda
from store.catalog import Catalog
from store.commits import CommitRecord
from store.errors import StoreError, StoreFormatError, StoreMismatchError
from store.formats.seal import BLANK, SEAL_KEY, sealed
from store.growth import create_store
from store.places.folder import WrittenFile
from store.places.opening import folder_at
from store.store import MANIFEST_NAME, Store
from tests.api.test_flipped_bits import READERS, what_is_said
from tests.api.test_flipped_bits import place as place
from tests.stores import make_catalog, make_manifest

HUGE = 10**15
FRAMES_RECORD = "commits/test/frames/00000.parquet"
CLIP_READERS = ("open_store", "ClipDataset", "eval", "compare")


@pytest.fixture
def hostile(place: Path, tmp_path: Path) -> Path:
    """A copy that a test changes."""
    shutil.copytree(place, tmp_path / "store")
    return tmp_path / "store"


def rewrite(path: Path, change: Callable[[Any], object]) -> None:
    """Change the JSON of a file, and seal it again."""
    fields = json.loads(path.read_bytes())
    change(fields)
    fields.get("attributes", fields)[SEAL_KEY] = BLANK
    path.write_bytes(sealed(json.dumps(fields).encode()))


def of_split(**fields: object) -> Callable[[Any], object]:
    return lambda manifest: manifest["splits"]["test"].update(fields)


def of_all(**fields: object) -> Callable[[Any], object]:
    return lambda manifest: manifest.update(fields)


@pytest.mark.parametrize(
    "change",
    [
        of_split(num_videos=HUGE),
        of_split(num_captions=HUGE),
        of_split(num_frames=10**12),
        of_split(height=1.5),
        of_split(height="8"),
        of_split(width=10**9),
        of_split(num_videos=True),
        of_split(unknown=1),
        of_all(shard_size=HUGE),
        of_all(shard_size=0),
        of_all(shard_size=4.0),
        of_all(splits={}),
        of_all(splits=[]),
        of_all(splits={"../..": {"num_videos": 1, "num_captions": 1, "num_frames": 1, "height": 1, "width": 1}}),
        of_all(options=None),
        of_all(dataset={"name": 5, "digest": None}),
        of_all(neighbours="no"),
        of_all(frame_codec="h264"),
        of_all(format_version=1.5),
    ],
)
def test_a_manifest_that_no_store_has(hostile: Path, change: Callable[[Any], object]) -> None:
    rewrite(hostile / MANIFEST_NAME, change)
    for reader, read in {**READERS, "finalise": lambda place: str(fda.finalise(place))}.items():
        found, said = what_is_said(read, hostile)
        assert found is None, reader
        assert MANIFEST_NAME in said[0], said
        assert "\n" not in said[0]
    try:
        said = [f"{finding.name} {finding.what}" for finding in fda.verify(hostile).found.findings]
    except StoreError as error:
        said = [str(error)]
    assert len(said) == 1
    assert MANIFEST_NAME in said[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda record: replace(record, inputs={"/dev/zero": "0" * 64}),
        lambda record: replace(record, inputs={"../../../dev/zero": "0" * 64}),
        lambda record: replace(record, inputs={f"captions[test:0:{10**30}]": "0" * 64}),
        lambda record: replace(record, files=(WrittenFile("/dev/zero", 0, ""),)),
        lambda record: replace(record, files=(WrittenFile("clips.zarr/../../fifo", 0, ""),)),
        lambda record: replace(record, shard=replace(record.shard, stop=HUGE)),
        lambda record: replace(record, shard=replace(record.shard, stop=1.5)),
        lambda record: replace(record, shard=replace(record.shard, split="../..")),
        lambda record: replace(record, stage=5),
        lambda record: replace(record, outcomes=record.outcomes[::-1]),
    ],
)
def test_a_commit_record_that_no_run_writes(hostile: Path, change: Callable[[CommitRecord], CommitRecord]) -> None:
    path = hostile / FRAMES_RECORD
    path.write_bytes(change(CommitRecord.from_bytes(path.read_bytes(), FRAMES_RECORD)).to_bytes())
    for reader in CLIP_READERS:
        found, said = what_is_said(READERS[reader], hostile)
        assert found is None, reader
        assert FRAMES_RECORD in said[0], said
        assert "\n" not in said[0]
    assert fda.status(hostile).status.splits[0].stages[0].num_done == 1
    assert FRAMES_RECORD in {finding.name for finding in fda.verify(hostile).found.findings}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("features.zarr/mine/test/video/zarr.json", of_all(shape=[6, 10**12])),
        ("features.zarr/mine/test/video/zarr.json", of_all(shape=[])),
        ("features.zarr/mine/test/text/zarr.json", of_all(shape=[-1, 5])),
        ("features.zarr/mine/test/text/zarr.json", of_all(data_type="int64")),
        ("features.zarr/mine/test/alpha_cosine/zarr.json", of_all(codecs=5)),
        ("clips.zarr/test/masks/default/zarr.json", of_all(node_type=None)),
    ],
)
def test_a_description_that_no_set_has(hostile: Path, name: str, change: Callable[[Any], object]) -> None:
    rewrite(hostile / name, change)
    reader = "eval" if name.startswith("features") else "ClipDataset"
    found, said = what_is_said(READERS[reader], hostile)
    assert found is None
    assert name in said[0]
    assert "\n" not in said[0]
    assert name in {finding.name for finding in fda.verify(hostile).found.findings}


@pytest.mark.parametrize("fields", [{"seconds": float("inf")}, {"seconds": "1"}, {"started": "x"}, {"command": [[]]}])
def test_a_run_record_that_no_run_writes(hostile: Path, fields: dict[str, object]) -> None:
    (path,) = hostile.glob("runs/*.json")
    rewrite(path, of_all(**fields))
    status = fda.status(hostile).status
    assert status.runs == ()
    assert [path.name in sentence for sentence in status.damaged] == [True]


def test_a_catalogue_whose_rows_are_in_another_order_than_they_say(hostile: Path) -> None:
    store = Store.open(hostile)
    catalog = store.catalog
    Catalog.of_tables([catalog.videos.take([1, 0, 2, 3, 4, 5])], [catalog.captions]).write(store.folder)
    with pytest.raises(StoreFormatError, match=r"videos.parquet has rows .* in another order.* `fda preprocess` again"):
        fda.open_store(hostile).videos()


def test_a_store_is_not_grown_by_a_manifest_that_counts_too_many(hostile: Path) -> None:
    rewrite(hostile / MANIFEST_NAME, of_split(num_videos=HUGE))
    with pytest.raises(StoreMismatchError, match="it has 6 videos of split 'test', and the store 1,000,000"):
        create_store(folder_at(hostile), make_manifest(6), make_catalog(6))
