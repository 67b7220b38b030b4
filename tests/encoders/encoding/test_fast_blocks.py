"""Blocks that compute the same in less time: oneDNN's in bfloat16, and the last one, for the class token alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from encoders.encoding import packed
from encoders.encoding.class_token import ClassToken
from encoders.encoding.packed import pack_blocks, packs_blocks
from tests.encoders_tiny import assert_close, tiny_model

MODEL = tiny_model()
WIDTH = MODEL.clip.visual.transformer.width
packs = pytest.mark.skipif(
    not packs_blocks(torch.device("cpu"), torch.bfloat16), reason="oneDNN does not multiply bfloat16 here"
)


@packs
@pytest.mark.parametrize("activation", [nn.SiLU(), nn.GELU(), nn.GELU("tanh"), nn.ReLU()])
def test_packed_blocks_compute_what_they_replace(activation: nn.Module) -> None:
    model = copy.deepcopy(MODEL)
    blocks, x = model.clip.visual.transformer.resblocks, torch.randn(2, 5, WIDTH)
    for block in blocks:
        block.mlp.gelu = activation
    with torch.inference_mode():
        expected = blocks[0](x)
        pack_blocks(model.to(torch.bfloat16))
        found = blocks[0](x.to(torch.bfloat16)).float()
    assert type(blocks[0]) is not type(blocks[-1])
    assert float(nn.functional.cosine_similarity(found, expected, dim=-1).min()) > 0.9999


@packs
def test_many_tokens_attend_by_torchs_fused_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = copy.deepcopy(MODEL).to(torch.bfloat16), torch.randn(2, 5, WIDTH).to(torch.bfloat16)
    pack_blocks(model)
    block = model.clip.visual.transformer.resblocks[0]
    with torch.inference_mode():
        by_matrices = block(x).float()
        monkeypatch.setattr(packed, "MOST_TOKENS", 4)
        monkeypatch.setattr(torch, "baddbmm", None)
        found = block(x).float()
    assert float(nn.functional.cosine_similarity(found, by_matrices, dim=-1).min()) > 0.9999


@packs
def test_blocks_with_scales_are_left_as_they_are() -> None:
    model = copy.deepcopy(MODEL)
    blocks = model.clip.visual.transformer.resblocks
    blocks[0].ls_1 = nn.Linear(WIDTH, WIDTH)
    pack_blocks(model.to(torch.bfloat16))
    assert type(blocks[0]) is type(blocks[-1])


def test_blocks_are_packed_for_bf16_on_a_cpu_alone() -> None:
    assert not packs_blocks(torch.device("cpu"), torch.float32)
    assert not packs_blocks(torch.device("meta"), torch.bfloat16)


def test_the_class_token_is_what_all_blocks_make_of_it() -> None:
    transformer, x = MODEL.clip.visual.transformer, torch.randn(2, 5, WIDTH)
    with torch.inference_mode():
        found = ClassToken(transformer.resblocks)(x)
        assert_close(found, transformer(x)[:, 0], atol=1e-5, rtol=1e-5)
