"""What may be killed: each command that writes into a store, on a store that makes it do all that it can do."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.clips_on_disk import record, write_clip, write_manifest
from tests.encoders_tiny import write_config
from tests.faults.commands import run_fda

COMMON = (
    *("--train-frames", "2", "--eval-frames", "3", "--image-size", "32", "--shard-size", "2", "--min-area", "8"),
    *("--kernel-size", "3", "--workers", "0", "--max-failed", "100%", "--no-progress"),
)
OTHER_MASKS = ("masks", "STORE", "--masks", "other", "--kernel-size", "3", "--workers", "0", "--no-progress")
IMPORT_MASKS = ("import-masks", "STORE", "truth-files", "--masks", "truth", "--workers", "0", "--no-progress")
ENCODE = (
    "encode",
    "STORE",
    "--features",
    "mine",
    "--model",
    "MODEL",
    "--pretrained",
    "none",
    "--precision",
    "fp32",
    "--no-progress",
)
POOL = (
    *("pool", "STORE", "POOLING", "--features", "mine", "--to", "seq", "--layers", "1", "--epochs", "1"),
    *("--device", "cpu", "--no-progress"),
)
"""The transformer is trained once; what is disturbed is the feature set that it writes."""
FIRST = ("preprocess", "first.jsonl", "STORE", "--videos", "videos", *COMMON)
GROWN = ("preprocess", "grown.jsonl", "STORE", "--videos", "videos", *COMMON)
NEIGHBOURS = ("--neighbours", "--difference", "consecutive")
JPEG = ("--frame-codec", "jpeg")


FINALISE = ("finalise", "STORE", "--max-failed", "100%")
PARTS = ((*FIRST, "--partition", "1/2"), (*FIRST, "--partition", "2/2"))
RETRY = ("preprocess", "first.jsonl", "STORE", "--videos", "repaired", *COMMON, "--retry-failed")
CHANGED = ("preprocess", "first.jsonl", "STORE", "--videos", "changed", *COMMON)
REPAIR = ("verify", "STORE", "--repair", "--no-progress")
DAMAGE = (
    *("damage", "clips.zarr/test/frames/c.0.0.0.0.0", "clips.zarr/test/masks/other/zarr.json", "clips.zarr/zarr.json"),
    *("commits/train/masks/default/00000.parquet", "features.zarr/mine/train/video/c.0.0", "catalog/failures.parquet"),
)
"""No command of `fda`: flips one bit of each file."""
OVERWRITE_MASKS = (*OTHER_MASKS, "--threshold", "60", "--soft", "--overwrite", "--yes")  # bytes where bits were
OVERWRITE_FEATURES = (*ENCODE, "--alpha", "ones", "--overwrite", "--yes")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command, and the commands that made what it finds."""

    name: str
    before: tuple[tuple[str, ...], ...]
    command: tuple[str, ...]
    is_from_scratch: bool = False
    """Whether it removes what it finds, so that the next start rebuilds everything."""


SCENARIOS = (
    Scenario("create", (), FIRST),
    Scenario("create with neighbours", (), (*FIRST, *NEIGHBOURS)),
    Scenario("create a part", (), (*FIRST, "--partition", "2/2")),
    Scenario("finalise", PARTS, FINALISE),
    Scenario("grow", (FIRST,), GROWN),
    Scenario("grow with neighbours", ((*FIRST, *NEIGHBOURS),), (*GROWN, *NEIGHBOURS)),
    Scenario("grow, lossy", ((*FIRST, *JPEG),), (*GROWN, *JPEG)),
    Scenario("retry", (FIRST,), RETRY),
    Scenario("changed", (FIRST, OTHER_MASKS), CHANGED),
    Scenario("moved", (FIRST,), ("preprocess", "moved.jsonl", "STORE", "--videos", "videos", *COMMON)),
    Scenario(
        "other captions",
        (FIRST, ENCODE),
        ("preprocess", "first_recaptioned.jsonl", "STORE", "--videos", "videos", *COMMON, "--update-captions"),
    ),
    Scenario(
        "fewer captions",
        (FIRST, ENCODE),
        ("preprocess", "fewer.jsonl", "STORE", "--videos", "videos", *COMMON, "--update-captions"),
    ),
    Scenario(
        "more captions",
        (FIRST, ENCODE),
        ("preprocess", "more.jsonl", "STORE", "--videos", "videos", *COMMON, "--update-captions"),
    ),
    Scenario("overwrite", ((*GROWN, *NEIGHBOURS), ENCODE), (*FIRST, "--overwrite", "--yes"), is_from_scratch=True),
    Scenario("masks", (FIRST,), OTHER_MASKS),
    Scenario("masks of a store that has grown", (FIRST, OTHER_MASKS, GROWN), OTHER_MASKS),
    Scenario("masks, overwrite", (FIRST, OTHER_MASKS), OVERWRITE_MASKS, is_from_scratch=True),
    Scenario("import masks", (FIRST,), IMPORT_MASKS),
    Scenario("import masks, overwrite", (FIRST, IMPORT_MASKS), (*IMPORT_MASKS, "--overwrite"), is_from_scratch=True),
    Scenario("encode", (FIRST,), ENCODE),
    Scenario("encode what has grown", (FIRST, ENCODE, GROWN), ENCODE),
    Scenario(
        "encode, overwrite", (FIRST, ENCODE), (*ENCODE, "--alpha", "ones", "--overwrite", "--yes"), is_from_scratch=True
    ),
    Scenario("pool", (FIRST, ENCODE), POOL),
    Scenario("repair", (FIRST, OTHER_MASKS, ENCODE, DAMAGE), REPAIR),
    Scenario("rebuild what was damaged", (FIRST, OTHER_MASKS, ENCODE, DAMAGE, REPAIR), FIRST),
    Scenario("remove masks", (FIRST, OTHER_MASKS), ("remove", "STORE", "--masks", "other", "--yes")),
    Scenario("remove features", (FIRST, ENCODE), ("remove", "STORE", "--features", "mine", "--yes")),
    Scenario("remove a split", (GROWN, ENCODE), ("remove", "STORE", "--split", "train", "--yes")),
)


class World:
    """The videos, the manifests and the model of all scenarios, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._model = write_config(folder)
        for seed, name in enumerate(
            ("train_0", "train_1", "train_2", "test_0", "test_1", "train_3", "test_2", "val_0")
        ):
            write_clip(folder / "videos" / f"{name}.mp4", seed)
        write_clip(folder / "repaired" / "broken.mp4", 20)
        write_clip(folder / "changed" / "test_0.mp4", 21)
        write_clip(folder / "changed" / "train_2.mp4", 22)
        (folder / "videos" / "broken.mp4").write_text("this is no video")
        shutil.copy(folder / "videos" / "train_0.mp4", folder / "videos" / "elsewhere.mp4")
        for other in ("repaired", "changed"):
            for video in sorted((folder / "videos").iterdir()):
                if not (folder / other / video.name).exists():
                    shutil.copy(video, folder / other / video.name)
        (folder / "truth-files").mkdir()
        for number, name in enumerate(("train_0", "train_1", "train_2", "test_0", "test_1")):
            truth = np.zeros((8, 48, 64), np.bool_)
            truth[:, 8 : 20 + number, 8:40] = True
            np.savez_compressed(folder / "truth-files" / f"{name}.npz", masks=truth)
        self._write_manifests()

    def _write_manifests(self) -> None:
        def one(video_id: str, captions: Sequence[str] | None = None, path: str | None = None) -> dict[str, object]:
            texts = captions or [f"{video_id} runs", f"{video_id} moves"]
            return record(video_id, path or f"{video_id}.mp4", video_id.split("_")[0].replace("broken", "test"), texts)

        first = [one(video_id) for video_id in ("train_0", "train_1", "train_2", "test_0", "test_1", "broken")]
        new = [one(video_id) for video_id in ("train_3", "test_2", "val_0")]
        recaptioned = one("train_0", ["another text", "and a second"])
        manifests: Mapping[str, Sequence[Mapping[str, object]]] = {
            "first": first,
            "grown": [*first, *new],
            "moved": [one("train_0", path="elsewhere.mp4"), *first[1:]],
            "first_recaptioned": [recaptioned, *first[1:]],
            "grown_recaptioned": [recaptioned, *first[1:], *new],
            "more": [one("train_0", ["one", "two", "three"]), *first[1:3], one("test_0", ["1", "2", "3"]), *first[4:]],
            "fewer": [one("train_0", ["the only text"]), *first[1:3], one("test_0", ["also alone"]), *first[4:]],
        }
        for name, records in manifests.items():
            write_manifest(self.folder, records, f"{name}.jsonl")

    def arguments(self, command: Sequence[str], place: Path) -> list[str]:
        """A command with the paths put in."""
        here = {"STORE": str(place), "MODEL": self._model, "POOLING": str(self.folder / "pooling")}
        here |= {name: str(self.folder / name) for name in ("videos", "repaired", "changed", "truth-files")}
        return [here.get(word, str(self.folder / word) if word.endswith(".jsonl") else word) for word in command]

    def run(self, command: Sequence[str], place: Path) -> list[str]:
        """Run a command on a store, undisturbed; what it decoded."""
        if command[0] == "damage":
            for name in command[1:]:
                _flip_a_bit(place / name)
            return []
        return run_fda(self.arguments(command, place))


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
