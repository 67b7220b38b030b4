"""Both towers of a model in one precision, for encoding only."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn

from encoders.encoding.attention import Watch, find_reading
from encoders.encoding.precision import dtype_of
from encoders.encoding.quick_gelu import copy_to_encode
from encoders.errors import ModelError
from encoders.inputs import normalise_alpha, normalise_frames
from encoders.model import AlphaClip
from encoders.options import Precision
from encoders.patches import gather_patches
from encoders.torchvision_shim import import_open_clip, import_timm

open_clip, timm = import_open_clip(), import_timm()


class _FoldedPatches(nn.Module):
    """In place of the first layer: what it makes of patches of stored frames, normalised in the same product."""

    def __init__(self, model: AlphaClip, dtype: torch.dtype) -> None:
        super().__init__()
        self.patch_size = model.stem.stride
        with torch.inference_mode():
            weight, bias = model.first_layer.folded(torch.float64)
            self.weight, self.bias = weight.to(dtype), bias.to(dtype)

    def forward(self, patches: Tensor) -> Tensor:
        """Shape (batch_size, width, num_patches)."""
        return F.linear(patches, self.weight, self.bias).transpose(1, 2)


class _TimmPatches(nn.Module):
    """In place of timm's `PatchEmbed`: the same for patches of stored frames, in timm's order of axes."""

    def __init__(self, patches: _FoldedPatches, norm: nn.Module) -> None:
        super().__init__()
        self.patches, self.norm = patches, norm

    def forward(self, patches: Tensor) -> Tensor:
        """Shape (batch_size, num_patches, width)."""
        embedded: Tensor = self.norm(self.patches(patches).transpose(1, 2))
        return embedded


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
        self._model, self._dtype = model, dtype_of(precision)
        self._inner = copy_to_encode(model, self._dtype)
        self._patches: _FoldedPatches | None = None
        if model.takes_patches:
            self._patches = _FoldedPatches(model, self._dtype)
            self._inner.clip.visual.set_submodule(model.stem.name, self._patches)
        elif _goes_on_from_patches(model):
            self._patches, trunk = _FoldedPatches(model, self._dtype), self._inner.clip.visual.trunk
            trunk.patch_embed = _TimmPatches(self._patches, trunk.patch_embed.norm)
        self._blocks: Callable[[Tensor], Tensor] | None = None
        if _reads_class_token(model):
            self._blocks = self._inner.clip.visual.transformer
        if compiled:
            if self._blocks is None:
                raise ModelError(
                    f"{model.config.name} is not compiled: only ViTs of open_clip with a class token are; leave out "
                    "--compile"
                )
            self._blocks = torch.compile(self._inner.clip.visual.transformer, dynamic=False)

    def encode_frames(self, frames: Tensor, masks: Tensor) -> Tensor:
        """Features of each frame, projected, not normalised.

        Args:
            frames: uint8, shape (batch_size, height, width, 3), RGB.
            masks: bool or uint8, shape (batch_size, height, width).

        Returns:
            float32, shape (batch_size, embed_dim).
        """
        if self._blocks is not None:
            visual = self._model.clip.visual
            classes: Tensor = self._blocks(self._embedded(frames, masks))[:, 0].float()
            features: Tensor = visual.ln_post(classes) @ visual.proj
            return features
        if self._patches is not None:
            return self._inner.encode_patches(self._gathered(frames, masks)).float()
        return self._inner.encode_frames(*self._normalised(frames, masks)).float()

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
            if self._patches is not None:
                self._inner.encode_patches(self._gathered(frames, masks))
            else:
                self._inner.encode_frames(*self._normalised(frames, masks))
        return watch.maps

    def _normalised(self, frames: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures and their alpha, as a first layer that is no patches takes them."""
        config = self._model.config
        images, alpha = normalise_frames(frames, config.mean, config.std), normalise_alpha(masks)
        return images.to(self._dtype), alpha.to(self._dtype)

    def _gathered(self, frames: Tensor, masks: Tensor) -> Tensor:
        """Patches of frames with their masks: shape (batch_size, num_patches, 4 * patch_size**2)."""
        assert self._patches is not None
        size = self._patches.patch_size
        num_patches = (frames.shape[1] // size) * (frames.shape[2] // size)
        patches = torch.empty((len(frames), num_patches, 4 * size * size), dtype=self._dtype, device=frames.device)
        return gather_patches(frames, masks, patches)

    def _embedded(self, frames: Tensor, masks: Tensor) -> Tensor:
        """Input of the first block: shape (batch_size, 1 + num_patches, width)."""
        visual = self._inner.clip.visual
        assert self._patches is not None
        patches = self._patches(self._gathered(frames, masks)).transpose(1, 2)
        class_token = visual.class_embedding.expand(len(patches), 1, -1)
        x: Tensor = visual.ln_pre(torch.cat([class_token, patches], dim=1) + visual.positional_embedding)
        return x


def _goes_on_from_patches(model: AlphaClip) -> bool:
    """Whether the tower is one of timm's transformers that begins with plain patches."""
    trunk = getattr(model.clip.visual, "trunk", None)
    if not isinstance(trunk, timm.models.vision_transformer.VisionTransformer | timm.models.eva.Eva):
        return False
    embed = trunk.patch_embed
    looks_at_size = trunk.dynamic_img_size or embed.dynamic_img_pad if type(embed) is timm.layers.PatchEmbed else True
    return model.stem.is_patches and not looks_at_size and bool(embed.flatten)


def _reads_class_token(model: AlphaClip) -> bool:
    """Whether the features of a frame are those of its class token, after blocks as CLIP's ViT has them."""
    visual = model.clip.visual
    return (
        model.takes_patches
        and visual.attn_pool is None
        and visual.pool_type == "tok"
        and all(isinstance(one, open_clip.transformer.ResidualAttentionBlock) for one in visual.transformer.resblocks)
    )
