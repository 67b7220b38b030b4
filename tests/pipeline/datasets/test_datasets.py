"""The readers, through their public functions, on good and on hostile input."""

from __future__ import annotations

import gzip
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.layouts.jsonl import read_jsonl
from pipeline.datasets.read import LAYOUTS, read_dataset, recognise_layout
from pipeline.datasets.reading.files import MAX_LINE_BYTES, files_below
from pipeline.datasets.records import Dataset, DatasetError, VideoRecord, relative_path


def record(
    video_id: str = "a", path: str = "a.mp4", split: str = "test", captions: tuple[str, ...] = ("x",)
) -> VideoRecord:
    return VideoRecord(video_id, path, split, captions)


def write(path: Path, content: str | bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def line(**changes: object) -> str:
    return json.dumps({"video_id": "a", "path": "a.mp4", "captions": ["a cat"]} | changes) + "\n"


# --- records ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("video_id", "", "video_id must be one line"),
        ("video_id", "a\nb", "video_id must be one line"),
        ("video_id", "a\0", "without NUL"),
        ("video_id", "\ud800", "cannot be written as UTF-8"),
        ("category", "", "category must be one line"),
        ("category", "a\nb", "category must be one line"),
        ("path", "", "path must be one line"),
        ("path", "/a.mp4", "must be relative and plain"),
        ("path", "../a.mp4", "must be relative and plain"),
        ("path", "b/../a.mp4", "must be relative and plain"),
        ("split", "", "split must be one line"),
        ("split", "te st", "split name 'te st'"),
        ("split", "../x", "split name "),
        ("captions", (), "video 'a' has no caption"),
        ("captions", ("x", " \t"), "caption 2 of video 'a' is blank"),
        ("captions", ("\udfff",), "caption 1 of video 'a' cannot be written as UTF-8"),
    ],
)
def test_a_record_checks_itself(field: str, value: object, message: str) -> None:
    fields: dict[str, object] = {"video_id": "a", "path": "a.mp4", "split": "test", "captions": ("x",)}
    with pytest.raises(DatasetError, match=message):
        VideoRecord(**(fields | {field: value}))  # type: ignore[arg-type]


def test_a_data_set_checks_itself(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="'n' holds no video"):
        Dataset("n", tmp_path, ())
    with pytest.raises(DatasetError, match="holds video 'a' twice"):
        Dataset("n", tmp_path, (record(), record(path="b.mp4")))


def test_the_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    one = Dataset("n", tmp_path, (record(), record("b")))
    assert one.digest() == Dataset("m", tmp_path / "elsewhere", one.videos).digest()
    others = [
        (record("b"), record()),
        (record(), record("c")),
        (record(), record("b", path="b.mp4")),
        (record(), record("b", split="train")),
        (record(), record("b", captions=("y",))),
        (record(), record("b", captions=("x", "x"))),
        (record(), replace(record("b"), category="cats")),
        (record(),),
    ]
    digests = {Dataset("n", tmp_path, videos).digest() for videos in others}
    assert len(digests) == len(others)
    assert one.digest() not in digests


@pytest.mark.parametrize(
    "path", ["../a.mp4", "b/../../a.mp4", "/etc/passwd", "..", ".", "b/..", "/videos", "/videos-2/a.mp4"]
)
def test_paths_that_leave_the_root(path: str) -> None:
    with pytest.raises(DatasetError, match="leaves /videos: every path must lie below"):
        relative_path(path, Path("/videos"))


@given(parts=st.lists(st.sampled_from(["..", ".", "a", "b c", "-x", "é"]), min_size=1, max_size=8))
def test_a_relative_path_stays_inside_and_is_a_fixed_point(parts: list[str]) -> None:
    try:
        inside = relative_path("/".join(parts), Path("/root"))
    except DatasetError:
        return
    assert ".." not in inside.split("/")
    assert relative_path(inside, Path("/root")) == inside == relative_path(f"/root/{inside}", Path("/root"))


# --- jsonl -----------------------------------------------------------------------------------------------------------


def test_jsonl(tmp_path: Path) -> None:
    lines = [
        line(
            video_id="-x_1_5", path="clips/-x_1_5.mp4", captions=["a cat", "un chat à l'été"], split="train", fps=25.0
        ),
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


def test_jsonl_with_the_videos_elsewhere(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", line())
    with pytest.raises(DatasetError, match=r"there is no folder .*videos"):
        read_dataset("jsonl", source, tmp_path / "videos")
    (tmp_path / "videos").mkdir()
    dataset = read_dataset("jsonl", source, tmp_path / "videos")
    assert (dataset.root, dataset.videos[0].path) == (tmp_path / "videos", "a.mp4")


def test_jsonl_with_another_path_key(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", '{"video_id": "a", "file": "b/a.AVI", "captions": ["x"]}')
    with pytest.raises(
        DatasetError, match=r"a\.jsonl:1: no 'path', but 'file' names a video file; pass --path-key file"
    ):
        read_jsonl(source)
    assert read_jsonl(source, path_key="file").videos == (record(path="b/a.AVI"),)
    assert read_dataset("jsonl", source, path_key="file") == read_jsonl(source, path_key="file")
    with pytest.raises(
        DatasetError, match=r"layout 'folder' takes no path_key \('file'\): it is for jsonl; leave it out"
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
    with pytest.raises(DatasetError, match=r"a\.jsonl\.gz (is not a whole gzip file|holds no record)"):
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
        ('{"video_id": "a", "path": "a.mp4"}', "no 'captions'"),
        ('{"video_id": "a", "video_id": "b"}', "key 'video_id' is there twice"),
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
        (line(captions="a cat"), "'captions' must be a list of strings, got 'a cat'"),
        (line(captions=["a", 1]), "'captions' must be a list of strings"),
        (line(captions=[]), "video 'a' has no caption"),
        (line(captions=["x", " "]), "caption 2 of video 'a' is blank"),
        (line(video_id="first"), "video_id 'first' is already on line 1"),
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
    with pytest.raises(DatasetError, match=r"a\.jsonl holds no record"):
        read_jsonl(write(tmp_path / "a.jsonl", content))


# --- folder ----------------------------------------------------------------------------------------------------------


def test_folder(tmp_path: Path) -> None:
    root = tmp_path / "clips"
    write(root / "train" / "-b.25.MP4")
    write(root / "train" / "-b.25.txt", "\ufeffa dog\r\n\r\n  runs fast \r\nlast")
    write(root / "test.webm")
    write(root / "test.txt", "été\u2028still one caption\n")
    write(root / "deep" / "val" / "c.avi")
    write(root / "deep" / "val" / "c.txt", "x")
    write(root / ".DS_Store")
    write(root / "._test.webm")
    write(root / "notes.pdf")
    assert read_dataset("folder", root) == Dataset(
        "clips",
        root,
        (
            record("deep/val/c", "deep/val/c.avi"),
            record("test", "test.webm", captions=("été\u2028still one caption",)),
            record("train/-b.25", "train/-b.25.MP4", "train", ("a dog", "runs fast", "last")),
        ),
    )


def test_folder_with_the_videos_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "texts" / "b" / "a.txt", "x")
    write(tmp_path / "videos" / "b" / "a.mp4")
    dataset = read_dataset("folder", tmp_path / "texts", tmp_path / "videos")
    assert dataset == Dataset("texts", tmp_path / "videos", (record("b/a", "b/a.mp4"),))


def test_folder_follows_links_but_not_in_circles(tmp_path: Path) -> None:
    write(tmp_path / "far" / "a.mp4")
    write(tmp_path / "far" / "a.txt", "x")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "near").symlink_to(tmp_path / "far")
    assert read_dataset("folder", tmp_path / "root").videos == (record("near/a", "near/a.mp4"),)
    (tmp_path / "far" / "back").symlink_to(tmp_path / "root")
    with pytest.raises(DatasetError, match="back is a link to a folder above itself"):
        read_dataset("folder", tmp_path / "root")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no video"),
        ({"a.txt": "x", "b.pdf": ""}, "holds no video"),
        ({"a.mp4": "", "b/c.mp4": ""}, r"2 videos have no <stem>\.txt with their captions: 'a\.mp4', 'b/c\.mp4'"),
        ({f"{n}.mp4": "" for n in range(7)}, "7 videos .*'4.mp4' and 2 more"),
        ({"a.mp4": "", "a.txt": "x", "README.txt": "x"}, r"1 \.txt files have no video in .*: 'README\.txt'"),
        ({"a.mp4": "", "a.avi": "", "a.txt": "x"}, r"'a\.avi' and 'a\.mp4' have one stem"),
        ({"a.mp4": "", "a.txt": " \n\n"}, r"a\.txt: video 'a' has no caption"),
        ({"a.mp4": "", "a.txt": b"ok\n\xff\n"}, r"a\.txt:2: not UTF-8"),
        ({"a\nb.mp4": "", "a\nb.txt": "x"}, "video_id must be one line"),
        ({"a.mp4": "", "a.txt/b.txt": "x"}, r"1 videos have no <stem>\.txt"),
    ],
)
def test_folder_refusals(tmp_path: Path, files: dict[str, str | bytes], message: str) -> None:
    for name, content in files.items():
        write(tmp_path / name, content)
    with pytest.raises(DatasetError, match=message):
        read_dataset("folder", tmp_path)


def test_folder_with_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    for ending in (b".mp4", b".txt"):
        name = os.fsencode(tmp_path) + b"/\xff" + ending
        write(Path(os.fsdecode(name)), "x")
    with pytest.raises(DatasetError, match="video_id cannot be written as UTF-8"):
        read_dataset("folder", tmp_path)


# --- msvd ------------------------------------------------------------------------------------------------------------

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


def test_msvd_where_files_are_called_vid_n(msvd: Path) -> None:
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
        ("AllVideoDescriptions.txt", "d_1_2 x\nvid4 y\n", "'d_1_2' is there under two names"),
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


def test_msvd_with_the_videos_elsewhere(msvd: Path) -> None:
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
        ({"val_list.txt": "new_1_2"}, r"raw-captions\.pkl: video 'new_1_2' has no caption"),
        ({"val_list.txt": "unlisted_1_2"}, "video 'unlisted_1_2' has no caption"),
        (
            {"val_list.txt": "../../x", "raw-captions.pkl": {"../../x": [["x"]]} | CAPTIONS},
            "must be relative and plain",
        ),
        ({"c_1_2.avi": ""}, r"'c_1_2\.avi' and 'c_1_2\.mp4' could both be video 'c_1_2'"),
        ({"raw-captions.pkl": [1]}, "must hold a dict from id to captions, got list"),
        ({"raw-captions.pkl": CAPTIONS | {"d_1_2": "a man"}}, "'d_1_2' must hold a list of captions, got str"),
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


# --- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("msvd", "raw-captions.pkl"),
        ("msvd", "AllVideoDescriptions.txt"),
        ("msvd", "captions_msvd.json.gz"),
        ("msrvtt", "MSRVTT_data.json"),
        ("msrvtt", "msrvtt_jsfusion_test.csv"),
        ("activitynet", "val_1.json"),
        ("didemo", "test_data.json"),
        ("didemo", "test.jsonl"),
        ("lsmdc", "LSMDC16_challenge_1000_publictect.csv"),
        ("vatex", "vatex_training_v1.0.json.gz"),
        ("video2dataset", "00000.tar"),
        ("folder", "notes.pdf"),
    ],
)
def test_the_layout_of_a_folder(tmp_path: Path, layout: str, name: str) -> None:
    (tmp_path / "train.csv").mkdir()  # a folder is no file, whatever its name
    write(tmp_path / name)
    recognised = recognise_layout(tmp_path)
    assert recognised.layout == layout
    assert recognised.why == (
        "it is a folder without the files of any other layout" if layout == "folder" else f"it holds {name!r}"
    )


@pytest.mark.parametrize(
    ("layout", "name"), [("jsonl", "a.JSONL"), ("jsonl", "a.jsonl.gz"), ("csv", "a.csv"), ("csv", "-b.tsv.gz")]
)
def test_the_layout_of_a_file(tmp_path: Path, layout: str, name: str) -> None:
    recognised = recognise_layout(write(tmp_path / name))
    assert (recognised.layout, recognised.why) == (layout, f"its name is {name!r}")


def test_a_layout_that_cannot_be_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"cannot tell the layout of .*a\.json; name one of jsonl, csv, msvd"):
        recognise_layout(write(tmp_path / "a.json"))
    with pytest.raises(DatasetError, match="there is no file or folder"):
        recognise_layout(tmp_path / "b")
    write(tmp_path / "val_1.json")
    write(tmp_path / "raw-captions.pkl")
    with pytest.raises(
        DatasetError, match=r"msvd \(it holds 'raw-captions.pkl'\) or activitynet \(it holds 'val_1.json'\); name one"
    ):
        recognise_layout(tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_source_that_is_not_there(tmp_path: Path, layout: str) -> None:
    with pytest.raises(DatasetError, match="there is no f"):
        read_dataset(layout, tmp_path / "nowhere")


def test_a_source_of_the_wrong_kind(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is a folder, not a file"):
        read_dataset("jsonl", tmp_path)
    with pytest.raises(DatasetError, match="is a file, not a folder"):
        read_dataset("folder", write(tmp_path / "a.mp4"))
    with pytest.raises(DatasetError, match="no layout 'coco'; choose one of jsonl, csv, msvd, msrvtt, "):
        read_dataset("coco", tmp_path)


def test_files_below_are_sorted_by_their_whole_path(tmp_path: Path) -> None:
    names = ["b.mp4", "a/z.mp4", "a.mp4", "a-/y.mp4"]
    for name in names:
        write(tmp_path / name)
    assert files_below(tmp_path) == sorted(names)
