"""Embedding frames by ViT-B/32 on a CPU against OpenVINO and onnxruntime, each in the precisions that it has there.

The peers get the same tower as `torch.export` gives it, and pictures that are normalised already. fda begins with
stored bytes. Batches are the same. In one thread the processor's time counts. In two it is the clock's: where one waits
for the other, torch's threads spin, and those of the peers sleep.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from encoders.devices import computes_bf16
from encoders.encoding.encoder import Encoder
from encoders.model import AlphaClip
from encoders.options import Precision
from encoders.weights.loading import load_model
from tests.benchmarks.measure import Cost, Row, Table, cost_rounds, print_table, timed
from tests.benchmarks.peers import PEERS_PYTHON
from tests.benchmarks.quoted import quote
from tests.encoders_tiny import alpha_weight_of, vision_inputs

MODEL, NUM_FRAMES = "ViT-B-32-quickgelu", 32


class _Tower(nn.Module):
    """What the peers run."""

    def __init__(self, model: AlphaClip) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, alpha: Tensor) -> Tensor:
        return self.model.encode_frames(images, alpha)


def main(*, quick: bool = False) -> None:
    """Measure, and print a table for one thread and one for two."""
    if not PEERS_PYTHON.exists():
        print("\nruntimes: the peers' environment is missing: run `make bench`")
        return
    threads = torch.get_num_threads()
    model = load_model(MODEL, "none").model.eval()
    with torch.no_grad():
        alpha_weight_of(model).normal_(std=0.01)
    rng, size = np.random.default_rng(0), model.config.image_size
    frames = rng.integers(0, 256, (1, 4 if quick else NUM_FRAMES, size, size, 3), dtype=np.uint8)
    masks = rng.random(frames.shape[:4]) > 0.5
    with tempfile.TemporaryDirectory() as folder:
        _export(model, frames[0], masks[0], Path(folder))
        try:
            for num_threads in (1,) if quick else (1, 2):
                torch.set_num_threads(num_threads)
                measure(model, frames, masks, Path(folder), num_threads, 1 if quick else 5)
        finally:
            torch.set_num_threads(threads)


def _export(model: AlphaClip, frames: NDArray[np.uint8], masks: NDArray[np.bool_], folder: Path) -> None:
    """Write the tower and what it is given."""
    config = model.config
    images, alpha = vision_inputs(frames, masks, torch.device("cpu"), config.mean, config.std)
    images = images.contiguous()
    np.save(folder / "images.npy", images)
    np.save(folder / "alpha.npy", alpha)
    with warnings.catch_warnings(action="ignore"):
        torch.export.save(torch.export.export(_Tower(model), (images, alpha)), folder / "tower.pt2")


def measure(
    model: AlphaClip, frames: NDArray[np.uint8], masks: NDArray[np.bool_], folder: Path, num_threads: int, repeats: int
) -> None:
    """Print the table for a number of threads."""
    num_frames = frames.shape[1]
    precisions = [Precision.FP32, *([Precision.BF16] if computes_bf16(torch.device("cpu")) else [])]
    encoders = {f"fda, {one}": Encoder(model, precision=one, batch_frames=num_frames) for one in precisions}
    exact = encoders["fda, fp32"].encode_clips(frames, masks).frame[0]
    notes = {name: _likeness(one.encode_clips(frames, masks).frame[0], exact) for name, one in encoders.items()}
    with runtimes(folder, num_threads) as theirs:
        for name, ask in theirs.items():
            ask()
            notes[name] = _likeness(np.load(folder / "features.npy"), exact)
        runs: dict[str, Callable[[], Cost]] = dict(theirs)
        for name, encoder in encoders.items():
            runs[name] = timed(lambda encoder=encoder: encoder.encode_clips(frames, masks))  # type: ignore[misc]
        rounds = cost_rounds(runs, repeats, is_warm=True)  # each has just been asked
    of_processor = num_threads == 1
    seconds = {
        name: [cost.cpu_seconds if of_processor else cost.wall_seconds for cost in of] for name, of in rounds.items()
    }
    peer = min(theirs, key=lambda name: median(seconds[name]))
    ratios = {
        name: median(base / mine for base, mine in zip(seconds[peer], of, strict=True)) for name, of in seconds.items()
    }
    rows = tuple(Row(name, median(of), ratios[name], notes[name]) for name, of in seconds.items())
    words = "one thread, processor time" if of_processor else f"{num_threads} threads, by the clock"
    print_table(Table(f"embedding {num_frames} frames, {MODEL}, {words}", peer, rows))
    quote(f"runtimes.threads_{num_threads}", max(ratios[name] for name in encoders), at_least=0.9)


def _likeness(features: NDArray[np.float32], exact: NDArray[np.float32]) -> str:
    found, expected = torch.from_numpy(features).float(), torch.from_numpy(exact)
    return f"lowest cosine to fp32 {float(nn.functional.cosine_similarity(found, expected, dim=-1).min()):.6f}"


@contextmanager
def runtimes(folder: Path, num_threads: int) -> Iterator[Mapping[str, Callable[[], Cost]]]:
    """What `runtime_peers` can do, each as a function that does it once."""
    server: list[str | Path] = [PEERS_PYTHON, Path(__file__).with_name("runtime_peers.py"), folder, str(num_threads)]
    with subprocess.Popen(
        server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(method: str) -> Cost:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"method": method}) + "\n")
            process.stdin.flush()
            return Cost(*json.loads(process.stdout.readline()))

        names: list[str] = json.loads(process.stdout.readline())
        yield {name: lambda name=name: ask(name) for name in names}  # type: ignore[misc]
        process.stdin.close()


if __name__ == "__main__":
    main()
