"""The layout `jsonl`, on good and on hostile input."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from pipeline.datasets.layouts.jsonl import read_jsonl
from pipeline.datasets.read import read_dataset
from pipeline.datasets.reading.files import MAX_LINE_BYTES
from pipeline.datasets.records import Dataset, DatasetError
from tests.pipeline.datasets.files import record, write


def line(**changes: object) -> str:
    return json.dumps({"video_id": "a", "path": "a.mp4", "captions": ["a cat"]} | changes) + "\n"


def test_jsonl(tmp_path: Path) -> None:
    lines = [
        line(video_id="-x_1_5", path="clips/-x_1_5.mp4", captions=["a cat", "un chat à l'été"], split="train"),
        "\n",
        "  \r\n",
        line(video_id="名 前", path=str(tmp_path / "clips" / "名前.webm")).replace("\n", "\r\n"),
        line(video_id="c", path="./clips//../c.mp4").rstrip(),
    ]
    dataset = read_dataset("jsonl", write(tmp_path / "my clips.jsonl", b"\xef\xbb\xbf" + "".join(lines).encode()))
    assert dataset == Dataset(
        "my clips",
        tmp_path,
        (
            record("-x_1_5", "clips/-x_1_5.mp4", "train", ("a cat", "un chat à l'été")),
            record("名 前", "clips/名前.webm", captions=("a cat",)),
            record("c", "c.mp4", captions=("a cat",)),
        ),
    )


def test_jsonl_with_videos_in_another_folder(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", line())
    with pytest.raises(DatasetError, match=r"there is no folder .*videos"):
        read_dataset("jsonl", source, tmp_path / "videos")
    (tmp_path / "videos").mkdir()
    dataset = read_dataset("jsonl", source, tmp_path / "videos")
    assert (dataset.root, dataset.videos[0].path) == (tmp_path / "videos", "a.mp4")


def test_jsonl_with_another_path_key(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", '{"video_id": "a", "file": "b/a.AVI", "captions": ["x"]}')
    with pytest.raises(
        DatasetError, match=r"a\.jsonl:1: no 'path'; the keys are 'video_id', 'file', 'captions': give --path-key file"
    ):
        read_jsonl(source)
    assert read_jsonl(source, path_key="file").videos == (record(path="b/a.AVI"),)
    assert read_dataset("jsonl", source, path_key="file") == read_jsonl(source, path_key="file")
    with pytest.raises(
        DatasetError,
        match=r"--path-key \('file'\) is for jsonl, csv, and .* is read as 'folder': leave it out, or name",
    ):
        read_dataset("folder", tmp_path, path_key="file")


def test_jsonl_under_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.jsonl", line())
    monkeypatch.chdir(tmp_path)
    assert read_jsonl(Path("a.jsonl")).root == tmp_path


def test_jsonl_gzipped_and_with_categories(tmp_path: Path) -> None:
    lines = line(category="cats") + line(video_id="b", category=None) + line(video_id="c")
    plain = read_jsonl(write(tmp_path / "clips.jsonl", lines))
    assert [video.category for video in plain.videos] == ["cats", None, None]
    assert read_jsonl(write(tmp_path / "clips.jsonl.gz", gzip.compress(lines.encode()))) == plain


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(line().encode(), mtime=0)[:-9], b"\x1f\x8b\x08\0" + b"x" * 50],
    ids=["empty", "no gzip", "cut off", "damaged"],
)
def test_a_broken_gzip_file(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DatasetError, match=r"a\.jsonl\.gz (is not a whole gzip file|contains no record)"):
        read_jsonl(write(tmp_path / "a.jsonl.gz", content))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("{'video_id': 1}\n", "not JSON: Expecting property name"),
        ("{} {}\n", "not JSON: Extra data"),
        ("[" * 200_000, "not JSON: "),
        ('{"n": ' + "9" * 5_000 + "}", "not JSON: "),
        ("[1]\n", "the line must be a JSON object, got list"),
        ("null\n", "the line must be a JSON object, got NoneType"),
        ('{"path": "a.mp4", "captions": ["x"]}', "no 'video_id'; the keys are 'path', 'captions'"),
        ('{"video_id": "a", "captions": ["x"]}', "no 'path'; the keys are 'video_id', 'captions'"),
        ('{"video_id": "a", "video_id": "b"}', "key 'video_id' appears twice"),
        (line(video_id=7), "'video_id' must be a string, got int 7"),
        (line(video_id=""), "video_id must be one line"),
        (line(path=None), "'path' must be a string, got NoneType"),
        (line(path="../a.mp4"), r"path '\.\./a\.mp4' leaves "),
        (line(path="/etc/passwd"), "path '/etc/passwd' leaves "),
        (line(path="a\0.mp4"), "path must be one line of text"),
        (line(path="\ud800.mp4"), "path cannot be written as UTF-8"),
        (line(split=None), "'split' must be a string"),
        (line(category=3), "'category' must be a string, got int 3"),
        (line(category=""), "category must be one line"),
        (line(split="a/b"), "split name "),
        (line(captions=7), "'captions' must be a list of strings, got 7"),
        (line(captions=["a", 1]), "'captions' must be a list of strings"),
        (line(captions=["x", " "]), "caption 2 of video 'a' is blank"),
        (line(video_id="first"), "video_id 'first' is already on line 1: write all captions of a video as the list"),
    ],
)
def test_jsonl_names_the_broken_line(tmp_path: Path, broken: str, message: str) -> None:
    source = write(tmp_path / "a.jsonl", line(video_id="first") + "\n" + broken)
    with pytest.raises(DatasetError, match=rf"a\.jsonl:3: {message}"):
        read_jsonl(source)


def test_jsonl_that_is_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.jsonl:2: not UTF-8"):
        read_jsonl(write(tmp_path / "a.jsonl", line().encode() + '{"video_id": "é"}'.encode("latin-1")))


def test_jsonl_line_length_is_bounded(tmp_path: Path) -> None:
    longest = line(captions=["x" * (MAX_LINE_BYTES - len(line(captions=[""])))])
    assert len(longest) == MAX_LINE_BYTES
    assert len(read_jsonl(write(tmp_path / "a.jsonl", longest)).videos) == 1
    with pytest.raises(DatasetError, match=r"a\.jsonl:1: longer than 1048576 bytes"):
        read_jsonl(write(tmp_path / "a.jsonl", " " + longest))


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_jsonl_without_a_record(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DatasetError, match=r"a\.jsonl contains no record"):
        read_jsonl(write(tmp_path / "a.jsonl", content))
