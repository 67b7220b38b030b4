"""Other libraries at the same work: each in a process of its own, in an environment of its own, driven over a pipe."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.measure import Cost

ROOT = Path(__file__).resolve().parents[2]
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
"""Of the environment that `make bench` builds from `peers.txt`."""
OURS = frozenset({"fda", "libav's calls alone"})
"""Methods that run in fda's environment."""
MAX_DIFFERENCE = 4.0
"""Mean grey levels between two conversions of one frame to RGB; two frames of a video with grain differ by more."""


class PeersMissingError(RuntimeError):
    """There is no environment with the peers, and without them there is nothing to compare with."""


def require_peers() -> None:
    """Check that the peers' environment is there.

    Raises:
        PeersMissingError: It is not.
    """
    if not PEERS_PYTHON.exists():
        raise PeersMissingError("the peers' environment is missing: run `make bench`")


class PeerError(RuntimeError):
    """A peer that could not do what it was asked to, in its own words."""


class Peer:
    """A process that gets frames of videos in one way; close it."""

    def __init__(self, method: str) -> None:
        """Start it; `unavailable` says afterwards whether it can work."""
        self.method = method
        self.unavailable = ""
        """Why it cannot work; empty where it can."""
        self.version = ""
        is_ours = method in OURS
        python = Path(sys.executable) if is_ours else PEERS_PYTHON
        if not python.exists():
            self.unavailable = "the peers' environment is missing: run `make bench`"
            return
        server = ["-m", "tests.benchmarks.peer_server"] if is_ours else ["tests/benchmarks/peer_server.py"]
        self._process = subprocess.Popen(
            [python, *server, method],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        ready = self._read()
        self.unavailable, self.version = str(ready.get("error", "")), str(ready.get("version", ""))

    def _read(self) -> dict[str, object]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            return {"error": f"its process ended with code {self._process.wait()}"}
        answer: dict[str, object] = json.loads(line)
        return answer

    def ask(self, path: Path, frame_index: Sequence[int], save: Path | None = None) -> Cost:
        """Get frames once.

        Args:
            path: The video.
            frame_index: Which, by their number in order of presentation; ascending.
            save: Where to put them as npy, which costs nothing that is counted.

        Raises:
            PeerError: It failed.
        """
        request = {"path": str(path), "frame_index": list(frame_index), "save": None if save is None else str(save)}
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise PeerError(f"{self.method}: its process is gone") from error
        answer = self._read()
        if "error" in answer:
            raise PeerError(str(answer["error"]))
        return Cost(float(str(answer["wall_seconds"])), float(str(answer["cpu_seconds"])))

    def frames(self, path: Path, frame_index: Sequence[int], folder: Path) -> tuple[NDArray[np.uint8], Cost]:
        """Frames, shape (num_frames, height, width, 3), and what they took.

        Raises:
            PeerError: It failed.
        """
        save = folder / "frames.npy"
        cost = self.ask(path, frame_index, save)
        frames: NDArray[np.uint8] = np.load(save)
        save.unlink()
        return frames, cost

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if PEERS_PYTHON.exists() or self.method == "fda":
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()


@dataclass(frozen=True, slots=True)
class Truth:
    """What a sequential decode gives for the frames that are wanted, and for those beside them."""

    frames: NDArray[np.uint8]
    """Shape (num_frames, height, width, 3)."""
    neighbours: NDArray[np.uint8]
    """Shape (2, num_frames, height, width, 3): the frame before and the one after; at an end of the video itself."""


def neighbours_of(frame_index: Sequence[int], num_frames: int) -> tuple[list[int], list[int], list[int]]:
    """All frames to ask for, and where in them are those that are wanted, those before and those after are.

    >>> asked, before, after = neighbours_of([0, 5, 9], 10)
    >>> asked, [asked[place] for place in before], [asked[place] for place in after]
    ([0, 1, 4, 5, 6, 8, 9], [0, 4, 8], [1, 6, 9])
    """
    before = [max(0, number - 1) for number in frame_index]
    after = [min(num_frames - 1, number + 1) for number in frame_index]
    asked = sorted({*frame_index, *before, *after})
    return asked, [asked.index(number) for number in before], [asked.index(number) for number in after]


def wrong_frames(frames: NDArray[np.uint8], truth: Truth) -> int:
    """How many of the wanted frames are missing or others.

    A frame is right if it is near the true one, and no nearer to one beside that: libraries round colours differently,
    which shifts a picture by a grey level or two but makes it no likelier its neighbour.

    Args:
        frames: Shape (any number, height, width, 3).
        truth: What should be there.
    """
    num_wanted = len(truth.frames)
    if len(frames) > num_wanted or frames.shape[1:] != truth.frames.shape[1:]:
        return num_wanted
    wrong = num_wanted - len(frames)
    for number, frame in enumerate(frames):
        own = _difference(frame, truth.frames[number])
        beside = min(_difference(frame, neighbour[number]) for neighbour in truth.neighbours)
        wrong += own > MAX_DIFFERENCE or own > beside
    return wrong


def _difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())
