"""Hostile annotations: no path leaves the folder, no code of a pickle runs, nothing takes memory."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest

from pipeline.datasets.layouts import msvd as msvd_module
from pipeline.datasets.layouts.jsonl import MAX_JSONL_BYTES, read_jsonl
from pipeline.datasets.read import read_dataset
from pipeline.datasets.records import DatasetError
from tests.clips_on_disk import record, write_clip, write_manifest


@pytest.fixture
def msvd(tmp_path: Path) -> Path:
    for name in ("train_list.txt", "val_list.txt", "test_list.txt"):
        (tmp_path / name).write_text("")
    return tmp_path


def write_pickle(folder: Path, content: bytes, video_id: str = "d_1_2") -> None:
    (folder / "train_list.txt").write_text(video_id + "\n")
    (folder / "raw-captions.pkl").write_bytes(content)


# Paths

HOSTILE_PATHS = ("../secret.mp4", "/etc/passwd", "a/../../secret.mp4", "x\0.mp4", "x\n.mp4", "", ".", "..", "a/..")


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_no_path_of_a_manifest_leaves_the_folder(tmp_path: Path, path: str) -> None:
    manifest = write_manifest(tmp_path, [record("a", path)])
    with pytest.raises(DatasetError, match=rf"{manifest.name}:1: path"):
        read_jsonl(manifest)


def test_no_id_of_a_list_leaves_the_folder_of_msvd(msvd: Path) -> None:
    for video_id in ("../secret", "/etc/passwd", "a/../../b"):
        write_pickle(msvd, pickle.dumps({video_id: [["x"]]}), video_id)
        with pytest.raises(DatasetError, match="relative and plain|one line"):
            read_dataset("msvd", msvd)
    write_pickle(msvd, pickle.dumps({"pipe:0": [["x"]]}), "pipe:0")
    assert read_dataset("msvd", msvd).videos[0].path == "pipe:0.avi"


def test_a_link_is_a_choice_of_who_owns_the_folder(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/far.mp4").symlink_to(write_clip(tmp_path / "far.mp4", 1))
    (tmp_path / "videos/far.txt").write_text("x")
    assert [video.path for video in read_dataset("folder", tmp_path / "videos").videos] == ["far.mp4"]
    manifest = write_manifest(tmp_path, [record("a", "link/../../far.mp4")])
    (tmp_path / "videos/link").symlink_to(tmp_path)
    with pytest.raises(DatasetError, match="leaves"):  # by its letters: no link is followed to find out
        read_jsonl(manifest, tmp_path / "videos")


# Pickles of captions

SHARED = b"}U\x05d_1_2](]q\x00(" + b"U\x01x" * 5000 + b"e" + b"h\x00" * 20000 + b"es."
"""20,001 times the same caption of 5,000 tokens."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"}r\xff\xff\xff\x0f.", "keeps 268435455 things at instruction 1"),
        (b"}p99999999999\n.", "keeps 99999999999 things"),
        (b"}\x8d" + (1 << 40).to_bytes(8, "little") + b"x.", "not a whole pickle"),
        (b"}X\xff\xff\xff\x7fx.", "not a whole pickle"),
        (b"\x80\x04\x95" + (1 << 40).to_bytes(8, "little") + b"}.", "not a whole pickle"),
        (b"L" + b"9" * 100_000 + b"L\n.", "not a whole pickle"),
        (b"(" + b"]" * 3000 + b"l.", "has more than 2048 instructions"),
        (b"cos\nsystem\n(S'id'\ntR.", "asks for GLOBAL 'os system' at byte 0"),
        (b"(S'id'\nios\nsystem\n.", "asks for INST 'os system'"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "asks for STACK_GLOBAL"),
        (b"}}b.", "asks for BUILD at byte 2"),
        (b"Px\n.", "asks for PERSID 'x'"),
        (b"}Q.", "asks for BINPERSID"),
        (b"\x82\x01.", "asks for EXT1 1"),
        (b"\x8f.", "asks for EMPTY_SET"),
        (b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".", "not a whole pickle"),
    ],
)
def test_a_hostile_pickle_is_refused_before_it_is_read(
    msvd: Path, content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was unpickled")

    if "whole" not in message:
        monkeypatch.setattr(msvd_module, "_PlainUnpickler", never)
    if "2048" in message:
        monkeypatch.setattr(msvd_module, "MAX_PICKLE_OPCODES", 2048)
    write_pickle(msvd, content)
    with pytest.raises(DatasetError, match=message):
        read_dataset("msvd", msvd)


def test_captions_that_a_pickle_repeats_are_counted(msvd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msvd_module, "MAX_CAPTION_CHARACTERS", 2**20)
    write_pickle(msvd, SHARED)
    with pytest.raises(DatasetError, match="with 'd_1_2' the captions have more than 1048576 characters"):
        read_dataset("msvd", msvd)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_captions_of_every_protocol_are_read(msvd: Path, protocol: int) -> None:
    tokens = ["a", "cat", "café"]
    write_pickle(msvd, pickle.dumps({"d_1_2": [tokens, tokens, ["b"] * 300]}, protocol=protocol))
    assert read_dataset("msvd", msvd).videos[0].captions == ("a cat café", "a cat café", " ".join(["b"] * 300))


# JSON and lists


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (b'{"a":' * 100_000, ":2: not JSON"),
        (b"[" * 1_000_000, ":2: not JSON"),
        (b'{"start_seconds": ' + b"9" * 100_000 + b"}", ":2: not JSON"),
        (b'{"video_id": "b", "path": "b", "captions": ["x"], "end_seconds": 1e999}', ":2: .*"),
        (b'{"video_id": "b", "path": "b", "captions": ["x"], "start_seconds": NaN}', ":2: .*"),
        (b"x" * (2**20 + 1), ":2: longer than 1048576 bytes"),
        (b"{" + b",".join(b'"%d":0' % n for n in range(90_000)) + b',"89999":1}', ":2: key '89999' appears twice"),
    ],
)
def test_hostile_json_is_refused_at_once_with_its_line(tmp_path: Path, broken: bytes, message: str) -> None:
    manifest = tmp_path / "a.jsonl"
    manifest.write_bytes(json.dumps(record("a", "a.mp4")).encode() + b"\n" + broken + b"\n")
    with pytest.raises(DatasetError, match="a.jsonl" + message):
        read_jsonl(manifest)


def test_files_of_annotations_are_bounded(msvd: Path) -> None:
    manifest = msvd / "a.jsonl"
    manifest.touch()
    os.truncate(manifest, 2**33)  # one line of 8 GiB, on no disk
    with pytest.raises(DatasetError, match=r"a\.jsonl:1: longer than 1048576 bytes"):
        read_jsonl(manifest)
    os.truncate(manifest, MAX_JSONL_BYTES + 1)
    with pytest.raises(
        DatasetError, match=rf"has {MAX_JSONL_BYTES + 1} bytes, more than the limit of {MAX_JSONL_BYTES}"
    ):
        read_jsonl(manifest)
    os.truncate(msvd / "val_list.txt", 2**26)
    with pytest.raises(DatasetError, match=r"val_list\.txt:1: longer than"):
        read_dataset("msvd", msvd)
    os.truncate(msvd / "val_list.txt", 2**26 + 1)
    with pytest.raises(DatasetError, match=r"val_list\.txt has 67108865 bytes, more than the limit of 67108864"):
        read_dataset("msvd", msvd)
