"""Blocks of open_clip's vision transformers in bfloat16 on a CPU, as oneDNN computes them fastest.

torch hands each product to oneDNN with weights as they lie, which are brought into blocks each time, and with a bias
that is written into the result before; the activation and the sum with the input are two more passes. Here weights are
brought into blocks once, and the product adds the bias, applies the activation or adds the input, before its results
leave the registers. Queries, keys and values are brought into order in one plain copy, which takes less time than the
pass of torch's own fast path that also adds their bias.

The operators are those that `torch.compile` puts into frozen models (`torch._inductor.fx_passes.mkldnn_fusion`). Where
a build of torch has none, nothing is replaced.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from encoders.model import AlphaClip
from encoders.torchvision_shim import import_open_clip

open_clip = import_open_clip()

MOST_TOKENS = 300
"""Of a frame, for attention by whole matrices: its time is 0.5 to 0.75 of that of torch's fused attention for 50 to 257
tokens, and the same for 577, where the matrices of a frame take 21 MiB."""
_OPERATORS = ("_is_mkldnn_bf16_supported", "_reorder_linear_weight", "_linear_pointwise")


def packs_blocks(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN has products of such numbers on a device, with weights in blocks."""
    if device.type != "cpu" or dtype is not torch.bfloat16:
        return False
    has_operators = all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)
    return has_operators and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pack_blocks(model: AlphaClip) -> None:
    """Replace all blocks of a vision tower but the last, of which less is computed and more is asked.

    Args:
        model: that only encodes, in bfloat16. Towers that are none of open_clip's transformers stay as they are.
    """
    visual: Any = model.clip.visual
    if not isinstance(visual, open_clip.transformer.VisionTransformer):
        return
    blocks = visual.transformer.resblocks
    for number, block in enumerate(blocks[:-1]):
        if _can_be_packed(block):
            blocks[number] = _PackedBlock(block)


def _can_be_packed(block: Any) -> bool:
    if type(block) is not open_clip.transformer.ResidualAttentionBlock or not block.attn.batch_first:
        return False
    return isinstance(block.ls_1, nn.Identity) and isinstance(block.ls_2, nn.Identity)


class _PackedLinear(nn.Module):
    """A linear layer with what follows it: nothing, an activation, or a sum."""

    def __init__(self, weight: Tensor, bias: Tensor, follows: tuple[str, str] = ("none", "")) -> None:
        """Pack weights of shape (outputs, inputs).

        Args:
            weight: bfloat16.
            bias: bfloat16, shape (outputs,).
            follows: oneDNN's name of an activation, and of its algorithm.
        """
        super().__init__()
        self._follows, self._algorithm = follows
        # No parameter: the tensor is opaque, so that nothing else can be done with it.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
        self._bias = bias.detach()

    def forward(self, x: Tensor, summand: Tensor | None = None) -> Tensor:
        """Shape (..., inputs) to (..., outputs); with a summand, which has the shape of the result, their sum."""
        multiply = torch.ops.mkldnn._linear_pointwise
        if summand is not None:
            total: Tensor = multiply.binary(x, summand, self._weight, self._bias, "add")
            return total
        product: Tensor = multiply(x, self._weight, self._bias, self._follows, [], self._algorithm)
        return product


class _PackedBlock(nn.Module):
    """In place of open_clip's `ResidualAttentionBlock`."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = block.ln_1, block.ln_2
        attn, mlp = block.attn, block.mlp
        self._num_heads = attn.num_heads
        self._to_heads = _PackedLinear(attn.in_proj_weight, attn.in_proj_bias)
        self._from_heads = _PackedLinear(attn.out_proj.weight, attn.out_proj.bias)
        follows = _name_of(mlp.gelu)
        # An activation that oneDNN does not have is a pass of its own.
        self._after: nn.Module = nn.Identity() if follows else mlp.gelu
        self._widen = _PackedLinear(mlp.c_fc.weight, mlp.c_fc.bias, follows or ("none", ""))
        self._narrow = _PackedLinear(mlp.c_proj.weight, mlp.c_proj.bias)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Shape (batch_size, num_tokens, width) to the same. A vision tower has no mask."""
        assert attn_mask is None
        x = self._from_heads(self._attention(self._to_heads(self.ln_1(x))), x)
        widened = self._after(self._widen(self.ln_2(x)))
        narrowed: Tensor = self._narrow(widened, x)
        return narrowed

    def _attention(self, joined: Tensor) -> Tensor:
        """Queries, keys and values, shape (batch_size, num_tokens, 3 * width), to (batch_size, num_tokens, width)."""
        batch_size, num_tokens, _ = joined.shape
        # (batch, tokens, 3 * width) -> (batch, tokens, 3, heads, head_width) -> (3, batch, heads, tokens, head_width)
        heads = joined.view(batch_size, num_tokens, 3, self._num_heads, -1).permute(2, 0, 3, 1, 4)
        if num_tokens > MOST_TOKENS:
            # (batch, heads, tokens, head_width)
            fused = nn.functional.scaled_dot_product_attention(*heads)
            return fused.transpose(1, 2).reshape(batch_size, num_tokens, -1)
        # Each (batch * heads, tokens, head_width); `reshape` is the one copy.
        query, key, value = heads.reshape(3, batch_size * self._num_heads, num_tokens, -1)
        nothing = query.new_empty(())
        # (batch * heads, tokens, tokens). `bmm` takes no factor; with `beta=0` the summand is never read.
        scores = torch.baddbmm(nothing, query, key.mT, beta=0, alpha=query.shape[-1] ** -0.5)
        seen = torch.bmm(scores.softmax(dim=-1), value).view(batch_size, self._num_heads, num_tokens, -1)
        # (batch, heads, tokens, head_width) -> (batch, tokens, heads, head_width) -> (batch, tokens, width)
        return seen.transpose(1, 2).flatten(2)


def _name_of(activation: nn.Module) -> tuple[str, str] | None:
    """What oneDNN calls an activation; None if it has none."""
    if isinstance(activation, nn.SiLU):
        return "swish", ""
    if isinstance(activation, nn.GELU):
        return "gelu", activation.approximate
    return None
