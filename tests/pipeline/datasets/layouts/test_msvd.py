"""The layout `msvd`, on good and on hostile input."""

from __future__ import annotations

import gzip
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.datasets.read import read_dataset, recognise_layout
from pipeline.datasets.records import Dataset, DatasetError
from tests.pipeline.datasets.files import record, write

LISTS = {"train": "-4wsu_PCj_5_15\r\nb_1_2", "val": "c_1_2\n", "test": "d_1_2\n\n"}
CAPTIONS: dict[str, list[list[str]]] = {
    "d_1_2": [["a", "man", "is", "cooking"], ["café"]],
    "c_1_2": [["x"]],
    "b_1_2": [["y"]],
    "-4wsu_PCj_5_15": [["a", "squirrel"]],
    "unlisted_1_2": [],
}


@pytest.fixture
def msvd(tmp_path: Path) -> Path:
    for split, ids in LISTS.items():
        write(tmp_path / f"{split}_list.txt", ids)
    write(tmp_path / "raw-captions.pkl", pickle.dumps(CAPTIONS, protocol=2))
    for path in ("YouTubeClips/-4wsu_PCj_5_15.avi", "c_1_2.mp4", "YouTubeClips/c_1_2.json", "more/d_1_2.rmvb"):
        write(tmp_path / path)
    return tmp_path


def test_msvd(msvd: Path) -> None:
    assert recognise_layout(msvd).layout == "msvd"
    dataset = read_dataset("msvd", msvd)
    assert dataset == Dataset(
        "msvd",
        msvd,
        (
            record("-4wsu_PCj_5_15", "YouTubeClips/-4wsu_PCj_5_15.avi", "train", ("a squirrel",)),
            record("b_1_2", "b_1_2.avi", "train", ("y",)),  # listed, and not there
            record("c_1_2", "c_1_2.mp4", "val", ("x",)),
            record("d_1_2", "more/d_1_2.rmvb", "test", ("a man is cooking", "café")),
        ),
    )


def test_msvd_descriptions(msvd: Path) -> None:
    expected = read_dataset("msvd", msvd)
    (msvd / "raw-captions.pkl").unlink()
    rows = [f"{video_id} {' '.join(tokens)}" for video_id, texts in CAPTIONS.items() for tokens in texts]
    write(msvd / "AllVideoDescriptions.txt", "# Read me\r\n\r\n" + "\r\n".join(rows))
    assert read_dataset("msvd", msvd).digest() == expected.digest()
    write(msvd / "AllVideoDescriptions.txt", "d_1_2 x\nb_1_2\n")
    with pytest.raises(DatasetError, match=r"AllVideoDescriptions\.txt:2: expected an id, a space and a caption"):
        read_dataset("msvd", msvd)


def test_msvd_captions_as_json(msvd: Path) -> None:
    expected = read_dataset("msvd", msvd)
    (msvd / "raw-captions.pkl").unlink()
    texts = {video_id: [" ".join(tokens) for tokens in captions] for video_id, captions in CAPTIONS.items()}
    path = write(msvd / "captions_msvd.json", json.dumps(texts))
    assert read_dataset("msvd", msvd) == expected
    write(msvd / "captions_msvd.json.gz", gzip.compress(path.read_bytes()))
    path.unlink()
    assert read_dataset("msvd", msvd) == expected
    write(path, '{"d_1_2": "a man"}')
    with pytest.raises(DatasetError, match=r"captions_msvd\.json: 'd_1_2' must be a list of strings, got 'a man'"):
        read_dataset("msvd", msvd)


def test_msvd_with_files_called_vid_n(msvd: Path) -> None:
    expected = read_dataset("msvd", msvd)
    write(msvd / "youtube_mapping.txt", "-4wsu_PCj_5_15 vid1\nb_1_2 vid2\nc_1_2 vid3\r\nd_1_2 vid4\nother_1_2 vid5\n")
    assert read_dataset("msvd", msvd) == expected
    write(msvd / "test_list.txt", "vid4")
    (msvd / "YouTubeClips/-4wsu_PCj_5_15.avi").rename(msvd / "YouTubeClips/vid1.avi")
    write(
        msvd / "raw-captions.pkl", pickle.dumps({"vid3" if key == "c_1_2" else key: CAPTIONS[key] for key in CAPTIONS})
    )
    named = read_dataset("msvd", msvd)
    assert named.videos[0] == replace(expected.videos[0], path="YouTubeClips/vid1.avi")
    assert named.videos[1:] == expected.videos[1:]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "youtube_mapping.txt",
            "b_1_2 vid1\nc_1_2 vid1\n",
            r"mapping\.txt:2: expected an id and a vidN .*'c_1_2 vid1'",
        ),
        ("youtube_mapping.txt", "b_1_2\n", r"mapping\.txt:1: expected an id and a vidN"),
        ("val_list.txt", "vid4", r"test_list\.txt:1: id 'd_1_2' is already at .*val_list\.txt:1"),
        ("AllVideoDescriptions.txt", "d_1_2 x\nvid4 y\n", "'d_1_2' is listed under two names"),
        ("more/vid4.avi", "", r"'more/d_1_2\.rmvb' and 'more/vid4\.avi' could both|could both be video 'd_1_2'"),
    ],
)
def test_msvd_names_that_contradict_each_other(msvd: Path, name: str, content: str, message: str) -> None:
    write(msvd / "youtube_mapping.txt", "d_1_2 vid4\n")
    if name == "AllVideoDescriptions.txt":
        (msvd / "raw-captions.pkl").unlink()
    if name.startswith("more"):
        (msvd / "more/d_1_2.rmvb").rename(msvd / "more/d_1_2.avi")
    write(msvd / name, content)
    with pytest.raises(DatasetError, match=message):
        read_dataset("msvd", msvd)


def test_msvd_with_videos_in_another_folder(msvd: Path) -> None:
    dataset = read_dataset("msvd", msvd, msvd / "more")
    assert dataset.root == msvd / "more"
    assert [video.path for video in dataset.videos] == ["-4wsu_PCj_5_15.avi", "b_1_2.avi", "c_1_2.avi", "d_1_2.rmvb"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"val_list.txt": None}, r"there is no file .*val_list\.txt"),
        (
            {"raw-captions.pkl": None},
            r"neither raw-captions\.pkl nor AllVideoDescriptions\.txt nor captions_msvd\.json",
        ),
        ({"val_list.txt": "x\nb_1_2"}, r"val_list\.txt:2: id 'b_1_2' is already at .*train_list\.txt:2"),
        (
            {"val_list.txt": "../../x", "raw-captions.pkl": {"../../x": [["x"]]} | CAPTIONS},
            "must be relative and plain",
        ),
        ({"c_1_2.avi": ""}, r"'c_1_2\.avi' and 'c_1_2\.mp4' could both be video 'c_1_2'"),
        ({"raw-captions.pkl": [1]}, "must contain a dict from id to captions, got list"),
        ({"raw-captions.pkl": CAPTIONS | {"d_1_2": "a man"}}, "'d_1_2' must contain a list of captions, got str"),
        (
            {"raw-captions.pkl": CAPTIONS | {"d_1_2": ["a man"]}},
            "caption of 'd_1_2' must be a list of tokens, got 'a man'",
        ),
        ({"raw-captions.pkl": CAPTIONS | {"d_1_2": [[1]]}}, r"caption of 'd_1_2' must be a list of tokens, got \[1\]"),
        ({"raw-captions.pkl": CAPTIONS | {"d_1_2": [[]]}}, "caption 1 of video 'd_1_2' is blank"),
    ],
)
def test_msvd_refusals(msvd: Path, files: dict[str, object], message: str) -> None:
    for name, content in files.items():
        if content is None:
            (msvd / name).unlink()
        else:
            write(msvd / name, content if isinstance(content, str) else pickle.dumps(content))
    with pytest.raises(DatasetError, match=message):
        read_dataset("msvd", msvd)


class Exploit:
    """Unpickled without care, it makes a folder."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.made),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_msvd_runs_no_code_of_a_pickle(msvd: Path, tmp_path: Path, protocol: int) -> None:
    made = tmp_path / "made"
    write(msvd / "raw-captions.pkl", pickle.dumps(CAPTIONS | {"d_1_2": Exploit(made)}, protocol=protocol))
    with pytest.raises(DatasetError, match=r"raw-captions\.pkl asks for (STACK_)?GLOBAL.*may run code"):
        read_dataset("msvd", msvd)
    assert not made.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html>",
        pickle.dumps(CAPTIONS)[:-10],
        b"(lp0\n0.",
        b"}]s.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"h\x05.",
        b"U\x01\xff.",
    ],
)
def test_msvd_with_a_broken_pickle(msvd: Path, content: bytes) -> None:
    write(msvd / "raw-captions.pkl", content)
    with pytest.raises(DatasetError, match=r"raw-captions\.pkl is not a whole pickle"):
        read_dataset("msvd", msvd)


def test_msvd_pickle_of_endless_depth(msvd: Path) -> None:
    write(msvd / "raw-captions.pkl", b"}U\x05d_1_2" + b"]" * 100_000 + b"a" * 99_999 + b"s.")
    with pytest.raises(DatasetError, match="a caption of 'd_1_2' must be a list of tokens"):
        read_dataset("msvd", msvd)


def test_msvd_pickle_size_is_bounded(msvd: Path) -> None:
    os.truncate(msvd / "raw-captions.pkl", 64 * 2**20 + 1)  # sparse
    with pytest.raises(DatasetError, match="has 67108865 bytes, more than 67108864"):
        read_dataset("msvd", msvd)
