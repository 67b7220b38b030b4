"""Features that are opened for searching: the same values as `read_features`, and every damage noticed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import complete_features
from store.commits import METADATA_KEY, commit_name, read_commit
from store.complete_features import quick_metadata, quick_records
from store.errors import NotInStoreError, ShardDamagedError, ShardIncompleteError
from store.feature_dtypes import FeatureDtypes
from store.features import read_features, read_frame_features
from store.open_features import OpenFeatures
from store.places.folder import StoreFolder
from store.places.opening import folder_at
from store.schema import shards_of
from store.stages import features_stage
from store.store import Store
from tests.s3 import Server, place_of, use_server
from tests.searching import add_features, random_frames, searchable
from tests.stores import fill_shard, tree_digest

FAILED = frozenset({0, 3, 9})
FILLED = [1, 2, 4, 5, 6, 7, 8]
VIDEO = features_stage("mine", "video")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("made") / "store"
    searchable(place, random_frames(10), failed=FAILED, dtypes=FeatureDtypes(frames="float16"))
    return place


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Store:
    return Store.open(shutil.copytree(made, tmp_path / "store"))


@pytest.mark.parametrize("kind", ["local", "objects"])
def test_it_reads_what_an_evaluation_reads(
    kind: str, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    use_server(monkeypatch, server)
    place = tmp_path / "store" if kind == "local" else f"{place_of(request)}/store"
    store = searchable(place, random_frames(10), failed=FAILED, dtypes=FeatureDtypes(frames="float16"))
    opened, whole = OpenFeatures.open(store, "mine", "test"), read_features(store, "mine", "test")
    video = opened.video()
    assert np.flatnonzero(~np.isnan(video[:, 0])).tolist() == FILLED
    np.testing.assert_array_equal(video[FILLED], whole.video)
    np.testing.assert_array_equal(opened.videos([8, 1, 4]), video[[8, 1, 4]])
    parts = list(opened.video_parts(4))
    assert [first for first, _ in parts] == [0, 4, 8]
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), video)
    frames = opened.all_frames()
    assert frames.dtype == np.float16
    np.testing.assert_array_equal(frames[FILLED], read_frame_features(store, "mine", "test")[1])
    np.testing.assert_array_equal(opened.frames([9, 2, 2]), frames[[9, 2, 2]].astype(np.float32))
    text = opened.text()
    np.testing.assert_array_equal(text[[2, 3]], whole.text[:2])
    np.testing.assert_array_equal(opened.text_row(17), text[17])
    assert (opened.dim, dict(opened.made_with)) == (8, dict(whole.attributes))


def test_the_quick_look_agrees_with_the_slow_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = quick_records(store, "mine", "test", VIDEO)
    record = read_commit(store.folder, store.shards("test")[1], VIDEO)
    assert record is not None
    assert quick[1] == {file.name: file for file in record.files}
    with mock.patch("store.complete_features.judged_of_each") as slow:
        assert quick_records(store, "mine", "test", VIDEO) == quick
    assert not slow.called  # it is sure of each of them
    monkeypatch.setattr(complete_features, "quick_metadata", lambda content: {})
    assert quick_records(store, "mine", "test", VIDEO) == quick


def test_metadata_are_found_whatever_the_set_is_called(tmp_path: Path) -> None:
    store = searchable(tmp_path / "store", random_frames(4))
    add_features(store, METADATA_KEY, random_frames(4))
    for name in ("mine", METADATA_KEY):
        content = store.folder.read(commit_name(store.shards("test")[0], features_stage(name, "video")))
        if name == "mine":
            assert quick_metadata(content)["stage"] == VIDEO
        assert OpenFeatures.open(store, name, "test").video().shape == (4, 8)


def record_of_another_shard(folder: Path) -> None:
    (folder / "00001.parquet").write_bytes((folder / "00000.parquet").read_bytes())


def record_cut_off(folder: Path) -> None:
    (folder / "00001.parquet").write_bytes((folder / "00001.parquet").read_bytes()[:-9])


def record_with_a_flipped_bit(folder: Path) -> None:
    content = bytearray((folder / "00001.parquet").read_bytes())
    content[60] ^= 1
    (folder / "00001.parquet").write_bytes(content)


def record_missing(folder: Path) -> None:
    (folder / "00001.parquet").unlink()


def record_is_a_link(folder: Path) -> None:
    (folder / "00001.parquet").rename(folder / "mine")
    (folder / "00001.parquet").symlink_to(folder / "mine")


@pytest.mark.parametrize(
    "damage",
    [record_of_another_shard, record_cut_off, record_with_a_flipped_bit, record_missing, record_is_a_link],
)
def test_a_record_that_is_not_right_is_refused_as_elsewhere(store: Store, damage: Callable[[Path], None]) -> None:
    damage(Path(store.place) / "commits/test/features/mine/video")
    with pytest.raises(Exception) as here:
        OpenFeatures.open(Store.open(store.place), "mine", "test")
    with pytest.raises(type(here.value)) as there:
        read_features(Store.open(store.place), "mine", "test")
    assert str(here.value) == str(there.value)


def test_features_that_are_out_of_date_are_refused(store: Store) -> None:
    fill_shard(store, store.shards("test")[2], frozenset({8}))
    with pytest.raises(ShardIncompleteError, match=r"commits/test/(frames|masks/default)/00002\.parquet has changed"):
        OpenFeatures.open(store, "mine", "test")


@pytest.mark.parametrize("part", ["video", "frame"])
def test_a_file_that_is_not_what_its_record_says(store: Store, part: str) -> None:
    opened = OpenFeatures.open(store, "mine", "test")

    def read() -> object:
        return opened.video() if part == "video" else opened.frames([4])

    read()
    folder = Path(store.place) / f"features.zarr/mine/test/{part}"
    (mine,) = folder.glob("c.1.0*")
    whole = mine.read_bytes()
    before = tree_digest(Path(store.place))
    for content in (whole[:-30], bytes([whole[0] ^ 1]) + whole[1:]):
        mine.write_bytes(content)
        with pytest.raises(ShardDamagedError):
            read()
    (other,) = folder.glob("c.0.0*")
    mine.write_bytes(other.read_bytes())  # whole, and of another shard
    with pytest.raises(ShardIncompleteError, match="is not what its commit record says"):
        read()
    mine.unlink()
    with pytest.raises(ShardIncompleteError, match="is not what its commit record says"):
        read()
    mine.write_bytes(whole)
    read()
    assert tree_digest(Path(store.place)) == before


def test_names_that_are_none(store: Store) -> None:
    with pytest.raises(NotInStoreError, match="no features 'other'"):
        OpenFeatures.open(store, "other", "test")


def test_an_opener_gives_what_open_gives(tmp_path: Path) -> None:
    def content(folder: StoreFolder, name: str) -> bytes | None:
        file = folder.opener("some/where")(name)
        if file is None:
            return None
        values = np.empty(file.num_bytes, np.uint8)
        assert file.fill(0, [values])
        return values.tobytes()

    folder = folder_at(tmp_path / "store")
    assert content(folder, "a") is None  # nor is there a folder
    folder.write("some/where/a", b"abc")
    assert content(folder, "a") == b"abc"
    assert content(folder, "b") is None
    (tmp_path / "store/some/where/b").symlink_to(tmp_path / "store/some/where/a")
    (tmp_path / "store/some/where/c").mkdir()
    for name in "bc":
        with pytest.raises(OSError, match=f"some/where/{name} is a"):
            content(folder, name)


class _IteratedOnce(list[int]):
    """Rows that are looked through one time, however many there are."""

    def __iter__(self) -> Iterator[int]:
        assert not hasattr(self, "is_used")
        self.is_used = True
        return super().__iter__()


@given(rows=st.lists(st.integers(0, 8), max_size=30))
def test_rows_are_found_in_their_shards_in_one_pass(rows: list[int]) -> None:
    shards = shards_of("test", 9, 4)
    found = list(OpenFeatures._by_shard(_IteratedOnce(rows), shards))
    assert [shard.index for shard, _, _ in found] == sorted({row // 4 for row in rows})
    assert sorted(place for _, places, _ in found for place in places) == list(range(len(rows)))
    assert all(rows[place] == shard.start + slot for shard, *both in found for place, slot in zip(*both, strict=True))
