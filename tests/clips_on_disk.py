"""Data sets of real, tiny videos, the options that make small stores of them, and `fda` called as a user calls it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from numpy.typing import NDArray

from cli.main import main
from pipeline.datasets.read import read_dataset
from pipeline.datasets.records import Dataset
from pipeline.features import timing
from pipeline.frames.options import PreprocessOptions
from pipeline.frames.preprocess import VideoSource, open_store, plan_preprocess, preprocess_shards
from pipeline.isolation.decoder import DEFAULT_DECODER, Decoder, IsolatedDecoder, close_decoders
from pipeline.masks.options import MaskOptions
from store.places.opening import folder_at
from store.store import Store
from tests.videos import Encoding, cut, textured_frames, write_video

FDA = Path(sys.executable).parent / "fda"
_decoders_started_in = Path.cwd()
SIZE = 32
SMALL = PreprocessOptions(
    train_frames=2, eval_frames=3, image_size=SIZE, shard_size=2, masks=MaskOptions(kernel_size=3, min_area=8)
)
SMALL_FLAGS = (
    *("--train-frames", "2", "--eval-frames", "3", "--image-size", str(SIZE), "--shard-size", "2"),
    *("--kernel-size", "3", "--min-area", "8"),
)
"""`SMALL` on the command line."""
SERIAL_FLAGS = (*SMALL_FLAGS, "--workers", "0")
"""The same, without worker processes."""


def moving_frames(seed: int, *, num_frames: int = 8, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """A still texture over which a white square runs: shape (num_frames, height, width, 3)."""
    frames = np.repeat(textured_frames(1, height=height, width=width, seed=seed) // 3, num_frames, axis=0)
    for number, frame in enumerate(frames):
        left = 8 + (3 + seed % 3) * number
        top = 8 + seed % 5 * 4
        frame[top : top + 14, left : left + 14] = 255
    return frames


def write_clip(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_video(path, moving_frames(seed), Encoding(options={"preset": "ultrafast", "threads": "1"}))


def record(video_id: str, path: str, split: str = "test", captions: Sequence[str] | None = None) -> dict[str, object]:
    captions = [f"the square of {video_id} runs"] if captions is None else list(captions)
    return {"video_id": video_id, "path": path, "split": split, "captions": captions}


def write_manifest(folder: Path, records: Sequence[Mapping[str, object]], name: str = "clips.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records), encoding="utf-8")
    return path


def write_small_dataset(folder: Path, counts: Mapping[str, int]) -> Path:
    """So many good videos of each split, two captions each, and the manifest."""
    records: list[dict[str, object]] = []
    for split, count in counts.items():
        for number in range(count):
            video_id = f"{split}_{number}"
            write_clip(folder / "videos" / f"{video_id}.mp4", 10 * len(records) + number)
            captions = [f"clip {number} of {split}", f"a square runs {'left' if number % 2 else 'right'} {number}"]
            records.append(record(video_id, f"videos/{video_id}.mp4", split, captions))
    return write_manifest(folder, records)


def write_mixed_dataset(folder: Path) -> Path:
    """2 train and 5 test videos; of these, one is missing, one is no video and one is cut off: shards of 2, 2, 2, 1."""
    write_clip(folder / "train_0.mp4", 0)
    write_clip(folder / "train_1.mp4", 1)
    whole = write_clip(folder / "test_0.mp4", 2)
    write_clip(folder / "-x_é.mp4", 3)
    cut(whole, folder / "cut.mp4", keep=0.5)
    (folder / "text.mp4").write_text("this is no video")
    return write_manifest(
        folder,
        [
            record("train_0", "train_0.mp4", "train"),
            record("train_1", "train_1.mp4", "train", ["one", "two"]),
            record("test_0", "test_0.mp4"),
            record("gone", "gone.mp4"),
            record("-x_é", "-x_é.mp4"),
            record("cut", "cut.mp4"),
            record("text", "text.mp4"),
        ],
    )


def opened_store(dataset: Dataset, place: Path | str, options: PreprocessOptions) -> Store:
    """`open_store`, for those who know whether the store grows."""
    return open_store(dataset, folder_at(place), options)[0]


def run_preprocess(
    manifest: Path,
    place: Path,
    options: PreprocessOptions = SMALL,
    *,
    retry_failed: bool = False,
    decoder: Decoder = DEFAULT_DECODER,
) -> Store:
    """What `fda preprocess --workers 0` does, without the command line."""
    dataset = read_dataset("jsonl", manifest)
    store = opened_store(dataset, place, options)
    plan = plan_preprocess(store, options, retry_failed=retry_failed)
    with decoder_is_kept():
        preprocess_shards(store, VideoSource(dataset.root, decoder=decoder), plan, options)
    store.folder.remove_partial_files()
    return store


def of_the_run(err: str) -> str:
    """What a command has said of its run: without the lines with which `fda preprocess` tells of the data set first."""
    told = re.compile(r".* is read as \w+: |data set |all are in the split |warning: [\d,]+ texts? of ")
    return "".join(line for line in err.splitlines(keepends=True) if not told.match(line))


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error_line(self) -> str:
        """The last line of stderr."""
        return self.err.rstrip().splitlines()[-1]


class Commands:
    """`fda ...` in this process, by the entry point itself, so that errors and exit codes are those of the shell."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capfd = capfd

    def __call__(self, *arguments: str | Path) -> Ended:
        self._capfd.readouterr()
        self._monkeypatch.setattr(sys, "argv", ["fda", *map(str, arguments)])
        # How fast bf16 is in a test is no matter, and a second of a busy machine does not tell.
        self._monkeypatch.setattr(timing, "LEAST_SECONDS", 0.002)
        self._monkeypatch.setattr(timing, "ENOUGH_SECONDS", 0.0)
        code: object = 0
        try:
            with decoder_is_kept():
                main()
        except SystemExit as stop:
            code = stop.code or 0
        out, err = self._capfd.readouterr()
        assert isinstance(code, int)
        assert "Traceback" not in out + err
        return Ended(code, out, err)


def decoder_is_kept() -> AbstractContextManager[object]:
    """Let one decoder process serve all runs of this process: a new one takes longer than a tiny run.

    A decoder finds relative paths where it was started: when the folder has changed, there is a new one.
    """
    global _decoders_started_in
    if Path.cwd() != _decoders_started_in:
        close_decoders()
        _decoders_started_in = Path.cwd()
    return mock.patch.object(IsolatedDecoder, "close")


def fda_in_a_process(*arguments: str | Path, timeout: float = 600) -> Ended:
    """`fda ...` as the shell runs it."""
    command = [str(FDA), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, env=environment)
    return Ended(done.returncode, done.stdout, done.stderr)
