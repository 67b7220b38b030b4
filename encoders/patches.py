"""The first layer of the vision tower on frames as they are stored: normalisation is part of its weights.

`conv((x / 255 - mean) / std) + conv_alpha((a - 0.5) / 0.26)` is one matrix product over patches of bytes, with other
weights and a bias. Frames stay uint8 until then, a quarter of the bytes to move, and no separate pass normalises them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from encoders.config import Colours
from encoders.inputs import ALPHA_MEAN, ALPHA_STD, put_alpha

_CENTRE = 128
"""Subtracted from each pixel: -128..127 are exact in bfloat16, and rounding errors of the weights count half as
much."""


def fold_normalisation(
    rgb: Tensor, alpha: Tensor, bias: Tensor | None = None, *, mean: Colours, std: Colours
) -> tuple[Tensor, Tensor]:
    """Weights of the convolutions of normalised pixels to weights of patches, and a bias; gradients flow back.

    Args:
        rgb: shape (width, 3, patch_size, patch_size).
        alpha: shape (width, 1, patch_size, patch_size).
        bias: shape (width,), of the first; None: it has none.
        mean: of the pixels that it expects.
        std: likewise.

    Returns:
        Shapes (width, 4 * patch_size * patch_size) and (width,), of the type of the weights.
    """
    width = len(rgb)
    means, deviations = (torch.tensor(values, dtype=torch.float64) for values in (mean, std))
    scales = 1 / (255 * deviations)
    scale, shift = (one.to(rgb)[:, None, None] for one in (scales, (_CENTRE - 255 * means) * scales))
    # Rows of a patch as they lie in memory: height, width, colour; then the mask's.
    colours, moving = (rgb * scale).permute(0, 2, 3, 1).reshape(width, -1), (alpha / ALPHA_STD).reshape(width, -1)
    constant = (rgb * shift).sum(dim=(1, 2, 3)) - ALPHA_MEAN * moving.sum(dim=1)
    return torch.cat([colours, moving], dim=1), constant if bias is None else constant + bias


def gather_patches(frames: Tensor, masks: Tensor, patches: Tensor) -> Tensor:
    """Bring frames and masks into the order of the weights that `fold_normalisation` gives.

    Args:
        frames: uint8, shape (batch_size, height, width, 3), RGB.
        masks: bool or uint8, shape (batch_size, height, width).
        patches: floats, shape (batch_size, num_patches, 4 * patch_size * patch_size); they are overwritten. Memory that
            is used again is several times faster than new one.

    Returns:
        `patches`.
    """
    batch_size, height, width, _ = frames.shape
    num_values = patches.shape[-1]
    size = round((num_values // 4) ** 0.5)
    rows, columns = height // size, width // size
    # In bytes first: turning round and converting at once is several times slower.
    pixels = frames.view(batch_size, rows, size, columns, size * 3).transpose(2, 3).reshape(*patches.shape[:2], -1)
    moving = masks.view(batch_size, rows, size, columns, size).transpose(2, 3).reshape(*patches.shape[:2], -1)
    patches[..., : 3 * size * size].copy_(pixels).sub_(_CENTRE)
    put_alpha(patches[..., 3 * size * size :], moving)
    return patches
