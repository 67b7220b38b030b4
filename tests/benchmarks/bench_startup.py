"""What the smallest runs cost the processor, from nothing, and what a run costs that waits for its workers.

`python -m tests.benchmarks startup` runs whole commands in turns, against Pythons that only import what each cannot do
without, and against the OpenCV script. All of their processes count.
"""

from __future__ import annotations

import json
import sys
import tempfile
from functools import partial
from pathlib import Path

from pipeline.run.events import Tell, ignore_events
from pipeline.workers.dask import local_dask
from tests.benchmarks.footage import QUICK_CLASSES
from tests.benchmarks.measure import interleaved_costs, print_ratios
from tests.benchmarks.processes import cost_of, fda
from tests.benchmarks.quoted import quote

REPEATS, NUM_VIDEOS, NUM_CLIPS = 3, 2, 10
FRAMES = ("--image-size", "224")
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 224, "patch_size": 32, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 4, "layers": 1},
}


def importing(names: str) -> list[str]:
    """A Python that imports modules and ends."""
    return [sys.executable, "-c", f"import {names}"]


def small_runs(place: Path, repeats: int) -> None:
    """`fda preprocess` of two videos, and `fda encode` of ten clips by a tiny model, from nothing."""
    from tests.benchmarks.bench_preprocess import make_folder

    videos = make_folder(place, QUICK_CLASSES[0], NUM_VIDEOS)
    store, out, config = place / "store", place / "out", place / "tiny.json"
    config.write_text(json.dumps(TINY))
    script = (sys.executable, "tests/benchmarks/opencv_script.py", "TARGETS", videos, out, "12", "224")
    preprocess = fda("preprocess", videos.with_name(f"{videos.name}.jsonl"), out, *FRAMES)
    libraries = "numpy, cv2, av, pyarrow.parquet, zarr"
    methods = {
        f"Python that imports {libraries}": partial(cost_of, importing(libraries)),
        "OpenCV script": partial(cost_of, script, out),
        "fda preprocess": partial(cost_of, preprocess, out),
        "fda preprocess --workers 2": partial(cost_of, [*preprocess, "--workers", "2", "--shard-size", "1"], out),
    }
    seconds = {name: cost.cpu_seconds for name, cost in interleaved_costs(methods, repeats).items()}
    print_ratios(f"preprocess of {NUM_VIDEOS} short videos from nothing, processor time", seconds, "OpenCV script")
    quote("startup.preprocess", seconds["fda preprocess"], "s", at_most=1.8)
    quote("startup.preprocess_workers", seconds["fda preprocess --workers 2"], "s")
    quote("startup.preprocess_script", seconds["OpenCV script"], "s")
    quote("startup.preprocess_imports", seconds[f"Python that imports {libraries}"], "s")

    clips = make_folder(place, QUICK_CLASSES[0], NUM_CLIPS).with_name(f"videos-{NUM_CLIPS}.jsonl")
    cost_of(fda("preprocess", clips, store, *FRAMES), store)
    encode = ("encode", store, "--features", "mine", "--model", config, "--pretrained", "none", "--overwrite", "--yes")
    methods = {
        "Python that imports torch": partial(cost_of, importing("torch")),
        "fda encode": partial(cost_of, fda(*encode)),
        "fda --help": partial(cost_of, fda("--help")),
    }
    seconds = {name: cost.cpu_seconds for name, cost in interleaved_costs(methods, repeats).items()}
    title = f"encode of {NUM_CLIPS} clips by a tiny model from nothing, processor time"
    torch = "Python that imports torch"
    print_ratios(title, seconds, torch)
    quote("startup.encode", seconds["fda encode"], "s", at_most=seconds[torch] + 0.5)
    quote("startup.torch", seconds[torch], "s")


def nap(seconds: float, tell: Tell) -> float:
    """A task that needs no processor."""
    import time

    time.sleep(seconds)
    return seconds


def wait_for_workers(seconds: float) -> None:
    """What `idle` runs as a program: two workers, each with a task of so many seconds."""
    from tests.benchmarks.bench_startup import nap  # not of __main__, which workers do not have

    with local_dask(2) as executor:
        list(executor(nap, [seconds, seconds], ignore_events))


def idle(repeats: int, seconds: float) -> None:
    """The share of a core that a run takes while its workers wait: a long one less a short one."""
    program = "from tests.benchmarks.bench_startup import wait_for_workers; wait_for_workers({})"
    methods = {
        name: partial(cost_of, [sys.executable, "-c", program.format(number)])
        for name, number in (("short", 1.0), ("long", 1.0 + seconds))
    }
    costs = interleaved_costs(methods, repeats)
    share = (costs["long"].cpu_seconds - costs["short"].cpu_seconds) / seconds
    print("\ntwo workers that wait, with their scheduler")
    quote("startup.idle", share, "of a core", at_most=0.01)


def main(*, quick: bool = False) -> None:
    """Measure."""
    repeats = 1 if quick else REPEATS
    with tempfile.TemporaryDirectory() as folder:
        small_runs(Path(folder), repeats)
    idle(repeats, 4.0 if quick else 10.0)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv[1:])
