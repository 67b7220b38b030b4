"""Short H.264 clips in which one known thing moves: to measure how well masks cover it.

A textured ground is filmed through a window of 256 pixels, which rests, shakes, pans or zooms. One blob with a texture
and a colour of its own runs over the ground. What the camera does, how fast the blob is, flicker and noise are set one
by one. The clip is encoded (H.264, CRF 23), decoded and sampled as `fda preprocess` would.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions

Floats = NDArray[np.float64]

SCENES = ("still", "handheld", "pan", "zoom", "flicker", "noise")
SPEEDS = {"slow": 0.4, "medium": 1.5, "fast": 5.0}
"""Pixels a frame of the video."""
NUM_FRAMES, SIZE = 12, 224
_SIDE = 256
"""Pixels: both sides of the encoded picture."""
_WORLD = 900
_PER_SAMPLE = 8
"""Frames of the video for each sampled one: at 25 frames a second, three a second are sampled."""
_FPS = 25


@dataclass(frozen=True, slots=True)
class MovingScene:
    """A clip as it is stored, and where its mover is."""

    frames: NDArray[np.uint8]
    """Shape (num_frames, 224, 224, 3), RGB."""
    mover: NDArray[np.bool_]
    """Shape (num_frames, 224, 224)."""


def moving_scene(kind: str, speed: str, seed: int, *, num_frames: int = NUM_FRAMES) -> MovingScene:
    """Film, encode, decode and sample one scene.

    Args:
        kind: One of `SCENES`.
        speed: One of `SPEEDS`.
        seed: Decides ground, blob, path, shaking and noise.
        num_frames: Sampled frames.
    """
    rng = np.random.default_rng([seed, SCENES.index(kind), list(SPEEDS).index(speed)])
    world, blob = _world(rng), _Blob.at_random(rng)
    count = num_frames * _PER_SAMPLE
    cameras, path = _camera(kind, count, rng), _path(SPEEDS[speed], count, rng)
    pictures, movers = [], []
    for number in range(count):
        picture, mover = _filmed(world, blob, cameras[number], path[number], number)
        pictures.append(_lit_and_noisy(picture, kind, number, rng))
        movers.append(mover)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scene.mp4"
        _encode(file, pictures)
        sample = decode_clip(file, DecodeOptions(num_frames, SIZE)).sample
    shown = [cv2.resize(movers[index], (SIZE, SIZE), interpolation=cv2.INTER_AREA) for index in sample.frame_index]
    return MovingScene(sample.frames, np.stack(shown) > 127)


def overlap(masks: NDArray[np.bool_], mover: NDArray[np.bool_]) -> float:
    """Mean intersection over union, frame by frame; each of shape (num_frames, height, width)."""
    both, either = (masks & mover).sum(axis=(1, 2)), (masks | mover).sum(axis=(1, 2))
    return float(np.mean(np.where(either > 0, both / np.maximum(either, 1), 1.0)))


@dataclass(frozen=True, slots=True)
class _Blob:
    """The thing that moves."""

    shape: NDArray[np.uint8]
    """Shape (side, side), 0 and 255."""
    skin: NDArray[np.uint8]
    """Shape (side, side, 3), RGB."""

    @classmethod
    def at_random(cls, rng: np.random.Generator) -> _Blob:
        side = int(rng.integers(44, 76))
        angles = np.linspace(0, 2 * np.pi, 9, endpoint=False) + rng.uniform(0, 0.4, 9)
        radii = side / 2 * rng.uniform(0.6, 1.0, 9)
        corners = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None] + side / 2
        shape = np.zeros((side, side), np.uint8)
        cv2.fillPoly(shape, [np.round(corners).astype(np.int32)], 255)
        colour = rng.uniform(20, 235, 3)
        skin = colour + _clouds(side, (4, 12), (16.0, 10.0), rng)[..., None]
        return cls(shape, np.clip(skin, 0, 255).astype(np.uint8))


def _clouds(side: int, cells: tuple[int, ...], strengths: tuple[float, ...], rng: np.random.Generator) -> Floats:
    """Smooth noise of several sizes, shape (side, side)."""
    layers = [
        strength * cv2.resize(rng.normal(0, 1, (cell, cell)), (side, side), interpolation=cv2.INTER_CUBIC)
        for cell, strength in zip(cells, strengths, strict=True)
    ]
    return np.asarray(sum(layers), dtype=np.float64)


def _world(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A wide view: clouds of three colours, and flat shapes with hard edges on it. Shape (900, 900, 3)."""
    view = np.stack([120 + _clouds(_WORLD, (9, 40, 200), (26.0, 16.0, 9.0), rng) for _ in range(3)], axis=2)
    for _ in range(90):
        centre = tuple(int(value) for value in rng.integers(0, _WORLD, 2))
        half = tuple(int(value) for value in rng.integers(6, 46, 2))
        box = cv2.boxPoints((centre, half, float(rng.uniform(0, 90))))
        cv2.fillPoly(view, [np.round(box).astype(np.int32)], tuple(rng.uniform(30, 225, 3)), lineType=cv2.LINE_AA)
    return np.asarray(np.clip(view, 0, 255), dtype=np.uint8)


def _camera(kind: str, count: int, rng: np.random.Generator) -> list[Floats]:
    """For each frame, where its pixels lie in the world: shape (2, 3)."""
    middle = np.full((count, 2), _WORLD / 2)
    zoom, turn = np.ones(count), np.zeros(count)
    if kind == "handheld":
        steps = cv2.GaussianBlur(np.cumsum(rng.normal(0, 1, (count, 3)), axis=0), (1, 9), 2)
        steps = steps - cv2.GaussianBlur(steps, (1, 61), 20)
        middle = middle + 4.0 * np.asarray(steps[:, :2], dtype=np.float64)
        turn = np.deg2rad(steps[:, 2] * 0.8)
    elif kind == "pan":
        direction = rng.uniform(0, 2 * np.pi)
        way = (np.arange(count) - count / 2)[:, None] * rng.uniform(1.0, 3.0)
        middle += way * np.array([np.cos(direction), np.sin(direction)])
    elif kind == "zoom":
        zoom = np.exp(np.linspace(0, np.log(rng.uniform(1.3, 1.8)), count))[:: int(rng.choice([-1, 1]))]
    cameras = []
    for number in range(count):
        scale = 1 / zoom[number]
        linear = scale * np.array(
            [[np.cos(turn[number]), -np.sin(turn[number])], [np.sin(turn[number]), np.cos(turn[number])]]
        )
        cameras.append(np.column_stack([linear, middle[number] - linear @ np.full(2, _SIDE / 2)]))
    return cameras


def _path(speed: float, count: int, rng: np.random.Generator) -> Floats:
    """Where the blob's middle is, in pixels of the picture, shape (count, 2); it turns back at the borders."""
    low, high = 45.0, _SIDE - 45.0
    direction, start = rng.uniform(0, 2 * np.pi), rng.uniform(low, high, 2)
    way = start + np.arange(count)[:, None] * speed * np.array([np.cos(direction), np.sin(direction)])
    folded = np.abs((way - low) % (2 * (high - low)) - (high - low))
    return np.asarray(high - folded, dtype=np.float64)


def _filmed(
    world: NDArray[np.uint8], blob: _Blob, camera: Floats, place: Floats, number: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One picture of 256 pixels a side, and the blob in it, 0..255."""
    picture = np.asarray(cv2.warpAffine(world, camera, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP))
    side = len(blob.shape)
    turn = np.asarray(cv2.getRotationMatrix2D((side / 2, side / 2), 0.5 * number, 1.0))
    turn[:, 2] = turn[:, 2] + place - side / 2
    shape = np.asarray(cv2.warpAffine(blob.shape, turn, (_SIDE, _SIDE)))
    skin = cv2.warpAffine(blob.skin, turn, (_SIDE, _SIDE), borderMode=cv2.BORDER_REPLICATE)
    share = shape[..., None] / 255.0
    return np.asarray(picture * (1 - share) + skin * share, dtype=np.uint8), shape.astype(np.uint8)


def _lit_and_noisy(picture: NDArray[np.uint8], kind: str, number: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The light changes by a fifth with `flicker`; a sensor has noise of 2 grey levels, or of 10 with `noise`."""
    light = 1 + 0.2 * np.sin(1.7 * number) if kind == "flicker" else 1.0
    noise = rng.normal(0, 10.0 if kind == "noise" else 2.0, picture.shape)
    return np.asarray(np.clip(picture * light + noise, 0, 255), dtype=np.uint8)


def _encode(file: Path, pictures: list[NDArray[np.uint8]]) -> None:
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=_FPS, options={"preset": "veryfast", "crf": "23"})
        assert isinstance(stream, VideoStream)
        stream.width = stream.height = _SIDE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _FPS)
        for picture in pictures:
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
