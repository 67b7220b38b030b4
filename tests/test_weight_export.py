"""Weights written for other code: what it reads is the same model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from encoders.encoding import Encoder
from encoders.torchvision_shim import import_open_clip
from encoders.weight_export import Layout, exported, write_weights
from encoders.weights import load_model
from tests.encoders_tiny import TINY, alpha_clip_layout, random_clips, tiny_model, write_config

open_clip = import_open_clip()
MODEL = tiny_model(seed=5)


def test_alpha_clips_layout_is_that_of_its_files(tmp_path: Path) -> None:
    found = exported(MODEL, Layout.ALPHA_CLIP)
    expected = alpha_clip_layout(MODEL.named_tensors())
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    write_weights(tmp_path / "tower.pth", found, quick_gelu=True)
    loaded = load_model(write_config(tmp_path), "none", tmp_path / "tower.pth")
    frames, alpha = random_clips(2, 2)
    np.testing.assert_array_equal(
        Encoder(loaded.model).encode_clips(frames, alpha).frame, Encoder(MODEL).encode_clips(frames, alpha).frame
    )


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_plain_clip_is_the_model_with_an_alpha_of_all_ones(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plain{suffix}"
    write_weights(path, exported(MODEL, Layout.CLIP), quick_gelu=True)
    clip = open_clip.CLIP(
        TINY.embed_dim,
        open_clip.CLIPVisionCfg(image_size=32, patch_size=16, width=32, layers=2, head_width=16),
        open_clip.CLIPTextCfg(context_length=10, width=16, heads=4, layers=1),
        quick_gelu=True,
    ).eval()
    read = load_model(
        write_config(tmp_path), str(path), activation=None if suffix == ".safetensors" else TINY.activation
    )
    assert read.report.missing == ("visual.conv1_alpha.weight",)
    clip.load_state_dict(exported(read.model, Layout.CLIP))  # names and shapes are open_clip's own
    frames, masks = random_clips(2, 2)
    expected = Encoder(MODEL).encode_clips(frames, np.ones_like(masks)).frame
    np.testing.assert_allclose(Encoder(read.model).encode_clips(frames, masks).frame, expected, atol=1e-5)
    assert np.abs(expected - Encoder(MODEL).encode_clips(frames, masks).frame).max() > 1e-2


def test_nothing_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"mine\.pt is there already"):
        write_weights(path, exported(MODEL, Layout.CLIP), quick_gelu=True)
    with pytest.raises(FileNotFoundError):
        write_weights(tmp_path / "nowhere/x.pt", {}, quick_gelu=True)
    assert [one.name for one in tmp_path.iterdir()] == ["mine.pt"]
