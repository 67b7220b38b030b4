"""Soft masks from decoding to training, by the real command line."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from store.clips.layout import moving
from store.features import read_features, read_frame_features
from store.store import Store
from store.view import StoreView
from tests.cli.test_end_to_end import write_preset
from tests.clips_on_disk import SERIAL_FLAGS, Commands, write_small_dataset

MASK_FLAGS = ("--kernel-size", "3", "--min-area", "8", "--workers", "0")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_dataset(tmp_path_factory.mktemp("videos"), {"train": 4, "val": 2, "test": 3})


def test_every_command_takes_a_soft_mask_set(fda: Commands, videos: Path, tmp_path: Path) -> None:
    store, checkpoint, preset = tmp_path / "store", tmp_path / "checkpoint", write_preset(tmp_path)
    made = fda("preprocess", videos, store, *SERIAL_FLAGS, "--soft", "--json")
    assert made.code == 0, made.err
    hard = fda("masks", store, "--masks", "hard", *MASK_FLAGS, "--json")
    assert json.loads(hard.out)["splits"] == json.loads(made.out)["masks"]  # coverage, empty, full: the binary masks'
    view = StoreView(Store.open(store))
    soft = view.masks([0, 1, 2], split="test")
    assert soft.dtype == np.uint8
    assert ((soft > 0) & (soft < 255)).any()
    np.testing.assert_array_equal(moving(soft), view.masks([0, 1, 2], "hard", split="test"))

    refused = fda("masks", store, "--masks", "default", *MASK_FLAGS)
    assert refused.code == 1
    assert "soft is true in the store" in refused.error_line
    report = tmp_path / "report.html"
    assert fda("report", store, "--output", report).code == 0
    assert "--soft" in report.read_text()
    assert fda("finetune", store, checkpoint, "--preset", preset, "--set", "epochs=1").code == 0
    encoded = fda("encode", store, "--features", "mine", "--checkpoint", checkpoint, "--precision", "fp32")
    assert encoded.code == 0, encoded.err
    assert fda("eval", store, "--features", "mine", "--slice", "motion").code == 0
    assert fda("verify", store).code == 0
    page, sheet = tmp_path / "page.html", tmp_path / "sheet.png"
    assert fda("inspect", store, "--features", "mine", "--page", page, "--sheet", sheet).code == 0
    assert "masks &#39;default&#39;, overlay" in page.read_text()

    assert fda("export", store, tmp_path / "tars", "--format", "webdataset", "--images", "png").code == 0
    with tarfile.open(next((tmp_path / "tars").glob("test-*.tar"))) as tar:
        name = next(name for name in tar.getnames() if name.endswith(".mask00.png"))
        content = tar.extractfile(name)
        assert content is not None
        picture = cv2.imdecode(np.frombuffer(io.BytesIO(content.read()).getvalue(), np.uint8), cv2.IMREAD_UNCHANGED)
    video_id = name.removesuffix(".mask00.png")
    np.testing.assert_array_equal(picture, view.masks(video_id)[0])


def test_masks_of_0_and_255_alone_give_the_features_of_binary_ones(fda: Commands, videos: Path, tmp_path: Path) -> None:
    store, preset = tmp_path / "store", write_preset(tmp_path)
    # With a threshold of 0 there is nothing between: half and twice of it are 0 too.
    assert fda("preprocess", videos, store, *SERIAL_FLAGS, "--masks", "hard", "--threshold", "0").code == 0
    assert fda("masks", store, "--masks", "soft", *MASK_FLAGS, "--threshold", "0", "--soft").code == 0
    checkpoint = tmp_path / "checkpoint"
    train = ("finetune", store, checkpoint, "--preset", preset, "--masks", "hard", "--set", "epochs=1")
    assert fda(*train).code == 0
    for masks in ("hard", "soft"):
        flags = ("--checkpoint", checkpoint, "--masks", masks, "--precision", "fp32")
        assert fda("encode", store, "--features", masks, *flags).code == 0
    opened = Store.open(store)
    hard, soft = (read_features(opened, masks, "test") for masks in ("hard", "soft"))
    assert hard.video.tobytes() == soft.video.tobytes()
    np.testing.assert_array_equal(hard.alpha_cosine, soft.alpha_cosine)
    assert np.isfinite(soft.alpha_cosine).any()
    frames = [read_frame_features(opened, masks, "test")[1].tobytes() for masks in ("hard", "soft")]
    assert frames[0] == frames[1]
