"""`fda preprocess` on all cores, from files to a store with masks, against the script that people write with OpenCV.

Each method is a command, run from nothing; what it takes for one video a core is reported as its start. One peer
decodes and resizes as fda does, in as many processes, and drops the frames: the rest is what masks and the store cost.

`python -m tests.benchmarks preprocess --videos FOLDER` takes the videos of a folder instead, over and over under other
names if they are few, and adds the processor time of all processes: on a machine with other work it is what counts.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from tests.benchmarks.footage import CLASSES, QUICK_CLASSES, VideoClass, video_of
from tests.benchmarks.machine import NUM_CORES
from tests.benchmarks.measure import Cost, cost_rounds, interleaved_costs, print_table, ratio_table
from tests.benchmarks.peers import ROOT
from tests.benchmarks.processes import cost_of
from tests.benchmarks.quoted import quote

NUM_VIDEOS, NUM_FRAMES, SIZE, REPEATS = 64, 12, 224, 3
NUM_LARGE = 16
"""Videos of 720p, each of which takes as long as five of 360p."""
NUM_DIFFERENT = 2
"""Videos that are really different; the others are copies of them."""
MANY = 200
"""Videos of a user's folder that are measured at least, so that starting counts for what it does in real runs."""
SCRIPT, READ_ALL, DECODE_ONLY, OURS = (
    "OpenCV script",
    "OpenCV script, every frame",
    "fda's decoding alone",
    "fda preprocess",
)


def make_folder(place: Path, kind: VideoClass, num_videos: int) -> Path:
    """A folder of videos, with the list of them beside it."""
    return fill_folder(place, [video_of(kind, seed=number % NUM_DIFFERENT) for number in range(num_videos)])


def fill_folder(place: Path, files: Sequence[Path]) -> Path:
    """A folder with a copy of each file, numbered, with the list of them beside it."""
    videos = place / f"videos-{len(files)}"
    videos.mkdir(parents=True)
    lines = []
    for number, file in enumerate(files):
        path = videos / f"{number:04d}{file.suffix}"
        shutil.copyfile(file, path)
        lines.append(json.dumps({"video_id": path.stem, "path": str(path), "captions": ["a video"]}))
    (place / f"videos-{len(files)}.jsonl").write_text("\n".join(lines) + "\n")
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


def measure(kind: VideoClass, num_videos: int, repeats: int, *, left_out: str = "") -> None:
    """Time all methods but one on a folder of videos, and on one video a core."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        out = place / "out"
        methods: dict[str, Callable[[], Cost]] = {}
        for number in (num_videos, NUM_CORES):
            for name, command in commands(make_folder(place, kind, number), out).items():
                if name != left_out:
                    methods[name if number == num_videos else f"start of {name}"] = partial(cost_of, command, out)
        costs = interleaved_costs(methods, repeats)
    total = {name: costs[name].wall_seconds for name in methods if not name.startswith("start of ")}
    starts = {name: costs[f"start of {name}"].wall_seconds for name in total}
    notes = {name: f"of it {starts[name]:.1f} s for the first {NUM_CORES} videos" for name in total}
    title = f"preprocess, wall time, {NUM_CORES} cores: {num_videos} videos of {kind.name}"
    print_table(ratio_table(title, total, SCRIPT, notes))
    running = {name: total[name] - starts[name] for name in total}
    print_table(ratio_table(f"{title}, without the first {NUM_CORES}", running, SCRIPT))
    quote(f"preprocess.{kind.key}", total[SCRIPT] / total[OURS], at_least=2)
    if READ_ALL in total:
        quote(f"preprocess.{kind.key}_every_frame", total[READ_ALL] / total[OURS], at_least=3)
    quote(f"preprocess.{kind.key}_decoding", total[DECODE_ONLY] / total[OURS], at_least=0.85)


def measure_folder(videos: Path, num_videos: int, repeats: int) -> None:
    """Time all methods but the slowest on the files of a folder, over and over until they are `num_videos` or more."""
    files = sorted(path for path in videos.rglob("*") if path.is_file())
    with tempfile.TemporaryDirectory() as folder:
        out, place = Path(folder) / "out", fill_folder(Path(folder), files * -(-num_videos // len(files)))
        runs = {name: command for name, command in commands(place, out).items() if name != READ_ALL}
        rounds = cost_rounds({name: partial(cost_of, command, out) for name, command in runs.items()}, repeats)
        title = f"preprocess, {NUM_CORES} workers: {len(list(place.iterdir()))} videos, {len(files)} of them different"
    for unit, of in (("processor time", _cpu_seconds), ("wall time", _wall_seconds)):
        seconds = {name: list(map(of, costs)) for name, costs in rounds.items()}
        print_table(ratio_table(f"{title}, {unit}", {name: median(each) for name, each in seconds.items()}, SCRIPT))
        pairs = {peer: zip(seconds[peer], seconds[OURS], strict=True) for peer in (SCRIPT, DECODE_ONLY)}
        ratios = {peer: median(theirs / ours for theirs, ours in each) for peer, each in pairs.items()}
        print(
            f"  {unit}, median of rounds: {ratios[SCRIPT]:.2f}x the script, "
            f"{ratios[DECODE_ONLY]:.0%} of it would be fda's decoding alone"
        )


def _cpu_seconds(cost: Cost) -> float:
    return cost.cpu_seconds


def _wall_seconds(cost: Cost) -> float:
    return cost.wall_seconds


def main(*, quick: bool = False, videos: Path | None = None) -> None:
    """Measure, and print the ratios."""
    repeats = 1 if quick else REPEATS
    if videos is not None:
        measure_folder(videos, 1 if quick else MANY, repeats)
        return
    if quick:
        measure(QUICK_CLASSES[0], 2 * NUM_CORES, repeats)
        return
    measure(CLASSES[1], NUM_VIDEOS, repeats)
    measure(CLASSES[2], NUM_LARGE, repeats, left_out=READ_ALL)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv[1:])
