"""Encoding in bfloat16, memory that runs out, attention, pooling, and what a text's length does not change."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from encoders.config import ModelConfig
from encoders.devices import computes_bf16
from encoders.encoding.copying import copy_to_encode
from encoders.encoding.encoder import Encoder, lowest_cosine
from encoders.encoding.memory import EncoderMemory
from encoders.encoding.towers import Towers
from encoders.model import AlphaClip
from encoders.options import Pooling, Precision
from encoders.tokens import Tokenizer
from pipeline.evaluation.names import POOLINGS
from pipeline.evaluation.scores.pooling import pool_frames
from tests.encoders_tiny import TINY, assert_close, random_clips, tiny_model

MODEL = tiny_model()


def test_bf16_is_nearly_the_same_and_not_the_same() -> None:
    frames, alpha = random_clips(3, 2)
    encoder = Encoder(MODEL, precision=Precision.BF16)
    cosine = lowest_cosine(Encoder(MODEL), encoder, frames, alpha)
    assert 0.999 < cosine < 1
    exact, near = Encoder(MODEL).encode_texts(["a dog"]).text, encoder.encode_texts(["a dog"]).text
    assert near.dtype == np.float32
    assert 0.999 < float((exact * near).sum()) <= 1 + 1e-6
    assert not np.array_equal(exact, near)


def test_bf16_leaves_the_model_in_float32() -> None:
    model = tiny_model()
    Encoder(model, precision=Precision.BF16).encode_clips(*random_clips(1, 1))
    assert {tensor.dtype for tensor in model.named_tensors().values()} == {torch.float32}


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_what_encodes_shares_the_weights_that_it_does_not_change(quick_gelu: bool) -> None:
    model = AlphaClip(replace(TINY, quick_gelu=quick_gelu)).eval()
    encodes = copy_to_encode(model, shares=True)
    pairs = list(zip(model.named_parameters(), encodes.parameters(), strict=True))
    own = [name for (name, theirs), ours in pairs if ours is not theirs]
    assert encodes.clip.attn_mask is model.clip.attn_mask
    assert own == [name for (name, _), _ in pairs if quick_gelu and ".mlp." in name]
    frames = torch.randn(5, 3, 32, 32), torch.randn(5, 1, 32, 32)
    with torch.inference_mode():
        assert_close(encodes.encode_frames(*frames), model.encode_frames(*frames), rtol=0, atol=2e-6)


def test_a_compiled_tower_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    # The padding to one shape is what is ours about it; the kernels are torch's, and need a compiler that may lack.
    shapes = []

    def compiled(blocks: torch.nn.Module, *, dynamic: bool) -> torch.nn.Module:
        assert dynamic is False
        blocks.register_forward_pre_hook(lambda module, inputs: shapes.append(tuple(inputs[0].shape)))
        return blocks

    monkeypatch.setattr(torch, "compile", compiled)
    frames, alpha = random_clips(3, 3)
    whole = Encoder(tiny_model(), batch_frames=4, compiled=True).encode_clips(frames, alpha)
    assert set(shapes) == {(4, 5, 32)}
    np.testing.assert_allclose(whole.frame, Encoder(MODEL).encode_clips(frames, alpha).frame, atol=1e-5)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_where_memory_runs_out_batches_are_halved_and_it_is_said(
    error: RuntimeError, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    encode = Towers.encode_frames
    sizes = []

    def limited(towers: Towers, frames: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        sizes.append(len(frames))
        if len(frames) > 2:
            raise error
        return encode(towers, frames, masks)

    frames, alpha = random_clips(3, 3)
    expected = Encoder(MODEL).encode_clips(frames, alpha)
    monkeypatch.setattr(Towers, "encode_frames", limited)
    encoder = Encoder(MODEL, batch_frames=8)
    with caplog.at_level(logging.WARNING):
        found = encoder.encode_clips(frames, alpha)
    np.testing.assert_allclose(found.frame, expected.frame, atol=1e-6)
    assert sizes == [8, 4, 2, 2, 2, 2, 1]
    assert [record.message for record in caplog.records] == [
        "out of memory with 8 at once: continuing with 4",
        "out of memory with 4 at once: continuing with 2",
    ]
    assert encoder.batch_frames == 2


def test_of_a_batch_smaller_than_the_size_its_own_half_is_tried_next(monkeypatch: pytest.MonkeyPatch) -> None:
    encode = Towers.encode_frames
    sizes = []

    def limited(towers: Towers, frames: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        sizes.append(len(frames))
        if len(frames) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(towers, frames, masks)

    monkeypatch.setattr(Towers, "encode_frames", limited)
    Encoder(MODEL, batch_frames=64).encode_clips(*random_clips(1, 3))
    assert sizes == [3, 1, 1, 1]


def test_a_frame_that_does_not_fit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    monkeypatch.setattr(Towers, "encode_frames", never)
    with pytest.raises(MemoryError, match=r"cpu has too little memory for this model: .*2 GiB$"):
        Encoder(MODEL, batch_frames=4).encode_clips(*random_clips(1, 3))


def test_other_errors_are_not_taken_for_want_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Towers, "encode_frames", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        Encoder(MODEL).encode_clips(*random_clips(1, 3))


def test_attention_is_that_of_the_last_block() -> None:
    frames, alpha = random_clips(1, 3)
    found = Encoder(MODEL, batch_frames=2).attention(frames[0], alpha[0])
    assert found.shape == (3, 2, 2)
    weights = []
    block = MODEL.clip.visual.transformer.resblocks[-1]

    def keep(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], x: torch.Tensor) -> None:
        weights.append(block.attn(x, x, x, need_weights=True, average_attn_weights=True)[1])

    hook = block.ln_1.register_forward_hook(keep)
    with torch.inference_mode():
        Towers(MODEL, Precision.FP32).encode_frames(torch.from_numpy(frames[0]), torch.from_numpy(alpha[0]))
    hook.remove()
    expected = weights[0][:, 0, 1:].reshape(3, 2, 2)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    assert ((found >= 0) & (found <= 1)).all()
    assert (found.sum(axis=(1, 2)) < 1).all()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_again_is_pooling_at_once(pooling: str) -> None:
    frames, alpha = random_clips(3, 4)
    is_frame = np.array([[True] * 4, [True, False, False, False], [True, True, True, False]])
    found = Encoder(MODEL, pooling=Pooling(pooling)).encode_clips(frames, alpha, is_frame)
    np.testing.assert_allclose(pool_frames(found.frame, pooling), found.video, atol=1e-6)


def test_poolings_differ_and_another_is_refused() -> None:
    frame = np.array([[[3.0, 0.0], [0.0, 1.0]]], dtype=np.float32)
    np.testing.assert_allclose(pool_frames(frame, "mean"), [[3 / 10**0.5, 1 / 10**0.5]], atol=1e-6)
    np.testing.assert_allclose(pool_frames(frame, "unit-mean"), [[0.5**0.5, 0.5**0.5]], atol=1e-6)
    with pytest.raises(ValueError, match="'max'"):
        pool_frames(frame, "max")


def test_what_follows_the_end_of_a_text_changes_nothing() -> None:
    tokens = Tokenizer(TINY.context_length)(["a dog"]).tokens
    with torch.inference_mode():
        whole, cut = MODEL.encode_texts(tokens), MODEL.encode_texts(tokens[:, :4])
    assert_close(whole, cut, rtol=0, atol=1e-6)


def test_what_a_cpu_computes_is_known() -> None:
    assert isinstance(computes_bf16(torch.device("cpu")), bool)
    assert not computes_bf16(torch.device("meta"))


def test_memory_is_computed_from_the_sizes() -> None:
    config = ModelConfig.from_name_or_file("ViT-B-32-quickgelu")

    def needs(precision: Precision = Precision.FP32, batch_frames: int = 64, num_texts: int = 16) -> EncoderMemory:
        return EncoderMemory(config, precision, batch_frames, 150_000_000, 12, 16, 5, num_texts)

    assert needs().weights_mib == 572 + 312  # and the MLPs of both towers again, for QuickGELU in one pass
    assert needs(Precision.BF16).weights_mib == 858 + 312
    assert needs(batch_frames=128).activations_mib > 1.9 * needs().activations_mib
    assert needs(num_texts=1600).activations_mib == 1600 * 77 * 512 * 16 * 4 >> 20
    assert needs().shards_mib == 2 * 5 * 16 * 12 * 224 * 224 * 4 >> 20
    assert needs().num_fitting(8, 4 * needs().total_mib) == 3


def test_the_model_is_not_trained_by_encoding() -> None:
    model = AlphaClip(TINY)
    model.logit_scale.requires_grad_(False)
    Encoder(model).encode_clips(*random_clips(1, 1))
    assert [name for name, one in model.named_parameters() if not one.requires_grad] == ["clip.logit_scale"]
