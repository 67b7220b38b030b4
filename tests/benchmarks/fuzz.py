"""Thousands of damaged files, each decoded in a child that may crash or hang: `python -m tests.benchmarks.fuzz N SEED`.

Prints what came of each kind of damage. A crash, a hang, another exception or a clip that makes no sense is an offence,
and so is a clip of a file that lost bytes if it is not that of the whole file. Files that did harm are kept in
`--keep`, and the exit code is 1. A child has `--memory` MiB of address space and `--hard` seconds.
"""

from __future__ import annotations

import argparse
import json
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from random import Random

import av

from pipeline.video.clips import DecodedClip, VideoError
from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions
from tests.fuzzing import LOSSES, MUTATIONS, check_same, check_sane, mutant, shows_loss
from tests.zoo.kinds import ZOO

OPTIONS = DecodeOptions(12, timeout_seconds=10)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one damaged file."""

    words: str
    """A status, or the offence."""
    is_offence: bool
    seconds: float
    peak_mib: float
    """Peak resident memory of the child while it decoded, its libraries included."""


@cache
def whole_clip(path: Path) -> DecodedClip:
    """The clip of a whole file."""
    return decode_clip(path, OPTIONS)


def decode_here(path: Path, whole: Path | None) -> Outcome:
    """Decode one file in this process. If it has a clip, that must be the one of `whole`."""
    expected = None if whole is None else whole_clip(whole)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    start = time.monotonic()
    words, is_offence = "ok", False
    try:
        clip = decode_clip(path, OPTIONS)
        check_sane(clip, OPTIONS)
        if expected is not None:
            check_same(clip, expected)
        words = "ok (cut off)" if clip.truncated else "ok"
    except VideoError as error:
        words = str(error.status)
    except BaseException as error:
        words, is_offence = f"{type(error).__name__}: {error}"[:200], True
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return Outcome(words, is_offence, time.monotonic() - start, int(peak.split()[1]) / 1024)


def serve(memory_mib: int) -> None:
    """A child: paths on stdin, after a tab that of the whole file if clips are compared; outcomes on stdout."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_mib << 20, memory_mib << 20))
    av.logging.set_level(None)
    for line in sys.stdin:
        path, _, whole = line.rstrip("\n").partition("\t")
        print(json.dumps(asdict(decode_here(Path(path), Path(whole) if whole else None))), flush=True)


class Child:
    """A process that decodes, started again after it died."""

    def __init__(self, memory_mib: int, hard_seconds: float) -> None:
        self._command = [sys.executable, "-m", "tests.benchmarks.fuzz", "--serve", "--memory", str(memory_mib)]
        self._hard_seconds = hard_seconds
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def decode(self, path: Path, whole: Path | None) -> Outcome:
        """The outcome of a file; a child that dies or says nothing in time is an offence."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        start = time.monotonic()
        stdin.write(f"{path}\t{whole or ''}\n")
        stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            answer = stdout.readline() if selector.select(self._hard_seconds) else None
        if answer:
            return Outcome(**json.loads(answer))
        self.stop()
        code = self._process.wait()
        words = "hang" if answer is None else f"crash ({signal.Signals(-code).name if code < 0 else code})"
        self._process = self._start()
        return Outcome(words, is_offence=True, seconds=time.monotonic() - start, peak_mib=0.0)

    def stop(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def sources(folder: Path | None, made_in: Path, chance: Random) -> dict[str, Path]:
    """Whole files by name: the zoo, or ten of a folder."""
    if folder is not None:
        files = sorted(path for path in folder.rglob("*") if path.suffix in {".mp4", ".avi", ".webm", ".mkv", ".mov"})
        return {path.name: path for path in chance.sample(files, min(10, len(files)))}
    kinds = [kind for kind in ZOO.values() if not kind.missing_encoder]
    return {kind.name: kind.make(made_in / kind.name) for kind in kinds}


def run(arguments: argparse.Namespace, work: Path) -> dict[tuple[str, str, str], Outcome]:
    """Decode all mutants; outcomes by (file, mutation, seed)."""
    wholes = sources(arguments.folder, work, Random(arguments.seed))
    names, mutations = list(wholes), [*MUTATIONS, *LOSSES]
    jobs = [
        (names[i % len(names)], mutations[i // len(names) % len(mutations)], f"{arguments.seed} {i}")
        for i in range(arguments.number)
    ]
    local = threading.local()
    children: list[Child] = []

    def decode(job: tuple[str, str, str]) -> Outcome:
        if not hasattr(local, "child"):
            local.child = Child(arguments.memory, arguments.hard)
            children.append(local.child)
        name, mutation, seed = job
        path = work / f"{seed.replace(' ', '_')}.{mutation}.{name}"
        path.write_bytes(mutant(wholes[name].read_bytes(), mutation, seed))
        outcome: Outcome = local.child.decode(path, wholes[name] if shows_loss(name, mutation) else None)
        if outcome.is_offence:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            (arguments.keep / path.name).write_bytes(path.read_bytes())
        path.unlink()
        return outcome

    with ThreadPoolExecutor(arguments.workers) as pool:
        outcomes = dict(zip(jobs, pool.map(decode, jobs), strict=True))
    for child in children:
        child.stop()
    return outcomes


def report(outcomes: dict[tuple[str, str, str], Outcome]) -> None:
    """Print a table by mutation, the slowest and the largest, and every offence."""
    by_mutation: dict[str, Counter[str]] = defaultdict(Counter)
    for (_, mutation, _), outcome in outcomes.items():
        by_mutation[mutation]["OFFENCE" if outcome.is_offence else outcome.words] += 1
    words = sorted({word for counts in by_mutation.values() for word in counts})
    print(f"{'':24}" + "".join(f"{word:>18}" for word in words))
    for mutation, counts in by_mutation.items():
        print(f"{mutation:24}" + "".join(f"{counts[word]:18}" for word in words))
    for title, unit, key in (("slowest", "s", "seconds"), ("largest", "MiB", "peak_mib")):
        print(f"\n{title}")
        for job, outcome in sorted(outcomes.items(), key=lambda item: -float(getattr(item[1], key)))[:5]:
            print(f"  {getattr(outcome, key):9.1f} {unit:4} {outcome.words:14} {' '.join(job)}")
    offences = {job: outcome for job, outcome in outcomes.items() if outcome.is_offence}
    print(f"\n{len(outcomes)} files, {len(offences)} offences")
    for job, outcome in offences.items():
        print(f"  {' '.join(job)}: {outcome.words}")


def main() -> int:
    """Run as the module says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", type=int, nargs="?", default=3000, help="how many files")
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--folder", type=Path, help="damage ten videos of this folder instead of the zoo")
    parser.add_argument("--keep", type=Path, default=Path("bench/fuzz"), help="where files that did harm are kept")
    parser.add_argument("--memory", type=int, default=4096, help="MiB of address space for a child")
    parser.add_argument("--hard", type=float, default=20.0, help="seconds after which a child is killed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.memory)
        return 0
    with tempfile.TemporaryDirectory() as work:
        outcomes = run(arguments, Path(work))
    report(outcomes)
    return int(any(outcome.is_offence for outcome in outcomes.values()))


if __name__ == "__main__":
    raise SystemExit(main())
