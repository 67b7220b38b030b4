from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.catalog import CaptionsFile, Catalog
from store.errors import NotInStoreError, StoreFormatError, StoreMismatchError, StoreMissingError
from store.growth import create_store
from store.places.opening import folder_at
from store.schema import Caption, Shard, SplitLayout, Video, shards_of
from store.store import Store, clear_store
from tests.stores import make_catalog, make_manifest, make_store, tree_digest


def test_a_store_opens_as_it_was_made(tmp_path: Path) -> None:
    made = make_store(tmp_path / "store", 5)
    opened = Store.open(tmp_path / "store")
    assert opened.manifest == made.manifest
    assert opened.catalog.videos == make_catalog(5).videos
    assert opened.catalog.captions == make_catalog(5).captions
    assert [shard.key for shard in opened.shards("test")] == ["test/00000", "test/00001"]
    assert opened.layout("test") == SplitLayout(5, 10, 3, 8, 8)


def test_any_parquet_reader_reads_the_catalogue(tmp_path: Path) -> None:
    make_store(tmp_path, 3)
    videos = pq.read_table(tmp_path / "catalog/videos.parquet")
    assert videos.column_names == ["video_id", "split", "row", "path", "start_seconds", "end_seconds", "category"]
    assert videos["video_id"].to_pylist() == ["-vidéo_0", "-vidéo_1", "-vidéo_2"]
    captions = pq.read_table(tmp_path / "catalog/captions.parquet")
    assert captions.column_names == ["caption_id", "video_id", "split", "row", "text"]
    assert captions.num_rows == 6


def test_making_it_again_changes_no_byte(tmp_path: Path) -> None:
    make_store(tmp_path, 3)
    before = tree_digest(tmp_path)
    make_store(tmp_path, 3)
    assert tree_digest(tmp_path) == before


def test_two_stores_of_the_same_input_are_equal(tmp_path: Path) -> None:
    make_store(tmp_path / "a", 3)
    make_store(tmp_path / "b", 3)
    assert tree_digest(tmp_path / "a") == tree_digest(tmp_path / "b")


def test_other_inputs_are_refused_with_both_values(tmp_path: Path) -> None:
    make_store(tmp_path, 3)
    with pytest.raises(StoreMismatchError, match=r"shard_size is 4 in the store and 8 now.*--overwrite"):
        create_store(folder_at(tmp_path), make_manifest(3, shard_size=8), make_catalog(3))
    with pytest.raises(StoreMismatchError, match=r"video '-vidéo_2' .* no longer in the data set"):
        create_store(folder_at(tmp_path), make_manifest(2), make_catalog(2))


def test_other_software_is_not_refused(tmp_path: Path) -> None:
    make_store(tmp_path, 3)
    again = create_store(folder_at(tmp_path), replace(make_manifest(3), software={"numpy": "99"}), make_catalog(3))[0]
    assert again.manifest.software != {"numpy": "99"}


def test_a_making_that_was_cut_short_goes_on(tmp_path: Path) -> None:
    make_store(tmp_path / "whole", 3)
    place = tmp_path / "cut"
    make_store(place, 3)
    (place / "catalog/captions.parquet").unlink()
    (place / "catalog/videos.parquet").unlink()
    with pytest.raises(StoreMissingError, match="was never finished"):
        Store.open(place)
    make_store(place, 3)
    assert tree_digest(place) == tree_digest(tmp_path / "whole")


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError, match="no store at .*nowhere"):
        Store.open(tmp_path / "nowhere")


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreFormatError, match=r"not a store and not empty \(it contains 'thesis.tex'\)"):
        make_store(tmp_path, 3)
    with pytest.raises(StoreMissingError, match=r"has no store.json"):
        clear_store(folder_at(tmp_path))
    (tmp_path / "store.json").write_text('{"my": "shop"}')
    with pytest.raises(StoreFormatError, match=r"not the manifest of a store, so nothing here is removed"):
        clear_store(folder_at(tmp_path))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_clearing_a_store_leaves_its_manifest_to_be_replaced(tmp_path: Path) -> None:
    folder, catalog = folder_at(tmp_path / "store"), make_catalog(2)
    make_store(folder.place, 3)
    clear_store(folder)
    clear_store(folder)
    assert list(tree_digest(tmp_path / "store", leave_out=())) == ["store.json"]
    assert folder.folders("") == ["partial"]
    other = make_manifest(2, shard_size=8, digest=catalog.digest())
    with pytest.raises(StoreMismatchError):
        create_store(folder, other, catalog)
    assert create_store(folder, other, catalog, is_cleared=True)[0].manifest == other
    assert Store.open(folder).catalog.videos == catalog.videos


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its checksum is wrong"),
        (b"[]", "its checksum is wrong"),
        (b'{"format_version": 7}', "its checksum is wrong"),
        (b'{"format_version": "7"}', "its checksum is wrong"),
        (b'{"format_version": 6}', "made by an older fda; this one reads format 7: .*--overwrite"),
        (b'{"format_version": 8}', "made by a newer fda; this one reads format 7: upgrade fda"),
    ],
)
def test_a_manifest_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    make_store(tmp_path, 3)
    (tmp_path / "store.json").write_bytes(content)
    with pytest.raises(StoreFormatError, match=message):
        Store.open(tmp_path)


def test_an_unknown_split(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    with pytest.raises(NotInStoreError, match=r"no split 'train' in .*: it has 'test'"):
        store.layout("train")
    with pytest.raises(NotInStoreError, match="no split 'train'"):
        store.catalog.split_captions("train")


@given(st.lists(st.tuples(st.integers(1, 7), st.integers(0, 2)), min_size=1, max_size=4), st.integers(1, 4))
def test_a_shard_has_the_videos_of_its_rows(splits: list[tuple[int, int]], shard_size: int) -> None:
    videos = [
        Video(f"{split}_{row}", f"s{split}", row, f"{row}.mp4")
        for split, (num_videos, _) in enumerate(splits)
        for row in range(num_videos)
    ]
    captions = [
        Caption(f"c{split}_{row}", f"{split}_0", f"s{split}", row, "text")
        for split, (_, num_captions) in enumerate(splits)
        for row in range(num_captions)
    ]
    catalog = Catalog.of(videos, captions)
    for split, (num_videos, num_captions) in enumerate(splits):
        shards = shards_of(f"s{split}", num_videos, shard_size)
        found = [video for shard in shards for video in catalog.shard_videos(shard)]
        assert found == [video for video in videos if video.split == f"s{split}"]
        assert catalog.split_videos(f"s{split}").num_rows == num_videos
        wanted = [f"c{split}_{row}" for row in range(num_captions)]
        assert catalog.split_captions(f"s{split}")["caption_id"].to_pylist() == wanted
        assert catalog.split_videos(f"s{split}") is catalog.split_videos(f"s{split}")  # not looked for shard by shard


def test_the_manifest_holds_no_clock_time(tmp_path: Path) -> None:
    make_store(tmp_path, 3)
    assert set(json.loads((tmp_path / "store.json").read_text())) == {
        "fda.sha256",
        "dataset",
        "format_version",
        "frame_codec",
        "neighbours",
        "options",
        "shard_size",
        "software",
        "splits",
    }


def test_a_row_is_not_negative() -> None:
    with pytest.raises(ValueError, match="row must not be negative, got -1 for 'a'"):
        Video("a", "test", -1, "a.mp4")


def test_videos_are_found_without_reading_the_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_store(tmp_path, 6)
    catalog = Store.open(tmp_path).catalog
    with monkeypatch.context() as patch:
        patch.setattr(CaptionsFile, "read", lambda *arguments: pytest.fail("captions were read"))
        assert [video.row for video in catalog.shard_videos(Shard("test", 1, 4, 6))] == [4, 5]
        assert catalog.num_rows == (6, 12)
    assert catalog.split_captions("test").num_rows == 12
