"""From stored clips (NumPy, uint8 and bool) to what the vision tower takes (torch, normalised floats)."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.config import Colours

_Value = TypeVar("_Value", bound=np.generic)

Alpha = NDArray[np.bool_ | np.uint8]
"""Binary masks are bool; soft ones are uint8, where 255 is an alpha of 1."""
MAX_ALPHA = 255
ALPHA_MEAN = 0.5
ALPHA_STD = 0.26
"""Alpha-CLIP's: a mask's 0 and 1 become -1.923 and +1.923."""


def check_clips(
    frames: NDArray[np.uint8], alpha: Alpha, image_size: int, is_frame: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Check that clips and their masks belong together and fit the model.

    Args:
        frames: uint8, shape (num_clips, num_frames, height, width, 3), RGB.
        alpha: bool or uint8, shape (num_clips, num_frames, height, width).
        image_size: height and width that the model takes, in pixels.
        is_frame: bool, shape (num_clips, num_frames): False where a clip has no frame; without it, all are frames.

    Returns:
        Which of the pictures are frames: `is_frame`, or all True.

    Raises:
        ValueError: a wrong type or shape, clips without frames, or frames of another size than the model's.
    """
    if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[-1] != 3:
        raise ValueError(
            "frames must be uint8 of shape (num_clips, num_frames, height, width, 3), "
            f"got {frames.dtype} of shape {frames.shape}"
        )
    if alpha.dtype not in (np.bool_, np.uint8) or alpha.shape != frames.shape[:4]:
        raise ValueError(
            f"alpha must be bool or uint8 of shape {frames.shape[:4]} to match the frames, "
            f"got {alpha.dtype} of shape {alpha.shape}"
        )
    if frames.shape[1] == 0:
        raise ValueError(f"a clip must have at least one frame, got frames of shape {frames.shape}")
    height, width = frames.shape[2:4]
    if (height, width) != (image_size, image_size):
        raise ValueError(
            f"frames are {height} x {width} pixels (height x width), the model takes {image_size} x {image_size}: "
            f"preprocess the videos with --image-size {image_size}, or choose a model for the size they have"
        )
    if is_frame is None:
        return np.ones(frames.shape[:2], dtype=np.bool_)
    if is_frame.dtype != np.bool_ or is_frame.shape != frames.shape[:2]:
        raise ValueError(
            f"is_frame must be bool of shape {frames.shape[:2]} to match the frames, "
            f"got {is_frame.dtype} of shape {is_frame.shape}"
        )
    if not is_frame.any(axis=1).all():
        raise ValueError(f"clip {int(is_frame.any(axis=1).argmin())} of {len(is_frame)} has no frame at all")
    return is_frame


def only_frames(
    frames: NDArray[np.uint8], alpha: Alpha, is_frame: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], Alpha]:
    """The frames of all clips, one after the other, with their masks; not copied if no slot is empty.

    Args:
        frames: shape (num_clips, num_frames, height, width, 3), RGB.
        alpha: shape (num_clips, num_frames, height, width).
        is_frame: shape (num_clips, num_frames).

    Returns:
        Shapes (number of True in `is_frame`, height, width, 3) and likewise without the 3.
    """
    if is_frame.all():
        return frames.reshape(-1, *frames.shape[2:]), alpha.reshape(-1, *alpha.shape[2:])
    return frames[is_frame], alpha[is_frame]


def normalise_frames(frames: Tensor, mean: Colours, std: Colours) -> Tensor:
    """A model's normalisation, `(x / 255 - mean) / std`, in place on the one float copy it makes.

    Colours stay the innermost axis in memory (torch's channels-last): nothing is transposed, and convolutions run
    faster on it.

    Args:
        frames: uint8, shape (batch_size, height, width, 3), RGB.
        mean: of R, G and B, where a pixel is 0..1.
        std: likewise.

    Returns:
        float32, shape (batch_size, 3, height, width).
    """
    batch_size, height, width, _ = frames.shape
    means, deviations = (torch.tensor(values, dtype=torch.float64) for values in (mean, std))
    # (x / 255 - mean) / std = x * scale + shift; both (3,) -> (3 * width,), once for each pixel of a row.
    scale = (1 / (255 * deviations)).to(torch.float32).repeat(width).to(frames.device)
    shift = (-means / deviations).to(torch.float32).repeat(width).to(frames.device)
    # Scale a whole row at a time: 3 * width numbers fill vector registers; one pixel's three do not (4x slower).
    rows = frames.reshape(batch_size, height, width * 3).to(torch.float32)
    # (batch, height, 3 * width) -> (batch, height, width, 3) -> (batch, 3, height, width), a view.
    return rows.mul_(scale).add_(shift).view(batch_size, height, width, 3).permute(0, 3, 1, 2)


def normalise_alpha(alpha: Tensor) -> Tensor:
    """Alpha-CLIP's normalisation of a mask, `(x - 0.5) / 0.26`.

    Args:
        alpha: bool or uint8, shape (batch_size, height, width).

    Returns:
        float32, shape (batch_size, 1, height, width).
    """
    values = torch.empty(alpha.shape, dtype=torch.float32, device=alpha.device)
    return put_alpha(values, alpha).unsqueeze(1).sub_(ALPHA_MEAN).div_(ALPHA_STD)


def put_alpha(values: Tensor, masks: Tensor) -> Tensor:
    """Turn masks into alpha, 0 to 1: the one place that says what a mask of either type is worth.

    Bytes of 255 become the very 1.0 that True becomes, in each type of float, and bytes of 0 the same 0.

    Args:
        values: floats, of any shape; they are overwritten.
        masks: of the same shape: bool, or uint8 as 255 times alpha.

    Returns:
        `values`.
    """
    values.copy_(masks)
    return values.div_(MAX_ALPHA) if masks.dtype == torch.uint8 else values


def writable(values: NDArray[_Value]) -> NDArray[_Value]:
    """The array, or a copy if it is read-only or not in C order: torch warns of memory that it may not write to."""
    return np.require(values, requirements=["C", "W"])
