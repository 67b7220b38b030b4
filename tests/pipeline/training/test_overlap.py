"""What is trained or chosen on is known by the contents of videos, and goes with the weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from store.contents import content_digests, shared_videos
from store.store import Store
from tests.clips_on_disk import Commands, record, run_preprocess, write_clip, write_manifest
from tests.encoders_tiny import write_config


@dataclass(frozen=True)
class Data:
    """Two stores, and how a model is trained on them."""

    leaky: Path
    """`val` has a video of `test`, and `train` another, each under another name."""
    fair: Path
    """Four videos of its own to train on; its `other` has a test video of `leaky`."""
    train: tuple[str | Path, ...]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("data")
    for number in range(9):
        write_clip(folder / f"{number}.mp4", number)
    for number, copy in ((0, "a"), (1, "b"), (2, "c")):
        shutil.copy(folder / f"{number}.mp4", folder / f"{copy}.mp4")
    captions = [[f"text {number}"] for number in range(20)]
    of_leaky = [
        ("test", "0"),
        ("test", "1"),
        ("val", "a"),
        ("val", "3"),
        ("train", "b"),
        ("train", "4"),
        ("train", "2"),
    ]
    of_fair = [("train", name) for name in "5678"] + [("val", "4"), ("other", "0"), ("other", "c")]
    stores = []
    for place, members in (("leaky", of_leaky), ("fair", of_fair)):
        records = [
            record(f"{split}_{name}", f"{name}.mp4", split, texts)
            for (split, name), texts in zip(members, captions, strict=False)
        ]
        manifest = write_manifest(folder, records, f"{place}.jsonl")
        stores.append(Path(run_preprocess(manifest, folder / place).place))
    leaky, fair = stores
    preset = folder / "preset.toml"
    config = write_config(folder)
    preset.write_text(
        f'[model]\nmodel = "{config}"\npretrained = "none"\n[finetune]\nepochs = 1\nbatch_size = 4\n'
        "[preprocess]\ntrain-frames = 2\n"
    )
    return Data(leaky, fair, ("--preset", preset, "--device", "cpu", "--no-progress"))


def test_videos_are_found_in_any_two_splits_by_their_contents(data: Data) -> None:
    found = {shared.splits: shared.pairs for shared in shared_videos(Store.open(data.leaky))}
    assert {frozenset(splits): {frozenset(pair) for pair in pairs} for splits, pairs in found.items()} == {
        frozenset({"test", "val"}): {frozenset({"test_0", "val_a"})},
        frozenset({"test", "train"}): {frozenset({"test_1", "train_b"})},
    }
    assert len(set(content_digests(Store.open(data.fair), "train").values())) == 4


def scored(fda: Commands, store: Path, split: str, *model: str | Path) -> list[str]:
    """What the model's scores on a split are not to be trusted for."""
    flags = ("--features", "mine", "--precision", "fp32", "--no-progress", "--overwrite", "--yes")
    encoded = fda("encode", store, *flags, "--split", split, *model)
    assert encoded.code == 0, encoded.err
    found = json.loads(fda("eval", store, "--features", "mine", "--split", split, "--json").out)
    assert found["chosen_on_test"] == ("chosen by its score on test videos" in encoded.err)
    return list(found["caveats"])


def test_a_val_split_with_test_videos_under_other_names_needs_the_flag_and_the_stamp_stays(
    fda: Commands, data: Data, tmp_path: Path
) -> None:
    begin = ("finetune", data.leaky, tmp_path / "first", *data.train)
    refused = fda(*begin)
    assert refused.code == 2
    assert "share 1 video by the contents of files" in refused.err
    assert "--choose-on-test" in refused.err
    trained = fda(*begin, "--choose-on-test", "--json")
    assert trained.code == 0, trained.err
    result = json.loads(trained.out)
    assert result["chosen_on_test"]
    assert sorted("'train'" in text for text in result["warnings"] if "share" in text) == [False, True]
    of_first = scored(fda, data.leaky, "test", "--checkpoint", tmp_path / "first")
    assert of_first == [
        "the model was TRAINED on 1 of the 2 videos that are scored",
        "the model's weights were CHOSEN on 1 of the 2 videos that are scored",
    ]
    # In other folders, the weights alone: encoded with, and trained further on other videos.
    model = ("--model", tmp_path / "tiny.json")
    write_config(tmp_path)
    weights = (tmp_path / "first/model.safetensors").rename(tmp_path / "mine.safetensors")
    assert scored(fda, data.leaky, "test", *model, "--pretrained", weights) == of_first
    again = fda("finetune", data.fair, tmp_path / "second", *data.train, "--pretrained", weights, "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["chosen_on_test"]
    assert "chosen by its score on test videos" in again.err
    assert scored(fda, data.leaky, "test", "--checkpoint", tmp_path / "second") == of_first
    assert scored(fda, data.fair, "other", "--checkpoint", tmp_path / "second") == [
        "the model was TRAINED on 1 of the 2 videos that are scored",
        "the model's weights were CHOSEN on 1 of the 2 videos that are scored",
    ]
    told = json.loads(fda("weights", *model, "--pretrained", weights, "--json").out)
    assert (told["num_videos_trained_on"], told["chosen_on_test"]) == (3, True)
    assert "3 videos; CHOSEN ON TEST VIDEOS" in fda("weights", *model, "--pretrained", weights).out


def test_splits_of_one_name_are_no_reason_where_contents_are_known(fda: Commands, data: Data, tmp_path: Path) -> None:
    trained = fda("finetune", data.fair, tmp_path / "fair", *data.train)
    assert trained.code == 0, trained.err
    assert "share" not in trained.err
    assert scored(fda, data.leaky, "val", "--checkpoint", tmp_path / "fair") == []
    assert scored(fda, data.leaky, "train", "--checkpoint", tmp_path / "fair") == [
        "the model's weights were CHOSEN on 1 of the 3 videos that are scored"
    ]
    assert scored(fda, data.fair, "train", "--checkpoint", tmp_path / "fair") == [
        "the model was TRAINED on 4 of the 4 videos that are scored"
    ]


def test_random_weights_are_marked(fda: Commands, data: Data, tmp_path: Path) -> None:
    model = ("--model", write_config(tmp_path), "--pretrained", "none")
    (said,) = scored(fda, data.leaky, "test", *model)
    assert said == "the model's weights are RANDOM (--pretrained none)"
    assert f"not a fair number: {said}" in fda("eval", data.leaky, "--features", "mine").out
