"""Files that are no videos beside videos, links to themselves, folders that cannot be read, and what is no file."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.datasets.options import SourceOptions
from pipeline.datasets.read import LAYOUTS, read_dataset
from pipeline.datasets.reading.files import files_below, find_videos
from pipeline.datasets.records import DatasetError
from pipeline.datasets.source import read_source
from tests.pipeline.datasets.files import write, write_data

SIDECARS = (
    *(".json", ".txt", ".info.json", ".description", ".vtt", ".en.vtt", ".srt", ".jpg", ".webp", ".npy", ".wav"),
    *(".m4a", ".mp4.part", ".ytdl", ".tmp", ".csv", ".xml", ".md5", ".unheard-of"),
)


# --- sidecars --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", SIDECARS)
def test_what_lies_beside_a_video_is_not_one(tmp_path: Path, ending: str) -> None:
    for name in (f"a{ending}", f"b{ending}", "b.txt", "b.json", "a.mp4", "c"):
        write(tmp_path / name, "x")
    assert find_videos(tmp_path, {name: name for name in "abc"}) == {"a": "a.mp4", "c": "c"}


def _msvd(folder: Path) -> None:
    write(folder / "train_list.txt", "")
    write(folder / "val_list.txt", "")
    write(folder / "test_list.txt", "a\nb\n")
    write(folder / "raw-captions.pkl", pickle.dumps({"a": [["x"]], "b": [["y"]]}))


PUBLISHED: dict[str, Callable[[Path], object]] = {
    "csv": lambda folder: write(folder / "a.csv", "video_id,caption\na,x\nb,y\n"),
    "msvd": _msvd,
    "msrvtt": lambda folder: write(folder / "MSRVTT_test.full.csv", "video_id\na\nb\n"),
    "activitynet": lambda folder: write_data(folder / "val_1.json", {one: {"sentences": ["x"]} for one in "ab"}),
    "didemo": lambda folder: write_data(
        folder / "test_data.json", [{"video": one, "description": "x"} for one in "ab"]
    ),
    "lsmdc": lambda folder: write(
        folder / "LSMDC16_challenge_1000_publictect.csv", "a\t1\t2\t3\t4\tx\nb\t1\t2\t3\t4\ty\n"
    ),
    "vatex": lambda folder: write_data(
        folder / "vatex_training_v1.0.json", [{"videoID": one, "enCap": ["x"]} for one in "ab"]
    ),
}
"""Every layout that finds videos by their names."""


@pytest.mark.parametrize("layout", PUBLISHED)
def test_no_layout_takes_what_a_downloader_left_for_a_video(tmp_path: Path, layout: str) -> None:
    PUBLISHED[layout](tmp_path)
    for name in ("a.mp4", "a.json", "a.txt", "b.json", "b.txt", "b.mp4.part"):
        write(tmp_path / "videos" / name, "x")
    source = tmp_path / "a.csv" if LAYOUTS[layout].is_file else tmp_path
    paths = {one.video_id: Path(one.path) for one in read_dataset(layout, source, tmp_path / "videos").videos}
    assert (paths["a"], (tmp_path / "videos" / paths["b"]).exists()) == (Path("a.mp4"), False)


# --- folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["loop", "loop.mp4", "b"])
def test_a_link_to_itself_is_listed_and_breaks_nothing(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.mp4")
    (tmp_path / name).symlink_to(name)
    assert files_below(tmp_path) == sorted(["a.mp4", name])
    assert read_dataset("folder", tmp_path).videos[0].path == "a.mp4"


def test_a_folder_that_cannot_be_read_is_told_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "videos/a.mp4")
    (tmp_path / "videos/closed").mkdir()
    (tmp_path / "videos/lost+found").mkdir()
    scan = os.scandir

    def refuse(path: Path) -> object:  # as for everybody but root, who runs tests in containers
        if Path(path).name in ("closed", "lost+found"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for layout in ("folder", "csv"):
        source = tmp_path / "videos" if layout == "folder" else write(tmp_path / "a.csv", "video_id\na\n")
        with pytest.raises(
            DatasetError, match=r"the folder .*closed cannot be read: Permission denied\. Make it readab"
        ):
            read_source(source, SourceOptions(layout, videos=tmp_path / "videos"))
    with pytest.raises(DatasetError, match="closed cannot be read: Permission denied") as caught:
        read_source(tmp_path / "videos/closed", SourceOptions())
    assert "Errno" not in str(caught.value)
    (tmp_path / "videos/closed").rmdir()
    assert files_below(tmp_path / "videos") == ["a.mp4"]  # what a system keeps for itself is no reason


# --- what is no file -------------------------------------------------------------------------------------------------


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(path.parent)  # the name of a socket has at most 108 bytes
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


def a_name_beyond(path: Path) -> None:
    path.symlink_to("x" * 300)


NO_FILES: dict[Callable[[Path], None], str] = {
    a_pipe: "is a pipe",
    a_socket: "is a socket",
    a_device: "is a device",
    a_loop: "Too many levels",
}


@pytest.mark.parametrize("make", [*NO_FILES, a_name_beyond])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.mp4", "a.txt", "a.jsonl.gz"])
@pytest.mark.parametrize("layout", ["auto", "jsonl", "csv", "video", "folder"])
def test_a_source_that_is_no_file_is_refused_in_one_sentence(
    tmp_path: Path, make: Callable[[Path], None], name: str, layout: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(DatasetError, match=NO_FILES.get(make, "cannot be read|there is no")) as caught:
        read_source(tmp_path / name, SourceOptions(layout))
    assert "Errno" not in str(caught.value)


@pytest.mark.parametrize("make", NO_FILES)
@pytest.mark.parametrize(
    ("layout", "name"),
    [("video2dataset", "00000.tar"), ("msvd", "raw-captions.pkl"), ("folder", "a.txt"), ("msvd", "test_list.txt")],
)
def test_a_file_of_a_data_set_that_is_none(
    tmp_path: Path, make: Callable[[Path], None], layout: str, name: str
) -> None:
    if layout == "msvd":
        _msvd(tmp_path)
    write(tmp_path / "a.mp4")
    (tmp_path / name).unlink(missing_ok=True)
    make(tmp_path / name)
    with pytest.raises(DatasetError, match=name) as caught:
        read_source(tmp_path, SourceOptions(layout, extract_to=tmp_path / "out" if layout == "video2dataset" else None))
    assert "Errno" not in str(caught.value)


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(DatasetError, match=r"a\.jsonl contains no video; .*--dataset names another layout"):
        read_source(tmp_path / "a.jsonl", SourceOptions())
    with pytest.raises(DatasetError, match="is a folder, not a file as layout 'jsonl' needs: .* with --dataset"):
        read_source(tmp_path / "a.jsonl", SourceOptions("jsonl"))


# --- one video -------------------------------------------------------------------------------------------------------


def test_one_video_is_a_data_set(tmp_path: Path) -> None:
    video = write(tmp_path / "b/-a.25.MP4")
    write(tmp_path / "b/other.mp4")
    (bare,) = read_source(video, SourceOptions()).dataset.videos
    assert (bare.video_id, bare.path, bare.split, bare.captions) == ("-a.25", "-a.25.MP4", "test", ())
    write(tmp_path / "b/-a.25.txt", "one\n\ntwo\n")
    dataset = read_source(video, SourceOptions(videos=tmp_path)).dataset
    assert (dataset.name, dataset.root) == ("-a.25", tmp_path)
    assert [(one.path, one.captions) for one in dataset.videos] == [("b/-a.25.MP4", ("one", "two"))]
    write(tmp_path / "c/x")
    with pytest.raises(DatasetError, match="leaves"):
        read_source(video, SourceOptions(videos=tmp_path / "c"))
