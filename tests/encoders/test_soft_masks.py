"""Soft masks as alpha: bytes of 0 and 255 are the binary mask, bit by bit, and what lies between is between."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from encoders.encoding.encoder import Encoder
from encoders.inputs import normalise_alpha, put_alpha
from encoders.options import Precision
from encoders.training.options import TrainOptions
from encoders.training.trainer import TrainBatch, Trainer
from tests.encoders_tiny import assert_close, random_clips, tiny_model

MODEL = tiny_model()


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_0_and_255_give_the_features_of_the_binary_mask_bit_by_bit(precision: Precision) -> None:
    frames, alpha = random_clips(3, 2)
    encoder = Encoder(MODEL, precision=precision)
    hard, soft = (encoder.encode_clips(frames, its) for its in (alpha, np.where(alpha, 255, 0).astype(np.uint8)))
    assert hard.frame.tobytes() == soft.frame.tobytes()
    assert hard.video.tobytes() == soft.video.tobytes()
    grey = encoder.encode_clips(frames, np.where(alpha, 200, 50).astype(np.uint8))
    assert not np.allclose(grey.frame, hard.frame, atol=1e-3)


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_features_are_those_of_the_model_with_that_alpha(precision: Precision) -> None:
    frames, _ = random_clips(1, 3)
    masks = np.random.default_rng(0).integers(0, 256, frames.shape[:-1], dtype=np.uint8)
    found = Encoder(MODEL, precision=precision).encode_clips(frames, masks).frame[0]
    alpha = (torch.from_numpy(masks[0]).float().unsqueeze(1) / 255 - 0.5) / 0.26
    mean, std = (
        torch.tensor(its)[:, None, None]
        for its in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    )
    images = (torch.from_numpy(frames[0]).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.inference_mode():
        expected = MODEL.encode_frames(images, alpha).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 if precision is Precision.FP32 else 0.05)


def test_attention_and_a_training_step_take_them_bit_by_bit_too() -> None:
    frames, alpha = random_clips(4, 2)
    soft = np.where(alpha, 255, 0).astype(np.uint8)
    encoder = Encoder(MODEL)
    assert encoder.attention(frames[0], alpha[0]).tobytes() == encoder.attention(frames[0], soft[0]).tobytes()
    texts = ["a", "b", "c", "d"]
    losses = [
        Trainer(tiny_model(), TrainOptions(), 2).step(TrainBatch(frames, masks, texts)).loss for masks in (alpha, soft)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_bytes_become_alpha_in_one_place(dtype: torch.dtype) -> None:
    masks = torch.arange(256, dtype=torch.uint8)
    values = put_alpha(torch.empty(256, dtype=dtype), masks)
    assert values[0] == 0
    assert values[255] == 1
    assert (values.diff() >= 0).all()
    assert_close(values.double(), torch.arange(256, dtype=torch.float64) / 255, rtol=0, atol=2**-8)
    assert put_alpha(torch.empty(2, dtype=dtype), torch.tensor([False, True])).tolist() == [0, 1]


def test_alpha_is_normalised_as_alpha_clip_does() -> None:
    found = normalise_alpha(torch.tensor([[[0, 51, 255]]], dtype=torch.uint8))
    assert_close(found.flatten(), (torch.tensor([0.0, 0.2, 1.0]) - 0.5) / 0.26)


def test_other_types_are_refused() -> None:
    frames, alpha = random_clips(1, 1)
    with pytest.raises(ValueError, match=r"alpha must be bool or uint8 of shape .* got float32"):
        Encoder(MODEL).encode_clips(frames, alpha.astype(np.float32))
