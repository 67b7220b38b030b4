"""`fda encode`, `fda eval`, `fda status` and `fda weights` by the command line: dry runs, precision, parts, workers."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from encoders.weights.files import sha256_of
from encoders.weights.loading import load_model, save_checkpoint
from store.store import Store
from tests.cli.encode_commands import encode, features
from tests.clips_on_disk import (
    SERIAL_FLAGS,
    Commands,
    record,
    run_preprocess,
    write_clip,
    write_manifest,
    write_small_dataset,
)
from tests.dask_processes import DaskProcesses
from tests.encoders_tiny import alpha_clip_layout, tiny_model, write_config
from tests.stores import tree_digest


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    return Path(run_preprocess(write_small_dataset(folder, {"train": 3, "test": 9}), folder / "store").place)


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "store")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_config(tmp_path_factory.mktemp("model")))


def test_a_dry_run_says_what_would_be_loaded_and_changes_nothing(fda: Commands, store: Path, config: Path) -> None:
    tower = store.parent / "alpha.pth"
    torch.save(alpha_clip_layout(tiny_model().named_tensors(), "module."), tower)
    before = tree_digest(store)
    asked = encode(store, config, "--alpha-checkpoint", tower, "--dry-run")
    found = json.loads(fda(*asked, "--json").out)
    assert found["weights"]["source"] == f"none: random weights of seed 0 + {tower}"
    assert found["weights"]["sha256"].endswith(sha256_of(tower))
    assert all(not name.startswith("visual.") for name in found["weights"]["missing"])
    assert found["weights"]["num_matched"] > 20
    assert (found["activation"], found["precision"], found["pooling"]) == ("quickgelu", "fp32", "mean")
    assert [
        (split["split"], split["num_videos_pending"], split["num_captions_pending"]) for split in found["splits"]
    ] == [
        ("train", 3, 6),
        ("test", 9, 18),
    ]
    printed = fda(*asked)
    assert printed.code == 0
    for words in ("sha256", "tensors missing", "test: 9 videos and 18 captions are pending", "at most about"):
        assert words in printed.out
    assert tree_digest(store) == before


def test_a_dry_run_says_what_would_be_refused(fda: Commands, store: Path, config: Path) -> None:
    assert fda(*encode(store, config)).code == 0
    found = fda(*encode(store, config, "--seed", "1", "--dry-run"))
    assert found.code == 1
    assert "test would be refused: model.weights_sha256 is" in found.out
    assert fda(*encode(store, config, "--dry-run")).code == 0


def test_how_much_of_a_caption_is_read_is_kept_with_the_features(fda: Commands, store: Path, config: Path) -> None:
    """The model reads 10 tokens: to ask for them is to ask for all."""
    assert fda(*encode(store, config, "--max-words", "4")).code == 0
    assert fda(*encode(store, config, "--max-words", "10", name="all")).code == 0
    made_by = [json.loads(fda("eval", store, "--features", name, "--json").out)["made_by"] for name in ("mine", "all")]
    assert [one.get("max_words") for one in made_by] == [4, None]
    refused = fda(*encode(store, config))
    assert (refused.code, "max_words" in refused.error_line) == (1, True)
    assert fda(*encode(store, config, name="all")).code == 0
    assert fda(*encode(store, config, "--max-words", "4", "--dry-run")).code == 0
    assert (
        "max_words must be at most 10, which tiny reads, got 11"
        in fda(*encode(store, config, "--max-words", "11")).error_line
    )


def test_auto_takes_the_precision_that_is_there(fda: Commands, store: Path, config: Path) -> None:
    flags = (
        "encode",
        store,
        "--features",
        "mine",
        "--model",
        config,
        "--pretrained",
        "none",
        "--no-progress",
        "--json",
    )
    first = json.loads(fda(*flags, "--precision", "bf16").out)
    assert first["precision"] == "bf16"
    assert 0.999 < first["cosine_to_fp32"] < 1
    again = fda(*flags)
    assert (again.code, json.loads(again.out)["precision"]) == (0, "bf16")
    refused = fda(*flags, "--precision", "fp32")
    assert refused.code == 1
    assert 'precision is "bf16" in the store and "fp32" now' in refused.error_line


def test_parts_in_any_order_make_what_one_run_makes(fda: Commands, store: Path, config: Path) -> None:
    whole = shutil.copytree(store, store.parent / "whole")
    assert fda(*encode(whole, config)).code == 0
    for part in (3, 1, 2):
        assert fda(*encode(store, config, "--partition", f"{part}/3")).code == 0
    assert tree_digest(store) == tree_digest(whole)


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[DaskProcesses]:
    (tmp_path / "dask").mkdir()
    processes = DaskProcesses(tmp_path / "dask")
    yield processes
    processes.end()


def test_workers_of_a_scheduler_make_what_one_process_makes(
    fda: Commands, store: Path, config: Path, dask: DaskProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.features.encode.SHARDS_PER_TASK", 1)
    whole = shutil.copytree(store, store.parent / "whole")
    assert fda(*encode(whole, config)).code == 0
    for _ in range(2):
        dask.worker()
    ended = fda(*encode(store, config, "--scheduler", dask.address, "--json"))
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["workers"] >= 1
    assert tree_digest(store) == tree_digest(whole)


def test_a_worker_with_other_weights_is_refused(
    fda: Commands, store: Path, config: Path, dask: DaskProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One path, two files: what a checkpoint that was copied to each machine by hand comes to.
    loaded = load_model(str(config), "none", seed=3)
    checkpoint = tmp_path / "checkpoint"
    save_checkpoint(checkpoint, loaded.model, loaded.config, {})

    def other_weights(*_: object) -> Store:
        other = load_model(str(config), "none", seed=4)
        save_checkpoint(checkpoint, other.model, other.config, {})
        return plan(*_)  # type: ignore[arg-type, return-value]

    import pipeline.features.encode as stage

    plan = stage.plan_encode
    monkeypatch.setattr("pipeline.features.encode.plan_encode", other_weights)
    dask.worker()
    flags = ("--features", "mine", "--checkpoint", checkpoint, "--precision", "fp32", "--no-progress")
    ended = fda("encode", store, *flags, "--scheduler", dask.address)
    assert ended.code == 1
    assert "on this worker and" in ended.error_line
    assert "put the same files on every machine" in ended.error_line


def test_flags_that_do_not_go_together(fda: Commands, store: Path, config: Path, tmp_path: Path) -> None:
    for flags, words in (
        (("--workers", "2"), "--workers is for --cluster"),
        (("--checkpoint", tmp_path), "--checkpoint holds the model and its weights"),
        (("--precision", "fp16"), "'fp16' is not one of"),
        (("--device", "gpu"), "cannot use device 'gpu'"),
        (("--batch-frames", "0"), "0 is not in the range"),
    ):
        ended = fda(*encode(store, config, *flags))
        assert ended.code in (1, 2)
        assert words in ended.err
    assert features(store) == {}


def test_status_says_of_each_feature_set_whether_it_is_stale(fda: Commands, store: Path, config: Path) -> None:
    assert fda(*encode(store, config)).code == 0
    status = json.loads(fda("status", store, "--json").out)
    mine = status["splits"]["test"]["features"]["mine"]
    assert (mine["state"], mine["num_stale"], mine["num_current"]) == ("current", 0, mine["num_shards"])
    assert mine["made_with"]["precision"] == "fp32"
    assert mine["alpha_cosine"] == pytest.approx(1.0)  # the convolution of random weights is zero
    (store / "commits/test/features/mine/video/00000.parquet").unlink()
    (store / "commits/test/features/mine/text/00000.parquet").unlink()
    assert json.loads(fda("status", store, "--json").out)["splits"]["test"]["features"]["mine"]["state"] == "incomplete"
    other = ("--threshold", "9", "--overwrite", "--yes", "--workers", "0", "--no-progress")
    again = fda("masks", store, "--masks", "default", *other)
    assert again.code == 0, again.err
    printed = fda("status", store).out
    assert "stale: 4 of 6 shards, 2 not made" in printed
    assert "train: features" in printed


def test_a_split_without_captions_is_told(fda: Commands, config: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "0.mp4", 0)
    manifest = write_manifest(tmp_path, [record("a", "0.mp4", captions=[]), record("b", "0.mp4", split="val")])
    assert fda("preprocess", manifest, tmp_path / "store", *SERIAL_FLAGS, "--no-progress").code == 0
    ended = fda(*encode(tmp_path / "store", config))
    assert (ended.code, ended.err.count("no caption")) == (0, 1)
    assert (
        "warning: test has no caption, and `fda eval` needs some: add them to the data set, run its `fda " in ended.err
    )


def test_features_of_frames_are_pooled_again(fda: Commands, store: Path, config: Path) -> None:
    assert fda(*encode(store, config)).code == 0
    assert fda(*encode(store, config, "--pooling", "unit-mean", name="unit")).code == 0
    again = json.loads(fda("eval", store, "--features", "mine", "--pooling", "unit-mean", "--json").out)
    unit = json.loads(fda("eval", store, "--features", "unit", "--json").out)
    assert again["pooling"] == unit["pooling"] == "unit-mean"
    assert again["text_to_video"] == unit["text_to_video"]
    assert again["alpha_cosine"] == pytest.approx(1.0)
    assert "mean cosine of videos to themselves" in fda("eval", store, "--features", "mine").out


def test_a_checkpoint_brings_its_pooling_and_its_stamp(
    fda: Commands, store: Path, config: Path, tmp_path: Path
) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text(
        f'[model]\nmodel = "{config}"\npretrained = "none"\n[finetune]\nepochs = 1\nbatch_size = 3\n'
        'pooling = "unit-mean"\n'
        "[preprocess]\ntrain-frames = 6\nthreshold = 25.0\n"
    )
    train = ("finetune", store, tmp_path / "checkpoint", "--preset", preset, "--val-split", "test", "--no-progress")
    refused = fda(*train)
    assert refused.code == 2
    assert "add --choose-on-test" in refused.err
    trained = fda(*train, "--choose-on-test")
    assert trained.code == 0, trained.err
    assert "CHOSEN ON TEST VIDEOS" in trained.out
    assert "warning: train_frames is 2 in the store and 6 in the preset" in trained.err
    flags = ("--features", "mine", "--checkpoint", tmp_path / "checkpoint", "--precision", "fp32", "--no-progress")
    made = fda("encode", store, *flags)
    assert made.code == 0
    assert "was chosen by its score on test videos" in made.err
    scored = fda("eval", store, "--features", "mine")
    assert "pooling unit-mean" in scored.out
    assert "not a fair number: the model's weights were CHOSEN on 9 of the 9 videos that are scored" in scored.out


def test_a_checkpoint_brings_the_alpha_that_it_was_trained_with(
    fda: Commands, store: Path, config: Path, tmp_path: Path
) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text(
        f'[model]\nmodel = "{config}"\npretrained = "none"\nalpha = "ones"\n[finetune]\nepochs = 1\nbatch_size = 3\n'
    )
    assert fda("finetune", store, tmp_path / "checkpoint", "--preset", preset, "--no-progress").code == 0
    flags = ("encode", store, "--checkpoint", tmp_path / "checkpoint", "--precision", "fp32", "--no-progress")
    assert json.loads(fda(*flags, "--features", "same", "--dry-run", "--json").out)["alpha"] == "ones"
    other = fda(*flags, "--features", "other", "--alpha", "masks", "--dry-run", "--json")
    assert json.loads(other.out)["alpha"] == "masks"
    assert "warning: the checkpoint was trained otherwise: alpha was ones and is masks" in other.err


def test_a_val_split_that_is_not_there_is_not_passed_over(
    fda: Commands, store: Path, config: Path, tmp_path: Path
) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text(
        f'[model]\nmodel = "{config}"\npretrained = "none"\n[finetune]\nepochs = 1\n[preprocess]\ntresh = 1\n'
    )
    train = ("finetune", store, tmp_path / "checkpoint", "--preset", preset)
    assert f"[preprocess] of {preset} has" in fda(*train).error_line
    assert "unknown keys: tresh" in fda(*train).error_line
    preset.write_text(preset.read_text().replace("tresh = 1\n", ""))
    ended = fda(*train, "--val-split", "nope")
    assert (ended.code, "'nope'" in ended.error_line) == (1, True)
    assert fda(*train, "--train-split", "test").code == 2


def test_weights_are_told_of_and_written_for_others(fda: Commands, config: Path, tmp_path: Path) -> None:
    asked = ("weights", "--model", config, "--pretrained", "none")
    found = json.loads(fda(*asked, "--json").out)
    assert (found["activation"], found["num_matched"], found["output"]) == ("quickgelu", 0, None)
    out = tmp_path / "plain.safetensors"
    assert fda(*asked, "--layout", "clip", "-o", out).code == 0
    read = json.loads(fda("weights", "--model", config, "--pretrained", out, "--json").out)
    assert read["missing"] == ["visual.conv1_alpha.weight"]
    again = fda(*asked, "--layout", "clip", "-o", out)
    assert (again.code, "already exists" in again.error_line) == (1, True)
    assert "--layout and -o go together" in fda(*asked, "-o", out).err
    tower = tmp_path / "tower.pth"
    assert fda(*asked, "--layout", "alpha-clip", "-o", tower).code == 0
    loaded = fda("weights", "--model", config, "--pretrained", "none", "--alpha-checkpoint", tower)
    assert (loaded.code, "Alpha-CLIP" in loaded.out) == (0, True)


def test_weights_are_printed_for_people_with_the_seed_that_was_asked_for(fda: Commands, config: Path) -> None:
    told = fda("weights", "--model", config, "--pretrained", "none", "--seed", "3")
    assert "random weights of seed 3" in told.out
    assert "None" not in told.out
    assert re.search(r"tensors missing .* and \d+ more\n", told.out)
    digests = {
        json.loads(fda("weights", "--model", config, "--pretrained", "none", "--seed", seed, "--json").out)["sha256"]
        for seed in "034"
    }
    assert len(digests) == 3


def test_exporting_prints_one_line_and_says_what_is_lost(fda: Commands, config: Path, tmp_path: Path) -> None:
    model = tiny_model()
    save_checkpoint(tmp_path / "mine", model, model.config, {})
    asked = ("weights", "--checkpoint", tmp_path / "mine")
    whole = fda(*asked, "--layout", "clip", "-o", tmp_path / "whole.pt")
    assert (whole.code, whole.out.count("\n"), whole.err) == (0, 1, "")
    names = set(model.named_tensors())
    assert f"whole.pt: {len(names) - 1} tensors in the layout clip, of {len(names)} tensors from" in whole.out
    tower = fda(*asked, "--layout", "alpha-clip", "-o", tmp_path / "tower.pt")
    assert (tower.code, tower.out.count("\n")) == (0, 1)
    assert f" {sum(not name.startswith('visual.') for name in names)} tensors: " in tower.err
    assert "logit_scale" in tower.err
    assert "training may have changed them: --layout clip keeps them" in tower.err
    random = ("weights", "--model", config, "--pretrained", "none", "--layout", "alpha-clip")
    untrained = fda(*random, "-o", tmp_path / "random.pt", "--json")
    assert json.loads(untrained.out)["output"].endswith("random.pt")
    assert ("left out" in untrained.err, "training" in untrained.err) == (True, False)


def test_weights_that_are_not_finite_are_refused_before_anything_is_written(
    fda: Commands, store: Path, config: Path
) -> None:
    tower = store.parent / "diverged.pth"
    tensors = alpha_clip_layout(tiny_model().named_tensors())
    tensors["ln_post.bias"][:2] = torch.nan
    torch.save(tensors, tower)
    before = tree_digest(store)
    refused = fda(*encode(store, config, "--alpha-checkpoint", tower))
    assert refused.code == 1
    assert "diverged.pth contains NaN or infinite values: 2 of 32 in visual.ln_post.bias" in refused.error_line
    assert tree_digest(store) == before


@pytest.mark.parametrize("verbose", [(), ("-v",)])
def test_a_download_is_told_of_before_it_fails(
    fda: Commands, monkeypatch: pytest.MonkeyPatch, verbose: tuple[str, ...]
) -> None:
    def fail(description: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr("encoders.weights.pretrained.open_clip.download_pretrained", fail)
    monkeypatch.setattr("encoders.weights.pretrained.is_cached", lambda description: False)
    ended = fda("weights", "--model", "ViT-B-16-quickgelu", "--pretrained", "openai", *verbose)
    assert ended.code == 1
    assert 0 <= ended.err.find("downloading the weights 'openai'") < ended.err.find("could not download")


def test_weights_that_do_not_tell_their_activation_are_asked_for_it(
    fda: Commands, config: Path, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    plain = {name: tensor for name, tensor in tiny_model().named_tensors().items() if "alpha" not in name}
    torch.save(plain, path)
    asked = ("weights", "--model", config, "--pretrained", path)
    assert "nothing says whether they were trained with QuickGELU" in fda(*asked).error_line
    assert fda(*asked, "--activation", "quickgelu").code == 0
    assert "trained without QuickGELU" in fda(*asked, "--activation", "gelu").error_line
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"quick_gelu": True}}))
    assert fda(*asked).code == 0
    assert "--activation gelu contradicts" in fda(*asked, "--activation", "gelu").error_line


def test_presets_are_printed_to_be_copied_and_set_value_by_value(fda: Commands, store: Path, tmp_path: Path) -> None:
    printed = fda("finetune", "--print-preset", "clip4clip")
    assert printed.code == 0
    assert "Differences from CLIP4Clip" in printed.out
    mine = tmp_path / "mine.toml"
    mine.write_text(printed.out.replace('pretrained = "openai"', 'pretrained = "none"'))
    wrong = fda("finetune", store, tmp_path / "x", "--preset", mine, "--set", "rate=1")
    assert wrong.code == 2
    assert "unknown keys: rate" in wrong.err
    assert "batches" not in wrong.err
    assert fda("finetune", "--print-preset", "nothing").code == 2


def test_preprocess_takes_the_clips_of_a_preset(fda: Commands, tmp_path: Path) -> None:
    clips = write_small_dataset(tmp_path, {"train": 1, "test": 1})
    flags = ("--preset", "fda-clip", "--image-size", "32", "--threshold", "30", "--workers", "0", "--no-progress")
    made = fda("preprocess", clips, tmp_path / "store", *flags, "--eval-frames", "8")
    assert made.code == 0, made.err
    layout = Store.open(tmp_path / "store").manifest.splits
    assert (layout["train"].num_frames, layout["test"].num_frames) == (24, 8)  # the preset's, and the flag's
    assert "unknown preset 'x'" in fda("preprocess", clips, tmp_path / "s", "--preset", "x").err
