"""The first layer of a vision tower that only encodes: one product of stored bytes, whichever tower it is."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn

from encoders.model import AlphaClip, AlphaConv
from encoders.patches import PatchMemory, PixelMemory
from encoders.torchvision_shim import import_timm


class FirstLayer(Protocol):
    """What makes the input of a tower."""

    def inputs(self, frames: Tensor, masks: Tensor) -> Tensor:
        """What the tower takes, until the next call.

        Args:
            frames: uint8, shape (batch_size, height, width, 3), RGB.
            masks: bool or uint8, shape (batch_size, height, width).
        """


class _FoldedPatches(nn.Module):
    """In place of patches side by side: what they make of stored frames, normalised in the same product."""

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: AlphaConv, dtype: torch.dtype) -> None:
        super().__init__()
        self._memory = PatchMemory(conv.rgb.kernel_size[0], dtype)
        # Folded in float64 and then rounded once, to the type of the product.
        weight, bias = conv.folded(torch.float64)
        self.register_buffer("weight", weight.to(dtype))
        self.register_buffer("bias", bias.to(dtype))

    def inputs(self, frames: Tensor, masks: Tensor) -> Tensor:
        return self._memory.gather(frames, masks)

    def forward(self, patches: Tensor) -> Tensor:
        """Shape (batch_size, width, num_patches)."""
        # (batch, num_patches, 4 * patch_size²) -> (batch, num_patches, width) -> (batch, width, num_patches), as
        # `conv1` has it.
        return F.linear(patches, self.weight, self.bias).transpose(1, 2)


class _TimmPatches(nn.Module):
    """In place of timm's `PatchEmbed`: the same for patches of stored frames, in timm's order of axes."""

    def __init__(self, patches: _FoldedPatches, norm: nn.Module) -> None:
        super().__init__()
        self.patches, self.norm = patches, norm

    def forward(self, patches: Tensor) -> Tensor:
        """Shape (batch_size, num_patches, width)."""
        # timm has patches before the width, so it is turned back.
        embedded: Tensor = self.norm(self.patches(patches).transpose(1, 2))
        return embedded


class _FoldedConvolution(nn.Module):
    """In place of any other convolution: the same of stored frames with their masks, normalised in the same product."""

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: AlphaConv, dtype: torch.dtype) -> None:
        super().__init__()
        self._memory = PixelMemory(int(conv.rgb.padding[0]), conv.mean, dtype)
        self._stride = conv.rgb.stride
        weight, bias = conv.folded_channels(torch.float64)
        self.register_buffer("weight", weight.to(dtype, memory_format=torch.channels_last))
        self.register_buffer("bias", bias.to(dtype))

    def inputs(self, frames: Tensor, masks: Tensor) -> Tensor:
        return self._memory.join(frames, masks)

    def forward(self, pixels: Tensor) -> Tensor:
        """Shape (batch_size, width, rows, columns)."""
        # No padding here: `PixelMemory` has put the edge around, where bytes of 0 would not be normalised zeros.
        return F.conv2d(pixels, self.weight, self.bias, self._stride)


def replace_first_layer(model: AlphaClip, dtype: torch.dtype) -> FirstLayer:
    """Put a layer that takes stored bytes in the place of the first one of a vision tower.

    Args:
        model: a copy that only encodes, in float32; it changes.
        dtype: of what the new layer computes.

    Returns:
        The new layer. What its `inputs` gives is what the tower then takes.
    """
    visual = model.clip.visual
    name, conv = next((name, one) for name, one in visual.named_modules() if isinstance(one, AlphaConv))
    with torch.no_grad():
        if model.takes_patches:
            patches = _FoldedPatches(conv, dtype)
            visual.set_submodule(name, patches)
            return patches
        if _goes_on_from_patches(model):
            patches, trunk = _FoldedPatches(conv, dtype), visual.trunk
            trunk.patch_embed = _TimmPatches(patches, trunk.patch_embed.norm)
            return patches
        folded = _FoldedConvolution(conv, dtype)
        visual.set_submodule(name, folded)
        return folded


def _goes_on_from_patches(model: AlphaClip) -> bool:
    """Whether the tower is one of timm's transformers that begins with plain patches."""
    trunk = getattr(model.clip.visual, "trunk", None)
    if trunk is None:
        return False
    timm = import_timm()
    if not isinstance(trunk, timm.models.vision_transformer.VisionTransformer | timm.models.eva.Eva):
        return False
    embed = trunk.patch_embed
    # Such towers look at the height and the width of their input, and patches have neither.
    looks_at_size = trunk.dynamic_img_size or embed.dynamic_img_pad if type(embed) is timm.layers.PatchEmbed else True
    return model.stem.is_patches and not looks_at_size and bool(embed.flatten)
