"""What is reported about a data set before it is decoded."""

from __future__ import annotations

from pathlib import Path

from pipeline.datasets.layouts.msrvtt import PROTOCOL_SPLITS
from pipeline.datasets.published import NOTHING, PUBLISHED, Published, SplitSize, published_of
from pipeline.datasets.read import LAYOUTS
from pipeline.datasets.records import CaptionUnit, Dataset, VideoRecord, as_paragraphs
from pipeline.datasets.report import MOST_NAMED, report_on
from pipeline.video.options import Window


def dataset(*videos: VideoRecord, **facts: object) -> Dataset:
    return Dataset("n", Path("/videos"), videos, **facts)  # type: ignore[arg-type]


def video(
    video_id: str, *captions: str, split: str = "test", path: str | None = None, window: Window | None = None
) -> VideoRecord:
    return VideoRecord(video_id, path or f"{video_id}.mp4", split, captions, window or Window())


def test_a_data_set_of_ones_own_is_as_large_as_it_is() -> None:
    report = report_on(dataset(video("a", "x"), video("b", "y", "z", split="train")), NOTHING)
    assert [(one.split, one.num_videos, one.num_captions, one.expected_videos) for one in report.splits] == [
        ("test", 1, 1, None),
        ("train", 1, 2, None),
    ]
    assert (report.warnings, report.leaked, report.missing_files) == ((), (), ())


def test_counts_are_held_against_the_published_ones() -> None:
    published = Published({"train": SplitSize(3), "test": SplitSize(2, 3), "val": SplitSize(1, 1)}, ("Mind the gap.",))
    report = report_on(
        dataset(
            *(video("a", "p"), video("b", "q"), video("c", "r", split="val")),
            left_out={"train": ("d", "e")},
            missing_files=("f.json",),
        ),
        published,
    )
    assert report.warnings == (
        "f.json is missing",
        "test has 2 captions, and 3 are published: numbers on it cannot be compared",
        "train has 0 of 3 videos; left out: 'd', 'e'",
        "Mind the gap.",
    )
    by_split = {one.split: one for one in report.splits}
    assert by_split["train"].missing == ("d", "e")
    assert [by_split[split].expected_videos for split in ("train", "val", "test")] == [3, 1, 2]


def test_a_listed_video_without_captions_is_counted_if_nothing_is_published() -> None:
    report = report_on(dataset(video("a", "x"), left_out={"test": tuple("bcdefgh")}), NOTHING)
    assert report.splits[0].expected_videos == 8
    assert report.warnings == ("test has 1 of 8 videos; left out: 'b', 'c', 'd', 'e', 'f' and 2 more",)


def test_captions_that_several_videos_have_are_counted_outside_train() -> None:
    report = report_on(
        dataset(
            video("a", "A man  sings", "a dog", "a dog"),  # twice of one video: it ties with nothing
            video("b", "a man sings", "a cat"),
            video("c", "a cat", "A man sings ", "a bird"),
            *(video(f"t{n}", "a man sings", split="train") for n in range(3)),
        ),
        NOTHING,
    )
    by_split = {one.split: one for one in report.splits}
    assert (by_split["test"].num_shared_captions, by_split["test"].num_tied_captions) == (2, 5)
    assert (by_split["train"].num_shared_captions, by_split["train"].num_tied_captions) == (0, 0)
    assert by_split["test"].shared_captions == ("a man sings", "a cat")
    assert report.warnings == (
        "2 texts of test describe more than one video (5 captions): ties are unavoidable, most of all from video to "
        "text: 'a man sings', 'a cat'",
    )


def test_paragraphs_are_not_counted_against_sentences() -> None:
    published = Published({"test": SplitSize(1, 2)})
    report = report_on(as_paragraphs(dataset(video("a", "x", "y"))), published)
    assert (report.caption_unit, report.splits[0].expected_captions) == (CaptionUnit.PARAGRAPH, None)
    assert report.warnings == ()


def test_a_video_that_overlaps_train_has_leaked() -> None:
    report = report_on(
        dataset(
            video("film 0-9", "x", split="train", path="film.mp4", window=Window(0.0, 9.0)),
            video("film 9-", "x", path="film.mp4", window=Window(9.0, None)),
            video("film 8-10", "x", path="film.mp4", window=Window(8.0, 10.0)),
            video("film", "x", split="val", path="film.mp4"),
            video("other", "x"),
        ),
        NOTHING,
    )
    assert report.leaked == ("film 8-10", "film")
    assert "2 videos outside train overlap videos of train: 'film 8-10', 'film'" in report.warnings
    two = dataset(video("a", "x", split="train", path="f.mp4"), video("b", "y", path="f.mp4"))
    assert report_on(two, NOTHING).warnings == ("1 video outside train overlaps videos of train: 'b'",)


def test_of_many_videos_without_a_caption_the_first_are_named() -> None:
    num = MOST_NAMED + 23
    report = report_on(dataset(*(video(f"v{number}") for number in range(num))), NOTHING)
    (split,) = report.splits
    assert (split.num_without_captions, len(split.without_captions)) == (num, MOST_NAMED)
    assert f"'v0', 'v1', 'v2', 'v3', 'v4' and {num - 5} more." in report.warnings[0]


def test_the_report_as_json() -> None:
    fields = report_on(dataset(video("a", "x"), protocol_split="1k-A"), NOTHING).to_dict()
    assert (fields["name"], fields["protocol_split"], fields["caption_unit"]) == ("n", "1k-A", "sentence")


def test_every_published_data_set_has_a_reader() -> None:
    assert {layout for layout, _ in PUBLISHED} <= set(LAYOUTS)
    assert {split for layout, split in PUBLISHED if layout == "msrvtt"} == set(PROTOCOL_SPLITS)
    assert published_of("jsonl", None) is NOTHING
