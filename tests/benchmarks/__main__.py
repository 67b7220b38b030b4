"""Benchmarks, one after the other: `python -m tests.benchmarks`, or some by name; `--quick` to see whether they run.

Each part runs in a process of its own. What it gave is kept in `bench/results.json` as soon as it ends, with what it
was measured on: all parts begin a new file, a part by name replaces its own results. `bench/results.png` shows
the tables; `python -m tests.benchmarks.quoted bench/results.json` writes the figures into the documents.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.benchmarks.bench_decoding import TARGETS, TARGETS_TO_BASE
from tests.benchmarks.machine import facts
from tests.benchmarks.peers import PEERS_PYTHON, ROOT
from tests.benchmarks.quoted import figures_of

HERE = Path(__file__).parent
NAMES = tuple(sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py")))
ONE_THREAD = {"retrieval", "search"}
"""Parts whose matrix products run in one thread, as their peers' do; a BLAS must be told so before it is loaded."""
TIMEOUT_SECONDS = 900
"""After which a part is ended: it hangs, or is far too slow here."""


def new_results() -> dict[str, Any]:
    """Results without any part."""
    return {
        "machine": facts(),
        "targets": {"to_fastest_exact_peer": dict(TARGETS), "to_opencv": dict(TARGETS_TO_BASE)},
        "parts": {},
    }


def kept_results(place: Path) -> dict[str, Any]:
    """What earlier runs on this machine left in a file."""
    kept: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {}
    return kept if kept.keys() == new_results().keys() and kept["machine"] == facts() else new_results()


def part_results(name: str, options: list[str], *, quick: bool) -> dict[str, Any]:
    """Run a part, and return what it gave; where its process died or hung, that is all that is known."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "part.json"
        start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "tests.benchmarks.part", name, str(file), *options]
        environment = {**os.environ, **({"OMP_NUM_THREADS": "1"} if name in ONE_THREAD else {})}
        with subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True) as process:
            try:
                error = f"its process ended with {process.wait(TIMEOUT_SECONDS)}"
            except subprocess.TimeoutExpired:
                error = f"ended after {TIMEOUT_SECONDS} s"
            finally:
                end_group(process)
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_seconds = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        given = {"quick": quick, "error": error, "tables": [], "rounds": [], "quoted": {}}
        given |= json.loads(file.read_text()) if file.exists() else {}
        return {"seconds": time.perf_counter() - start, "cpu_seconds": cpu_seconds, **given}


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End what a part left running, and the part itself if it still runs."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def draw(place: Path) -> None:
    """Draw the figure, where the peers' environment is there to do so."""
    if not PEERS_PYTHON.exists():
        print("no figure: the peers' environment is missing, run `make bench`")
        return
    picture = place.with_suffix(".png")
    if subprocess.run([PEERS_PYTHON, HERE / "figure.py", place, picture]).returncode == 0:
        print(picture)


def main() -> int:
    """Run what the command line asks for; 1 if a part failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all unless named: {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="small inputs, one round: the figures mean nothing")
    parser.add_argument("--videos", type=Path, help="decoding, preprocess: a folder of videos to measure")
    parser.add_argument("--out", type=Path, default=ROOT / "bench", help="where the results go (default: bench/)")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    options = ["--quick"] if arguments.quick else []
    options += [] if arguments.videos is None else ["--videos", str(arguments.videos.absolute())]
    arguments.out.mkdir(parents=True, exist_ok=True)
    place = arguments.out / "results.json"
    results = kept_results(place) if arguments.names else new_results()
    names = arguments.names or NAMES
    for name in names:
        part = results["parts"][name] = part_results(name, options, quick=arguments.quick)
        place.write_text(json.dumps(results, indent=1) + "\n")
        print(f"[{name}: {part['seconds']:.0f} s, {part['cpu_seconds']:.0f} s of the processor]\n", flush=True)
    return report(results, names, place)


def report(results: dict[str, Any], names: Sequence[str], place: Path) -> int:
    """Say how long it took, which targets are missed, and what failed; 1 if something did."""
    parts = results["parts"]
    for name, figure in figures_of(results).items():
        if figure.is_missed:
            print(f"missed: {name}, {figure}")
    print(f"in all {sum(parts[name]['seconds'] for name in names) / 60:.1f} min\n{place}")
    draw(place)
    errors = {name: parts[name]["error"] for name in names if parts[name]["error"]}
    for name, error in errors.items():
        print(f"{name}: {error}")
    return int(any(not error.startswith("left out") for error in errors.values()))


if __name__ == "__main__":
    sys.exit(main())
