"""What is read of a store: a shard at a time, only what is complete, and never half of the old and half of the new."""

from __future__ import annotations

import json
import shutil
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import fda
from pipeline.exporting.formats.parquet import ParquetWriter
from pipeline.exporting.formats.table import WRITERS
from pipeline.exporting.source import Batch
from pipeline.run.events import Event, ItemsDone, RunPlanned
from store.arrays.reading import ChunkReader
from store.commits import commit_name
from store.features import create_features
from store.schema import Shard
from store.stages import features_stage
from store.store import Store
from tests.pipeline.exporting.made import (
    DIM,
    FAILED,
    FEATURES,
    IDS,
    MASKS,
    SHARD_SIZE,
    exported_ids,
    make,
    write_videos,
)

NUM_VIDEOS = sum(map(len, IDS.values()))
FORMATS = list(fda.ExportFormat)


def options(name: str, **more: Any) -> fda.ExportOptions:
    features = None if name == "webdataset" else FEATURES
    return fda.ExportOptions(fda.ExportFormat(name), **{"features": features, **more})


@pytest.fixture
def own(store: Store, tmp_path: Path) -> Store:
    """One that a test may change."""
    return Store.open(shutil.copytree(store.place, tmp_path / "own"))


def withdraw(store: Store, stage: str, split: str = "test", index: int = 1) -> None:
    store.folder.remove(commit_name(Shard(split, index, 0, 0), stage))


@pytest.mark.parametrize("name", FORMATS)
def test_no_more_than_a_shard_is_in_memory(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whatever a format writes: no batch is kept, and no more rows than those of a shard are read at once."""
    kind = WRITERS[fda.ExportFormat(name)]
    add, read = kind.add, ChunkReader.read
    seen: list[weakref.ref[Batch]] = []
    num_rows = []

    def watched_add(self: Any, batch: Batch) -> None:
        assert [one for one in seen if one() is not None] == []
        seen.append(weakref.ref(batch))
        add(self, batch)

    def watched_read(self: ChunkReader, chunks: Any) -> Any:
        values = read(self, chunks)
        num_rows.append(len(values) * self.spec.chunk_rows)
        return values

    monkeypatch.setattr(kind, "add", watched_add)
    monkeypatch.setattr(ChunkReader, "read", watched_read)
    fda.export(store.place, tmp_path / "out", options(name))
    assert len(seen) == sum(len(store.shards(split)) for split in IDS)
    assert {rows for rows in num_rows if rows != 1024} <= {1, SHARD_SIZE}  # 1,024 captions are a chunk


def test_progress_counts_every_video(store: Store, tmp_path: Path) -> None:
    heard: list[Event] = []
    fda.export(store.place, tmp_path / "out", options("parquet"), listener=heard.append)
    assert heard[0] == RunPlanned("videos", NUM_VIDEOS, 0)
    done = sum((one for one in heard if isinstance(one, ItemsDone)), ItemsDone())
    assert (done.num_done, done.num_failed) == (NUM_VIDEOS, 1)


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("webdataset", "frames"),
        ("webdataset", f"masks/{MASKS}"),
        ("video-features", "frames"),
        ("npz", features_stage(FEATURES, "video")),
        ("parquet", features_stage(FEATURES, "video")),
    ],
)
def test_what_is_pending_is_refused(own: Store, tmp_path: Path, name: str, stage: str) -> None:
    withdraw(own, stage)
    with pytest.raises(fda.ShardIncompleteError, match="run .*to the end"):
        fda.export(own.place, tmp_path / "out", options(name))
    assert not (tmp_path / "out").exists()


def test_texts_that_are_pending_are_refused_before_anything_is_written(own: Store, tmp_path: Path) -> None:
    withdraw(own, features_stage(FEATURES, "text"), index=0)
    with pytest.raises(fda.ShardIncompleteError, match="has no features/mine/text yet"):
        fda.export(own.place, tmp_path / "deep/out", options("parquet"))
    assert not (tmp_path / "deep").exists()


def imported(store: Store) -> None:
    """Embeddings of another program in place of those of `test`, without frames."""
    ids = store.catalog.split_videos("test")["video_id"].to_pylist()
    texts = store.catalog.split_captions("test")["caption_id"].to_pylist()
    rng = np.random.default_rng(0)
    text, video = (fda.Embeddings(rng.normal(size=(len(names), DIM)), names) for names in (texts, ids))
    fda.import_features(store.place, fda.ImportOptions("theirs", text, video, splits=("test",)))


def test_features_of_some_splits_and_without_frames(own: Store, tmp_path: Path) -> None:
    imported(own)
    theirs = options("npz", features="theirs")
    result = fda.export(own.place, tmp_path / "npz", theirs)
    assert [one.split for one in result.splits] == ["test"]
    assert result.warnings == ("there are no features 'theirs' of split 'train': left out",)
    assert sorted(path.name for path in (tmp_path / "npz/test").iterdir()) == [
        *("captions.jsonl", "text.npz", "truth.npy", "video.npz")
    ]
    with pytest.raises(fda.InputError, match="have no embeddings of frames .*they were imported without"):
        fda.export(own.place, tmp_path / "cve", options("clip-video-encode", features="theirs"))
    with pytest.raises(fda.InputError, match="the times of their frames are not known"):
        fda.export(own.place, tmp_path / "vf", options("video-features", features="theirs"))
    with pytest.raises(fda.NotInStoreError, match="no features 'theirs' for split 'train'"):
        fda.export(own.place, tmp_path / "train", replace(theirs, splits=("train",)))


def test_vectors_without_frames_are_exported_without_times(own: Store, tmp_path: Path) -> None:
    imported(own)
    withdraw(own, "frames")
    with pytest.raises(fda.ShardIncompleteError, match="has no frames yet"):  # nothing else tells which videos failed
        fda.export(own.place, tmp_path / "plain", options("parquet", features=None))
    result = fda.export(own.place, tmp_path / "out", options("parquet", features="theirs"))
    assert any("frames of split 'test' are pending" in sentence for sentence in result.warnings)
    videos = pq.read_table(tmp_path / "out/videos.parquet")
    assert videos["frame_seconds"].null_count == videos["mask_coverage"].null_count == len(IDS["test"])
    with pytest.raises(fda.ShardIncompleteError):  # these masks were asked for
        fda.export(own.place, tmp_path / "masks", options("parquet", features="theirs", masks=MASKS))


def test_masks_that_are_not_made_yet(own: Store, tmp_path: Path) -> None:
    withdraw(own, f"masks/{MASKS}")
    result = fda.export(own.place, tmp_path / "out", options("parquet", features=None, splits=("test",)))
    assert result.warnings == (
        "masks 'default' of split 'test' are pending: no statistics of masks are exported of it",
    )
    videos = pq.read_table(tmp_path / "out/videos.parquet")
    assert (videos["frame_seconds"].null_count, videos["mask_coverage"].null_count) == (0, videos.num_rows)


def test_masks_of_the_second_split_alone(own: Store, tmp_path: Path) -> None:
    withdraw(own, f"masks/{MASKS}", "train")
    result = fda.export(own.place, tmp_path / "out", options("parquet", features=None))
    videos = pq.read_table(tmp_path / "out/videos.parquet")
    assert videos["mask_coverage"].null_count == len(exported_ids("train"))
    assert result.masks == MASKS
    assert json.loads((tmp_path / "out/fda-export.json").read_text())["masks"] == MASKS


def test_a_shard_that_is_rebuilt_meanwhile(own: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = ParquetWriter.add

    def rebuilding(self: ParquetWriter, batch: Batch) -> None:
        add(self, batch)
        if batch.shard.key == "train/00001":
            path = Path(own.place) / commit_name(batch.shard, features_stage(FEATURES, "video"))
            path.write_bytes(path.read_bytes() + b" ")

    monkeypatch.setattr(ParquetWriter, "add", rebuilding)
    with pytest.raises(fda.ShardIncompleteError, match="train/00001 of .* was rebuilt while it was read: run the same"):
        fda.export(own.place, tmp_path / "out", options("parquet"))
    assert not (tmp_path / "out").exists()


def test_features_that_are_replaced_meanwhile(own: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shard is of one version, and the whole must be too."""

    def replaced(event: Event) -> None:
        if isinstance(event, ItemsDone) and "unit-mean" not in metadata.read_text():
            shutil.rmtree(metadata.parents[1])
            create_features(own, FEATURES, "train", DIM, {"pooling": "unit-mean"})
            for shard in own.shards("train"):
                write_videos(own, shard)

    metadata = Path(own.place) / f"features.zarr/{FEATURES}/train/video/zarr.json"
    with pytest.raises(fda.ShardIncompleteError, match="was rebuilt while it was read"):
        fda.export(own.place, tmp_path / "out", options("parquet"), listener=replaced)


def test_nothing_to_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.pipeline.exporting.made.IDS", {"test": [FAILED]})
    made = make(tmp_path / "store")
    for name in FORMATS:
        with pytest.raises(fda.InputError, match="there is nothing to export: 1 video failed"):
            fda.export(made.place, tmp_path / "out", options(name))
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_embeddings_that_differ_in_length_between_splits_are_no_table(own: Store, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split, dim in (("train", 4), ("test", 6)):
        ids = [own.catalog.split_videos(split)["video_id"], own.catalog.split_captions(split)["caption_id"]]
        video, text = (fda.Embeddings(rng.normal(size=(len(one), dim)), one.to_pylist()) for one in ids)
        fda.import_features(own.place, fda.ImportOptions("other", text, video, splits=(split,)))
    with pytest.raises(fda.InputError, match=r"not as many numbers in every split \(train: 4, test: 6\)"):
        fda.export(own.place, tmp_path / "out", options("parquet", features="other"))
    fda.export(own.place, tmp_path / "out", options("npz", features="other"))


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("npz", {"features": None}, "--format npz writes embeddings: name a feature set with --features"),
        ("clip-video-encode", {"features": None}, "writes the embeddings of frames"),
        ("webdataset", {"features": FEATURES}, "no place for --features: it is for parquet, clip-retrieval"),
        (
            "npz",
            {"masks": MASKS},
            "no place for --masks: it is for parquet, clip-video-encode, webdataset",
        ),
        ("parquet", {"images": "png"}, "no place for --images: it is for webdataset"),
        ("parquet", {"vectors": "float16"}, "no place for --vectors: it is for clip-retrieval"),
        ("npz", {"videos_per_file": 5}, "no place for --videos-per-file: it is for clip-retrieval, webdataset"),
        ("npz", {"videos_per_file": 0}, "videos_per_file must be 1 or more, got 0"),
        ("npz", {"splits": ("test", "test")}, "a split is named twice"),
        ("npz", {"splits": "test"}, "splits must be several names"),
    ],
)
def test_options_that_do_not_fit(store: Store, tmp_path: Path, name: str, fields: Any, message: str) -> None:
    with pytest.raises(fda.OptionError, match=message):
        fda.export(store.place, tmp_path / "out", options(name, **fields))
    with pytest.raises(fda.OptionError, match="format must be one of parquet, clip-retrieval"):
        fda.ExportOptions("csv")  # type: ignore[arg-type]


@pytest.mark.parametrize("split", list(IDS))
def test_one_split(store: Store, tmp_path: Path, split: str) -> None:
    fda.export(store.place, tmp_path / "out", options("parquet", splits=(split,)))
    assert pq.read_table(tmp_path / "out/videos.parquet")["video_id"].to_pylist() == exported_ids(split)


def test_a_store_without_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.pipeline.exporting.made.IDS", {"test": ["no captions"]})
    made = make(tmp_path / "store")
    fda.export(made.place, tmp_path / "parquet", options("parquet"))
    assert pq.read_table(tmp_path / "parquet/videos.parquet")["captions"].to_pylist() == [[]]
    assert pq.read_table(tmp_path / "parquet/captions.parquet").num_rows == 0
    fda.export(made.place, tmp_path / "npz", options("npz"))
    assert np.load(tmp_path / "npz/test/truth.npy").shape == (0,)
    with pytest.raises(fda.InputError, match="no video has a caption"):
        fda.export(made.place, tmp_path / "cr", options("clip-retrieval"))
