"""Footage for benchmarks: textured scenes with things that move, a hand-held camera and film grain.

Made once, deterministically, and kept in a folder, for encoding takes minutes. Smooth synthetic pictures would not do:
they compress to almost nothing, and then a decoder's cost is elsewhere than in what people have.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tests.benchmarks.machine import NUM_CORES

FORMAT = 1
"""To be raised when the footage changes, so that no old file is taken for a new one."""
_SCENE_SECONDS = 10
_GRAIN = 5.0
"""Standard deviation of the grain, grey levels."""


@dataclass(frozen=True, slots=True)
class VideoClass:
    """A kind of file: how large, how long, and how it is encoded."""

    name: str
    height: int
    gop: int = 250
    """Frames from keyframe to keyframe, at most."""
    codec: str = "libx264"
    suffix: str = ".mp4"
    seconds: float = 10.0
    fps: int = 30
    is_vfr: bool = False
    """Frames fall off at random, and the rest keep their times."""
    options: Mapping[str, str] = field(default_factory=lambda: {"preset": "medium", "crf": "23"})
    aspect: float = 16 / 9
    """Width by height."""

    @property
    def key(self) -> str:
        """Its name, as names of figures have it.

        >>> VideoClass("360p, no B", 360).key
        '360p_no_b'
        """
        return self.name.lower().replace(",", "").replace(" ", "_")

    @property
    def width(self) -> int:
        """Even."""
        return round(self.height * self.aspect / 2) * 2


_X264 = {"preset": "medium", "crf": "23"}
CLASSES: tuple[VideoClass, ...] = (
    VideoClass("240p g250", 240),
    VideoClass("360p g250", 360),
    VideoClass("720p g250", 720),
    VideoClass("360p g12", 360, gop=12),
    VideoClass("720p g60", 720, gop=60),
    VideoClass("360p no B", 360, options=_X264 | {"bf": "0"}),
    VideoClass("360p VFR", 360, is_vfr=True),
    VideoClass("2 min", 360, seconds=120),
    VideoClass("mpeg4 avi", 360, codec="mpeg4", suffix=".avi", options={"bf": "2", "qmin": "4", "qmax": "6"}),
    VideoClass("VP9", 360, codec="libvpx-vp9", suffix=".webm", options={"crf": "33", "b": "0", "cpu-used": "4"}),
    VideoClass(
        "HEVC 720p", 720, codec="libx265", options={"preset": "medium", "crf": "22", "x265-params": "log-level=1"}
    ),
)
QUICK_CLASSES: tuple[VideoClass, ...] = tuple(
    VideoClass(f"{kind.name}, quick", 96, kind.gop, kind.codec, kind.suffix, 2.0, options=kind.options)
    for kind in (CLASSES[1], CLASSES[3], CLASSES[8])
)


def _place_of(kind: VideoClass, *, seed: int = 0) -> Path:
    folder = Path(tempfile.gettempdir()) / f"fda-footage-{FORMAT}"
    return folder / f"{kind.name.replace(' ', '-').replace(',', '')}-{seed}{kind.suffix}"


def video_of(kind: VideoClass, *, seed: int = 0) -> Path:
    """The file of a class; it is made where it is not there yet."""
    path = _place_of(kind, seed=seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        unfinished = path.with_name(f".{os.getpid()}{path.name}")
        _encode(unfinished, kind, seed)
        unfinished.rename(path)
    return path


def videos_of(kinds: Sequence[VideoClass]) -> list[Path]:
    """The files of several classes; those that are not there yet are made by a process a core, the longest first."""
    missing = [kind for kind in kinds if not _place_of(kind).exists()]
    if len(missing) > 1:
        work = sorted(missing, key=lambda kind: kind.seconds * kind.height * kind.width, reverse=True)
        with multiprocessing.get_context("spawn").Pool(NUM_CORES) as pool:
            pool.map(video_of, work, chunksize=1)
    return [video_of(kind) for kind in kinds]


def _encode(path: Path, kind: VideoClass, seed: int) -> None:
    num_frames = round(kind.seconds * kind.fps)
    kept = np.random.default_rng(seed).random(num_frames) > (0.3 if kind.is_vfr else -1.0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(kind.codec, rate=kind.fps, options={**kind.options, "g": str(kind.gop)})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = kind.width, kind.height, "yuv420p"
        for number, rgb in enumerate(scenes(num_frames, kind.height, kind.width, kind.fps, seed)):
            if not kept[number]:
                continue
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, kind.fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def scenes(num_frames: int, height: int, width: int, fps: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Frames of shape (height, width, 3); a new scene begins every 10 seconds."""
    for start in range(0, num_frames, _SCENE_SECONDS * fps):
        rng = np.random.default_rng((seed, start))
        yield from _scene(rng, min(num_frames - start, _SCENE_SECONDS * fps), height, width, fps)


def _scene(rng: np.random.Generator, num_frames: int, height: int, width: int, fps: int) -> Iterator[NDArray[np.uint8]]:
    margin = height // 6
    ground = _texture(rng, height + 2 * margin, width + 2 * margin)
    things = [_thing(rng, height) for _ in range(5)]
    starts, speeds = rng.uniform(0.1, 0.8, (5, 2)), rng.normal(0, 0.12, (5, 2))  # of the picture's size, a second
    shake = cv2.GaussianBlur(rng.normal(0, 1, (num_frames, 2)), (1, 31), 6) * margin * 0.5
    grain = rng.normal(0, _GRAIN, (height + 64, width + 64, 1)).astype(np.float32)
    for number in range(num_frames):
        top, left = np.clip(margin + shake[number], 0, 2 * margin)
        middle = (left + (width - 1) / 2, top + (height - 1) / 2)
        view = np.asarray(cv2.getRectSubPix(ground, (width, height), middle), dtype=np.float32)
        for thing, start, speed in zip(things, starts, speeds, strict=True):
            _lay(view, *thing, (start + speed * number / fps) * (height, width))
        row, column = rng.integers(0, 64, 2)
        noisy = view + grain[row : row + height, column : column + width]
        yield np.clip(noisy, 0, 255).astype(np.uint8)


def _texture(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Noise of all sizes, as nature has it, more grey than coloured: shape (height, width, 3)."""
    picture = np.full((height, width, 3), 110, dtype=np.float32)
    for cells, strength in ((3, 45), (9, 30), (27, 18), (81, 10)):
        grey, colour = (
            rng.normal(0, strength, (cells, cells * 2, 1)),
            rng.normal(0, strength / 3, (cells, cells * 2, 3)),
        )
        picture += cv2.resize((grey + colour).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return picture


def _thing(rng: np.random.Generator, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A textured blob and its soft outline: shapes (side, side, 3) and (side, side, 1)."""
    side = int(height * rng.uniform(0.12, 0.35))
    outline = np.zeros((side, side), dtype=np.float32)
    axes = (int(side * rng.uniform(0.2, 0.45)), int(side * rng.uniform(0.2, 0.45)))
    cv2.ellipse(outline, (side // 2, side // 2), axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    texture = _texture(rng, side, side) + rng.normal(0, 40, 3).astype(np.float32)
    return texture, np.asarray(cv2.blur(outline, (3, 3)), dtype=np.float32)[:, :, None]


def _lay(
    view: NDArray[np.float32], thing: NDArray[np.float32], outline: NDArray[np.float32], place: NDArray[np.float64]
) -> None:
    """Paint a thing over a picture, its corner at a place (row, column); what sticks out is cut."""
    side = len(thing)
    top, left = (int(value) for value in place)
    rows = slice(max(0, -top), max(0, min(side, view.shape[0] - top)))
    columns = slice(max(0, -left), max(0, min(side, view.shape[1] - left)))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    under = view[top + rows.start : top + rows.stop, left + columns.start : left + columns.stop]
    share = outline[rows, columns]
    under += share * (thing[rows, columns] - under)
