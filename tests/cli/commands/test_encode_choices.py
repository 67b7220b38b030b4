"""What `fda encode` may be asked for beside a model: a preset's, frames resized, a part of each embedding."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from encoders.encoding.encoder import Encoder
from encoders.weights.files import sha256_of
from encoders.weights.loading import load_model
from pipeline.clips.alpha import AlphaClips
from pipeline.clips.options import AlphaSource, ClipSize
from pipeline.video.resizing import resize_and_crop
from store.clips.reader import ClipReader
from store.features import features_made_with, read_features, read_frame_features
from store.store import Store
from tests.cli.encode_commands import encode
from tests.clips_on_disk import SIZE, Commands, run_preprocess, write_small_dataset
from tests.encoders.weights.test_repositories import write_repository
from tests.encoders_tiny import TINY, TINY_VISION, write_config


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    return Path(run_preprocess(write_small_dataset(folder, {"train": 4, "test": 6}), folder / "store").place)


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    """Of each test alone."""
    return shutil.copytree(original, tmp_path / "store")


def test_a_preset_gives_model_and_options_and_flags_win(fda: Commands, store: Path, tmp_path: Path) -> None:
    write_config(tmp_path)
    preset = tmp_path / "mine.toml"
    preset.write_text(
        '[model]\nmodel = "tiny.json"\npretrained = "none"\nalpha = "ones"\n'
        '[finetune]\npooling = "unit-mean"\nmax_words = 8\n'
    )
    line = ("encode", store, "--features", "mine", "--preset", preset, "--precision", "fp32", "--dry-run", "--json")
    shown = fda(*line)
    assert shown.code == 0, shown.err
    said = json.loads(shown.out)
    assert (said["model"], said["alpha"], said["pooling"], said["max_words"]) == ("tiny", "ones", "unit-mean", 8)
    other = write_config(tmp_path, replace(TINY, name="other"))
    said = json.loads(fda(*line, "--alpha", "masks", "--model", other).out)
    assert (said["model"], said["alpha"], said["pooling"]) == ("other", "masks", "unit-mean")
    both = fda(*line, "--checkpoint", tmp_path)
    assert both.code == 2
    assert "give it alone" in both.err
    unknown = fda("encode", store, "--features", "mine", "--preset", "pe-core")
    assert unknown.code != 0
    assert "pe-core-b16" in unknown.err


def test_frames_of_another_size_are_refused_or_resized_with_their_masks(
    fda: Commands, store: Path, tmp_path: Path
) -> None:
    vision = replace(TINY_VISION, image_size=2 * SIZE)
    config = Path(write_config(tmp_path, replace(TINY, name="larger", vision_cfg=vision)))
    line = encode(store, config, "--split", "test", name="larger")
    refused = fda(*line)
    assert refused.code == 1
    assert f"`fda preprocess SOURCE OTHER_STORE --image-size {2 * SIZE}`" in refused.err
    assert "--resize-frames" in refused.err
    made = fda(*line, "--resize-frames")
    assert made.code == 0, made.err
    assert features_made_with(Store.open(store), "larger", "test")["resized"] == ClipSize(2 * SIZE).identity
    words = f"frames resized from {SIZE} to {2 * SIZE} pixels"
    assert words in fda("status", store).out
    scored = fda("eval", store, "--features", "larger", "--split", "test")
    assert words in scored.out
    read = AlphaClips(ClipReader(Store.open(store), "test", "default"), AlphaSource.MASKS, size=ClipSize(2 * SIZE))
    clips = read.read([0])
    encoder = Encoder(load_model(str(config), "none").model)
    expected = encoder.encode_clips(clips.frames, clips.masks, clips.is_frame).video
    np.testing.assert_allclose(read_features(Store.open(store), "larger", "test").video[:1], expected, atol=1e-6)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    flags = ("--image", tmp_path / "picture.png", "--features", "larger", "--split", "test", "--json")
    found = fda("search", store, *flags)
    assert found.code == 0, found.err
    # A picture comes to the model as the frames did: through the size in which they are stored.
    as_stored = resize_and_crop(resize_and_crop(pixels, SIZE), 2 * SIZE)[None, None]
    vector = encoder.encode_clips(as_stored, np.ones(as_stored.shape[:-1], np.bool_)).video[0]
    cosines = read_features(Store.open(store), "larger", "test").video @ vector
    hits = json.loads(found.out)["answers"][0]["hits"]
    assert {hit["row"]: hit["score"] for hit in hits} == pytest.approx(dict(enumerate(cosines.tolist())), abs=1e-5)
    same = fda(*encode(store, Path(write_config(tmp_path)), "--resize-frames", "--dry-run", "--json"))
    assert json.loads(same.out)["resized_to"] is None


def test_a_checkpoint_of_resized_frames_is_encoded_the_same_way(fda: Commands, store: Path, tmp_path: Path) -> None:
    vision = replace(TINY_VISION, image_size=SIZE // 2, patch_size=8)
    write_config(tmp_path, replace(TINY, name="smaller", vision_cfg=vision))
    preset, checkpoint = tmp_path / "smaller.toml", tmp_path / "checkpoint"
    preset.write_text(
        '[model]\nmodel = "smaller.json"\npretrained = "none"\n[finetune]\nepochs = 1\nbatch_size = 3\n'
        "[batches]\nframes = 2\nflip = 0.5\n"
    )
    line = ("finetune", store, checkpoint, "--preset", preset, "--no-progress")
    refused = fda(*line)
    assert refused.code == 1
    assert "--resize-frames" in refused.err
    trained = fda(*line, "--resize-frames")
    assert trained.code == 0, trained.err
    shown = fda("encode", store, "--features", "smaller", "--checkpoint", checkpoint, "--dry-run", "--json")
    assert shown.code == 0, shown.err
    assert json.loads(shown.out)["resized_to"] == SIZE // 2


def test_first_numbers_of_embeddings_are_measured_scored_and_searched(
    fda: Commands, store: Path, tmp_path: Path
) -> None:
    config, dim = Path(write_config(tmp_path)), TINY.embed_dim // 2
    some = ("--split", "test", "--pooling", "unit-mean", "--sensitivity", "0")
    assert fda(*encode(store, config, *some, name="whole")).code == 0
    first = encode(store, config, *some, "--truncate-dim", str(dim), "--store-dtype", "int8", name="first")
    said = fda(*first)
    assert said.code == 0, said.err
    assert re.search(rf"the first {dim} numbers, stored as int8: \d of 6 captions .* with all, cosine to all", said.err)
    whole, cut = (read_features(Store.open(store), name, "test") for name in ("whole", "first"))
    for one, other in ((whole.text, cut.text), (_unit_mean(store, "whole", dim), cut.video)):
        expected = one[:, :dim] / np.linalg.norm(one[:, :dim], axis=1, keepdims=True)
        np.testing.assert_allclose(other, expected, atol=0.02)
    assert f"the first {dim} numbers of each embedding" in fda("status", store).out
    assert f"the first {dim} numbers of each embedding" in fda("eval", store, "--features", "first").out
    compared = fda("compare", store, "whole", "first", "--json")
    assert compared.code == 0, compared.err
    assert "truncate_dim" in compared.out
    found = fda("search", store, "a square runs", "--features", "first", "--json")
    assert found.code == 0, found.err
    mixed = fda(*encode(store, config, *some, "--store-dtype", "int8", name="first"))
    assert mixed.code == 1
    assert "truncate_dim" in mixed.err
    for number, code in (("0", 2), (str(TINY.embed_dim + 1), 1)):
        refused = fda(*encode(store, config, "--truncate-dim", number))
        assert refused.code == code, refused.err
    assert f"within 1..{TINY.embed_dim}" in refused.err
    all_of_it = fda(*encode(store, config, *some, "--truncate-dim", str(TINY.embed_dim), name="whole"))
    assert all_of_it.code == 0, all_of_it.err


def test_a_folder_as_open_clip_publishes_models_is_encoded_trained_and_searched_with(
    fda: Commands, store: Path, tmp_path: Path
) -> None:
    folder, checkpoint = write_repository(tmp_path / "model"), tmp_path / "checkpoint"
    options = ("--split", "test", "--precision", "fp32", "--no-progress")
    encoded = fda("encode", store, "--features", "whole-model", "--model", folder, *options)
    assert encoded.code == 0, encoded.err
    found = fda("search", store, "a square runs", "--features", "whole-model", "--json")
    assert found.code == 0, found.err
    settings = [word for one in ("epochs=1", "batch_size=3", "frames=0") for word in ("--set", one)]
    trained = fda("finetune", store, checkpoint, "--model", folder, *settings, "--no-progress")
    assert trained.code == 0, trained.err
    started = json.loads((checkpoint / "training.json").read_text())["identity"]["start"]
    assert started["weights_sha256"] == sha256_of(folder / "open_clip_model.safetensors")
    lacking = fda("encode", store, "--features", "mine", "--model", "ViT-B-32", *options)
    assert (lacking.code, "--model and --pretrained go together" in lacking.err) == (2, True)
    hostile = fda("encode", store, "--features", "mine", "--model", "hf-hub:-x/../y", *options)
    assert (hostile.code, "is not of the form hf-hub:ORG/NAME" in hostile.err) == (1, True)


def _unit_mean(store: Path, name: str, dim: int) -> NDArray[np.float32]:
    """The mean of the first numbers of each frame at unit norm: shape (num_videos, dim)."""
    _, frame = read_frame_features(Store.open(store), name, "test")
    kept = frame[..., :dim]
    mean: NDArray[np.float32] = np.nanmean(kept / np.linalg.norm(kept, axis=-1, keepdims=True), axis=1)
    return mean


def test_auto_follows_a_set_of_the_same_model(fda: Commands, store: Path, tmp_path: Path) -> None:
    """Two sets that are made to be compared differ in what was asked, not in what a machine measured that minute."""

    def encoded(name: str, *more: str) -> tuple[str, str]:
        model = ("--model", write_config(tmp_path), "--pretrained", "none")
        ended = fda("encode", store, "--features", name, *model, "--no-progress", "--json", *more)
        return json.loads(ended.out)["precision"], ended.err

    encoded("first", "--precision", "bf16", "--split", "train")
    precision, said = encoded("second", "--pooling", "unit-mean", "--split", "test")
    assert precision == "bf16"
    assert "bf16, as features 'first' of the same model" in said
    precision, said = encoded("third", "--precision", "fp32", "--split", "test")
    assert (precision, "as features" in said) == ("fp32", False)
    assert "as features" not in encoded("other", "--seed", "1", "--dry-run")[1]
    encoded("first", "--precision", "fp32", "--overwrite", "--yes")
    encoded("second", "--precision", "fp32", "--overwrite", "--yes")
    precision, said = encoded("fourth", "--dry-run")
    assert (precision, "fp32, as features 'first' of the same model" in said) == ("fp32", True)
