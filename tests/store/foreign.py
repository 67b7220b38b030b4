"""A small store with everything in it, and what its user may have put among its files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from store.commits import VideoOutcome
from store.completion import input_digests
from store.features import (
    ClipFeatures,
    TextFeatures,
    caption_shards,
    create_features,
    write_clip_features,
    write_text_features,
)
from store.places.folder import StoreFolder
from store.schema import VideoStatus
from store.stages import FRAMES_STAGE, masks_stage
from store.store import MANIFEST_NAME, Manifest, Store
from tests.stores import MASKS, NUM_FRAMES, fill_store, make_catalog, make_manifest, make_store

DIM = 2
NUM_VIDEOS = 5
HALF = f"partial/unclaimed/{0:032x}"
"""What a killed run leaves of a file."""
RUN = "runs/20260101T000000-preprocess-1.json"


def make_whole(place: Path | str) -> Store:
    """Frames, masks and features of them."""
    made = make_store(place, NUM_VIDEOS)
    made.folder.write(MANIFEST_NAME, manifest_of_whole().to_bytes())
    store = Store.open(made.folder)
    fill_store(store)
    create_features(store, "mine", "test", DIM, {"made by": "hand"})
    for shard in store.shards("test"):
        outcomes = tuple(
            VideoOutcome(video.video_id, video.row, VideoStatus.OK, filled=True)
            for video in store.catalog.shard_videos(shard)
        )
        features = ClipFeatures(
            unit_rows(shard.num_rows),
            np.ones((shard.num_rows, NUM_FRAMES, DIM), np.float32),
            outcomes,
        )
        inputs = input_digests(store, shard, [FRAMES_STAGE, masks_stage(MASKS)])
        write_clip_features(store, "mine", shard, features, inputs)
    for shard in caption_shards(store, "test"):
        write_text_features(store, "mine", shard, TextFeatures(unit_rows(shard.num_rows)))
    return store


def unit_rows(num_rows: int) -> NDArray[np.float32]:
    return np.eye(DIM, dtype=np.float32)[np.arange(num_rows) % DIM]


def manifest_of_whole() -> Manifest:
    return make_manifest(NUM_VIDEOS, digest=make_catalog(NUM_VIDEOS).digest())


def put_file(path: Path, outside: Path) -> None:
    path.write_bytes(b"years of work")


def put_folder(path: Path, outside: Path) -> None:
    (path / "deep").mkdir(parents=True)
    (path / "deep/thesis.tex").write_bytes(b"years of work")


def put_link_to_folder(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def put_link_to_file(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "thesis.tex")


def put_dangling_link(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "gone")


def put_link_inside(path: Path, outside: Path) -> None:
    path.symlink_to(path.parent)


def put_fifo(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def put_zarr(path: Path, outside: Path) -> None:
    """An array of another program, whose files are called as ours are."""
    for array in ("video", "text"):
        (path / "test" / array).mkdir(parents=True)
        (path / "test" / array / "zarr.json").write_bytes(b'{"zarr_format": 3, "node_type": "array"}')
        (path / "test" / array / "c.0.0").write_bytes(b"vectors")
    (path / "zarr.json").write_bytes(b'{"zarr_format": 3, "node_type": "group", "attributes": {"of": "others"}}')


PUT: dict[str, Callable[[Path, Path], None]] = {
    "file": put_file,
    "folder": put_folder,
    "link to a folder": put_link_to_folder,
    "link to a file": put_link_to_file,
    "dangling link": put_dangling_link,
    "link inside": put_link_inside,
    "FIFO": put_fifo,
    "Zarr": put_zarr,
}
LINKS = ("link to a folder", "link to a file", "dangling link", "link inside")


def make_outside(folder: Path) -> Path:
    """A folder of the user, to be pointed at; in it lies what a command would remove if it followed a link."""
    for name in ("thesis.tex", f"{0:032x}", f"unclaimed/{0:032x}", "frames/00000.parquet", "test/frames/c.0.0.0.0.0"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"years of work")
    return folder


def everything(folder: Path) -> dict[str, tuple[str, object]]:
    """What is below a folder, without following links and without empty folders."""
    found: dict[str, tuple[str, object]] = {}
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            found[str(path.relative_to(folder))] = ("link", str(path.readlink()))
        elif stat.S_ISREG(mode):
            found[str(path.relative_to(folder))] = ("file", path.read_bytes())
        elif not stat.S_ISDIR(mode):
            found[str(path.relative_to(folder))] = ("odd", stat.S_IFMT(mode))
    return found


def write_leftovers(folder: StoreFolder) -> None:
    """What commands remove unasked."""
    for name in (HALF, f"claims/{1:032x}.beat", RUN):
        folder.write(name, b"{}")
