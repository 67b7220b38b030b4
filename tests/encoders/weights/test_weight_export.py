"""Weights written for other code: what it reads is the same model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders.encoding.encoder import Encoder
from encoders.errors import WeightsMismatchError
from encoders.model import AlphaClip
from encoders.options import WeightsLayout
from encoders.torchvision_shim import import_open_clip
from encoders.weights.export import exported, left_out, write_weights
from encoders.weights.loading import load_model
from encoders.weights.record import WeightsHeader
from tests.encoders_tiny import TINY, alpha_clip_layout, random_clips, tiny_model, write_config

open_clip = import_open_clip()
MODEL = tiny_model(seed=5)


def test_alpha_clips_layout_is_that_of_its_files(tmp_path: Path) -> None:
    found = exported(MODEL, WeightsLayout.ALPHA_CLIP)
    expected = alpha_clip_layout(MODEL.named_tensors())
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    write_weights(tmp_path / "tower.pth", found, layout=WeightsLayout.ALPHA_CLIP, header=WeightsHeader(True))
    loaded = load_model(write_config(tmp_path), "none", tmp_path / "tower.pth")
    frames, alpha = random_clips(2, 2)
    np.testing.assert_array_equal(
        Encoder(loaded.model).encode_clips(frames, alpha).frame, Encoder(MODEL).encode_clips(frames, alpha).frame
    )


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_plain_clip_is_the_model_with_an_alpha_of_all_ones(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plain{suffix}"
    write_weights(path, exported(MODEL, WeightsLayout.CLIP), layout=WeightsLayout.CLIP, header=WeightsHeader(True))
    clip = open_clip.CLIP(
        TINY.embed_dim,
        open_clip.CLIPVisionCfg(image_size=32, patch_size=16, width=32, layers=2, head_width=16),
        open_clip.CLIPTextCfg(context_length=10, width=8, heads=2, layers=1),
        quick_gelu=True,
    ).eval()
    read = load_model(
        write_config(tmp_path), str(path), activation=None if suffix == ".safetensors" else TINY.activation
    )
    assert read.report.missing == ("visual.conv1_alpha.weight",)
    clip.load_state_dict(exported(read.model, WeightsLayout.CLIP))  # names and shapes are open_clip's own
    frames, masks = random_clips(2, 2)
    expected = Encoder(MODEL).encode_clips(frames, np.ones_like(masks)).frame
    np.testing.assert_allclose(Encoder(read.model).encode_clips(frames, masks).frame, expected, atol=1e-5)
    assert np.abs(expected - Encoder(MODEL).encode_clips(frames, masks).frame).max() > 1e-2


@pytest.mark.parametrize("layout", WeightsLayout)
@pytest.mark.parametrize("quick_gelu", [True, False])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_what_is_written_can_be_read_or_is_refused(
    tmp_path: Path, layout: WeightsLayout, suffix: str, quick_gelu: bool
) -> None:
    model, path = AlphaClip(replace(TINY, quick_gelu=quick_gelu)), tmp_path / f"weights{suffix}"
    if layout is WeightsLayout.ALPHA_CLIP and suffix == ".pth" and not quick_gelu:
        with pytest.raises(ValueError, match=r"weights\.pth cannot say .* Write \.safetensors.*--layout clip"):
            write_weights(path, exported(model, layout), layout=layout, header=WeightsHeader(quick_gelu))
        assert not path.exists()
        return
    write_weights(path, exported(model, layout), layout=layout, header=WeightsHeader(quick_gelu))
    config = write_config(tmp_path, model.config)
    if layout is WeightsLayout.ALPHA_CLIP:
        read = load_model(config, "none", path).model
    else:
        read = load_model(config, str(path), activation=model.config.activation if suffix == ".pth" else None).model
    found = exported(read, layout)
    assert all(torch.equal(found[name], tensor) for name, tensor in exported(model, layout).items())
    other = write_config(tmp_path, replace(model.config, name="other", quick_gelu=not quick_gelu))
    trained = "trained with QuickGELU" if quick_gelu else "trained without QuickGELU"
    if suffix == ".safetensors":
        with pytest.raises(WeightsMismatchError, match=trained):
            load_model(other, *(("none", path) if layout is WeightsLayout.ALPHA_CLIP else (str(path),)))


@pytest.mark.parametrize("name", ["model.csv", "model", "model.safetensor", "model.npz"])
def test_a_name_that_says_another_kind_of_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' must end in .safetensors or .pt or .pth"):
        write_weights(tmp_path / name, {}, layout=WeightsLayout.CLIP, header=WeightsHeader(True))
    assert not list(tmp_path.iterdir())


def test_what_a_layout_has_no_place_for_is_named() -> None:
    names = set(MODEL.named_tensors())
    lost = left_out(MODEL, WeightsLayout.ALPHA_CLIP)
    assert set(lost) == {name for name in names if not name.startswith("visual.")}
    assert {"logit_scale", "text_projection"} <= set(lost)
    assert left_out(MODEL, WeightsLayout.CLIP) == ()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"mine\.pt already exists"):
        write_weights(path, exported(MODEL, WeightsLayout.CLIP), layout=WeightsLayout.CLIP, header=WeightsHeader(True))
    with pytest.raises(FileNotFoundError):
        write_weights(tmp_path / "nowhere/x.pt", {}, layout=WeightsLayout.CLIP, header=WeightsHeader(True))
    assert [one.name for one in tmp_path.iterdir()] == ["mine.pt"]
