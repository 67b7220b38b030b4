"""Frames and masks as pictures for people: outlines, overlays, film strips, data URLs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.util import montage

from store.clips.layout import SURE, Masks, levels, moving

OUTLINE = (255, 0, 160)
"""RGB of the edge of a mask: a colour that footage rarely has."""
GAP = 2
"""Pixels between two frames of a strip."""
_NEIGHBOURS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_MIME = {".png": "image/png", ".jpg": "image/jpeg"}


def evenly(num_frames: int, num_shown: int) -> NDArray[np.int64]:
    """Frames at even distances, with the first and the last.

    >>> evenly(12, 4), evenly(3, 12), evenly(9, 1)
    (array([ 0,  4,  7, 11]), array([0, 1, 2]), array([4]))
    """
    if num_shown == 1:
        return np.array([num_frames // 2])
    return np.linspace(0, num_frames - 1, min(num_shown, num_frames)).round().astype(np.int64)


def outlined(frame: NDArray[np.uint8], mask: Masks) -> NDArray[np.uint8]:
    """A frame with the edge of what moves drawn: shape (height, width, 3), RGB. A soft mask is cut at one half."""
    drawn = frame.copy()
    # The same pixels as `skimage.segmentation.find_boundaries`, which takes 0.3 s to import.
    edge = cv2.morphologyEx(moving(mask).view(np.uint8), cv2.MORPH_GRADIENT, _NEIGHBOURS)
    drawn[edge.astype(np.bool_)] = OUTLINE
    return drawn


def highlighted(frame: NDArray[np.uint8], mask: Masks) -> NDArray[np.uint8]:
    """A frame with what rests dimmed to a third, and the edge of what moves drawn: shape (height, width, 3), RGB.

    By a soft mask, each pixel is lit as much as it is likely to move.
    """
    dark = frame // 3
    # 16 bits: 255 * 255 does not fit into 8. (h, w) -> (h, w, 1), for all three colours.
    light = (frame - dark) * levels(mask)[..., None].astype(np.uint16) // SURE
    return outlined((dark + light).astype(np.uint8), mask)


def shrunk(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A square picture at another size: shape (side, side, 3)."""
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def filmstrip(frames: NDArray[np.uint8], masks: Masks, *, num_shown: int = 6, side: int = 112) -> NDArray[np.uint8]:
    """Lay evenly chosen frames side by side, and below them the same frames with what moves lit and outlined.

    Args:
        frames: Shape (num_frames, height, width, 3), RGB.
        masks: Shape (num_frames, height, width), binary or soft.
        num_shown: Frames to show, at most.
        side: Of a frame as it is shown, in pixels.

    Returns:
        Shape (2 * side + borders, ..., 3), RGB.
    """
    chosen = evenly(len(frames), num_shown)
    lit = [highlighted(frames[index], masks[index]) for index in chosen]
    cells = [shrunk(frame, side) for frame in (*frames[chosen], *lit)]
    grid: NDArray[np.uint8] = montage(
        np.stack(cells), fill=(255, 255, 255), grid_shape=(2, len(chosen)), padding_width=GAP, channel_axis=3
    )
    return grid


def encoded(picture: NDArray[np.uint8], kind: Literal[".png", ".jpg"] = ".png", quality: int = 80) -> bytes:
    """A picture as the bytes of a file.

    Args:
        picture: Shape (height, width, 3), RGB.
        kind: Of file: PNG keeps every pixel, JPEG is several times smaller.
        quality: Of JPEG, 1..100.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if kind == ".jpg" else []
    # OpenCV takes blue first.
    done, content = cv2.imencode(kind, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ValueError(f"cannot encode a picture of shape {picture.shape} as {kind}")
    return content.tobytes()


def data_url(picture: NDArray[np.uint8], kind: Literal[".png", ".jpg"] = ".png", quality: int = 80) -> str:
    """A picture as a URL that contains it, for pages in one file; arguments as of `encoded`."""
    return f"data:{_MIME[kind]};base64,{base64.b64encode(encoded(picture, kind, quality)).decode()}"


def thumbnail(picture: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """A picture at another height, in its own proportions: shape (height, width, 3)."""
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    kind = cv2.INTER_AREA if height <= picture.shape[0] else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(picture, (width, height), interpolation=kind), dtype=np.uint8)


def heated(frame: NDArray[np.uint8], heat: NDArray[np.float32], limits: tuple[float, float]) -> NDArray[np.uint8]:
    """A frame in grey, with a map of heat over it: dark where it is lowest, bright where it is highest.

    Args:
        frame: Shape (height, width, 3), RGB.
        heat: Of any smaller shape.
        limits: The values that are darkest and brightest.

    Returns:
        Shape (height, width, 3), RGB.
    """
    height, width = frame.shape[:2]
    low, high = limits
    shares = (heat.astype(np.float32) - low) / (high - low if high > low else 1)
    share = cv2.resize(shares, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    levels = np.round(255 * share).astype(np.uint8)
    colour = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    grey = frame.mean(axis=-1, keepdims=True) * 0.5
    weight = 0.8 * np.sqrt(share)[..., None]  # the root: half of the heat is still seen
    return np.asarray(np.round(grey * (1 - weight) + colour * weight), dtype=np.uint8)


def joined(pictures: Sequence[NDArray[np.uint8]], grey: int = 128) -> NDArray[np.uint8]:
    """Pictures of one height side by side, with a grey line between: shape (height, width, 3), RGB.

    Args:
        pictures: Each of shape (height, width, 3); at least one.
        grey: Of the line. 128 is seen on a dark ground and on a light one.
    """
    line = np.full((len(pictures[0]), GAP, 3), grey, np.uint8)
    parts = [part for picture in pictures for part in (line, picture)]
    # Without the line before the first picture.
    return np.concatenate(parts[1:], axis=1)
