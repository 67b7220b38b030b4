"""A reader of the docs who tries everything: the files that the pages name, and `fda` run as the pages say.

What cannot be had in a test is replaced, and nothing else:

- The reader's videos are small ones with a moving square, and stored frames have 112 pixels, if the page does not say.
- Weights that would be downloaded are random ones of a tiny model, which reads frames of 112 pixels; a training is one
  epoch of small batches, in float32.
- MSVD and MSR-VTT are a few of the same videos, so most of the published ones are missing (`--max-missing 100%`).
- Generated data sets have four clips to train with and two of each other split.
- Work is done in this process (`--workers 0`), and what a page makes may be there already (`--overwrite`).
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from encoders.config import ModelConfig, TextTower, VisionTower
from encoders.described import CLIP_VOCAB_SIZE
from encoders.weights.loading import load_model
from tests.clips_on_disk import Commands, Ended, moving_frames, record, write_manifest
from tests.encoders_tiny import TEXT_HEADS, alpha_clip_layout, write_config
from tests.videos import Encoding, write_video

SIZE = 112
MODEL = ModelConfig(
    name="a-tiny-model",
    embed_dim=64,
    vision_cfg=VisionTower(image_size=SIZE, patch_size=28, width=32, layers=1, head_width=16),
    text_cfg=TextTower(context_length=16, vocab_size=CLIP_VOCAB_SIZE, width=16, heads=TEXT_HEADS, layers=1),
    quick_gelu=True,
)
ALPHA_CHECKPOINT = "clip_b16_grit20m_fultune_2xe.pth"
TINY = ("epochs=1", "batch_size=4", "precision=fp32", "max_words=16")
COUNTS = {"train": 4, "val": 2, "test": 2}
SLOW = Fraction(4)
"""Frames a second of the videos: 8 frames are two seconds, so that `--sampling fps` finds some."""


def write_reader_files(folder: Path) -> None:
    """`clips.jsonl`, the same as a folder, embeddings, a vision tower in Alpha-CLIP's layout, and queries."""
    records: list[dict[str, object]] = []
    for split, count in COUNTS.items():
        for number in range(count):
            name = f"{split}-{number}"
            path = f"my-clips/{split}/{name}.mp4"
            write_reader_video(folder / path, seed=len(records))
            captions = [f"the square of {name} runs", f"a square of {name} stands"]
            (folder / path).with_suffix(".txt").write_text("\n".join(captions))
            records.append(record(name, path, split, captions))
    write_manifest(folder, records)
    (folder / "theirs").mkdir()
    for one in records:
        np.savez_compressed(folder / f"theirs/{one['video_id']}.npz", masks=np.ones((8, 48, 64), np.bool_))
    ids = {
        "captions": [f"{one['video_id']}#{number}" for one in records for number in range(2)],
        "videos": [str(one["video_id"]) for one in records],
    }
    for seed, (name, these) in enumerate(ids.items()):
        rows = np.random.default_rng(seed).normal(size=(len(these), 8))
        np.savez(folder / f"{name}.npz", ids=np.array(these), embeddings=rows)
    tensors = dict(load_model(write_config(folder, MODEL), "none").model.named_tensors())
    torch.save(alpha_clip_layout(tensors), folder / ALPHA_CHECKPOINT)
    Image.fromarray(moving_frames(0)[0]).save(folder / "photo.jpg")
    (folder / "queries.txt").write_text("a square runs\na square stands\n")
    write_published_stand_ins(folder)


def write_published_stand_ins(folder: Path) -> None:
    """MSVD and MSR-VTT in the layout in which they are published, of a few small videos."""
    msvd, msrvtt = folder / "MSVD", folder / "MSRVTT"
    captions: dict[str, list[list[str]]] = {}
    for split, count in COUNTS.items():
        ids = [f"-{split}_{number}_{number + 4}" for number in range(count)]
        for name in ids:
            write_reader_video(msvd / "YouTubeClips" / f"{name}.avi", seed=len(captions))
            captions[name] = [["a", "square", name], ["it", "moves", name]]
        (msvd / f"{split}_list.txt").write_text("\n".join(ids))
    (msvd / "raw-captions.pkl").write_bytes(pickle.dumps(captions))
    numbers = range(COUNTS["train"] + COUNTS["test"])
    train = numbers[: COUNTS["train"]]
    for number in numbers:
        write_reader_video(msrvtt / "videos" / f"video{number}.mp4", number)
    videos = [{"video_id": f"video{number}", "category": 3, "split": "train"} for number in numbers]
    sentences = [{"video_id": f"video{number}", "caption": f"square {number} moves"} for number in numbers]
    (msrvtt / "MSRVTT_data.json").write_text(json.dumps({"info": {}, "videos": videos, "sentences": sentences}))
    (msrvtt / "MSRVTT_train.9k.csv").write_text("\n".join(["video_id", *(f"video{number}" for number in train)]))
    test = [f"ret{number},msr{number},video{number},square {number} moves" for number in numbers[len(train) :]]
    (msrvtt / "MSRVTT_JSFUSION_test.csv").write_text("\n".join(["key,vid_key,video_id,sentence", *test]))


def write_manifest_block(folder: Path, text: str) -> None:
    """Lines of a `clips.jsonl` as a page shows them, and a video at each path."""
    (folder / "clips.jsonl").write_text(text, encoding="utf-8")
    for seed, line in enumerate(text.splitlines()):
        write_reader_video(folder / json.loads(line)["path"], seed)


def write_reader_video(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, moving_frames(seed), Encoding(rate=SLOW, options={"preset": "ultrafast", "threads": "1"}))


def can_run(words: Sequence[str]) -> bool:
    """Whether a line of `fda` ends by itself within seconds, without a cluster, server or machine of the reader's."""
    return words[1] not in ("serve", "experiment") and not any(
        word in ("--scheduler", "--cluster") or word.startswith(("s3://", "/data/")) for word in words
    )


def as_run_here(words: Sequence[str]) -> list[str]:
    """The arguments of `fda` with what is replaced here: see the module."""
    arguments = list(words)
    here: Mapping[str, list[str]] = {
        "preprocess": ["--workers", "0"],
        "masks": ["--workers", "0"],
        "import-masks": ["--workers", "0"],
        "generate": ["--workers", "0", "--num-train", "4", "--num-eval", "2"],
        "finetune": [*(word for setting in TINY for word in ("--set", setting)), "--overwrite", "--yes"],
        "encode": ["--precision", "fp32", "--overwrite", "--yes"],
        "eval": ["--max-missing", "100%"],
        "compare": ["--max-missing", "100%"],
    }
    arguments += here.get(arguments[0], [])
    if arguments[0] == "preprocess" and "--image-size" not in arguments:
        arguments += ["--image-size", str(SIZE)]
    is_zero_shot = arguments[0] == "encode" and "--preset" in arguments
    if arguments[0] == "finetune" or is_zero_shot or {"--model", "--pretrained"} & set(arguments):
        arguments += ["--model", f"{MODEL.name}.json", "--pretrained", "none"]
    return arguments


class Reader:
    """Runs command lines of `fda` in a folder that holds all that pages name."""

    def __init__(self, folder: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("COLUMNS", "140")
        self.folder = folder
        self._commands = commands

    def run(self, words: Sequence[str]) -> Ended:
        return self._commands(*as_run_here(words))


def copied(prepared: Path, folder: Path) -> Path:
    """A page may change what it works on."""
    return shutil.copytree(prepared, folder / "reader")
