"""Every format is read back by the reader that its users have, or by its documented layout where that is no package."""

from __future__ import annotations

import gc
import json
import warnings
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

import fda
from pipeline.exporting.destination import FILES_FILE, RECORD_FILE
from pipeline.run.file_names import file_name
from store.store import Store
from tests.pipeline.exporting.made import (
    DIM,
    FAILED,
    FEATURES,
    FPS,
    IDS,
    SHORT,
    captions_of,
    exported_ids,
    frame_vectors_of,
    frames_of,
    make,
    masks_of,
    num_frames_of,
    times_of,
    vector_of,
)

VIDEOS = exported_ids()
PAIRS = [(one, number, text) for one in VIDEOS for number, text in enumerate(captions_of(one))]
WITH_FEATURES = [one for one in fda.ExportFormat if one is not fda.ExportFormat.WEBDATASET]


def exported(store: Store, out: Path, name: str, **more: Any) -> Path:
    features = None if name == "webdataset" else FEATURES
    options = fda.ExportOptions(fda.ExportFormat(name), **{"features": features, **more})
    result = fda.export(store.place, out, options)
    assert [(one.split, one.num_videos, one.num_videos_left_out) for one in result.splits] == [
        (split, len(exported_ids(split)), int(FAILED in IDS[split])) for split in more.get("splits", IDS)
    ]
    return out


def same(found: Any, expected: NDArray[np.generic]) -> None:
    np.testing.assert_array_equal(np.asarray(found, dtype=expected.dtype), expected, strict=True)


def test_parquet_is_read_by_pandas_and_duckdb(store: Store, tmp_path: Path) -> None:
    out = exported(store, tmp_path / "out", "parquet")
    videos, captions = (pd.read_parquet(out / f"{name}.parquet") for name in ("videos", "captions"))
    assert videos["video_id"].tolist() == VIDEOS
    same(np.stack(videos["vector"].tolist()), np.stack([vector_of(one) for one in VIDEOS]))
    assert [list(texts) for texts in videos["captions"]] == [captions_of(one) for one in VIDEOS]
    for one, times in zip(VIDEOS, videos["frame_seconds"], strict=True):
        same(times, times_of(one))
    assert set(videos["mask_coverage"]) == {0.25}
    assert (set(videos["num_empty_masks"]), set(videos["num_full_masks"])) == ({1}, {0})
    assert videos["camera_motion"].all()
    assert captions["caption"].tolist() == [text for _, _, text in PAIRS]
    same(np.stack(captions["vector"].tolist()), np.stack([vector_of(f"{one}#{number}") for one, number, _ in PAIRS]))

    schema = pq.read_schema(out / "videos.parquet")
    assert pa.types.is_fixed_size_list(schema.field("vector").type)
    assert schema.field("vector").type.list_size == DIM
    counts = duckdb.sql(f"SELECT split, count(*) FROM '{out}/videos.parquet' GROUP BY split").fetchall()
    assert dict(counts) == {split: len(exported_ids(split)) for split in IDS}
    query = f"(SELECT vector FROM '{out}/videos.parquet' WHERE video_id = '..')"
    nearest = f"SELECT video_id FROM '{out}/videos.parquet' ORDER BY list_cosine_similarity(vector, {query}) DESC"
    assert duckdb.sql(nearest).fetchall()[0] == ("..",)


def test_parquet_without_features_has_no_vectors(store: Store, tmp_path: Path) -> None:
    out = exported(store, tmp_path / "out", "parquet", features=None)
    assert "vector" not in pq.read_schema(out / "videos.parquet").names
    assert pq.read_table(out / "captions.parquet").num_rows == len(PAIRS)


class ParquetMetadataProvider:
    """As clip-retrieval's server looks rows up: by the number that its index gives."""

    def __init__(self, folder: Path) -> None:
        self.metadata = pd.concat(pd.read_parquet(one) for one in sorted(folder.glob("*.parquet")))

    def get(self, row: int) -> dict[str, Any]:
        (found,) = self.metadata[row : row + 1].to_dict(orient="records")
        return {str(name): value for name, value in found.items()}


@pytest.mark.parametrize("per_part", [None, 3])
def test_clip_retrieval_aligns_rows_of_all_three(store: Store, tmp_path: Path, per_part: int | None) -> None:
    out = exported(store, tmp_path / "out", "clip-retrieval", videos_per_file=per_part)
    images, texts = (
        np.concatenate([np.load(path) for path in sorted((out / name).glob("*.npy"))])
        for name in ("img_emb", "text_emb")
    )
    names = [
        sorted(path.stem.rpartition("_")[2] for path in (out / name).iterdir()) for name in ("img_emb", "metadata")
    ]
    assert names[0] == names[1] == [f"{number}" for number in range(len(names[0]))]
    assert (len(names[0]) > 1) == (per_part is not None)
    metadata = ParquetMetadataProvider(out / "metadata")
    assert len(metadata.metadata) == len(images) == len(texts) == len(PAIRS)
    for row, (video_id, number, text) in enumerate(PAIRS):
        found = metadata.get(row)
        assert (found["video_id"], found["caption"]) == (video_id, text)
        same(images[row], vector_of(video_id))
        same(texts[row], vector_of(f"{video_id}#{number}"))


def test_clip_retrieval_says_what_has_no_row(store: Store, tmp_path: Path) -> None:
    options = fda.ExportOptions(fda.ExportFormat.CLIP_RETRIEVAL, features=FEATURES)
    assert fda.export(store.place, tmp_path / "out", options).warnings == (
        "1 video without a caption: this layout has no row for them",
    )


def test_clip_video_encode_has_three_files_a_video(store: Store, tmp_path: Path) -> None:
    out = exported(store, tmp_path / "out", "clip-video-encode", splits=("train",))
    found = {}
    for path in (out / "train").glob("*.json"):
        about = json.loads(path.read_text(encoding="utf-8"))
        found[about["video_id"]] = np.load(path.with_suffix(".npy"))
        assert about["captions"] == captions_of(about["video_id"])
        assert path.with_suffix(".txt").read_text(encoding="utf-8") == about["captions"][0]
        assert about["frame_seconds"] == times_of(about["video_id"]).tolist()
    assert found.keys() == set(exported_ids("train"))
    for video_id, frames in found.items():
        same(frames, frame_vectors_of(video_id)[: num_frames_of(video_id)])
    assert len(list((out / "train").glob("*.npy"))) == len(found)


def test_video_features_says_when_frames_are(store: Store, tmp_path: Path) -> None:
    out = exported(store, tmp_path / "out", "video-features")
    for split in IDS:
        for row, video_id in enumerate(exported_ids(split)):
            stem = out / split / file_name(video_id)
            clip, fps, times = (np.load(f"{stem}_{name}.npy") for name in ("clip", "fps", "timestamps_ms"))
            same(clip, frame_vectors_of(video_id)[: num_frames_of(video_id)])
            same(times, times_of(video_id) * 1000)
            assert fps.shape == ()
            assert np.isnan(fps) if row == 0 else fps == FPS
    options = fda.ExportOptions(fda.ExportFormat.VIDEO_FEATURES, features=FEATURES, overwrite=True)
    assert fda.export(store.place, out, options).warnings == (
        "the frame rate of 2 videos is not known: NaN in their _fps.npy",
    )


def samples(out: Path, split: str) -> list[dict[str, Any]]:
    import webdataset

    urls = sorted(str(path) for path in out.glob(f"{split}-*.tar"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its files to the garbage collector
        found = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))
        gc.collect()
    return found


@pytest.mark.parametrize("per_tar", [None, 3])
def test_webdataset_reads_every_frame_bit_for_bit(store: Store, tmp_path: Path, per_tar: int | None) -> None:
    images = fda.FrameImages.PNG
    out = exported(store, tmp_path / "out", "webdataset", images=images, videos_per_file=per_tar)
    for split in IDS:
        found = samples(out, split)
        assert [sample["json"]["video_id"] for sample in found] == exported_ids(split)
        for sample in found:
            video_id = sample["json"]["video_id"]
            num = num_frames_of(video_id)
            assert len([name for name in sample if name.startswith("frame")]) == num
            same(np.stack([sample[f"frame{n:02d}.png"] for n in range(num)]), frames_of(video_id)[:num])
            masks = np.stack([sample[f"mask{n:02d}.png"] for n in range(num)])
            same(masks, np.repeat(masks_of(video_id)[:num, ..., None] * np.uint8(255), 3, axis=-1))
            assert sample["json"]["captions"] == captions_of(video_id)
            assert sample["json"]["frame_seconds"] == times_of(video_id).tolist()
            assert sample["json"]["mask_coverage"] == 0.25
        num_tars = -(-len(found) // (per_tar or 1000))
        assert sorted(path.name for path in out.glob(f"{split}-*")) == [
            f"{split}-{number:06d}.tar" for number in range(num_tars)
        ]


def test_webdataset_writes_jpegs_that_look_the_same(store: Store, tmp_path: Path) -> None:
    out = exported(store, tmp_path / "out", "webdataset", splits=("test",))
    for sample in samples(out, "test"):
        frames = np.stack([sample[f"frame{n:02d}.jpg"] for n in range(3)]).astype(int)
        assert np.abs(frames - frames_of(sample["json"]["video_id"])).max() <= 6


def test_webdataset_describes_each_tar_as_of_one_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.pipeline.exporting.made.IDS", {"test": ["a"], "test-1k": ["b"]})
    options = fda.ExportOptions(fda.ExportFormat.WEBDATASET)
    fda.export(make(tmp_path / "store").place, tmp_path / "out", options)
    described = json.loads((tmp_path / "out/croissant.json").read_text(encoding="utf-8"))["distribution"]
    patterns = [part["includes"] for part in described if "includes" in part]
    assert [[path.name for path in (tmp_path / "out").glob(pattern)] for pattern in patterns] == [
        ["test-000000.tar"],
        ["test-1k-000000.tar"],
    ]


def test_hugging_face_loads_it_from_disk(store: Store, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    out = exported(store, tmp_path / "out", "huggingface")
    found = datasets.load_from_disk(str(out))
    assert list(found) == list(IDS)
    for split, rows in found.items():
        assert rows["video_id"][:] == exported_ids(split)
        assert rows["captions"][:] == [captions_of(one) for one in exported_ids(split)]
        rows = rows.with_format("numpy")
        same(rows["vector"][:], np.stack([vector_of(one) for one in exported_ids(split)]))
        for row, video_id in zip(rows, exported_ids(split), strict=True):
            texts = [vector_of(f"{video_id}#{number}") for number in range(len(captions_of(video_id)))]
            same(np.reshape(row["caption_vectors"], (-1, DIM)), np.reshape(texts, (-1, DIM)).astype(np.float32))


def test_hugging_face_names_the_extra_that_is_missing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"datasets, which is not installed: pip install -e '\.\[huggingface\]'"):
        fda.export(store.place, tmp_path / "out", fda.ExportOptions(fda.ExportFormat.HUGGINGFACE))
    assert list(tmp_path.iterdir()) == []


def test_npz_has_the_arrays_of_each_split(store: Store, tmp_path: Path) -> None:
    out = exported(store, tmp_path / "out", "npz")
    for split in IDS:
        ids = exported_ids(split)
        pairs = [pair for pair in PAIRS if pair[0] in ids]
        video, frame, text = (np.load(out / split / f"{name}.npz") for name in ("video", "frame", "text"))
        assert video["ids"].tolist() == frame["ids"].tolist() == ids
        same(video["embeddings"], np.stack([vector_of(one) for one in ids]))
        same(frame["embeddings"], np.stack([frame_vectors_of(one) for one in ids]))
        assert text["ids"].tolist() == [f"{one}#{number}" for one, number, _ in pairs]
        same(text["embeddings"], np.stack([vector_of(f"{one}#{number}") for one, number, _ in pairs]))
        assert [ids[row] for row in np.load(out / split / "truth.npy")] == [one for one, _, _ in pairs]
        lines = (out / split / "captions.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["text"] for line in lines] == [text for _, _, text in pairs]
    assert np.isnan(np.load(out / "train/frame.npz")["embeddings"][IDS["train"].index(SHORT), -1]).all()


def test_half_of_the_bytes(store: Store, tmp_path: Path) -> None:
    half = fda.VectorType.FLOAT16
    out = exported(store, tmp_path / "out", "clip-retrieval", vectors=half)
    same(np.load(out / "text_emb/text_emb_0.npy")[0], vector_of(f"{VIDEOS[0]}#0").astype(np.float16))


@pytest.mark.parametrize("name", list(fda.ExportFormat))
def test_equal_stores_give_equal_bytes_and_every_file_is_listed(store: Store, tmp_path: Path, name: str) -> None:
    one, other = (exported(store, tmp_path / place, name) for place in ("one", "other"))
    files = {path.relative_to(one): path for path in one.rglob("*") if path.is_file()}
    for its, path in files.items():
        assert path.read_bytes() == (other / its).read_bytes(), its
    listed = (one / FILES_FILE).read_text(encoding="utf-8").splitlines()
    assert sorted(listed) == sorted(its.as_posix() for its in files)
    record = json.loads((one / RECORD_FILE).read_text(encoding="utf-8"))
    assert (record["kind"], record["format"]) == ("fda export", name)
    assert str(store.place) not in (one / RECORD_FILE).read_text(encoding="utf-8")  # it may be passed on


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(fda.ExportFormat))
def test_the_description_is_valid(store: Store, tmp_path: Path, name: str) -> None:
    """By MLCommons' own reader, which reads the records of tables, and compares checksums before it does."""
    mlcroissant = pytest.importorskip("mlcroissant")
    out = exported(store, tmp_path / "out", name)
    described = mlcroissant.Dataset(str(out / "croissant.json"))
    assert not described.metadata.ctx.issues.errors
    if name == "parquet":
        rows = list(described.records("videos"))
        assert [row["videos/video_id"].decode() for row in rows] == VIDEOS
        same(rows[0]["videos/vector"], vector_of(VIDEOS[0]))
        assert rows[0]["videos/num_empty_masks"] == 1
        assert [row["captions/caption"].decode() for row in described.records("captions")] == [one[2] for one in PAIRS]
    for part in described.metadata.distribution:
        patterns = getattr(part, "includes", None) or [part.content_url]
        assert all(list(out.glob(pattern)) for pattern in patterns), part
