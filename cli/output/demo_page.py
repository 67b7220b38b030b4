"""The page that `fda demo` ends with: one self-contained HTML file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import cv2
import jinja2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries
from skimage.util import montage

from encoders.replacing import replacing
from pipeline.demo.run import DemoResult
from pipeline.demo.synthetic import NUM_OBJECTS

FRAMES_SHOWN = 6
FRAME_SIDE = 112
OUTLINE = (255, 0, 160)
"""RGB of the edge of a mask."""


def write_demo_page(path: Path, result: DemoResult, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write the page; captions and ids are escaped.

    Args:
        path: Of the HTML file.
        result: What the demo measured.
        header: Titles of the table's columns.
        rows: Of the table.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cli.output"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    html = environment.get_template("demo.html").render(
        header=header,
        rows=rows,
        histories=result.histories,
        clips=[(clip, _data_url(filmstrip(clip.frames, clip.masks))) for clip in result.clips],
        num_clips=result.num_test_clips,
        num_objects=NUM_OBJECTS,
    )
    with replacing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def filmstrip(frames: NDArray[np.uint8], masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Lay evenly chosen frames side by side, and below them the same frames with what moves lit and outlined.

    Args:
        frames: Shape (num_frames, height, width, 3), RGB.
        masks: Shape (num_frames, height, width).

    Returns:
        Shape (2 * FRAME_SIDE + borders, ..., 3), RGB.
    """
    chosen = np.linspace(0, len(frames) - 1, min(FRAMES_SHOWN, len(frames))).round().astype(int)
    lit = [_highlight(frames[index], masks[index]) for index in chosen]
    cells = [_shrink(frame) for frame in (*frames[chosen], *lit)]
    grid: NDArray[np.uint8] = montage(
        np.stack(cells), fill=(255, 255, 255), grid_shape=(2, len(chosen)), padding_width=2, channel_axis=3
    )
    return grid


def _highlight(frame: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Dim what rests, and draw the edge of what moves."""
    lit = np.where(mask[..., None], frame, frame // 3)
    lit[find_boundaries(mask, mode="thick")] = OUTLINE
    return lit.astype(np.uint8)


def _shrink(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(frame, (FRAME_SIDE, FRAME_SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _data_url(picture: NDArray[np.uint8]) -> str:
    encoded, png = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not encoded:
        raise ValueError(f"cannot encode a picture of shape {picture.shape} as PNG")
    return f"data:image/png;base64,{base64.b64encode(png.tobytes()).decode()}"
