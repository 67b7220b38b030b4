"""How well masks cover what moves: mean overlap (IoU) with the known mover of rendered H.264 clips, and ms a clip.

Cameras that rest, shake, pan and zoom, light that flickers and a noisy sensor, each with slow, medium and fast movers
(`tests.benchmarks.moving_scenes`). Two more tables say what a clip costs, and whether a clip that has a cut is divided
at it. `python -m tests.benchmarks.bench_mask_quality` takes five clips of each kind instead of one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import mean, median

import cv2
import numpy as np

from pipeline.masks.clips import clip_masks
from pipeline.masks.options import Compensation, Cuts, Difference, Fill, MaskOptions, ThresholdMode
from pipeline.masks.shots import shots_of
from tests.benchmarks.moving_scenes import SCENES, SPEEDS, MovingScene, moving_scene, overlap

KINDS: Mapping[str, MaskOptions] = {
    "the paper's": MaskOptions(),
    "the paper's, similarity": MaskOptions(compensation=Compensation.SIMILARITY),
    "the paper's, noise": MaskOptions(threshold_mode=ThresholdMode.NOISE),
    "the paper's, fill both": MaskOptions(fill=Fill.BOTH),
    "background": MaskOptions(difference=Difference.BACKGROUND),
    "registered": MaskOptions(difference=Difference.REGISTERED),
    "auto": MaskOptions(difference=Difference.AUTO),
    "auto, fill none": MaskOptions(difference=Difference.AUTO, fill=Fill.NONE),
    "auto, fill contours": MaskOptions(difference=Difference.AUTO, fill=Fill.CONTOURS),
    "auto, fill both": MaskOptions(difference=Difference.AUTO, fill=Fill.BOTH),
    "auto, threshold 10": MaskOptions(difference=Difference.AUTO, threshold=10),
    "auto, noise": MaskOptions(difference=Difference.AUTO, threshold_mode=ThresholdMode.NOISE),
}
FEW = (2, 3, 6)
"""Frames of a clip, of which the training split has 6."""


def print_overlaps(scenes: Mapping[tuple[str, str], Sequence[MovingScene]]) -> None:
    """A row for each kind: slow, medium and fast for each scene, the mean of all, and CPU ms a clip."""
    names = list(dict.fromkeys(kind for kind, _ in scenes))
    print(f"\n{'IoU: slow medium fast':26}" + "".join(f"{name:>16}" for name in names) + "    mean   ms a clip")
    for label, options in KINDS.items():
        found: dict[tuple[str, str], float] = {}
        seconds = []
        for key, clips in scenes.items():
            values = []
            for clip in clips:
                start = time.process_time()
                masks = clip_masks(clip.frames, options).masks
                seconds.append(time.process_time() - start)
                values.append(overlap(np.asarray(masks, dtype=np.bool_), clip.mover))
            found[key] = mean(values)
        cells = ["  " + " ".join(f"{found[name, speed]:.2f}" for speed in SPEEDS) for name in names]
        print(
            f"{label:26}" + "".join(cells) + f"    {mean(found.values()):.2f}    {1e3 * median(seconds):6.1f}",
            flush=True,
        )


def print_few_frames(scenes: Mapping[tuple[str, str], Sequence[MovingScene]]) -> None:
    """Overlaps of medium movers where a clip has few frames."""
    names = list(dict.fromkeys(kind for kind, _ in scenes))
    print(f"\n{'IoU, few frames':26}" + "".join(f"{name:>16}" for name in names))
    for label in ("the paper's", "auto"):
        for count in FEW:
            cells = []
            for name in names:
                values = []
                for clip in scenes[name, "medium"]:
                    part = slice(None, None, len(clip.frames) // count)
                    masks = clip_masks(clip.frames[part], KINDS[label]).masks
                    values.append(overlap(np.asarray(masks, dtype=np.bool_), clip.mover[part]))
                cells.append(f"{mean(values):16.2f}")
            print(f"{f'{label}, {count} frames':26}" + "".join(cells), flush=True)


def print_cuts(scenes: Mapping[tuple[str, str], Sequence[MovingScene]]) -> None:
    """How many cuts between scenes are found, and how many are found where none are."""
    clips = [clip for several in scenes.values() for clip in several]
    joined = [np.concatenate([first.frames[:5], second.frames[5:]]) for first, second in pairwise(clips)]
    for cuts in (Cuts.DIFFERENCE, Cuts.CONTENT):
        starts = [[shot.start for shot in shots_of(frames, cuts)] for frames in joined]
        num_found = sum(5 in of for of in starts)
        num_wrong = sum(len(set(of) - {0, 5}) for of in starts)
        print(
            f"\ncuts {cuts}: {num_found} of {len(joined)} cuts are found, and {num_wrong} where there are none", end=""
        )
    print()


def main(*, quick: bool = False, num_seeds: int = 1) -> None:
    """Make the clips, as many of each kind as there are seeds, measure, and print the tables."""
    cv2.setNumThreads(1)
    seeds = range(1 if quick else num_seeds)
    names = SCENES[:2] if quick else SCENES
    scenes = {(kind, speed): [moving_scene(kind, speed, seed) for seed in seeds] for kind in names for speed in SPEEDS}
    print_overlaps(scenes)
    print_few_frames(scenes)
    print_cuts(scenes)


if __name__ == "__main__":
    main(num_seeds=5)
