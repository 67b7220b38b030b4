"""Records and data sets check themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.records import Dataset, DatasetError, VideoRecord, VideoRecords, relative_path
from pipeline.video.options import Window
from tests.pipeline.datasets.files import record


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
        ("captions", ("x", " \t"), "caption 2 of video 'a' is blank"),
        ("captions", ("\u200b\u200d",), "caption 1 of video 'a' is blank"),
        ("captions", ("\ufeff \u2060\u00ad",), "caption 1 of video 'a' is blank"),
        ("captions", ("\u3164\u2800\ufe0f",), "caption 1 of video 'a' is blank"),
        ("captions", ("\udfff",), "caption 1 of video 'a' cannot be written as UTF-8"),
    ],
)
def test_a_record_checks_itself(field: str, value: object, message: str) -> None:
    fields: dict[str, object] = {"video_id": "a", "path": "a.mp4", "split": "test", "captions": ("x",)}
    with pytest.raises(DatasetError, match=message):
        VideoRecord(**(fields | {field: value}))  # type: ignore[arg-type]


def test_a_data_set_checks_itself(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="'n' contains no video"):
        Dataset("n", tmp_path, ())
    with pytest.raises(DatasetError, match="contains video 'a' twice"):
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


@pytest.mark.parametrize("caption", ["\u200ba\u200b", "\u202b\u0645", "👩\u200d🚀", "é", "7", "?", "\ue000"])
def test_what_shows_anything_is_a_caption(caption: str) -> None:
    assert VideoRecord("a", "a.mp4", "test", (caption,)).captions == (caption,)


def test_videos_of_a_data_set_are_a_sequence_that_is_packed() -> None:
    """More than are packed at a time, one of them in a window and with a category."""
    captions = [(f"caption {number}",) * (number % 3) for number in range(5000)]
    videos = [VideoRecord(f"v{number}", f"{number}.mp4", "test", its) for number, its in enumerate(captions)]
    videos[4500] = replace(videos[4500], window=Window(1.5, None), category="cats")
    records = VideoRecords(videos)
    assert records == videos
    assert records != videos[:-1]
    assert [records[place] for place in (0, 4095, 4096, 4500, -1)] == [videos[i] for i in (0, 4095, 4096, 4500, -1)]
    assert records[::1000] == tuple(videos[::1000])
    assert records[3:1:-1] == tuple(videos[3:1:-1])
    with pytest.raises(IndexError):
        records[5000]
