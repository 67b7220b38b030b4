"""Ways to make a 224 x 224 picture of a decoded frame: their speed, and what they do to embeddings.

CLIP's own way is RGB at the video's size (by swscale, as every library does it), then PIL's bicubic filter. That first
step is about one grey level too dark, for swscale rounds down where it does not scale; `ACCURATE_RND` and
`FULL_CHR_H_INT` make it right. So pictures are compared both with CLIP's own and with the same filter on right colours.
Embeddings are those of a random ViT-B/32 (`--checkpoint FOLDER` for a trained one); two harmless changes, JPEG at
quality 95 and a crop beside the middle by one pixel, give the scale.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from encoders.encoding.encoder import Encoder
from encoders.weights.loading import LoadedModel, load_checkpoint, load_model
from pipeline.video.options import Resize
from pipeline.video.pictures import square_picture
from pipeline.video.resizing import centre_crop, crop_start, resize_and_crop, resized_shape
from tests.benchmarks.footage import CLASSES, QUICK_CLASSES, video_of
from tests.benchmarks.measure import interleaved, print_ratios

SIZE, NUM_FRAMES, REPEATS = 224, 12, 5
NUM_EMBEDDED = 4
"""Frames of a generated clip, which is one texture all the time."""
CLIP, EXACT = "RGB, PIL bicubic (CLIP)", "right RGB, PIL bicubic"
RIGHT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
Picture = NDArray[np.uint8]
Method = Callable[[Sequence[VideoFrame]], list[Picture]]


def by_fda(resize: Resize, frames: Sequence[VideoFrame]) -> list[Picture]:
    """As `fda preprocess` does it."""
    reformatter = VideoReformatter()
    return [square_picture(frame, reformatter, SIZE, resize) for frame in frames]


def by_swscale(flags: Interpolation, frames: Sequence[VideoFrame]) -> list[Picture]:
    """From the video's own pixels to RGB of the small size in one step."""
    reformatter = VideoReformatter()
    return [
        centre_crop(_rgb(frame, reformatter, flags, resized_shape(frame.height, frame.width, SIZE)), SIZE)
        for frame in frames
    ]


def by_pil(flags: Interpolation, frames: Sequence[VideoFrame]) -> list[Picture]:
    """RGB at the video's own size, then PIL's bicubic filter."""
    reformatter = VideoReformatter()
    return [resize_and_crop(_rgb(frame, reformatter, flags), SIZE) for frame in frames]


def by_pil_on_the_middle(frames: Sequence[VideoFrame]) -> list[Picture]:
    """The same, but what is cut away later is not resized."""
    reformatter = VideoReformatter()
    pictures = []
    for frame in frames:
        rgb = Image.fromarray(_rgb(frame, reformatter, Interpolation.BICUBIC))
        small = rgb.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=source_box(frame.height, frame.width))
        pictures.append(np.asarray(small, dtype=np.uint8))
    return pictures


def by_cv2_on_the_middle(frames: Sequence[VideoFrame]) -> list[Picture]:
    """RGB at the video's own size; whole pixels of its middle square, by area."""
    reformatter = VideoReformatter()
    pictures = []
    for frame in frames:
        left, top, right, bottom = (round(side) for side in source_box(frame.height, frame.width))
        rgb = _rgb(frame, reformatter, Interpolation.BICUBIC)[top:bottom, left:right]
        pictures.append(np.asarray(cv2.resize(rgb, (SIZE, SIZE), interpolation=cv2.INTER_AREA), dtype=np.uint8))
    return pictures


def source_box(height: int, width: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom, in pixels of a video, of what the centre crop leaves of it.

    >>> source_box(448, 448)
    (0.0, 0.0, 448.0, 448.0)
    >>> source_box(448, 796)  # 398 pixels wide when resized, of which 87 to 311 are left
    (174.0, 0.0, 622.0, 448.0)
    """
    small_height, small_width = resized_shape(height, width, SIZE)
    left, top = crop_start(small_width, SIZE), crop_start(small_height, SIZE)
    across, down = width / small_width, height / small_height
    return left * across, top * down, (left + SIZE) * across, (top + SIZE) * down


def _rgb(
    frame: VideoFrame, reformatter: VideoReformatter, flags: Interpolation, shape: tuple[int, int] | None = None
) -> Picture:
    height, width = shape or (frame.height, frame.width)
    rgb = reformatter.reformat(frame, width, height, "rgb24", interpolation=flags, threads=1).to_ndarray()
    return rgb.astype(np.uint8, copy=False)


METHODS: Mapping[str, Method] = {
    CLIP: partial(by_pil, Interpolation.BICUBIC),
    EXACT: partial(by_pil, Interpolation.BICUBIC | RIGHT),
    "RGB, PIL bicubic of the middle": by_pil_on_the_middle,
    "RGB, cv2 area of the middle": by_cv2_on_the_middle,
    "swscale bicubic": partial(by_swscale, Interpolation.BICUBIC),
    "swscale area": partial(by_swscale, Interpolation.AREA),
    "swscale lanczos": partial(by_swscale, Interpolation.LANCZOS),
    "swscale area, right": partial(by_swscale, Interpolation.AREA | RIGHT),
    "swscale bicubic, right": partial(by_swscale, Interpolation.BICUBIC | RIGHT),
    "fda, resize clip": partial(by_fda, Resize.CLIP),
    "fda": partial(by_fda, Resize.SWSCALE),
}


def jpeg(pictures: Sequence[Picture]) -> list[Picture]:
    """Through JPEG at quality 95, colours at full size."""
    results = []
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=95, subsampling=0)
        results.append(np.asarray(Image.open(buffer), dtype=np.uint8))
    return results


def beside_the_middle(frames: Sequence[VideoFrame]) -> list[Picture]:
    """As CLIP, but the crop is one pixel further right and down, where there is one."""
    reformatter = VideoReformatter()
    pictures = []
    for frame in frames:
        height, width = resized_shape(frame.height, frame.width, SIZE)
        rgb = Image.fromarray(_rgb(frame, reformatter, Interpolation.BICUBIC))
        left, top = min(crop_start(width, SIZE) + 1, width - SIZE), min(crop_start(height, SIZE) + 1, height - SIZE)
        small = rgb.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + SIZE, top + SIZE))
        pictures.append(np.asarray(small, dtype=np.uint8))
    return pictures


def spread_frames(path: Path, num_frames: int) -> list[VideoFrame]:
    """Frames at the centres of equal spans."""
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.video[0]))
    return [frames[(2 * number + 1) * len(frames) // (2 * num_frames)] for number in range(num_frames)]


@dataclass(frozen=True, slots=True)
class Cosines:
    """How near embeddings are to others of the same frames."""

    frame_mean: float
    frame_min: float
    clip_mean: float
    clip_min: float
    """Of the means over the frames of a clip."""

    @classmethod
    def between(cls, one: NDArray[np.float32], other: NDArray[np.float32]) -> Cosines:
        """Of two arrays of shape (num_clips, num_frames, dim)."""
        frame, clip = cosine(one, other), cosine(one.mean(axis=1), other.mean(axis=1))
        return cls(float(frame.mean()), float(frame.min()), float(clip.mean()), float(clip.min()))

    def __str__(self) -> str:
        return f"{self.frame_mean:.5f} {self.frame_min:.5f}  {self.clip_mean:.5f} {self.clip_min:.5f}"


def cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosines between the vectors along the last axis."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return np.asarray((one * other).sum(-1) / lengths, dtype=np.float64)


def print_embeddings(videos: Sequence[Path], loaded: LoadedModel, num_frames: int) -> None:
    """Print, for every method, its distance from CLIP's pictures and from the exact ones."""
    clips = [spread_frames(path, num_frames) for path in videos]
    pictures = {name: np.stack([np.stack(method(frames)) for frames in clips]) for name, method in METHODS.items()}
    pictures["JPEG q95 of CLIP's"] = np.stack([np.stack(jpeg(list(clip))) for clip in pictures[CLIP]])
    pictures["CLIP's, one pixel aside"] = np.stack([np.stack(beside_the_middle(frames)) for frames in clips])
    encoder = Encoder(loaded.model)
    features = {}
    for name, stack in pictures.items():
        features[name] = encoder.encode_clips(stack, np.ones(stack.shape[:4], dtype=np.bool_)).frame
    for reference in (CLIP, EXACT):
        print(
            f"\n{len(clips)} clips of {num_frames} frames, {loaded.config.name} ({loaded.report.kind}), "
            f"against {reference}"
        )
        print(f"  {'':32} {'grey levels':>11}  cosine of frames: mean, least; of clips: mean, least")
        for name, stack in pictures.items():
            grey = np.abs(stack.astype(np.int16) - pictures[reference]).mean()
            print(f"  {name:32} {grey:11.2f}  {Cosines.between(features[name], features[reference])}", flush=True)


def main(*, quick: bool = False, videos: Path | None = None, checkpoint: Path | None = None) -> None:
    """Time the methods, and print what they do to embeddings."""
    cv2.setNumThreads(1)
    kinds = QUICK_CLASSES[:1] if quick else CLASSES[:3]
    for kind in kinds:
        frames = spread_frames(video_of(kind), NUM_FRAMES)
        runs = {name: partial(method, frames) for name, method in METHODS.items()}
        print_ratios(f"{NUM_FRAMES} frames of {kind.name} to {SIZE}", interleaved(runs, 1 if quick else REPEATS), CLIP)
    paths = [video_of(kind) for kind in kinds]
    if videos is not None:
        paths = [path for path in sorted(videos.rglob("*")) if path.suffix in {".mp4", ".avi", ".mkv", ".webm"}]
    model = load_model("ViT-B-32", "none", None, seed=0) if checkpoint is None else load_checkpoint(checkpoint)
    print_embeddings(paths, model, 1 if quick else NUM_FRAMES if videos is not None else NUM_EMBEDDED)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=Path, help="folder of videos, instead of generated footage, to embed")
    parser.add_argument("--checkpoint", type=Path, help="of a trained model, instead of a random ViT-B/32")
    parser.add_argument("--quick", action="store_true", help="one small video")
    arguments = parser.parse_args()
    main(quick=arguments.quick, videos=arguments.videos, checkpoint=arguments.checkpoint)
