"""A small labelled data set of real videos in which motion carries the meaning.

Every clip shows four objects of different kinds (colour and shape) on a still, textured ground with sensor noise.
Exactly one of them moves, and the caption names it: "a red star is moving". In the split `still`, and in a fixed share
of `train`, the caption names an object that rests: "a red star is resting".

No single frame tells which object moves. Each object has a cell of a 2 x 2 grid to itself and a circular orbit in it,
all drawn from one distribution. The mover runs along its orbit from a random phase; the others stay at a random phase
of theirs. So at any time all objects have the same distribution of place and size, whichever moves, and objects never
touch. A model whose video vector is a mean over frames can, without masks, at best name the objects and guess.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from encoders.replacing import PARTIAL, replacing
from pipeline.errors import InputError
from pipeline.run.events import ItemsDone, Listener, Phase, Tell, ignore_events
from pipeline.workers.dask import local_dask
from pipeline.workers.executors import run_synchronously

SPLITS = ("train", "val", "test", "still")
MANIFEST_NAME = "clips.jsonl"
OPTIONS_NAME = "options.json"
CLIPS_PER_TASK = 16
_Record: TypeAlias = "dict[str, str | list[str]]"
NUM_OBJECTS = 4
"""In one clip: one for each cell of the grid."""

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (235, 50, 50),
    "green": (50, 200, 70),
    "blue": (70, 110, 255),
    "yellow": (245, 225, 50),
    "purple": (200, 80, 230),
    "white": (245, 245, 245),
}
"""RGB, 0..255. All differ from the ground by more than the masks' threshold."""

Points = NDArray[np.float64]


def _polygon(num_corners: int, inner_radius: float = 1.0) -> Points:
    """Corners of a polygon, shape (num_corners, 2), the first one up; every second one at `inner_radius`."""
    angles = 2 * np.pi * np.arange(num_corners) / num_corners - np.pi / 2
    radii = np.where(np.arange(num_corners) % 2, inner_radius, 1.0)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


SHAPES: Mapping[str, Points] = {
    "circle": 0.88 * _polygon(40),
    "square": 0.8 * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]),
    "triangle": 1.1 * _polygon(3) + np.array([0.0, 0.25]),
    "star": 1.1 * _polygon(10, inner_radius=0.42),
}
"""Corners around the origin, at a radius of about 1."""

KINDS: tuple[tuple[str, str], ...] = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
"""Every (colour, shape): one caption each, and so the size of the test gallery."""


@dataclass(frozen=True, slots=True)
class SyntheticOptions:
    """How many clips there are, and what they look like. Lengths are fractions of the height."""

    seed: int = 0
    num_train: int = 960
    num_val: int = len(KINDS)
    num_test: int = len(KINDS)
    """Of `test` and of `still`. At most one a kind, so that no two captions of a split are equal."""
    rest_every: int = 5
    """In `train`, every fifth round through the kinds names an object that rests."""
    width: int = 192
    height: int = 144
    num_frames: int = 24
    fps: int = 12
    radius: tuple[float, float] = (0.13, 0.15)
    orbit: tuple[float, float] = (0.07, 0.09)
    turns: tuple[float, float] = (0.7, 1.3)
    """Rounds of the mover in one clip, either way."""
    ground: float = 45.0
    """Mean grey level of the background."""
    texture: float = 10.0
    """Its standard deviation, grey levels."""
    noise: float = 2.0
    """Standard deviation of the sensor's noise, grey levels."""
    crf: int = 23
    """Quality of the H.264 encoding."""

    def __post_init__(self) -> None:
        if not 1 <= self.num_test <= len(KINDS):
            raise ValueError(f"num_test must be 1..{len(KINDS)}, one clip a kind at most, got {self.num_test}")

    def num_clips(self, split: str) -> int:
        """Clips of a split."""
        return {"train": self.num_train, "val": self.num_val}.get(split, self.num_test)


@dataclass(frozen=True, slots=True)
class SyntheticClip:
    """One rendered clip."""

    frames: NDArray[np.uint8]
    """Shape (num_frames, height, width, 3), RGB."""
    kinds: tuple[tuple[str, str], ...]
    """The objects; the first one is named by the caption."""
    mover: int
    """Index into `kinds` of the object that moves."""

    @property
    def caption(self) -> str:
        """What the clip is about."""
        colour, shape = self.kinds[0]
        return f"a {colour} {shape} is {'resting' if self.mover else 'moving'}"


@dataclass(frozen=True, slots=True)
class _Scene:
    """Where the objects of a clip are. Lengths in pixels, angles in radians; axis 0 counts objects."""

    centres: Points
    radii: Points
    orbits: Points
    phases: Points
    turn_per_frame: float

    def paint(self, canvas: NDArray[np.uint8], index: int, kind: tuple[str, str], num_frames_passed: int) -> None:
        """Draw one object at its place after some frames, antialiased, in place."""
        colour, shape = kind
        angle = self.phases[index] + self.turn_per_frame * num_frames_passed
        centre = self.centres[index] + self.orbits[index] * np.array([np.cos(angle), np.sin(angle)])
        corners = np.round((centre + self.radii[index] * SHAPES[shape]) * 16).astype(np.int32)  # 4 bits of a pixel
        cv2.fillPoly(canvas, [corners], COLOURS[colour], lineType=cv2.LINE_AA, shift=4)


def render_clip(options: SyntheticOptions, split: str, index: int) -> SyntheticClip:
    """Render clip `index` of a split, a pure function of its arguments. Clip i names kind i modulo their number."""
    rng = np.random.default_rng([options.seed, SPLITS.index(split), index])
    round_number, named = divmod(index, len(KINDS))
    others = rng.choice(np.delete(np.arange(len(KINDS)), named), NUM_OBJECTS - 1, replace=False)
    kinds = tuple(KINDS[kind] for kind in (named, *others))
    is_resting_round = split == "train" and round_number % options.rest_every == options.rest_every - 1
    mover = 1 if split == "still" or is_resting_round else 0
    scene = _draw_scene(rng, options)
    ground = np.clip(_draw_ground(rng, options), 0, 255).astype(np.uint8)
    for resting in set(range(NUM_OBJECTS)) - {mover}:
        scene.paint(ground, resting, kinds[resting], num_frames_passed=0)
    frames = np.repeat(ground[None], options.num_frames, axis=0)
    for number, frame in enumerate(frames):
        scene.paint(frame, mover, kinds[mover], num_frames_passed=number)
    noise = options.noise * rng.standard_normal(frames.shape[:3], dtype=np.float32)
    return SyntheticClip(np.clip(frames + noise[..., None], 0, 255).astype(np.uint8), kinds, mover)


def single_frame_bound(options: SyntheticOptions, split: str) -> float:
    """The text-to-video R@1, in percent, of an ideal model that sees every object and no motion.

    For a caption, it can only guess among the clips that contain the named object.
    """
    clips = [render_clip(options, split, index) for index in range(options.num_clips(split))]
    chances = [1 / sum(clip.kinds[0] in other.kinds for other in clips) for clip in clips]
    return 100 * float(np.mean(chances))


def write_synthetic_dataset(
    folder: Path, options: SyntheticOptions, max_workers: int = 1, listener: Listener = ignore_events
) -> Path:
    """Write every clip as `videos/<id>.mp4` (H.264), and the manifest, unless the folder has the same options.

    Args:
        folder: Made if missing.
        options: What to write.
        max_workers: Processes that render and encode; with 1 it is this process.
        listener: Hears how far it is.

    Returns:
        The manifest, in the `jsonl` layout; each line also names the objects of its clip.

    Raises:
        InputError: The folder has files, and none that says that they are of such a data set.
    """
    check_own(folder)
    manifest, made_by = folder / MANIFEST_NAME, folder / OPTIONS_NAME
    description = _description(options, is_complete=True)
    if manifest.is_file() and made_by.is_file() and made_by.read_text(encoding="utf-8") == description:
        return manifest
    folder.mkdir(parents=True, exist_ok=True)
    _write_whole(made_by, _description(options, is_complete=False))  # first: from now on the folder is known as ours
    (folder / "videos").mkdir(exist_ok=True)
    numbered = [(split, index) for split in SPLITS for index in range(options.num_clips(split))]
    starts = range(0, len(numbered), CLIPS_PER_TASK)
    tasks = [_Clips(folder, options, start, tuple(numbered[start : start + CLIPS_PER_TASK])) for start in starts]
    with nullcontext(run_synchronously) if max_workers == 1 else local_dask(max_workers) as executor:
        phase = Phase("videos", len(numbered), listener)
        written = dict(executor(_write_clips, tasks, lambda event: phase.done(event.num_done)))
    records = (record for start in starts for record in written[start])
    _write_whole(manifest, "".join(json.dumps(record) + "\n" for record in records))
    _write_whole(made_by, description)  # last: if it exists, everything else is complete
    return manifest


def check_own(folder: Path) -> None:
    """Raise if a folder has files that are not of a synthetic data set: some might have the names of its files.

    Raises:
        InputError: See above.
    """
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in names if name != PARTIAL.format(OPTIONS_NAME)]  # left by a kill at the very beginning
    if foreign and not is_own(folder):
        raise InputError(f"{folder} contains {foreign[0]!r}, which the demo did not write: give another folder")


def is_own(folder: Path) -> bool:
    """Whether a synthetic data set was begun in a folder."""
    try:
        written = json.loads((folder / OPTIONS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(written, dict) and {one.name for one in fields(SyntheticOptions)} <= set(written)


def _description(options: SyntheticOptions, *, is_complete: bool) -> str:
    return json.dumps({**asdict(options), "is_complete": is_complete}, indent=2) + "\n"


def _write_whole(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class _Clips:
    """Some clips to write: one task of a worker."""

    folder: Path
    options: SyntheticOptions
    start: int
    """Of the clips in the order of the manifest."""
    numbered: tuple[tuple[str, int], ...]
    """Split of each, and index in it."""

    def __str__(self) -> str:
        return f"the {len(self.numbered)} demo clips from number {self.start} on"


def _write_clips(clips: _Clips, tell: Tell) -> tuple[int, list[_Record]]:
    """Write them; where they start, and their lines of the manifest."""
    records = []
    for one in clips.numbered:
        records.append(_write_clip(clips.folder, clips.options, one))
        tell(ItemsDone(1))
    return clips.start, records


def _write_clip(folder: Path, options: SyntheticOptions, numbered: tuple[str, int]) -> _Record:
    """Render and encode one clip, and return its line of the manifest."""
    split, index = numbered
    clip = render_clip(options, split, index)
    video_id = f"{split}_{index:05d}"
    path = f"videos/{video_id}.mp4"
    _write_mp4(folder / path, clip.frames, options)
    return {
        "video_id": video_id,
        "path": path,
        "captions": [clip.caption],
        "split": split,
        "objects": [" ".join(kind) for kind in clip.kinds],
        "mover": " ".join(clip.kinds[clip.mover]),
    }


def _draw_scene(rng: np.random.Generator, options: SyntheticOptions) -> _Scene:
    """Draw radii, orbits and places: every orbit lies in a cell of its own, in the central square of the picture."""
    radii = rng.uniform(*options.radius, NUM_OBJECTS)
    orbits = rng.uniform(*options.orbit, NUM_OBJECTS)
    cells = rng.permutation(NUM_OBJECTS)
    slack = np.maximum(0.25 - 0.01 - radii - orbits, 0.0)[:, None]
    middles = np.stack([cells % 2, cells // 2], axis=1) * 0.5 + 0.25
    centres = middles + rng.uniform(-1.0, 1.0, (NUM_OBJECTS, 2)) * slack
    margin = np.array([(options.width - options.height) / 2, 0.0])
    turns = rng.uniform(*options.turns) * rng.choice([-1.0, 1.0])
    return _Scene(
        centres=centres * options.height + margin,
        radii=radii * options.height,
        orbits=orbits * options.height,
        phases=rng.uniform(0.0, 2 * np.pi, NUM_OBJECTS),
        turn_per_frame=turns * 2 * np.pi / options.num_frames,
    )


def _draw_ground(rng: np.random.Generator, options: SyntheticOptions) -> NDArray[np.float32]:
    """A still ground, shape (height, width, 3), grey levels: coarse and fine smooth noise with a slight tint."""
    ground = np.full((options.height, options.width, 3), options.ground, np.float32)
    for cell, share in ((32, 0.8), (8, 0.6)):
        rows, columns = options.height // cell + 2, options.width // cell + 2
        grey = rng.normal(0.0, share * options.texture, (rows, columns, 1))
        tint = rng.normal(0.0, 0.2 * options.texture, (rows, columns, 3))
        coarse = (grey + tint).astype(np.float32)
        ground += cv2.resize(coarse, (options.width, options.height), interpolation=cv2.INTER_CUBIC)
    return ground


def _write_mp4(path: Path, frames: NDArray[np.uint8], options: SyntheticOptions) -> None:
    """Encode frames of shape (num_frames, height, width, 3) as H.264: the same frames give the same bytes."""
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(options.fps))
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        # x264's macroblock tree gives other bytes from run to run, even with one thread.
        x264 = "threads=1:mbtree=0:rc-lookahead=0"
        stream.options = {"crf": str(options.crf), "preset": "veryfast", "x264-params": x264}
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
