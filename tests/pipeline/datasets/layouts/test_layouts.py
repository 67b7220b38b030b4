"""The published data sets and tables, each from the files that people have of it, and what is refused of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.datasets.read import read_dataset
from pipeline.datasets.reading import json_files as json_files_module
from pipeline.datasets.records import CaptionUnit, Dataset, DatasetError, VideoRecord, as_paragraphs
from pipeline.video.options import Window
from tests.pipeline.datasets.files import facts, write_all, write_data

# --- activitynet -----------------------------------------------------------------------------------------------------


def test_activitynet(tmp_path: Path) -> None:
    write_data(tmp_path / "train.json.gz", {"v_-a_b": {"duration": 9, "sentences": ["One. ", "  Two."]}})
    write_data(tmp_path / "val_1.json", {"v_é": {"sentences": ["Three."]}, "v_gone": {"sentences": ["Four."]}})
    write_data(tmp_path / "videos/v_-a_b.mkv")
    write_data(tmp_path / "videos/é.mp4")
    dataset = read_dataset("activitynet", tmp_path)
    assert facts(dataset) == [
        ("v_-a_b", "videos/v_-a_b.mkv", "train", ("One. Two.",)),
        ("v_é", "videos/é.mp4", "test", ("Three.",)),
        ("v_gone", "v_gone.mp4", "test", ("Four.",)),
    ]
    assert (dataset.caption_unit, dataset.missing_files) == (CaptionUnit.PARAGRAPH, ())
    (tmp_path / "train.json.gz").unlink()
    assert read_dataset("activitynet", tmp_path).missing_files == ("train.json",)
    write_data(tmp_path / "videos/v_é.avi")
    with pytest.raises(DatasetError, match="could both be video 'v_é'; keep one"):
        read_dataset("activitynet", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"val_1\.json: the file must be a JSON object, got list"),
        ({"v_a": 1}, r"val_1\.json: video 'v_a': it must be a JSON object, got int 1"),
        ({"v_a": {}}, "video 'v_a': no 'sentences'; the keys are none"),
        ({"v_a": {"sentences": ["x", 1]}}, r"video 'v_a': 'sentences' must be a list of strings, got \['x', 1\]"),
        ({"../a": {"sentences": ["x"]}}, "path must be relative and plain"),
        ('{"v_a": {"sentences": ["x"]}, "v_a": {"sentences": ["x"]}}', "key 'v_a' appears twice"),
        ({"v_t": {"sentences": ["x"]}}, "contains video 'v_t' twice"),
        ("[" * 1_000_000, r"val_1\.json: not JSON: "),
        ('{"v_a": ' + "9" * 100_000 + "}", r"val_1\.json: not JSON: "),
        (b"\xff{}", r"val_1\.json: not UTF-8"),
    ],
)
def test_activitynet_refusals(tmp_path: Path, content: object, message: str) -> None:
    write_data(tmp_path / "train.json", {"v_t": {"sentences": ["x"]}})
    with pytest.raises(DatasetError, match=r"there is no file .*val_1\.json"):
        read_dataset("activitynet", tmp_path)
    write_data(tmp_path / "val_1.json", content)
    with pytest.raises(DatasetError, match=message):
        read_dataset("activitynet", tmp_path)


# --- didemo ----------------------------------------------------------------------------------------------------------


def test_didemo_as_published(tmp_path: Path) -> None:
    for split, name in {"train": "1@N00_1_-a.mov", "val": "1@N00_2_b", "test": "1@N00_3_c.avi"}.items():
        entries = [{"video": name, "description": text, "times": [[0, 1]]} for text in ("One.", "Two.")]
        others = [{"video": "1@N00_9_x.mp4", "description": "not listed", "times": []}]
        write_data(tmp_path / f"{split}_data.json", entries + others)
        write_data(tmp_path / f"{split}_list.txt", f"{name}\n{split}_undescribed.mp4\n")
    write_data(tmp_path / "videos/1@N00_3_c.mp4")
    dataset = read_dataset("didemo", tmp_path)
    assert facts(dataset) == [
        ("1@N00_1_-a", "1@N00_1_-a.mp4", "train", ("One. Two.",)),
        ("train_undescribed", "train_undescribed.mp4", "train", ()),
        ("1@N00_2_b", "1@N00_2_b.mp4", "val", ("One. Two.",)),
        ("val_undescribed", "val_undescribed.mp4", "val", ()),
        ("1@N00_3_c", "videos/1@N00_3_c.mp4", "test", ("One. Two.",)),
        ("test_undescribed", "test_undescribed.mp4", "test", ()),
    ]
    assert {video.window for video in dataset.videos} == {Window(0.0, 30.0)}
    assert dataset.caption_unit is CaptionUnit.PARAGRAPH
    assert dataset.left_out == {}


def test_didemo_as_jsonl(tmp_path: Path) -> None:
    write_data(tmp_path / "test.jsonl", '{"clip_id": "a", "text": ["one ", "two"], "timestamps": [[0, 1], [1, 2]]}\n')
    write_data(tmp_path / "train.jsonl.gz", '{"clip_id": "b", "text": ["three"]}\n')
    dataset = read_dataset("didemo", tmp_path)
    assert facts(dataset) == [("b", "b.mp4", "train", ("three",)), ("a", "a.mp4", "test", ("one two",))]
    assert dataset.missing_files == ("val_data.json",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"neither test_data\.json nor test\.jsonl"),
        ({"test.jsonl": "[]\n"}, r"test\.jsonl:1: the line must be a JSON object"),
        (
            {"test.jsonl": '\n{"clip_id": "a", "text": "x"}\n'},
            r"test\.jsonl:2: 'text' must be a list of strings, got 'x'",
        ),
        ({"test_data.json": {}}, r"test_data\.json: the file must be a list, got dict"),
        ({"test_data.json": [{"video": "a"}]}, r"test_data\.json: \[0\]: no 'description'"),
        (
            {"test.jsonl": '{"clip_id": "a", "text": ["x"]}', "val.jsonl": '{"clip_id": "a", "text": ["x"]}'},
            "'a' twice",
        ),
    ],
)
def test_didemo_refusals(tmp_path: Path, files: dict[str, object], message: str) -> None:
    write_all(tmp_path, files)
    with pytest.raises(DatasetError, match=message):
        read_dataset("didemo", tmp_path)


# --- lsmdc -----------------------------------------------------------------------------------------------------------

TEST_FILE = "LSMDC16_challenge_1000_publictect.csv"


def lsmdc_line(clip: str, sentence: str) -> str:
    return "\t".join([clip, *["00.00.01.000"] * 4, sentence]) + "\n"


def test_lsmdc(tmp_path: Path) -> None:
    clip = "-1_A_Film_00.23.23.000-00.23.28.886"
    write_data(tmp_path / TEST_FILE, lsmdc_line(clip, 'SOMEONE says: "go.') + lsmdc_line("b_00.1", "He goes."))
    write_data(tmp_path / "LSMDC16_annos_training.csv.gz", lsmdc_line("c_00.1", "x") + lsmdc_line("c_00.1", "y"))
    write_data(tmp_path / f"A_Film/{clip}.avi")
    dataset = read_dataset("lsmdc", tmp_path)
    assert facts(dataset) == [
        ("c_00.1", "c_00.1.avi", "train", ("x", "y")),
        (clip, f"A_Film/{clip}.avi", "test", ('SOMEONE says: "go.',)),
        ("b_00.1", "b_00.1.avi", "test", ("He goes.",)),
    ]
    assert dataset.missing_files == ("LSMDC16_annos_val.csv",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tb\n", r"publictect\.csv:1: expected 6 fields and tabs between them, got 'a\\tb'"),
        (lsmdc_line("a", "x") + lsmdc_line("b", "x\ty"), r"publictect\.csv:2: expected 6 fields"),
        (b"\xff", r"publictect\.csv:1: not UTF-8"),
        (lsmdc_line("/a", "x"), "path must be relative and plain"),
        (lsmdc_line("t", "x"), "contains video 't' twice"),
    ],
)
def test_lsmdc_refusals(tmp_path: Path, content: object, message: str) -> None:
    write_data(tmp_path / "LSMDC16_annos_training.csv", lsmdc_line("t", "x"))
    with pytest.raises(DatasetError, match="there is no file .*publictect"):
        read_dataset("lsmdc", tmp_path)
    write_data(tmp_path / TEST_FILE, content)
    with pytest.raises(DatasetError, match=message):
        read_dataset("lsmdc", tmp_path)


# --- vatex -----------------------------------------------------------------------------------------------------------


def vatex_entry(video_id: str) -> dict[str, object]:
    return {"videoID": video_id, "enCap": [f"one of {video_id}", "two"], "chCap": ["三"]}


def test_vatex(tmp_path: Path) -> None:
    write_data(tmp_path / "vatex_training_v1.0.json.gz", [vatex_entry("-a_b_000001_000011")])
    write_data(
        tmp_path / "vatex_validation_v1.0.json", [vatex_entry("c_000001_000011"), vatex_entry("d_000001_000011")]
    )
    write_data(tmp_path / "videos/-a_b_000001_000011.mp4")
    official = read_dataset("vatex", tmp_path)
    assert [(one.video_id, one.split) for one in official.videos] == [
        ("-a_b_000001_000011", "train"),
        ("c_000001_000011", "val"),
        ("d_000001_000011", "val"),
    ]
    assert official.videos[0].path == "videos/-a_b_000001_000011.mp4"
    assert official.videos[0].captions == ("one of -a_b_000001_000011", "two")
    assert (official.protocol_split, official.missing_files) == ("official", ("vatex_public_test_english_v1.1.json",))
    write_data(tmp_path / "val_list.txt", "d_000001_000011\n")
    write_data(tmp_path / "test_list.txt", "c_000001_000011\n")
    write_data(tmp_path / "train_list.txt", "-a_b_000001_000011")
    listed = read_dataset("vatex", tmp_path)
    assert [one.split for one in listed.videos] == ["train", "val", "test"]
    assert (listed.protocol_split, listed.missing_files, listed.left_out) == ("lists", (), {})
    write_data(tmp_path / "test_list.txt", "c_000001_000011\ne_000001_000011\n")
    (tmp_path / "train_list.txt").unlink()
    less = read_dataset("vatex", tmp_path)
    assert [(one.video_id, one.captions) for one in less.videos][-1] == ("e_000001_000011", ())
    assert less.missing_files == ("vatex_public_test_english_v1.1.json", "train_list.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "contains none of vatex_training"),
        ({}, r"vatex_training_v1\.0\.json: the file must be a list"),
        ([{"videoID": 1}], r"\[0\]: 'videoID' must be a string, got int 1"),
        ([vatex_entry("a"), {"videoID": "b", "enCap": "x"}], r"\[1\]: 'enCap' must be a list of strings, got 'x'"),
        ([{"videoID": "a", "enCap": [""]}], "caption 1 of video 'a' is blank"),
    ],
)
def test_vatex_refusals(tmp_path: Path, content: object, message: str) -> None:
    if content is not None:
        write_data(tmp_path / "vatex_training_v1.0.json", content)
    with pytest.raises(DatasetError, match=message):
        read_dataset("vatex", tmp_path)


# --- csv -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv(tmp_path: Path, separator: str) -> None:
    rows = [
        "\ufeffvideo_id,path,caption,split,category,end_seconds",
        "-x_1_5,clips/-x_1_5.mp4,a cat,train,,",
        "名 前,./clips/a.webm,two words,,animals,2.5",
        "",
        "-x_1_5,clips/-x_1_5.mp4,a tom cat,train,,",
        "-x_1_5,clips/../clips/-x_1_5.mp4,,train,,",
        "bare,clips/b.webm, ,,,",
    ]
    dataset = read_dataset("csv", write_data(tmp_path / "my.csv", "\r\n".join(rows).replace(",", separator)))
    assert dataset == Dataset(
        "my",
        tmp_path,
        (
            VideoRecord("-x_1_5", "clips/-x_1_5.mp4", "train", ("a cat", "a tom cat")),
            VideoRecord("名 前", "clips/a.webm", "test", ("two words",), Window(0.0, 2.5), "animals"),
            VideoRecord("bare", "clips/b.webm", "test", ()),
        ),
    )


def test_csv_with_ids_or_paths_alone(tmp_path: Path) -> None:
    write_data(tmp_path / "deep/-a.25.mp4")
    by_id = read_dataset("csv", write_data(tmp_path / "a.csv", "video_id,caption\n-a.25,x\nb,y\n"))
    assert facts(by_id) == [("-a.25", "deep/-a.25.mp4", "test", ("x",)), ("b", "b.mp4", "test", ("y",))]
    by_path = read_dataset("csv", write_data(tmp_path / "b.tsv.gz", "caption\tpath\nx, y\tdeep/-a.25.mp4\n"))
    assert facts(by_path) == [("deep/-a.25", "deep/-a.25.mp4", "test", ("x, y",))]
    bare = read_dataset("csv", write_data(tmp_path / "d.csv", "path\na.mp4\n"))
    assert facts(bare) == [("a", "a.mp4", "test", ())]
    quoted = read_dataset("csv", write_data(tmp_path / "c.csv", 'path,caption\na.mp4,"says ""no"", and\ngoes"\n'))
    assert facts(quoted) == [("a", "a.mp4", "test", ('says "no", and\ngoes',))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no row"),
        ("video_id,caption\n\n", "contains no row"),
        ("name,caption\na,x\n", r"a\.csv:2: no 'video_id' and no 'path'; the keys are 'name', 'caption'$"),
        ("path,path,caption\n", r"a\.csv:1: column 'path' appears twice"),
        ("path,caption\na.mp4,x,y\n", r"a\.csv:2: 3 fields, and the columns are 'path', 'caption'"),
        ("path,caption\n,x\n", r"a\.csv:2: path must be one line of text, not empty"),
        ("video_id,path,caption\n,a.mp4,x\n", r"a\.csv:2: the column 'video_id' is blank"),
        ("path,caption\n../a.mp4,x\n", r"a\.csv:2: path '\.\./a\.mp4' leaves "),
        ("path,caption\n/etc/passwd,x\n", r"a\.csv:2: path '/etc/passwd' leaves "),
        ("path,caption,split\na.mp4,x,a/b\n", r"a\.csv:2: split name "),
        (
            "path,caption,end_seconds\na.mp4,x,soon\n",
            r"a\.csv:2: 'end_seconds' must be a number of seconds, got 'soon'",
        ),
        ("path,caption,start_seconds\na.mp4,x,nan\n", r"a\.csv:2: 'start_seconds' must be a number of seconds"),
        ("path,caption,start_seconds\na.mp4,x,-1\n", r"a\.csv:2: a clip starts at 0 s or later"),
        ("path,caption,split\na.mp4,x,test\na.mp4,y,train\n", r"a\.csv:3: video '.*/a\.mp4' differs from line 2"),
        (
            "video_id,path,caption,start_seconds,end_seconds\na,a.mp4,x,,\na,a.mp4,y,2,4\n",
            r"a\.csv:3: video 'a' differs from line 2: window from 2 s to 4 s, there from 0 s: rows of one video "
            "differ in their captions only; give another video or window another video_id$",
        ),
        ('path,caption\na.mp4,x\nb.mp4,"never closed\n', r"a\.csv:3: not a row of a table: unexpected end of data"),
        ('path,caption\nb.mp4,"' + "x\n" * 100_000, r"a\.csv:2: not a row of a table: field larger than field limit"),
        ("path,caption\na.mp4," + "x" * 2**20, r"a\.csv:2: longer than 1048576 bytes"),
        (b"path,caption\na.mp4,\xff\n", r"a\.csv:2: not UTF-8"),
    ],
)
def test_csv_refusals(tmp_path: Path, text: object, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_dataset("csv", write_data(tmp_path / "a.csv", text))


# --- all of them -----------------------------------------------------------------------------------------------------


def test_paragraphs(tmp_path: Path) -> None:
    videos = (
        VideoRecord("a", "a.mp4", "test", ("One.", " Two. "), category="x"),
        VideoRecord("b", "b.mp4", "test", ("c",)),
    )
    dataset = as_paragraphs(Dataset("n", tmp_path, videos))
    assert [one.captions for one in dataset.videos] == [("One. Two.",), ("c",)]
    assert (dataset.caption_unit, dataset.videos[0].category) == (CaptionUnit.PARAGRAPH, "x")


@pytest.mark.parametrize("name", ["val_1.json", "val_1.json.gz"])
def test_json_size_is_bounded_packed_or_not(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_data(tmp_path / name, '{"v_a": {"sentences": ["x"]}}' + " " * 1000)
    assert path.stat().st_size < 2000
    with pytest.raises(
        DatasetError, match=r"unpacks to more than 500 bytes|has 1029 bytes, more than the limit of 500"
    ):
        json_files_module.read_json(path, 500)


def test_lines_that_unpack_to_too_much(tmp_path: Path) -> None:
    line = lsmdc_line("a", "x" * 1000)
    path = write_data(tmp_path / f"{TEST_FILE}.gz", line * (2**26 // len(line) + 2))
    assert path.stat().st_size < 2**20
    with pytest.raises(DatasetError, match=r"publictect\.csv\.gz unpacks to more than 67108864 bytes"):
        read_dataset("lsmdc", tmp_path)
