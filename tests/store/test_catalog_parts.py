"""A catalogue is made, compared and read in parts: the same files and the same growth as if it were whole in memory."""

from __future__ import annotations

import hashlib
import json
import pickle
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from store.catalog import CAPTIONS_NAME, VIDEOS_NAME, Catalog
from store.errors import StoreFormatError, StoreMismatchError, StoreWriteError
from store.formats.parquet import GROUP_ROWS, parquet_bytes
from store.growth import create_store
from store.merging import Growth, merged
from store.places.folder import Content, WrittenFile
from store.places.local import LocalFolder
from store.schema import Caption, Shard, SplitLayout, Video
from store.store import Manifest, Store
from store.verify.catalog import verify_catalog
from store.verify.findings import Kind


@dataclass(frozen=True)
class Told:
    """One video of a data set."""

    video_id: str
    split: str = "a"
    path: str = "p.mp4"
    captions: tuple[str, ...] = ("a text",)


def catalog_of(videos: Sequence[Told]) -> Catalog:
    by_split = {
        split: [one for one in videos if one.split == split] for split in dict.fromkeys(v.split for v in videos)
    }
    rows = (
        Video(one.video_id, split, row, one.path, 0.5, None, None)
        for split, some in by_split.items()
        for row, one in enumerate(some)
    )
    captions = (
        Caption(f"{video_id}#{number}", video_id, split, row, text)
        for split, some in by_split.items()
        for row, (video_id, number, text) in enumerate(
            (one.video_id, number, text) for one in some for number, text in enumerate(one.captions)
        )
    )
    return Catalog.of(rows, captions)


def manifest_of(catalog: Catalog) -> Manifest:
    counts = catalog.caption_rows.count
    layouts = {split: SplitLayout(catalog.video_rows.count(split), counts(split), 2, 4, 4) for split in catalog.splits}
    return Manifest({"name": "made by hand", "digest": catalog.digest()}, 2, layouts, {}, {})


@contextmanager
def small_groups(num_rows: int = 4) -> Iterator[None]:
    """Row groups of a few rows, so that a few videos are in many."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("formats.parquet", "formats.table_file", "catalog", "merging"):
            patch.setattr(f"store.{module}.GROUP_ROWS", num_rows)
        patch.setattr("store.catalog.TAKEN_AT_ONCE", 2 * num_rows)
        patch.setattr("store.formats.table_file._MOST_RECENT", 2)
        yield


@pytest.mark.parametrize("sizes", [{"a": 1}, {"a": 4}, {"a": 5}, {"a": 7, "b": 8, "c": 5}], ids=str)
def test_the_files_are_those_of_whole_tables(sizes: Mapping[str, int]) -> None:
    with small_groups(4):
        check_the_files(sizes, 4)


def test_the_files_of_groups_as_they_are_written() -> None:
    check_the_files({"a": 7, "b": GROUP_ROWS, "c": 5}, 65_536)


def check_the_files(sizes: Mapping[str, int], group_rows: int) -> None:
    chance = random.Random(1)
    told = [
        Told(f"{split}_{number}", split, f"{number % 50}.mp4", ("é",) * chance.choice([0, 1, 3]))
        for split, count in sizes.items()
        for number in range(count)
    ]
    catalog = catalog_of(told)
    assert catalog.video_rows.content() == parquet_bytes(catalog.videos)
    assert catalog.caption_rows.content() == parquet_bytes(catalog.captions)
    digest = hashlib.sha256()
    for table in (catalog.videos, catalog.captions):
        for start in range(0, table.num_rows, group_rows):
            for values in table.slice(start, group_rows).to_pydict().values():
                digest.update(json.dumps(values).encode())
    assert catalog.digest() == digest.hexdigest()
    assert catalog.videos["video_id"].to_pylist() == [one.video_id for one in told]
    assert catalog.captions_of_each("a").tolist() == [len(one.captions) for one in told if one.split == "a"]


def expected(old: Sequence[Told], new: Sequence[Told]) -> tuple[list[Told], Growth]:
    """`merged`, with dictionaries of all videos."""
    now, before = {one.video_id: one for one in new}, {one.video_id: one for one in old}
    splits = dict.fromkeys(one.split for one in (*old, *new))
    added = [one for one in new if one.video_id not in before]
    order = [
        one
        for split in splits
        for one in (*(now[v.video_id] for v in old if v.split == split), *(v for v in added if v.split == split))
    ]
    changed = [(one, now[one.video_id]) for one in old]
    return order, Growth(
        {split: count for split in splits if (count := sum(one.split == split for one in added))},
        sum(one.path != its.path for one, its in changed),
        sum(bool(one.captions) and one.captions != its.captions for one, its in changed),
        sum(not one.captions and bool(its.captions) for one, its in changed),
    )


TEXTS = st.lists(st.sampled_from(["x", "y", "z"]), max_size=3).map(tuple)


@st.composite
def two_data_sets(draw: st.DrawFn) -> tuple[list[Told], list[Told]]:
    """One, and what became of it: more videos in any order, some with another path or other captions."""
    names = [f"v{number}" for number in range(draw(st.integers(1, 16)))]
    every = [Told(name, draw(st.sampled_from("ab")), "p.mp4", draw(TEXTS)) for name in names]
    old = draw(st.lists(st.sampled_from(every), min_size=1, unique=True))
    new = [
        replace(
            one, path=draw(st.sampled_from(["p.mp4", "q.mp4"])), captions=draw(st.one_of(st.just(one.captions), TEXTS))
        )
        for one in draw(st.permutations(every))
    ]
    return old, new


@settings(max_examples=35)
@given(two_data_sets(), st.sampled_from([2, 3, 100]), st.booleans())
def test_a_data_set_that_grew_is_merged_as_if_both_were_in_memory(
    data: tuple[list[Told], list[Told]], num_rows: int, is_ambiguous: bool
) -> None:
    old, new = data
    with small_groups(num_rows), pytest.MonkeyPatch.context() as patch:
        if is_ambiguous:  # ids of one hash are told apart
            patch.setattr("store.merging.hash", lambda text: len(text) + ord(text[-1]) % 2, raising=False)
        grown, growth = merged(catalog_of(old), catalog_of(new), "here")
        order, wanted = expected(old, new)
        assert growth == wanted
        assert grown.videos.equals(catalog_of(order).videos)
        assert grown.captions.equals(catalog_of(order).captions)
        for split in grown.splits:
            ids = [one.video_id for one in order if one.split == split]
            for start in range(len(ids)):
                videos = grown.shard_videos(Shard(split, 0, start, start + 3))
                assert [video.video_id for video in videos] == ids[start : start + 3]


@pytest.mark.parametrize("place", [0, 5, 11])
@pytest.mark.parametrize("what", ["missing", "path", "captions", "more captions", "end", "split", "new"])
def test_what_changed_is_found_in_any_part(tmp_path: Path, place: int, what: str) -> None:
    old = [Told(f"v{number}", captions=(f"this is {number}",)) for number in range(12)]
    new = list(old)
    if what == "missing":
        del new[place]
    elif what == "new":
        new.insert(place, Told("new"))
    else:
        other = {"path": {"path": "q.mp4"}, "captions": {"captions": ("that",)}, "split": {"split": "b"}}
        new[place] = replace(old[place], **other.get(what, {}))  # type: ignore[arg-type]
        if what == "more captions":
            new[place] = replace(old[place], captions=(*old[place].captions, "that"))
    with small_groups():
        folder, first, then = LocalFolder.at(tmp_path), catalog_of(old), catalog_of(new)
        if what == "end":
            tables = [then.videos.slice(0, place), then.videos.slice(place)]
            column = tables[1]["end_seconds"].fill_null(9.5)
            tables[1] = tables[1].set_column(5, tables[1].schema.field(5), column)
            then = Catalog.of_tables(tables, [then.captions])
        create_store(folder, manifest_of(first), first)
        if what in ("missing", "end", "split"):
            with pytest.raises(StoreMismatchError, match=f"'v{place}'"):
                create_store(folder, manifest_of(then), then)
            return
        if "captions" in what:
            with pytest.raises(StoreMismatchError, match="changed captions: 1 of the videos"):
                create_store(folder, manifest_of(then), then)
        store, growth = create_store(folder, manifest_of(then), then, update_captions=True)
        assert (growth.num_new_videos, growth.num_moved, growth.num_recaptioned) == (
            int(what == "new"),
            int(what == "path"),
            int("captions" in what),
        )
        assert Store.open(tmp_path).catalog.equals(store.catalog)
        assert set(store.catalog.captions["text"].to_pylist()) == {text for one in new for text in one.captions}


def test_an_id_that_is_there_twice_is_refused_however_far_apart() -> None:
    told = [Told(f"v{number}") for number in range(12)]
    with small_groups():
        once, twice = catalog_of(told), catalog_of([*told, told[0]])
        with pytest.raises(StoreMismatchError, match="video 'v0' is twice"):
            merged(once, twice, "here")
        with pytest.raises(StoreMismatchError, match="video 'v0' is twice"):
            merged(twice, once, "here")


def test_rows_that_a_writer_does_not_give_are_refused_in_any_part(tmp_path: Path) -> None:
    with small_groups():
        catalog = catalog_of([Told(f"v{number}") for number in range(12)])
        store = create_store(LocalFolder.at(tmp_path), manifest_of(catalog), catalog)[0]
        for place in (0, 5, 10):
            order = [*range(place), place + 1, place, *range(place + 2, 12)]
            Catalog.of_tables([catalog.videos.take(order)], [catalog.captions]).write(store.folder)
            with pytest.raises(StoreFormatError, match="in another order than it says"):
                Store.open(tmp_path).catalog.num_rows  # noqa: B018
        with pytest.raises(ValueError, match="not consecutive"):
            Catalog.of([Video("a", "a", 0, "p"), Video("b", "b", 0, "p"), Video("c", "a", 1, "p")], [])


@dataclass(frozen=True)
class FailingFolder(LocalFolder):
    """Refuses one file, as a disk that is full, or a kill before it."""

    refused: str = ""

    def write(self, name: str, content: Content) -> WrittenFile:
        if name == self.refused:
            raise StoreWriteError(f"cannot write {name}")
        return super().write(name, content)


@pytest.mark.parametrize("refused", [CAPTIONS_NAME, VIDEOS_NAME, "store.json"])
def test_a_run_that_ends_while_the_catalogue_is_written_leaves_the_old_one(tmp_path: Path, refused: str) -> None:
    old = [Told(f"v{number}", captions=(f"this is {number}",)) for number in range(9)]
    with small_groups():
        first, then = catalog_of(old), catalog_of([Told("new"), *old])
        store = create_store(LocalFolder.at(tmp_path), manifest_of(first), first)[0]
        with pytest.raises(StoreWriteError):
            create_store(FailingFolder(tmp_path, refused=refused), manifest_of(then), then)
        found = Store.open(tmp_path).catalog
        assert found.videos.equals(first.videos)
        assert found.captions.equals(first.captions)
        _, growth = create_store(store.folder, manifest_of(then), then)
        assert growth.num_new_videos == 1
        assert Store.open(tmp_path).catalog.video_ids("a", 8, 10) == ["v8", "new"]


def test_captions_that_were_updated_half_way_and_are_the_old_ones_again(tmp_path: Path) -> None:
    before = catalog_of([Told("v", captions=("this",))])
    after = catalog_of([Told("v", captions=("that",))])
    folder = LocalFolder.at(tmp_path)
    create_store(folder, manifest_of(before), before)
    with pytest.raises(StoreWriteError):  # the manifest still says the old ones
        create_store(FailingFolder(tmp_path, refused="store.json"), manifest_of(after), after, update_captions=True)
    create_store(folder, manifest_of(before), before, update_captions=True)
    assert Store.open(tmp_path).catalog.captions["text"].to_pylist() == ["this"]


@dataclass(frozen=True)
class GrowingFolder(LocalFolder):
    """Its captions are others from the second time on that they are read."""

    later: bytes | None = None
    reads: list[str] = field(default_factory=list)

    def read(self, name: str) -> bytes:
        self.reads.append(name)
        return self.later if self.later and self.reads.count(name) > 1 and name == CAPTIONS_NAME else super().read(name)


def test_captions_whose_update_was_cut_short_are_refused(tmp_path: Path) -> None:
    before, after = catalog_of([Told("v")]), catalog_of([Told("v", captions=("this", "that"))])
    folder = LocalFolder.at(tmp_path)
    create_store(folder, manifest_of(before), before)
    with pytest.raises(StoreWriteError):
        create_store(FailingFolder(tmp_path, refused="store.json"), manifest_of(after), after, update_captions=True)
    catalog = Store.open(tmp_path).catalog
    assert catalog.video_ids("a", 0, 1) == ["v"]
    with pytest.raises(StoreFormatError, match="left half-way through an update of its captions: run its"):
        catalog.split_captions("a")


def test_captions_are_read_once_and_only_where_they_are_asked_for(tmp_path: Path) -> None:
    catalog = catalog_of([Told("v"), Told("w")])
    folder = GrowingFolder(tmp_path)
    create_store(folder, manifest_of(catalog), catalog)
    opened = Store.open(folder).catalog
    assert (opened.num_rows, len(opened.shard_videos(Shard("a", 0, 0, 2)))) == ((2, 2), 2)
    assert CAPTIONS_NAME not in folder.reads
    assert opened.captions.equals(catalog.captions)
    assert folder.reads.count(CAPTIONS_NAME) == 1


def test_captions_that_a_run_adds_while_they_are_verified_are_no_damage(tmp_path: Path) -> None:
    before, after = catalog_of([Told("v")]), catalog_of([Told("v"), Told("w")])
    create_store(LocalFolder.at(tmp_path), manifest_of(before), before)
    folder = GrowingFolder(tmp_path, later=after.caption_rows.content())
    catalog, findings = verify_catalog(Store.open(folder))
    assert folder.reads.count(CAPTIONS_NAME) == 2
    assert [finding.kind for finding in findings] == [Kind.UNFINISHED]
    assert catalog is not None
    assert catalog.equals(before)


def test_a_catalogue_that_is_pickled_is_the_same() -> None:
    with TemporaryDirectory() as place:
        catalog = catalog_of([Told("v"), Told("w", captions=())])
        create_store(LocalFolder.at(place), manifest_of(catalog), catalog)
        store = Store.open(place)
        assert store.catalog.shard_videos(Shard("a", 0, 0, 2))[1].video_id == "w"
        assert pickle.loads(pickle.dumps(store)).catalog.equals(catalog)
