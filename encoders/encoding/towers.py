"""Both towers of a model in one precision, for encoding only."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from encoders.encoding.attention import Watch, find_reading
from encoders.encoding.class_token import ClassToken
from encoders.encoding.copying import copy_to_encode
from encoders.encoding.first_layer import replace_first_layer
from encoders.encoding.packed import pack_blocks, packs_blocks
from encoders.encoding.precision import dtype_of
from encoders.errors import ModelError
from encoders.model import AlphaClip
from encoders.options import Precision
from encoders.torchvision_shim import import_open_clip

open_clip = import_open_clip()


class Towers:
    """Computes features of stored frames and of tokens, on the device of the model.

    Attention is torch's fused one (SDPA). Of open_clip's towers, the last norm and the projection of one token are
    computed in float32.
    """

    def __init__(self, model: AlphaClip, precision: Precision, *, compiled: bool = False) -> None:
        """Copy the blocks into a precision.

        Args:
            model: in float32; it is not changed, and must not change or move while this is in use.
            precision: of the blocks.
            compiled: whether `torch.compile` makes kernels for the blocks: it takes minutes once, and saves some
                percent.

        Raises:
            ModelError: what is to be compiled is none of open_clip's ViTs.
        """
        self._model, dtype = model, dtype_of(precision)
        # In another type, each weight becomes another tensor anyway: to share would change the model's own.
        self._inner = copy_to_encode(model, shares=dtype is torch.float32)
        # Before the weights are rounded: the first layer is folded from those in float32.
        self._first = replace_first_layer(self._inner, dtype)
        self._inner.to(dtype)
        if packs_blocks(model.logit_scale.device, dtype) and not compiled:
            pack_blocks(self._inner)
        self._blocks: Callable[[Tensor], Tensor] | None = None
        if _reads_class_token(model):
            self._blocks = ClassToken(self._inner.clip.visual.transformer.resblocks)
        if compiled:
            if self._blocks is None:
                raise ModelError(
                    f"{model.config.name} is not compiled: only ViTs of open_clip with a class token are; leave out "
                    "--compile"
                )
            self._blocks = torch.compile(self._blocks, dynamic=False)

    def encode_frames(self, frames: Tensor, masks: Tensor) -> Tensor:
        """Features of each frame, projected, not normalised.

        Args:
            frames: uint8, shape (batch_size, height, width, 3), RGB.
            masks: bool or uint8, shape (batch_size, height, width).

        Returns:
            float32, shape (batch_size, embed_dim).
        """
        inputs, visual = self._first.inputs(frames, masks), self._model.clip.visual
        if self._blocks is None:
            return self._embedded_by_all(inputs)
        # (batch, 1 + num_patches, width) -> (batch, width)
        classes: Tensor = self._blocks(self._embedded(inputs)).float()
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
        """Compute how much each patch counts where the features of a frame are read, on average over the heads.

        Args:
            frames: as of `encode_frames`.
            masks: likewise.

        Returns:
            float32, shape (batch_size, grid, grid), 0..1. The rest up to a sum of 1 is the attention to other tokens.

        Raises:
            ModelError: the tower has no such attention, as `find_reading` says.
        """
        with Watch(self._inner.clip.visual, find_reading(self._model)) as watch:
            self._embedded_by_all(self._first.inputs(frames, masks))
        return watch.maps

    def _embedded_by_all(self, inputs: Tensor) -> Tensor:
        """What the whole tower makes of the inputs of its first layer."""
        features: Tensor = self._inner.clip.visual(inputs)
        return features.float()

    def _embedded(self, patches: Tensor) -> Tensor:
        """Input of the first block: shape (batch_size, 1 + num_patches, width)."""
        visual = self._inner.clip.visual
        # (batch, width, num_patches) -> (batch, num_patches, width)
        embedded = visual.conv1(patches).transpose(1, 2)
        class_token = visual.class_embedding.expand(len(embedded), 1, -1)
        x: Tensor = visual.ln_pre(torch.cat([class_token, embedded], dim=1) + visual.positional_embedding)
        return x


def _reads_class_token(model: AlphaClip) -> bool:
    """Whether the features of a frame are those of its class token, after blocks as CLIP's ViT has them."""
    visual = model.clip.visual
    return (
        model.takes_patches
        and visual.attn_pool is None
        and visual.pool_type == "tok"
        and visual.transformer.batch_first
        and all(isinstance(one, open_clip.transformer.ResidualAttentionBlock) for one in visual.transformer.resblocks)
    )
