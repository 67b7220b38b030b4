"""Embeddings of other programs in a store: every kind of file, every way to be wrong, the same numbers as arrays."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

import fda
from pipeline.errors import InputError, OptionError
from pipeline.evaluation.arrays import unit_rows
from pipeline.run.limits import Limit
from store.errors import StoreMismatchError
from store.store import Store
from tests.clips_on_disk import Commands, run_preprocess, write_small_dataset
from tests.encoders_tiny import write_config
from tests.stores import NUM_FRAMES, make_store

NUM_VIDEOS = 6
"""In two shards."""
DIM = 5


def drawn(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


TEXT, VIDEO, FRAME = drawn(2 * NUM_VIDEOS, DIM), drawn(NUM_VIDEOS, DIM, seed=1), drawn(NUM_VIDEOS, 2, DIM, seed=2)
TRUTH = np.repeat(np.arange(NUM_VIDEOS), 2)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "store", NUM_VIDEOS)


def ids_of(store: Store) -> tuple[list[str], list[str]]:
    """Of the videos and of the captions."""
    catalog = store.catalog
    return (
        catalog.split_videos("test")["video_id"].to_pylist(),
        catalog.split_captions("test")["caption_id"].to_pylist(),
    )


def given(store: Store, **more: Any) -> fda.ImportOptions:
    """The embeddings as arrays, in another order than the catalogue's."""
    video_ids, caption_ids = ids_of(store)
    text = fda.Embeddings(TEXT[::-1], caption_ids[::-1])
    video = fda.Embeddings(VIDEO[::-1], video_ids[::-1])
    return replace(fda.ImportOptions("theirs", text, video), **more)


def scored(store: Store) -> object:
    return fda.evaluate(store.place, "theirs").result.results


def as_arrays(video: NDArray[np.float32] = VIDEO) -> object:
    return fda.evaluate(TEXT, video, TRUTH).result.results


def test_they_score_as_the_arrays_do_and_the_store_is_sound(store: Store) -> None:
    result = fda.import_features(store.place, given(store))
    assert (result.splits[0].num_videos, result.splits[0].num_captions, result.dim) == (NUM_VIDEOS, 2 * NUM_VIDEOS, DIM)
    assert any(sentence.startswith(f"{3 * NUM_VIDEOS} embeddings of texts or videos") for sentence in result.warnings)
    assert scored(store) == as_arrays()
    findings = fda.verify(store.place).found.findings  # the store is made by hand, and its clips as no run makes them
    assert [finding.what for finding in findings if "features" in finding.name] == []
    (split,) = fda.status(store.place).status.splits
    assert [one.name for one in split.features] == ["theirs"]


def test_a_second_call_writes_nothing_and_other_embeddings_are_refused(store: Store) -> None:
    fda.import_features(store.place, given(store))
    files = {path: path.stat().st_mtime_ns for path in Path(store.place).rglob("c.*")}
    fda.import_features(store.place, given(store))
    assert {path: path.stat().st_mtime_ns for path in Path(store.place).rglob("c.*")} == files
    video_ids, _ = ids_of(store)
    other = given(store, video=fda.Embeddings(VIDEO + 1, video_ids))
    with pytest.raises(StoreMismatchError, match="was made with other options"):
        fda.import_features(store.place, other)
    with pytest.raises(fda.UnconfirmedError, match=r"would remove features '.*--yes"):
        fda.import_features(store.place, replace(other, overwrite=True))
    fda.import_features(store.place, replace(other, overwrite=True, yes=True))
    assert scored(store) == as_arrays(VIDEO + 1)


def test_frames_are_pooled_stored_and_scored(store: Store) -> None:
    video_ids, _ = ids_of(store)
    options = given(store, video=None, frame=fda.Embeddings(FRAME, video_ids))
    result = fda.import_features(store.place, options)
    assert result.has_frames
    assert scored(store) == as_arrays(FRAME.mean(axis=1))
    again = fda.evaluate(store.place, "theirs", fda.EvalOptions(pooling="unit-mean"))
    units = unit_rows(FRAME.reshape(-1, DIM), "frames")[0].reshape(FRAME.shape)
    assert again.result.results == as_arrays(units.mean(axis=1))
    assert fda.evaluate(store.place, "theirs", fda.EvalOptions(top_frames=1)).result.pooling == "top 1 frame"


def test_as_many_frames_as_a_video_has_are_pooled(store: Store) -> None:
    """More than the store has room for: they are not stored."""
    video_ids, _ = ids_of(store)
    frames = [drawn(1 + 3 * row, DIM, seed=row) for row in range(NUM_VIDEOS)]
    fda.import_features(store.place, given(store, video=fda.Embeddings(frames, video_ids)))
    assert scored(store) == as_arrays(np.stack([one.mean(axis=0) for one in frames]))
    with pytest.raises(InputError, match="have no frames: they were imported without"):
        fda.evaluate(store.place, "theirs", fda.EvalOptions(top_frames=1))
    too_many = given(store, frame=fda.Embeddings(frames, video_ids), features="other")
    with pytest.raises(InputError, match=f"has 4 frames of video .* room for {NUM_FRAMES}"):
        fda.import_features(store.place, too_many)


def test_videos_without_an_embedding_count_as_failed(store: Store) -> None:
    video_ids, _ = ids_of(store)
    result = fda.import_features(store.place, given(store, video=fda.Embeddings(VIDEO[:3], video_ids[:3])))
    assert result.splits[0].num_videos == 3
    assert f"3 of {NUM_VIDEOS} videos of split 'test' have no embedding: they count as failed" in result.warnings
    report = fda.evaluate(store.place, "theirs", fda.EvalOptions(max_missing=Limit.of(0.5)))
    assert report.result.num_videos == 3


def test_texts_stand_for_their_captions(store: Store) -> None:
    """As clip-retrieval says which text an embedding is of: by the text."""
    texts = store.catalog.split_captions("test")["text"].to_pylist()
    with pytest.raises(InputError, match=f"'{texts[0]}' is there twice, with other embeddings"):
        fda.import_features(store.place, given(store, text=fda.Embeddings(TEXT, [texts[0], *texts[:-1]])))
    spaced = [text.replace(" ", "  ") for text in texts[::-1]]
    again = fda.Embeddings(np.concatenate([TEXT[::-1], TEXT[:1]]), [*spaced, spaced[-1]])
    fda.import_features(store.place, given(store, text=again))
    assert scored(store) == as_arrays()


# Files. Each writer makes files of the same embeddings, and says how they are imported.

Writer = Callable[[Path, list[str], list[str]], dict[str, object]]


def as_npy(folder: Path, video_ids: list[str], caption_ids: list[str]) -> dict[str, object]:
    np.save(folder / "t.npy", TEXT[::-1])
    np.save(folder / "v.npy", VIDEO[::-1])
    (folder / "t.txt").write_text("\n".join(caption_ids[::-1]) + "\n", encoding="utf-8")
    (folder / "v.json").write_text(json.dumps(video_ids[::-1]))
    return {"text": "t.npy", "video": "v.npy", "text_ids": "t.txt", "video_ids": "v.json"}


def as_npy_in_order(folder: Path, video_ids: list[str], caption_ids: list[str]) -> dict[str, object]:
    np.save(folder / "t.npy", TEXT)
    np.save(folder / "v.npy", VIDEO)
    return {"text": "t.npy", "video": "v.npy"}


def as_npz(folder: Path, video_ids: list[str], caption_ids: list[str]) -> dict[str, object]:
    np.savez(folder / "t.npz", embeddings=TEXT, ids=np.array(caption_ids))
    np.savez(folder / "v.npz", **dict(zip(video_ids, VIDEO, strict=True)))  # one array for each video
    return {"text": "t.npz", "video": "v.npz"}


def as_parquet(folder: Path, video_ids: list[str], caption_ids: list[str]) -> dict[str, object]:
    lists = pa.FixedSizeListArray.from_arrays(pa.array(TEXT.ravel()), DIM)
    pq.write_table(
        pa.table({"embedding": lists, "caption_id": caption_ids, "note": ["x"] * len(TEXT)}), folder / "t.parquet"
    )
    pq.write_table(pa.table({"video_id": video_ids, "vector": VIDEO.astype(float).tolist()}), folder / "v.parquet")
    pq.write_table(pa.table({"video_id": video_ids}), folder / "ids.parquet")
    return {"text": "t.parquet", "video": "v.parquet", "video_ids": "ids.parquet"}


def as_clip_retrieval(folder: Path, video_ids: list[str], caption_ids: list[str]) -> dict[str, object]:
    """Two parts, the second of which sorts before the first by name."""
    for name in ("img_emb", "metadata"):
        (folder / "out" / name).mkdir(parents=True)
    for number, rows in ((9, slice(0, 4)), (10, slice(4, None))):
        np.save(folder / f"out/img_emb/img_emb_{number}.npy", VIDEO[rows].astype(np.float16))
        paths = pa.table({"image_path": [f"/data/{one}.mp4" for one in video_ids[rows]]})
        pq.write_table(paths, folder / f"out/metadata/metadata_{number}.parquet")
    np.save(folder / "t.npy", TEXT)
    return {"text": "t.npy", "video": "out"}


def as_clip_video_encode(folder: Path, video_ids: list[str], caption_ids: list[str]) -> dict[str, object]:
    """A file a video, with a row a frame."""
    (folder / "out").mkdir()
    for video_id, row in zip(video_ids, VIDEO, strict=True):
        np.save(folder / f"out/{video_id}.npy", np.stack([row, row]))
        (folder / f"out/{video_id}.json").write_text("{}")
    np.save(folder / "t.npy", TEXT)
    return {"text": "t.npy", "frame": "out"}


def as_tars(folder: Path, video_ids: list[str], caption_ids: list[str]) -> dict[str, object]:
    (folder / "out").mkdir()
    for number in (0, 1):
        with tarfile.open(folder / f"out/{number}_clip_embeddings.tar", "w") as tar:
            for video_id, row in list(zip(video_ids, VIDEO, strict=True))[number::2]:
                content = io.BytesIO()
                np.save(content, row[None])
                for ending in (".npy", ".json"):
                    member = tarfile.TarInfo(video_id + ending)
                    member.size = len(content.getvalue())
                    content.seek(0)
                    tar.addfile(member, content)
    np.save(folder / "t.npy", TEXT)
    return {"text": "t.npy", "video": "out"}


WRITERS = [as_npy, as_npy_in_order, as_npz, as_parquet, as_clip_retrieval, as_clip_video_encode, as_tars]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_files_that_other_programs_write(write: Writer, store: Store, fda: Commands, tmp_path: Path) -> None:
    named = {key: str(tmp_path / str(value)) for key, value in write(tmp_path, *ids_of(store)).items()}
    flags = [part for key, path in named.items() for part in (f"--{key.replace('_', '-')}", path)]
    ended = fda("import-features", store.place, "--features", "theirs", *flags)
    assert ended.code == 0, ended.err
    assert f"{NUM_VIDEOS} of {NUM_VIDEOS}" in ended.out
    half = VIDEO.astype(np.float16).astype(np.float32) if write is as_clip_retrieval else VIDEO
    assert scored(store) == as_arrays(half)


def a_pickle(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)


def a_cut_file(path: Path) -> None:
    np.save(path, VIDEO)
    path.write_bytes(path.read_bytes()[:-7])


def one_that_claims_to_be_huge(path: Path) -> None:
    np.save(path, VIDEO)
    path.write_bytes(
        path.read_bytes().replace(
            f"({NUM_VIDEOS}, {DIM})".encode(), b"(9" + b"9" * (len(f"{NUM_VIDEOS}, {DIM}") - 4) + f", {DIM})".encode()
        )
    )


def with_a_lying_header(path: Path) -> None:
    """Of a billion rows, in a folder, where the file is one of several."""
    path.mkdir()
    np.save(path / "v.npy", VIDEO)
    content = (path / "v.npy").read_bytes()
    told, lie = f"({NUM_VIDEOS}, {DIM}), }}".encode(), f"({10**9}, {DIM}), }}".encode()
    (path / "v.npy").write_bytes(content.replace(told + b" " * (len(lie) - len(told)), lie))


def with_a_lying_member(path: Path) -> None:
    path.mkdir()
    with_a_lying_header(path / "lies")
    content = (path / "lies/v.npy").read_bytes()
    (path / "lies/v.npy").unlink()
    (path / "lies").rmdir()
    with tarfile.open(path / "0.tar", "w") as tar:
        member = tarfile.TarInfo("v.npy")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


def with_a_pipe(path: Path) -> None:
    path.mkdir()
    os.mkfifo(path / "v.npy")


def with_a_pipe_among_tables(path: Path) -> None:
    (path / "img_emb").mkdir(parents=True)
    (path / "metadata").mkdir()
    np.save(path / "img_emb/img_emb_0.npy", VIDEO)
    os.mkfifo(path / "metadata/metadata_0.parquet")


def with_a_pipe_among_parts(path: Path) -> None:
    (path / "img_emb").mkdir(parents=True)
    (path / "metadata").mkdir()
    os.mkfifo(path / "img_emb/img_emb_0.npy")
    pq.write_table(pa.table({"image_path": ["a"]}), path / "metadata/metadata_0.parquet")


def with_a_pipe_as_tar(path: Path) -> None:
    path.mkdir()
    os.mkfifo(path / "0.tar")


PIPES = (with_a_pipe, with_a_pipe_among_tables, with_a_pipe_among_parts, with_a_pipe_as_tar)
BAD_FILES: dict[str, list[Callable[[Path], object]]] = {
    "v.npy": [a_pickle, a_cut_file, Path.touch, os.mkfifo, lambda path: np.save(path, np.array(["a"]))],
    "v.npz": [lambda path: path.write_bytes(b"PK"), lambda path: np.savez(path, embeddings=VIDEO, more=VIDEO, ids=[1])],
    "v.parquet": [
        lambda path: pq.write_table(pa.table({"video_id": ["a", None], "v": [[1.0], [2.0]]}), path),
        Path.touch,
        lambda path: pq.write_table(pa.table({"video_id": ["a"]}), path),
    ],
    "v.txt": [Path.touch],
    "folder": [Path.mkdir, with_a_lying_header, with_a_lying_member, *PIPES],
}


@pytest.mark.parametrize(("name", "make"), [(name, make) for name, makers in BAD_FILES.items() for make in makers])
def test_files_that_cannot_be_read_are_named(
    name: str, make: Callable[[Path], object], store: Store, tmp_path: Path
) -> None:
    path = tmp_path / name
    make(path)
    before = sorted(Path(store.place).rglob("*"))
    with pytest.raises(InputError, match=re.escape(str(path))):
        fda.import_features(store.place, given(store, video=path))
    assert sorted(Path(store.place).rglob("*")) == before


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo, Path.mkdir, lambda path: path.write_text('["a", null]')])
def test_ids_that_cannot_be_read_are_named(make: Callable[[Path], object], store: Store, tmp_path: Path) -> None:
    path = tmp_path / "ids.json"
    make(path)
    np.save(tmp_path / "v.npy", VIDEO[:2])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        fda.import_features(store.place, given(store, video=tmp_path / "v.npy", video_ids=path))


def test_two_files_of_one_name_are_not_one_video(store: Store) -> None:
    video_ids, _ = ids_of(store)
    paths = [f"{folder}/{video_ids[0]}.mp4" for folder in "ab"]
    with pytest.raises(InputError, match="is there twice, with other embeddings"):
        fda.import_features(store.place, given(store, video=fda.Embeddings(VIDEO[:2], paths)))


def test_frames_too_large_for_float16_are_refused(store: Store) -> None:
    video_ids, _ = ids_of(store)
    options = given(store, video=None, frame=fda.Embeddings(FRAME * 1e6, video_ids), frame_dtype="float16")
    with pytest.raises(InputError, match="too large for float16"):
        fda.import_features(store.place, options)


def test_encode_under_the_name_of_imported_features_is_refused(fda: Commands, tmp_path: Path) -> None:
    place = run_preprocess(write_small_dataset(tmp_path / "clips", {"test": 2}), tmp_path / "made").place
    np.savez(tmp_path / "v.npz", ids=["test_0", "test_1"], embeddings=VIDEO[:2])
    captions = [f"test_{video}#{number}" for video in range(2) for number in range(2)]
    np.savez(tmp_path / "t.npz", ids=captions, embeddings=TEXT[:4])
    files = ("--text", tmp_path / "t.npz", "--video", tmp_path / "v.npz")
    assert fda("import-features", place, "--features", "theirs", *files).code == 0
    refused = fda("encode", place, "--features", "theirs", "--model", write_config(tmp_path), "--pretrained", "none")
    assert refused.code == 1
    assert "was made with other options" in refused.error_line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video": fda.Embeddings(VIDEO)}, None),
        ({"video": fda.Embeddings(VIDEO[1:])}, "5 embeddings must be those of split 'test' in the order .* has 6"),
        (
            {"video": fda.Embeddings(VIDEO[:2], ["a", "b"])},
            "no embedding of a video of this store: its ids are 'a', 'b'",
        ),
        (
            {"video": fda.Embeddings(VIDEO[:2], ["a", "b"]), "splits": ("test",)},
            "of split 'test': its ids are 'a', 'b'",
        ),
        ({"video": fda.Embeddings(VIDEO[:2], ["a", "a"])}, "'a' is there twice"),
        ({"video": fda.Embeddings(VIDEO * np.nan)}, "the embedding of .-vidéo_0. is NaN, infinite or zero"),
        ({"video": fda.Embeddings(drawn(NUM_VIDEOS, 7))}, "one number of dimensions"),
        ({"text": fda.Embeddings(TEXT[:, None])}, "a text has one embedding"),
        ({"text": fda.Embeddings(TEXT[:1], ["x"])}, "no embedding of 12 captions of split 'test'.*its ids are 'x'"),
        ({"video": fda.Embeddings([VIDEO[0], *drawn(5, 2)])}, "embedding 1 has 2 numbers, the first 5"),
        ({"frame": fda.Embeddings(FRAME[:1], ["-vidéo_0"])}, "no frames of video '-vidéo_1'"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(change: dict[str, object], message: str | None, store: Store) -> None:
    options = given(store, **change)
    if message is None:
        fda.import_features(store.place, options)
        return
    before = sorted(Path(store.place).rglob("*"))
    with pytest.raises(InputError, match=message):
        fda.import_features(store.place, options)
    left = [path for path in sorted(Path(store.place).rglob("*")) if path not in before]
    # The run that failed is recorded, and nothing else is there.
    assert {path.parts[len(Path(store.place).parts)] for path in left} <= {"claims", "runs"}


def test_options_and_arrays_that_make_no_sense() -> None:
    with pytest.raises(OptionError, match="give the embeddings of videos"):
        fda.ImportOptions("theirs", fda.Embeddings(TEXT))
    with pytest.raises(InputError, match="12 embeddings and 1 ids"):
        fda.Embeddings(TEXT, ["a"])
    with pytest.raises(InputError, match="there are no embeddings"):
        fda.Embeddings(TEXT[:0])
