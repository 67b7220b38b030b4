"""Benchmarks, one after the other: `python -m tests.benchmarks`, or some by name; `--quick` to see whether they run.

Tables are printed, and kept with what they were measured on in `bench/results.json`; `bench/results.png` shows them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks import measure
from tests.benchmarks.bench_decoding import TARGETS, TARGETS_TO_BASE
from tests.benchmarks.machine import facts
from tests.benchmarks.peers import PEERS_PYTHON, ROOT

HERE = Path(__file__).parent
NAMES = tuple(sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py")))


def results() -> dict[str, object]:
    """All that was printed so far, to be written as JSON."""
    return {
        "machine": facts(),
        "targets": {"to_fastest_exact_peer": dict(TARGETS), "to_opencv": dict(TARGETS_TO_BASE)},
        "tables": [asdict(table) for table in measure.printed],
    }


def write_results(folder: Path) -> None:
    """Write the JSON and, where the peers' environment is there to draw it, the figure."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "results.json"
    place.write_text(json.dumps(results(), indent=1) + "\n")
    print(f"\n{place}")
    if PEERS_PYTHON.exists():
        subprocess.run([PEERS_PYTHON, HERE / "figure.py", place, folder / "results.png"], check=True)
        print(folder / "results.png")
    else:
        print("no figure: the peers' environment is missing, run `make bench`")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all unless named: {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="small inputs, one round: the figures mean nothing")
    parser.add_argument("--videos", type=Path, help="decoding: a folder of videos instead of generated footage")
    parser.add_argument("--out", type=Path, default=ROOT / "bench", help="where the results go (default: bench/)")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    for name in arguments.names or NAMES:
        start = time.perf_counter()
        module = importlib.import_module(f"tests.benchmarks.bench_{name}")
        if name == "decoding" and arguments.videos is not None:
            module.main(quick=arguments.quick, videos=arguments.videos)
        else:
            measure.run_benchmark(module.main, quick=arguments.quick)
        print(f"[{name}: {time.perf_counter() - start:.0f} s]", flush=True)
    write_results(arguments.out)


if __name__ == "__main__":
    main()
