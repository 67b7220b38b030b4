"""Near-duplicates between splits: copies are listed, whatever the model, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import fda
from pipeline.errors import InputError
from pipeline.evaluation import near_duplicates
from pipeline.evaluation.arrays import unit_rows
from pipeline.evaluation.near_duplicates import near_rows
from tests.clips_on_disk import Commands, record, run_preprocess, write_clip, write_manifest, write_small_dataset


@pytest.mark.parametrize("spread", [1.0, 1e-2], ids=["a model that tells videos apart", "one that hardly does"])
@pytest.mark.parametrize("block", [1, 50, 2**24])
def test_copies_are_listed_and_nothing_else(spread: float, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies are as far away as re-encoding moves them; a model of random weights has all videos in one corner."""
    monkeypatch.setattr(near_duplicates, "_BLOCK_SCORES", block)
    rng = np.random.default_rng(0)
    corner = rng.normal(size=64)

    def unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
        found, _ = unit_rows(corner + spread * rows, "rows")
        return found

    test, train = rng.normal(size=(30, 64)), rng.normal(size=(40, 64))
    train[[3, 7, 39]] = test[[0, 12, 29]] + 0.1 * rng.normal(size=(3, 64))
    rows, nearest, cosines = near_rows(unit(test), unit(train))
    assert (rows.tolist(), nearest.tolist()) == ([0, 12, 29], [3, 7, 39])
    assert (cosines > 0.9).all()


@pytest.mark.parametrize("num_copies", [1, 15, 16, 30])
def test_copies_are_found_however_many_there_are(num_copies: int) -> None:
    """What is usual is seen within the scored split, so that no number of copies makes them usual."""
    rng = np.random.default_rng(1)
    test, train = rng.normal(size=(30, 64)), rng.normal(size=(40, 64))
    train[:num_copies] = test[:num_copies] + 0.1 * rng.normal(size=(num_copies, 64))
    rows, nearest, _ = near_rows(unit_rows(test, "test")[0], unit_rows(train, "train")[0])
    assert (rows.tolist(), nearest.tolist()) == ([*range(num_copies)], [*range(num_copies)])


def imported(folder: Path) -> Path:
    """A store whose test videos 0 and 2 are in `train`, too; the first of them is another encoding."""
    store = run_preprocess(write_small_dataset(folder, {"train": 5, "test": 4}), folder / "store")
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(5, 8)), rng.normal(size=(4, 8))
    train[[1, 4]] = test[[0, 2]] + [[0.02], [0.0]]
    for split, video in (("train", train), ("test", test)):
        ids, captions = (
            table[column].to_pylist()
            for table, column in (
                (store.catalog.split_videos(split), "video_id"),
                (store.catalog.split_captions(split), "caption_id"),
            )
        )
        text = fda.Embeddings(rng.normal(size=(len(captions), 8)), captions)
        fda.import_features(store.place, fda.ImportOptions(f"only-{split}", text, fda.Embeddings(video, ids)))
    both = {split: store.catalog.split_videos(split)["video_id"].to_pylist() for split in ("train", "test")}
    captions = [one for split in both for one in store.catalog.split_captions(split)["caption_id"].to_pylist()]
    text = fda.Embeddings(rng.normal(size=(len(captions), 8)), captions)
    videos = fda.Embeddings(np.concatenate([train, test]), [*both["train"], *both["test"]])
    fda.import_features(store.place, fda.ImportOptions("mine", text, videos))
    # Frames whose lengths differ, so that the two poolings do.
    frames = np.stack([np.concatenate([train, test]), 3 * np.concatenate([train, test]) + 1], axis=1)
    framed = fda.Embeddings(frames, [*both["train"], *both["test"]])
    fda.import_features(store.place, fda.ImportOptions("framed", text, frame=framed))
    for split, dim in (("train", 5), ("test", 8)):
        mine = [one for one in captions if one.startswith(split)]
        of_split = fda.Embeddings(rng.normal(size=(len(mine), dim)), mine)
        some = fda.Embeddings(rng.normal(size=(len(both[split]), dim)), both[split])
        fda.import_features(store.place, fda.ImportOptions("two-models", of_split, some))
    return folder / "store"


def test_a_split_without_captions_is_compared_too(tmp_path: Path) -> None:
    """One is trained without them, or they come later; a split of which no video has features is passed over."""
    records = []
    for number, (split, captions) in enumerate([("train", []), ("train", []), ("test", ["a"]), ("test", ["b"])]):
        write_clip(tmp_path / f"{number}.mp4", number)
        records.append(record(f"{split}_{number}", f"{number}.mp4", split, captions))
    records.append(record("gone", "gone.mp4", "val", ["c"]))
    store = run_preprocess(write_manifest(tmp_path, records), tmp_path / "store")
    rng = np.random.default_rng(0)
    video = rng.normal(size=(4, 8))
    video[0] = video[3]
    text = fda.Embeddings(rng.normal(size=(2, 8)), ["test_2#0", "test_3#0"])
    videos = fda.Embeddings(video, [str(one["video_id"]) for one in records[:4]])
    fda.import_features(store.place, fda.ImportOptions("mine", text, videos))
    report = fda.evaluate(store.place, "mine", extras=fda.EvalExtras(near_duplicates=True))
    assert report.near_duplicates is not None
    assert [(one.video_id, one.other_id) for one in report.near_duplicates] == [("test_3", "train_0")]


def test_the_command_lists_them_or_says_where_it_could_not_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    command, store = Commands(monkeypatch, capfd), imported(tmp_path)
    ended = command("eval", store, "--features", "mine", "--near-duplicates")
    assert ended.code == 0, ended.err
    assert "2 of 4 videos nearly the same as one of another split" in ended.out
    report = fda.evaluate(store, "mine", extras=fda.EvalExtras(near_duplicates=True))
    assert report.near_duplicates is not None
    pairs = [(one.video_id, one.other_split, one.other_id) for one in report.near_duplicates]
    assert pairs == [("test_2", "train", "train_4"), ("test_0", "train", "train_1")]  # the most alike first
    assert fda.evaluate(store, "mine").near_duplicates is None
    again = fda.evaluate(
        store, "framed", fda.EvalOptions(pooling="unit-mean"), extras=fda.EvalExtras(near_duplicates=True)
    )
    assert again.near_duplicates is not None
    assert {(one.video_id, one.other_id) for one in again.near_duplicates} == {(a, c) for a, _, c in pairs}
    with pytest.raises(InputError, match="8 dimensions in split 'test' and 5 in 'train'"):
        fda.evaluate(store, "two-models", extras=fda.EvalExtras(near_duplicates=True))
    alone = fda.evaluate(store, "only-test", extras=fda.EvalExtras(near_duplicates=True))
    assert alone.near_duplicates == ()
    assert any("in split 'train' were not looked for" in sentence for sentence in alone.warnings)
