"""The first layer of the vision tower on frames as they are stored: normalisation is part of its weights.

`conv((x / 255 - mean) / std) + conv_alpha((a - 0.5) / 0.26)` is one matrix product over patches of bytes, with other
weights and a bias. Frames stay uint8 until then, a quarter of the bytes to move, and no separate pass normalises them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor

from encoders.encoding.inputs import ALPHA_MEAN, ALPHA_STD, IMAGE_MEAN, IMAGE_STD, put_alpha
from encoders.model import AlphaClip

_CENTRE = 128.0
"""Subtracted from each pixel: -128..127 are exact in bfloat16, and rounding errors of the weights count half as
much."""


class PatchEmbedding:
    """Embeds the patches of stored frames with their masks."""

    def __init__(self, model: AlphaClip, dtype: torch.dtype) -> None:
        """Fold the normalisation into the weights, in float64, and store them as `dtype` on the device of the model."""
        conv = model.clip.visual.conv1
        device = conv.rgb.weight.device
        rgb = conv.rgb.weight.detach().double().cpu()
        alpha = conv.alpha.weight.detach().double().cpu()
        mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (IMAGE_MEAN, IMAGE_STD))
        width, _, self._size, _ = rgb.shape
        folded = rgb / (255 * std)
        bias = ((_CENTRE - 255 * mean) * folded).sum(dim=(1, 2, 3)) - (ALPHA_MEAN / ALPHA_STD) * alpha.sum(
            dim=(1, 2, 3)
        )
        # Rows of a patch as they lie in memory: height, width, colour; then the mask's.
        weight = torch.cat(
            [folded.permute(0, 2, 3, 1).reshape(width, -1), (alpha / ALPHA_STD).reshape(width, -1)], dim=1
        )
        self._weight = weight.to(device, dtype)
        self._bias = bias.to(device, dtype)

    def __call__(self, frames: Tensor, masks: Tensor) -> Tensor:
        """Embed patches.

        Args:
            frames: uint8, shape (batch_size, height, width, 3), RGB.
            masks: bool or uint8, shape (batch_size, height, width).

        Returns:
            Shape (batch_size, num_patches, width of the tower).
        """
        batch_size, size = len(frames), self._size
        grid = frames.shape[1] // size
        num_colours = 3 * size * size
        pixels = frames.view(batch_size, grid, size, grid, size * 3).transpose(2, 3).reshape(-1, num_colours)
        moving = masks.view(batch_size, grid, size, grid, size).transpose(2, 3).reshape(-1, size * size)
        patches = torch.empty(
            (len(pixels), num_colours + size * size), dtype=self._weight.dtype, device=self._weight.device
        )
        patches[:, :num_colours] = pixels
        patches[:, :num_colours].sub_(_CENTRE)
        put_alpha(patches[:, num_colours:], moving)
        return F.linear(patches, self._weight, self._bias).view(batch_size, grid * grid, -1)
