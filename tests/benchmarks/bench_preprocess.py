"""`fda preprocess` on all cores, from files to a store with masks, against the script that people write with OpenCV.

Each method is a command, run from nothing; what it takes for one video a core is reported as its start. One peer
decodes and resizes as fda does, in as many processes, and drops the frames: the rest is what masks and the store cost.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.benchmarks.footage import CLASSES, QUICK_CLASSES, VideoClass, video_of
from tests.benchmarks.machine import NUM_CORES
from tests.benchmarks.measure import Cost, interleaved_costs, print_table, ratio_table
from tests.benchmarks.peers import ROOT
from tests.benchmarks.quoted import quote

NUM_VIDEOS, NUM_FRAMES, SIZE, REPEATS = 64, 12, 224, 3
NUM_DIFFERENT = 2
"""Videos that are really different; the others are copies of them."""
SCRIPT, READ_ALL, DECODE_ONLY, OURS = (
    "OpenCV script",
    "OpenCV script, every frame",
    "fda's decoding alone",
    "fda preprocess",
)


def make_folder(place: Path, kind: VideoClass, num_videos: int) -> Path:
    """A folder of videos, with the list of them beside it."""
    videos = place / f"videos-{num_videos}"
    videos.mkdir(parents=True)
    lines = []
    for number in range(num_videos):
        path = videos / f"{number:04d}{kind.suffix}"
        shutil.copyfile(video_of(kind, seed=number % NUM_DIFFERENT), path)
        lines.append(json.dumps({"video_id": path.stem, "path": str(path), "captions": ["a video"]}))
    (place / f"videos-{num_videos}.jsonl").write_text("\n".join(lines) + "\n")
    return videos


def commands(videos: Path, out: Path) -> dict[str, Sequence[str | Path]]:
    """What to run for each method; `out` is where it may write."""
    fda = Path(sys.executable).with_name("fda")
    listing = videos.with_name(f"{videos.name}.jsonl")
    script = ROOT / "tests" / "benchmarks" / "opencv_script.py"
    numbers = (str(NUM_FRAMES), str(SIZE))
    return {
        SCRIPT: (sys.executable, script, "TARGETS", videos, out, *numbers),
        READ_ALL: (sys.executable, script, "ALL", videos, out, *numbers),
        DECODE_ONLY: (sys.executable, "-m", "tests.benchmarks.decode_only", videos, numbers[0]),
        OURS: (fda, "preprocess", listing, out, "--workers", str(NUM_CORES), "--no-progress"),
    }


def run_command(command: Sequence[str | Path], out: Path) -> Cost:
    """Wall time of a command; what it wrote is removed."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with code {done.returncode}: {done.stderr[-2000:]}")
    shutil.rmtree(out, ignore_errors=True)
    return Cost(seconds, 0.0)


def measure(kind: VideoClass, num_videos: int, repeats: int) -> None:
    """Time all methods on a folder of videos, and on one video a core."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        out = place / "out"
        methods: dict[str, Callable[[], Cost]] = {}
        for number in (num_videos, NUM_CORES):
            for name, command in commands(make_folder(place, kind, number), out).items():
                methods[name if number == num_videos else f"start of {name}"] = partial(run_command, command, out)
        costs = interleaved_costs(methods, repeats)
    total = {name: costs[name].wall_seconds for name in methods if not name.startswith("start of ")}
    starts = {name: costs[f"start of {name}"].wall_seconds for name in total}
    notes = {name: f"of it {starts[name]:.1f} s for the first {NUM_CORES} videos" for name in total}
    title = f"preprocess, wall time, {NUM_CORES} cores: {num_videos} videos of {kind.name}"
    print_table(ratio_table(title, total, SCRIPT, notes))
    running = {name: total[name] - starts[name] for name in total}
    print_table(ratio_table(f"{title}, without the first {NUM_CORES}", running, SCRIPT))
    quote(f"preprocess.{kind.key}", total[SCRIPT] / total[OURS], at_least=2)
    quote(f"preprocess.{kind.key}_every_frame", total[READ_ALL] / total[OURS], at_least=3)
    quote(f"preprocess.{kind.key}_decoding", total[DECODE_ONLY] / total[OURS], at_least=0.85)


def main(*, quick: bool = False) -> None:
    """Measure, and print the ratios."""
    for kind in QUICK_CLASSES[:1] if quick else CLASSES[:3]:
        measure(kind, 4 * NUM_CORES if quick else NUM_VIDEOS, 1 if quick else REPEATS)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv[1:])
