"""Both towers of a model in one precision, for encoding only."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor

from encoders.encoding.precision import dtype_of
from encoders.encoding.quick_gelu import copy_to_encode
from encoders.model import AlphaClip
from encoders.options import Precision
from encoders.patches import fold_normalisation, gather_patches


class Towers:
    """Computes features of stored frames and of tokens, on the device of the model.

    Attention is torch's fused one (SDPA). After the blocks, the last norm and the projection of one token are computed
    in float32.
    """

    def __init__(self, model: AlphaClip, precision: Precision, *, compiled: bool = False) -> None:
        """Copy the blocks into a precision.

        Args:
            model: in float32; it is not changed, and must not change or move while this is in use.
            precision: of the blocks.
            compiled: whether `torch.compile` makes kernels for the blocks: it takes minutes once, and saves some
                percent.
        """
        self._model = model
        self._inner = copy_to_encode(model, dtype_of(precision))
        conv1, dtype = model.clip.visual.conv1, dtype_of(precision)
        with torch.inference_mode():
            folded = fold_normalisation(conv1.rgb.weight.double(), conv1.alpha.weight.double())
            self._patch_weight, self._patch_bias = (one.to(dtype) for one in folded)
        self._blocks: Callable[[Tensor], Tensor] = self._inner.clip.visual.transformer
        if compiled:
            self._blocks = torch.compile(self._inner.clip.visual.transformer, dynamic=False)

    def encode_frames(self, frames: Tensor, masks: Tensor) -> Tensor:
        """[CLS] of each frame, projected, not normalised.

        Args:
            frames: uint8, shape (batch_size, height, width, 3), RGB.
            masks: bool or uint8, shape (batch_size, height, width).

        Returns:
            float32, shape (batch_size, embed_dim).
        """
        visual = self._model.clip.visual
        classes: Tensor = self._blocks(self._embedded(frames, masks))[:, 0].float()
        features: Tensor = visual.ln_post(classes) @ visual.proj
        return features

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Features of texts, of unit norm.

        Args:
            tokens: int64, shape (num_texts, num_tokens).

        Returns:
            float32, shape (num_texts, embed_dim).
        """
        return self._model.project_ends(self._inner.end_tokens(tokens).float())

    def attention(self, frames: Tensor, masks: Tensor) -> Tensor:
        """Compute how much [CLS] attends to each patch in the last block, on average over its heads.

        Args:
            frames: as of `encode_frames`.
            masks: likewise.

        Returns:
            float32, shape (batch_size, grid, grid), 0..1. The rest up to a sum of 1 is the attention of [CLS] to
            itself.
        """
        blocks = self._inner.clip.visual.transformer.resblocks
        x = self._embedded(frames, masks)
        for block in blocks[:-1]:
            x = block(x)
        x, attn = blocks[-1].ln_1(x), blocks[-1].attn
        joint = F.linear(x, attn.in_proj_weight, attn.in_proj_bias)
        batch_size, length, width = x.shape
        query, key, _ = joint.view(batch_size, length, 3, attn.num_heads, width // attn.num_heads).unbind(dim=2)
        # Only the row of [CLS], the first token: SDPA returns no weights, and the other rows are not needed.
        scores: Tensor = (
            torch.einsum("bhd,blhd->bhl", query[:, 0].float(), key.float()) / (width // attn.num_heads) ** 0.5
        )
        weights = scores.softmax(dim=-1).mean(dim=1)[:, 1:]
        grid = int((length - 1) ** 0.5)
        return weights.reshape(batch_size, grid, grid)

    def _embedded(self, frames: Tensor, masks: Tensor) -> Tensor:
        """Input of the first block: shape (batch_size, 1 + num_patches, width)."""
        visual = self._inner.clip.visual
        patch_size, _ = visual.patch_size
        num_patches = (frames.shape[1] // patch_size) * (frames.shape[2] // patch_size)
        patches = torch.empty(
            (len(frames), num_patches, self._patch_weight.shape[1]),
            dtype=self._patch_weight.dtype,
            device=frames.device,
        )
        patches = F.linear(gather_patches(frames, masks, patches), self._patch_weight, self._patch_bias)
        class_token = visual.class_embedding.expand(len(patches), 1, -1)
        x: Tensor = visual.ln_pre(torch.cat([class_token, patches], dim=1) + visual.positional_embedding)
        return x
