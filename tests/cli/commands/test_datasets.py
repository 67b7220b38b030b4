"""`fda preprocess` on data sets of several layouts: what it says of them, and what it keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.clips_on_disk import SMALL_FLAGS, Commands, record, write_clip, write_manifest

FLAGS = (*SMALL_FLAGS, "--workers", "0", "--json")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    for number in range(2):
        write_clip(tmp_path / f"{number}.mp4", number)
    return write_manifest(
        tmp_path,
        [
            {**record("-a_é", "0.mp4", captions=["One.", "Two. "]), "category": "squares"},
            record("b", "1.mp4", captions=["one."]),
        ],
    )


def column(store: Path, table: str, name: str) -> list[object]:
    values: list[object] = pq.read_table(store / f"catalog/{table}.parquet")[name].to_pylist()
    return values


def manifest_of(store: Path) -> dict[str, object]:
    fields: dict[str, object] = json.loads((store / "store.json").read_text())["dataset"]
    return fields


def test_categories_and_the_report_are_kept(fda: Commands, manifest: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    ended = fda("preprocess", manifest, store, *FLAGS)
    assert ended.code == 0, ended.err
    assert f"{manifest} is read as jsonl: its name is 'clips.jsonl'" in ended.err
    assert "data set clips: test 2 videos, 3 captions" in ended.err
    assert "warning: 1 text of test describes more than one video (2 captions)" in ended.err
    assert column(store, "videos", "category") == ["squares", None]
    assert manifest_of(store) | {"digest": ""} == {
        "name": "clips",
        "digest": "",
        "protocol_split": None,
        "caption_unit": "sentence",
        "num_videos_expected": {},
    }
    result = json.loads(ended.out)
    assert result["dataset"]["splits"][0]["num_shared_captions"] == 1
    assert result["used"] == {"test": {"num_clips": 2, "num_expected": 2}}
    (run,) = (store / "runs").iterdir()
    assert json.loads(run.read_text())["result"]["dataset"] == result["dataset"]
    assert fda("verify", store).code == 0


def test_a_layout_that_is_named_is_not_told(fda: Commands, manifest: Path, tmp_path: Path) -> None:
    ended = fda("preprocess", manifest, tmp_path / "store", *FLAGS, "--dataset", "jsonl")
    assert (ended.code, f"{manifest} is read as jsonl: --dataset says so" in ended.err) == (0, True)


def test_a_folder_that_was_taken_for_something_else(fda: Commands, tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text('{"video_id": "a"}')
    ended = fda("preprocess", tmp_path, tmp_path / "store", *FLAGS)
    assert ended.code == 1
    assert (
        "test.jsonl:1: no 'clip_id'; the keys are 'video_id' (it is read as didemo because it contains"
        in ended.error_line
    )
    named = fda("preprocess", tmp_path, tmp_path / "store", *FLAGS, "--dataset", "didemo")
    assert (named.code, "read as" in named.error_line) == (1, False)


def test_paragraphs(fda: Commands, manifest: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    ended = fda("preprocess", manifest, store, *FLAGS, "--paragraphs")
    assert ended.code == 0, ended.err
    assert "data set clips, one paragraph a video" in ended.err
    assert column(store, "captions", "text") == ["One. Two.", "one."]
    assert manifest_of(store)["caption_unit"] == "paragraph"
    refused = fda("preprocess", manifest, store, *FLAGS)
    assert (refused.code, "--update-captions" in refused.error_line) == (1, True)
    taken = fda("preprocess", manifest, store, *FLAGS, "--update-captions")
    assert (taken.code, json.loads(taken.out)["num_videos_made"]) == (0, 0)
    assert manifest_of(store)["caption_unit"] == "sentence"
    assert column(store, "captions", "text") == ["One.", "Two. ", "one."]
    assert fda("verify", store).code == 0


def test_where_every_video_has_one_caption_the_unit_alone_changes(fda: Commands, tmp_path: Path) -> None:
    write_clip(tmp_path / "0.mp4", 0)
    manifest, store = write_manifest(tmp_path, [record("a", "0.mp4", captions=["One."])]), tmp_path / "store"
    fda("preprocess", manifest, store, *FLAGS)
    assert fda("preprocess", manifest, store, *FLAGS, "--paragraphs").code == 0
    assert manifest_of(store)["caption_unit"] == "paragraph"
    assert fda("verify", store).code == 0


def test_another_category_is_taken_over(fda: Commands, manifest: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    fda("preprocess", manifest, store, *FLAGS)
    manifest.write_text(manifest.read_text().replace("squares", "shapes"))
    ended = fda("preprocess", manifest, store, *FLAGS)
    assert (ended.code, json.loads(ended.out)["num_videos_made"]) == (0, 0)
    assert column(store, "videos", "category") == ["shapes", None]
    assert fda("verify", store).code == 0


def test_a_table_gives_the_store_that_its_lines_give(fda: Commands, manifest: Path, tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    table.write_text(
        "video_id;path;caption;category\n-a_é;0.mp4;One.;squares\n-a_é;0.mp4;Two.;squares\nb;1.mp4;one.;\n"
    )
    manifest.write_text(manifest.read_text().replace("Two. ", "Two."))
    for source, name in ((manifest, "lines"), (table, "table")):
        assert fda("preprocess", source, tmp_path / name, *FLAGS).code == 0
    assert manifest_of(tmp_path / "lines") == manifest_of(tmp_path / "table")


def test_options_of_other_layouts_are_refused(fda: Commands, manifest: Path, tmp_path: Path) -> None:
    for option, value, layout in (("--protocol-split", "1k-A", "msrvtt"), ("--extract-to", "x", "video2dataset")):
        ended = fda("preprocess", manifest, tmp_path / "store", *FLAGS, option, value)
        assert (ended.code, f"is for {layout}, and " in ended.error_line) == (1, True)
    assert not (tmp_path / "store").exists()


def test_clips_that_are_expected_and_not_there_are_counted(fda: Commands, manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "1.mp4").unlink()
    ended = fda("preprocess", manifest, tmp_path / "store", *SMALL_FLAGS, "--workers", "0", "--max-failed", "1")
    assert (ended.code, "warning: test has clips of 1 of 2 videos" in ended.err) == (0, True)
