"""Whole data sets: what `fda preprocess --preset fda-clip` takes for all of MSVD and MSR-VTT, in time and on the disk.

A sample of each is generated, alike in what decides its cost (sizes, rates, lengths, codecs, how often a keyframe or a
B picture comes, bits a second), and goes through whole commands in turns with the script that people write with OpenCV.
What a run takes more for many videos than for few, divided by the videos, is the cost of one.

The real clips that the samples are modelled on, 11 and 2, may be measured in their place, to see how alike they are:
`python -m tests.benchmarks.bench_datasets --real msvd FOLDER`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from shlex import join

from tests.benchmarks.footage import VideoClass, videos_of
from tests.benchmarks.machine import NUM_CORES
from tests.benchmarks.measure import Cost, interleaved_costs, print_table, ratio_table
from tests.benchmarks.processes import cost_of, fda
from tests.benchmarks.quoted import quote

FRAMES = {"train": 24, "test": 12}
"""Of a clip, in the preset `fda-clip`."""
SCRIPT, OURS = "OpenCV script", "fda preprocess"
CODECS = ("raw", "jpeg")


@dataclass(frozen=True, slots=True)
class DataSet:
    """A published data set, and a sample that is like it."""

    name: str
    num_videos: Mapping[str, int]
    """Split -> videos; `test` are all that are not for training."""
    kinds: Sequence[VideoClass]
    copies: Mapping[str, int]
    """Split -> how often each of the sample is there, in the proportion of the splits."""


def _msvd(height: int, aspect: float, fps: int, gop: int, seconds: int, rate: int, **more: str) -> VideoClass:
    """H.264 in AVI, main profile, of at most 3 reference pictures, as its clips are; `rate` in kb/s."""
    options = {"preset": "medium", "profile": "main", "bf": "0", "sc_threshold": "0", "b": f"{rate}k", **more}
    name = f"msvd {height} {fps} {seconds} s"
    return VideoClass(name, height, gop, suffix=".avi", seconds=seconds, fps=fps, options=options, aspect=aspect)


_FEW_B = {"bf": "1", "b-bias": "-90"}
"""AVI keeps no times of presentation, so that of these files every picture must be decoded."""
MSVD = DataSet(
    "msvd",
    {"train": 1200, "test": 770},
    (
        _msvd(240, 4 / 3, 30, 59, 5, 365),
        _msvd(240, 4 / 3, 30, 59, 8, 286),
        _msvd(240, 4 / 3, 30, 59, 12, 316),
        _msvd(240, 4 / 3, 15, 29, 15, 183),
        _msvd(240, 4 / 3, 15, 30, 7, 190, **_FEW_B),
        _msvd(288, 11 / 9, 15, 15, 6, 518),
        _msvd(288, 11 / 9, 15, 15, 10, 323),
        _msvd(360, 4 / 3, 30, 60, 9, 639),
        _msvd(480, 4 / 3, 30, 59, 24, 799),
        _msvd(480, 4 / 3, 30, 59, 6, 1653, **_FEW_B),
        _msvd(720, 16 / 9, 30, 60, 5, 1909),
    ),
    {"train": 3, "test": 2},
)
"""Its clips last 9.7 s on average, which their ids say: so does the sample."""
MSRVTT = DataSet(
    "msrvtt",
    {"train": 9000, "test": 1000},
    tuple(
        VideoClass(f"msrvtt {seconds} s", 240, seconds=seconds, options={"preset": "medium", "b": "190k"}, aspect=4 / 3)
        for seconds in (10, 11, 13, 16, 24)
    ),
    {"train": 9, "test": 1},
)
"""Made by x264 as it is by default; 41.2 hours in all, which is 14.8 s a clip."""
DATA_SETS = {one.name: one for one in (MSVD, MSRVTT)}


def make_folders(place: Path, files: Sequence[Path], copies: Mapping[str, int]) -> Path:
    """A folder a split with copies of files, and the list of all; the place of the list."""
    lines = []
    for split, number in copies.items():
        (place / split).mkdir(parents=True)
        for path in files:
            for copy in range(number):
                video_id = f"{path.stem}_{split}_{copy}"
                target = place / split / f"{video_id}{path.suffix}"
                shutil.copyfile(path, target)
                lines.append({"video_id": video_id, "path": str(target), "split": split, "captions": ["a video"]})
    listing = place / "videos.jsonl"
    listing.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return listing


def ours(listing: Path, out: Path, codec: str = "raw") -> list[str | Path]:
    """The command of the recipes, on all cores."""
    options = ("--preset", "fda-clip", "--workers", str(NUM_CORES), "--frame-codec", codec, "--no-progress")
    return fda("preprocess", listing, out, *options)


def script(listing: Path, out: Path) -> list[str]:
    """The script, a split after the other, for each has a number of frames of its own."""
    runs = (
        join([sys.executable, "tests/benchmarks/opencv_script.py", "TARGETS", str(listing.parent / split)])
        + " "
        + join([str(out / split), str(num_frames), "224"])
        for split, num_frames in FRAMES.items()
    )
    return ["sh", "-c", " && ".join(runs)]


def seconds_a_video(data_set: DataSet, files: Sequence[Path], place: Path, repeats: int) -> dict[str, Cost]:
    """Method -> what a video takes: the difference of runs over all copies, and over two of a video of middle size."""
    many = make_folders(place / "many", files, data_set.copies)
    middle = sorted(files, key=lambda path: path.stat().st_size)[len(files) // 2]
    few = make_folders(place / "few", [middle], dict.fromkeys(FRAMES, 1))
    out = place / "out"
    methods: dict[str, Callable[[], Cost]] = {
        f"{size} {name}": partial(cost_of, command(listing, out), out)
        for size, listing in (("many", many), ("few", few))
        for name, command in ((SCRIPT, script), (OURS, ours))
    }
    costs = interleaved_costs(methods, repeats)
    num_more = len(many.read_text().splitlines()) - len(few.read_text().splitlines())
    return {
        name: Cost(
            (costs[f"many {name}"].wall_seconds - costs[f"few {name}"].wall_seconds) / num_more,
            (costs[f"many {name}"].cpu_seconds - costs[f"few {name}"].cpu_seconds) / num_more,
        )
        for name in (SCRIPT, OURS)
    }


def gibibytes(data_set: DataSet, files: Sequence[Path], place: Path, codec: str) -> float:
    """What frames and masks of the whole data set take on the disk."""
    listing, out = make_folders(place / f"of-{codec}", files, dict.fromkeys(FRAMES, 1)), place / codec
    cost_of(ours(listing, out, codec), out)
    return sum(
        sum(path.stat().st_size for path in (out / "clips.zarr" / split).rglob("*") if path.is_file())
        / len(files)
        * num_videos
        / 2**30
        for split, num_videos in data_set.num_videos.items()
    )


def measure(data_set: DataSet, files: Sequence[Path], repeats: int) -> None:
    """Print what the sample takes, and what the whole of it would."""
    num_videos = sum(data_set.num_videos.values())
    with tempfile.TemporaryDirectory() as folder:
        costs = seconds_a_video(data_set, files, Path(folder), repeats)
        sizes = {codec: gibibytes(data_set, files, Path(folder), codec) for codec in CODECS}
    title = f"a video like those of {data_set.name}, processor time"
    print_table(ratio_table(title, {name: cost.cpu_seconds for name, cost in costs.items()}, SCRIPT))
    print(f"so all {num_videos:,} on {NUM_CORES} cores")
    for what, name in (("", OURS), ("_script", SCRIPT)):
        quote(f"datasets.{data_set.name}{what}_cpu", num_videos * costs[name].cpu_seconds / 60, "min")
        quote(f"datasets.{data_set.name}{what}_wall", num_videos * costs[name].wall_seconds / 60, "min")
    for codec, size in sizes.items():
        quote(f"datasets.{data_set.name}_{codec}", size, "GiB")


def main(*, quick: bool = False) -> None:
    """Measure, and print the estimates."""
    for data_set in DATA_SETS.values():
        if quick:
            data_set = replace(data_set, kinds=data_set.kinds[:2], copies=dict.fromkeys(FRAMES, 1))
        measure(data_set, videos_of(data_set.kinds), 1 if quick else 3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", nargs=2, metavar=("DATA_SET", "FOLDER"), help="measure the videos of a folder")
    given = parser.parse_args().real
    if given is None:
        main()
    else:
        measure(DATA_SETS[given[0]], sorted(Path(given[1]).iterdir()), 3)
