"""CLIP's image geometry: bicubic resize of the short side, then a centre crop."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resized_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width after the short side is made `size`, the long side rounded down.

    The rule of torchvision's `Resize(size)` (`_compute_resized_output_size`).

    >>> resized_shape(360, 640, 224)
    (224, 398)
    >>> resized_shape(640, 360, 224)
    (398, 224)
    """
    if min(height, width, size) < 1:
        raise ValueError(f"sides must be at least 1, got {height}x{width} to {size}")
    short, long = min(height, width), max(height, width)
    resized_long = int(size * long / short)
    return (size, resized_long) if height <= width else (resized_long, size)


def crop_start(length: int, size: int) -> int:
    """Where a centre crop of `size` starts in `length`, a half rounded to even as torchvision's `CenterCrop` does.

    >>> crop_start(398, 224), crop_start(225, 224), crop_start(227, 224)
    (87, 0, 2)
    """
    if length < size:
        raise ValueError(f"cannot crop {size} out of {length}")
    return round((length - size) / 2.0)


def centre(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The middle square of a picture or of a plane of one, shape (size, size, ...): a view."""
    top, left = crop_start(picture.shape[0], size), crop_start(picture.shape[1], size)
    return picture[top : top + size, left : left + size]


def centre_crop(rgb: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The middle square of a picture, shape (size, size, 3), contiguous."""
    return np.ascontiguousarray(centre(rgb, size))


def resize_and_crop(rgb: NDArray[np.uint8], size: int, shown: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Resize and crop one picture as CLIP's preprocessing does, before normalisation.

    PIL's bicubic filter (antialiased) brings the short side to `size`; the centre is then cropped. This is
    `Compose([Resize(size, BICUBIC), CenterCrop(size)])` of OpenAI's CLIP and open_clip, to the bit, without torch.

    Args:
        rgb: Shape (height, width, 3).
        size: Side of the square to make, in pixels.
        shown: Height and width as displayed, if the picture's pixels are not square.

    Returns:
        Shape (size, size, 3), contiguous.

    Raises:
        ValueError: The picture has another shape or type, or is empty.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"expected (height, width, 3) uint8, got {rgb.shape} {rgb.dtype}")
    shown_height, shown_width = shown or rgb.shape[:2]
    height, width = resized_shape(shown_height, shown_width, size)
    picture = Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC)
    return centre_crop(np.array(picture, dtype=np.uint8), size)
