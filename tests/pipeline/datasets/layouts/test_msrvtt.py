"""The layout `msrvtt`, from the files that people have of it, and what is refused of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.datasets.read import read_dataset
from pipeline.datasets.records import DatasetError
from tests.pipeline.datasets.files import facts, write_all, write_data

MSRVTT = {
    "videos": [
        {"video_id": f"video{n}", "category": n, "split": split, "start time": 0.0, "end time": 9.0}
        for n, split in enumerate(["train", "train", "validate", "test", "test"])
    ],
    "sentences": [
        {"sen_id": 2 * n + k, "video_id": f"video{n}", "caption": f"caption {k} of {n}"}
        for k in (0, 1)
        for n in range(5)
    ],
}


@pytest.fixture
def msrvtt(tmp_path: Path) -> Path:
    write_data(tmp_path / "MSRVTT_data.json", MSRVTT)
    write_data(tmp_path / "videos/video3.webm")
    write_data(tmp_path / "videos/deep/video0.mp4")
    return tmp_path


def both(number: int) -> tuple[str, str]:
    return f"caption 0 of {number}", f"caption 1 of {number}"


def test_msrvtt_by_the_official_splits(msrvtt: Path) -> None:
    dataset = read_dataset("msrvtt", msrvtt)
    assert (dataset.name, dataset.protocol_split, dataset.missing_files) == ("msrvtt", "full", ())
    assert facts(dataset) == [
        ("video0", "videos/deep/video0.mp4", "train", both(0)),
        ("video1", "video1.mp4", "train", both(1)),
        ("video2", "video2.mp4", "val", both(2)),
        ("video3", "videos/video3.webm", "test", both(3)),
        ("video4", "video4.mp4", "test", both(4)),
    ]
    assert [video.category for video in dataset.videos] == [
        *("music", "people", "gaming", "sports/actions", "news/events/politics")
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_msrvtt_1k_a(msrvtt: Path, separator: str, ending: str) -> None:
    rows = ["key,vid_key,video_id,sentence", 'ret0,msr4,video4,"one, two"', "ret1,msr3,video3,three"]
    text = "\r\n".join(
        row if separator == "," else row.replace('"one, two"', "one").replace(",", separator) for row in rows
    )
    write_data(msrvtt / f"MSRVTT_JSFUSION_test.csv{ending}", text)
    write_data(msrvtt / "splits/MSRVTT_train.9k.csv", "video_id\nvideo1\nvideo0\nvideo2\n")
    dataset = read_dataset("msrvtt", msrvtt, msrvtt / "videos", protocol_split="1k-A")
    assert facts(dataset) == [
        ("video1", "video1.mp4", "train", both(1)),
        ("video0", "deep/video0.mp4", "train", both(0)),
        ("video2", "video2.mp4", "train", both(2)),
        ("video4", "video4.mp4", "test", ("one, two" if separator == "," else "one",)),
        ("video3", "video3.webm", "test", ("three",)),
    ]


def test_msrvtt_1k_b(msrvtt: Path) -> None:
    write_data(msrvtt / "train_list_miech.txt", "video0\nvideo1")
    write_data(msrvtt / "test_list_miech.txt", "video3\n")
    dataset = read_dataset("msrvtt", msrvtt, protocol_split="1k-B")
    assert [(one.video_id, one.split) for one in dataset.videos] == [
        ("video0", "train"),
        ("video1", "train"),
        ("video3", "test"),
    ]


def test_msrvtt_asks_for_the_splits_if_several_fit(msrvtt: Path) -> None:
    write_data(msrvtt / "MSRVTT_JSFUSION_test.csv", "video_id,sentence\nvideo3,x\n")
    for name in ("9k", "7k"):
        write_data(msrvtt / f"MSRVTT_train.{name}.csv", "video_id\nvideo0\n")
    with pytest.raises(DatasetError, match="could be read by the splits 1k-A, 1k-A-7k, full, .*--protocol-split"):
        read_dataset("msrvtt", msrvtt)
    assert read_dataset("msrvtt", msrvtt, protocol_split="1k-A-7k").protocol_split == "1k-A-7k"
    (msrvtt / "MSRVTT_data.json").unlink()
    (msrvtt / "MSRVTT_train.7k.csv").unlink()
    assert read_dataset("msrvtt", msrvtt).protocol_split == "1k-A"


def test_msrvtt_without_the_captions_of_train(msrvtt: Path) -> None:
    write_all(
        msrvtt,
        {
            "MSRVTT_data.json": None,
            "MSRVTT_JSFUSION_test.csv": "video_id,sentence\nvideo3,x\n",
            "MSRVTT_train.9k.csv": "video_id\nvideo0\nvideo1\n",
        },
    )
    dataset = read_dataset("msrvtt", msrvtt)
    assert [one[::3] for one in facts(dataset)] == [("video0", ()), ("video1", ()), ("video3", ("x",))]
    assert dataset.left_out == {}
    assert dataset.missing_files == ("MSRVTT_data.json",)
    (msrvtt / "MSRVTT_train.9k.csv").unlink()
    without_list = read_dataset("msrvtt", msrvtt, protocol_split="1k-A")
    assert without_list.missing_files == ("MSRVTT_data.json", "MSRVTT_train.9k.csv")


def test_msrvtt_captions_of_test_videos_from_the_other_files(msrvtt: Path) -> None:
    write_all(
        msrvtt,
        {
            "MSRVTT_data.json": None,
            "MSRVTT_test1ka.jsonl.gz": '{"clip_id": "video3", "text": ["p", "q"]}\n',
            "msrvtt_caption_test.json": [{"video": f"video{n}.mp4", "caption": ["r", "s"]} for n in (3, 4)],
            "MSRVTT_test.full.csv": "video_id\nvideo3\nvideo4\n",
        },
    )
    full = read_dataset("msrvtt", msrvtt, protocol_split="full")
    assert [(one.video_id, one.captions) for one in full.videos] == [("video3", ("p", "q")), ("video4", ("r", "s"))]
    assert full.missing_files == ("MSRVTT_data.json", "MSRVTT_train.full.csv", "MSRVTT_val.full.csv")
    assert [one.video_id for one in read_dataset("msrvtt", msrvtt, protocol_split="1k-A").videos] == ["video3"]


@pytest.mark.parametrize(
    ("protocol_split", "files", "message"),
    [
        ("1k-C", {}, "no splits '1k-C'; choose one of 1k-A, 1k-A-7k, 1k-B, full"),
        ("1k-A", {}, r"no test list of 1k-A: MSRVTT_JSFUSION_test\.csv or "),
        (
            "1k-A",
            {"MSRVTT_JSFUSION_test.csv": "key;sentence\n1;x\n"},
            r"test\.csv:2: no 'video_id'; the keys are 'key'",
        ),
        (
            "1k-A",
            {"MSRVTT_JSFUSION_test.csv": "video_id,sentence\nvideo3\n"},
            r"test\.csv:2: 1 fields, and the columns",
        ),
        (
            "1k-A",
            {"MSRVTT_JSFUSION_test.csv": "video_id,sentence\na,x\n\na,y\n"},
            r"csv:4: id 'a' is already on line 2",
        ),
        ("1k-A", {"MSRVTT_JSFUSION_test.csv": "video_id,sentence\n../a,x\n"}, "path must be relative and plain"),
        (
            "1k-A",
            {"MSRVTT_JSFUSION_test.csv": "video_id,sentence\na,x\n", "MSRVTT_train.9k.csv": "video_id\na\n"},
            "video 'a' is listed in train and in test",
        ),
        ("full", {"MSRVTT_data.json": "{"}, r"MSRVTT_data\.json: not JSON"),
        ("full", {"MSRVTT_data.json": []}, r"MSRVTT_data\.json: the file must be a JSON object, got list"),
        ("full", {"MSRVTT_data.json": {"videos": 1}}, "'videos' must be a list, got int 1"),
        ("full", {"MSRVTT_data.json": {"videos": [1]}}, r"videos\[0\]: it must be a JSON object, got int 1"),
        (
            "full",
            {"MSRVTT_data.json": {"videos": [{"video_id": "a", "split": "x"}]}},
            r"videos\[0\]: 'split' must be one",
        ),
        (
            "full",
            {"MSRVTT_data.json": {"videos": [{"video_id": "a", "split": "test", "category": 20}], "sentences": []}},
            r"videos\[0\]: 'category' must be a number from 0 to 19, got 20",
        ),
        (
            "full",
            {"MSRVTT_data.json": {"videos": [], "sentences": [{"video_id": "a", "caption": 1}]}},
            r"sentences\[0\]: 'caption' must be a string, got int 1",
        ),
    ],
)
def test_msrvtt_refusals(msrvtt: Path, protocol_split: str, files: dict[str, object], message: str) -> None:
    write_all(msrvtt, files)
    with pytest.raises(DatasetError, match=message):
        read_dataset("msrvtt", msrvtt, protocol_split=protocol_split)


def test_a_folder_without_a_test_list_of_msrvtt(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no test list of MSR-VTT, such as MSRVTT_JSFUSION_test\.csv"):
        read_dataset("msrvtt", tmp_path)
