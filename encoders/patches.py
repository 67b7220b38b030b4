"""The first layer of the vision tower on frames as they are stored: normalisation is part of its weights.

`conv((x / 255 - mean) / std) + conv_alpha((a - 0.5) / 0.26)` is one matrix product over patches of bytes, with other
weights and a bias; or, where patches overlap, one convolution of bytes of four channels. Frames stay uint8 until then,
a quarter of the bytes to move, and no separate pass normalises them.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from encoders.config import Colours
from encoders.inputs import ALPHA_MEAN, ALPHA_STD, MAX_ALPHA, put_alpha

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
    # A pixel is x = 128 + c, and (x / 255 - mean) / std = c * scale + shift with shift = (128 - 255 mean) * scale.
    scale, shift = (one.to(rgb)[:, None, None] for one in (scales, (_CENTRE - 255 * means) * scales))
    # Rows of a patch as they lie in memory: height, width, colour; then the mask's.
    colours, moving = (rgb * scale).permute(0, 2, 3, 1).reshape(width, -1), (alpha / ALPHA_STD).reshape(width, -1)
    # What a patch gives that has c = 0 everywhere and no alpha: the shifts, weighed and added up.
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
    # Four numbers a pixel: three colours and alpha.
    size = round((num_values // 4) ** 0.5)
    rows, columns = height // size, width // size
    # In bytes first: turning round and converting at once is several times slower.
    # (b, rows, size, columns, 3 size) -> (b, rows, columns, size, 3 size) -> (b, num_patches, 3 size²)
    pixels = frames.view(batch_size, rows, size, columns, size * 3).transpose(2, 3).reshape(*patches.shape[:2], -1)
    moving = masks.view(batch_size, rows, size, columns, size).transpose(2, 3).reshape(*patches.shape[:2], -1)
    patches[..., : 3 * size * size].copy_(pixels).sub_(_CENTRE)
    put_alpha(patches[..., 3 * size * size :], moving)
    return patches


class PatchMemory:
    """Patches of one batch after the other, in the same memory: to get new memory takes longer than to fill it."""

    def __init__(self, patch_size: int, dtype: torch.dtype = torch.float32) -> None:
        """Begin without any."""
        self._patch_size, self._values = patch_size, torch.empty(0, dtype=dtype)

    def gather(self, frames: Tensor, masks: Tensor) -> Tensor:
        """Patches of frames with their masks, as `gather_patches` gives them; the batch before is overwritten."""
        size = self._patch_size
        num_patches = (frames.shape[1] // size) * (frames.shape[2] // size)
        shape = (len(frames), num_patches, 4 * size * size)
        if prod(shape) > len(self._values):
            self._values = torch.empty(prod(shape), dtype=self._values.dtype, device=frames.device)
        return gather_patches(frames, masks, self._values[: prod(shape)].view(shape))


def fold_channels(
    rgb: Tensor, alpha: Tensor, bias: Tensor | None = None, *, mean: Colours, std: Colours
) -> tuple[Tensor, Tensor]:
    """Weights of the convolutions of normalised pixels to those of one of bytes, as `PixelMemory` joins them.

    Args:
        rgb: shape (width, 3, kernel, kernel).
        alpha: shape (width, 1, kernel, kernel).
        bias: shape (width,), of the first; None: it has none.
        mean: of the pixels that it expects.
        std: likewise.

    Returns:
        Shapes (width, 4, kernel, kernel) and (width,), of the type of the weights.
    """
    means, deviations = _of_four_channels(mean, std)
    scales = 1 / (255 * deviations)
    scale, shift = (one.to(rgb)[:, None, None] for one in (scales, (_CENTRE - 255 * means) * scales))
    weight = torch.cat([rgb, alpha], dim=1)
    constant = (weight * shift).sum(dim=(1, 2, 3))
    return weight * scale, constant if bias is None else constant + bias


def _of_four_channels(mean: Colours, std: Colours) -> tuple[Tensor, Tensor]:
    """The alpha is normalised as a fourth colour is."""
    return tuple(torch.tensor(one, dtype=torch.float64) for one in ((*mean, ALPHA_MEAN), (*std, ALPHA_STD)))  # type: ignore[return-value]


class PixelMemory:
    """Frames of one batch after the other with their masks, as bytes of four channels around zero.

    Around each picture is what the first layer takes for padding: zeros, once they are normalised.
    """

    def __init__(self, padding: int, mean: Colours, dtype: torch.dtype = torch.float32) -> None:
        """Begin without any memory.

        Args:
            padding: pixels around a picture.
            mean: of the pixels that the first layer expects.
            dtype: of what it takes. All bytes are exact in bfloat16.
        """
        self._padding, self._dtype = padding, dtype
        # Shape (4,): the byte that is 0 once it is normalised, less the centre. It is no whole number.
        self._outside = 255 * _of_four_channels(mean, mean)[0] - _CENTRE
        self._bytes, self._pixels = torch.empty(0), torch.empty(0)

    def join(self, frames: Tensor, masks: Tensor) -> Tensor:
        """Put frames and masks together; the batch before is overwritten.

        Args:
            frames: uint8, shape (batch_size, height, width, 3), RGB.
            masks: bool or uint8, shape (batch_size, height, width).

        Returns:
            Shape (batch_size, 4, height + 2 * padding, width + 2 * padding), channels innermost in memory.
        """
        batch_size, height, width, _ = frames.shape
        if self._bytes.shape[1:] != (height, width, 4) or len(self._bytes) < batch_size:
            around = 2 * self._padding
            self._bytes = torch.empty((batch_size, height, width, 4), dtype=torch.uint8, device=frames.device)
            # The edge is written here only: each batch overwrites what is inside of it.
            outside = self._outside.to(frames.device, self._dtype)
            self._pixels = outside.repeat(batch_size, height + around, width + around, 1)
        joined, pixels = self._bytes[:batch_size], self._pixels[:batch_size]
        joined[..., :3].copy_(frames)
        joined[..., 3].copy_(masks if masks.dtype == torch.uint8 else masks.to(torch.uint8).mul_(MAX_ALPHA))
        inside = slice(self._padding, self._padding + height), slice(self._padding, self._padding + width)
        # Bytes are joined first: to convert three of four floats at a time is slower.
        pixels[:, *inside].copy_(joined).sub_(_CENTRE)
        return pixels.permute(0, 3, 1, 2)
