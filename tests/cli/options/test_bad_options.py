"""Bad options and stores on the real command line: a clear message, nothing lost, and never a traceback."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click
import pytest

from cli.main import COMMANDS
from cli.main import fda as group
from cli.options.files import Place
from store.store import Store
from tests.cli.commands.test_evaluate import cached
from tests.clips_on_disk import SERIAL_FLAGS, SMALL_FLAGS, Commands, write_small_dataset
from tests.stores import fill_store, make_store, tree_digest

# The store


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_dataset(tmp_path_factory.mktemp("small"), {"train": 1, "test": 2})


def test_a_second_run_says_that_there_is_nothing_to_do(fda: Commands, small: Path, tmp_path: Path) -> None:
    place = tmp_path / "store"
    assert fda("preprocess", small, place, *SERIAL_FLAGS).code == 0
    before = tree_digest(place, leave_out=())
    again = fda("preprocess", small, place, *SMALL_FLAGS)
    assert again.code == 0
    assert again.err.endswith("\nnothing to do: 2 shards, all complete\n")
    assert tree_digest(place, leave_out=()) == before
    assert json.loads(fda("preprocess", small, place, *SERIAL_FLAGS, "--json").out)["num_shards_made"] == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--image-size", "48"], "options.image_size is 32 in the store and 48 now"),
        (["--eval-frames", "4"], "options.eval_frames is 3 in the store and 4 now"),
        (["--threshold", "40"], "options.threshold is 25.0 in the store and 40.0 now"),
        (["--shard-size", "3"], "shard_size is 2 in the store and 3 now"),
    ],
)
def test_other_options_are_refused_and_overwrite_repairs_it(
    fda: Commands, small: Path, tmp_path: Path, flags: list[str], said: str
) -> None:
    place = tmp_path / "store"
    fda("preprocess", small, place, *SERIAL_FLAGS)
    before = tree_digest(place, leave_out=())
    refused = fda("preprocess", small, place, *SERIAL_FLAGS, *flags)
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert said in refused.err
    assert "--overwrite" in refused.err
    assert tree_digest(place, leave_out=()) == before
    assert fda("preprocess", small, place, *SERIAL_FLAGS, *flags, "--overwrite").code == 0
    assert fda("preprocess", small, place, *SERIAL_FLAGS, *flags).err.endswith(
        "\nnothing to do: 2 shards, all complete\n"
    )


def test_another_mask_set_needs_no_video(fda: Commands, small: Path, tmp_path: Path) -> None:
    place, folder = tmp_path / "store", shutil.copytree(small.parent, tmp_path / "data")
    fda("preprocess", folder / small.name, place, *SERIAL_FLAGS)
    shutil.rmtree(folder / "videos")
    ended = fda(
        "preprocess", folder / small.name, place, *SERIAL_FLAGS, "--threshold", "50", "--masks", "high", "--json"
    )
    assert ended.code == 0
    result = json.loads(ended.out)
    assert (result["num_clips"], result["num_shards_made"], result["num_frames_made"]) == (3, 2, 0)


def test_a_folder_that_holds_something_else_is_left_alone(fda: Commands, small: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for flags in ([], ["--overwrite"]):
        ended = fda("preprocess", small, tmp_path, *SERIAL_FLAGS, *flags)
        assert (ended.code, ended.err.count("\n")) == (1, 1)
        assert "is not a store and not empty (it contains 'thesis.tex')" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    file = fda("preprocess", small, tmp_path / "thesis.tex", *SERIAL_FLAGS)
    assert file.code == 1
    assert "is a file, not a folder" in file.err


@pytest.mark.parametrize(
    "flags",
    [
        ["--train-frames", "0"],
        ["--eval-frames", "-1"],
        ["--image-size", "0"],
        ["--shard-size", "0"],
        ["--threshold", "256"],
        ["--threshold", "nan"],
        ["--kernel-size", "4"],
        ["--min-area", "-1"],
        ["--timeout", "0"],
        ["--timeout", "nan"],
        ["--masks", "../x"],
        ["--difference", "consecutive"],
        ["--frame-codec", "jpeg", "--eval-frames", "64", "--image-size", "1024"],
        ["--max-pixels", str(1 << 31)],
        ["--max-packets", str(1 << 31)],
        ["--max-streams", "1001"],
        ["--timeout", "86401"],
        ["--sampling", "fps", "--fps", "1001"],
    ],
)
def test_options_out_of_range_leave_nothing_behind(
    fda: Commands, small: Path, tmp_path: Path, flags: list[str]
) -> None:
    ended = fda("preprocess", small, tmp_path / "store", *SERIAL_FLAGS, *flags)
    assert ended.code in (1, 2)
    assert ended.error_line.startswith(("fda: error: ", "Error: "))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--difference", "consecutive"], "give --neighbours as well"),
        (["--frame-codec", "jpeg", "--eval-frames", "64", "--image-size", "1024"], "65500 pixels"),
        (["--kernel-size", "4"], "4 is even"),
    ],
)
def test_options_that_cannot_be_are_refused_before_overwrite_removes_anything(
    fda: Commands, small: Path, tmp_path: Path, flags: list[str], said: str
) -> None:
    place = tmp_path / "store"
    assert fda("preprocess", small, place, *SERIAL_FLAGS).code == 0
    before = tree_digest(place, leave_out=())
    refused = fda("preprocess", small, place, *SERIAL_FLAGS, *flags, "--overwrite")
    assert refused.code in (1, 2)
    assert said in refused.error_line
    assert tree_digest(place, leave_out=()) == before


def test_every_limit_may_be_set_to_its_highest(fda: Commands, small: Path, tmp_path: Path) -> None:
    highest = str((1 << 31) - 1)
    limits = ["--max-pixels", highest, "--max-packets", highest, "--max-streams", "1000", "--timeout", "86400"]
    ended = fda("preprocess", small, tmp_path / "store", *SERIAL_FLAGS, *limits, "--sampling", "fps", "--fps", "1000")
    assert ended.code == 0
    assert "3 clips; no video failed" in ended.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode", "--features", "x", "--model", "ViT-B-32-quickgelu", "--pretrained", "none"],
        ["eval", "--features", "x"],
        ["finetune"],
    ],
)
def test_commands_on_a_store_that_is_not_there(fda: Commands, tmp_path: Path, arguments: list[str]) -> None:
    command, *rest = arguments
    checkpoint = [str(tmp_path / "checkpoint")] if command == "finetune" else []
    ended = fda(command, tmp_path / "nowhere", *checkpoint, *rest)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == f"fda: error: no store at {tmp_path}/nowhere: `fda preprocess` makes one\n"
    assert list(tmp_path.iterdir()) == []


# Usage and configuration


@pytest.mark.parametrize(
    "arguments",
    [
        ["preprocess"],
        ["preprocess", "--no-such-flag"],
        ["no-such-command"],
        ["encode", "store"],
        ["eval", "store"],
        ["preprocess", ".", "store", "--dataset", "cinema"],
        ["preprocess", ".", "store", "--workers", "-1"],
        ["preprocess", ".", "store", "--image-size", "big"],
        ["preprocess", ".", "store", "--kernel-size", "4"],
        ["encode", "store", "--features", "x", "--alpha", "wrong"],
        ["encode", "store", "--features", "x", "--checkpoint", "c", "--model", "m"],
    ],
)
def test_wrong_usage_exits_with_2(fda: Commands, arguments: list[str]) -> None:
    ended = fda(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Usage: fda" in ended.err
    assert ended.error_line.startswith("Error: ")


def test_an_empty_place_is_none(fda: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `fda generate "$DATA"` gives one where the variable is not set: it would be the working folder."""
    monkeypatch.chdir(tmp_path)
    for arguments in (["generate", ""], ["status", ""], ["experiment", "tau", "out", "--store", ""], ["report", ""]):
        ended = fda(*arguments)
        assert (ended.code, "it is empty: give a place" in ended.error_line) == (2, True), ended.err
    assert not list(tmp_path.iterdir())


def test_every_path_that_is_given_is_refused_if_it_is_empty() -> None:
    for name in COMMANDS:
        command = group.get_command(click.Context(group), name)
        assert command is not None
        paths = [one for one in command.params if isinstance(one.type, click.Path)]
        assert all(isinstance(one.type, Place) for one in paths), name


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["preprocess", "--help"], ["eval", "-h"], ["--version"]])
def test_help_exits_with_0(fda: Commands, arguments: list[str]) -> None:
    ended = fda(*arguments)
    assert (ended.code, ended.err) == (0, "")
    assert "fda" in ended.out


def test_options_from_a_file(fda: Commands, small: Path, tmp_path: Path) -> None:
    config = tmp_path / "fda.toml"
    config.write_text(
        '[preprocess]\nimage-size = 48\ntrain_frames = 2\neval-frames = 4\nworkers = 0\nmax-failed = "50%"\n'
        "[eval]\nfeatures = 'mine'\n"
    )
    ended = fda("preprocess", small, tmp_path / "store", "--config", config, "--eval-frames", "5")
    assert ended.code == 0
    options = Store.open(tmp_path / "store").manifest.options
    assert (options["image_size"], options["train_frames"], options["eval_frames"]) == (48, 2, 5)
    absent = fda("eval", tmp_path / "store", "--config", config)
    assert absent.code == 1
    assert "no features 'mine' for split 'test'" in absent.err


@pytest.mark.parametrize(
    "words", [("preprocess", "-dash.mp4", "out"), ("search", "s", "-5 degrees"), ("eval", "s", "--zzz")]
)
def test_what_begins_with_a_dash_and_is_no_option_has_a_remedy(fda: Commands, words: tuple[str, ...]) -> None:
    ended = fda(*words)
    assert ended.code == 2
    assert "No such option '-" in ended.err
    assert "begins with - comes after --, behind all options; a file may have ./ before it" in ended.err
    assert "comes after" not in fda("eval", "s", "--feature", "x").err  # it is likely a typing error


def test_a_source_that_is_not_there_is_named_once(fda: Commands, tmp_path: Path) -> None:
    ended = fda("preprocess", "nosuch.jsonl", tmp_path / "store")
    assert (ended.code, ended.err) == (1, "fda: error: there is no file or folder nosuch.jsonl\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[preprocess]\nimage_sise = 3\n", "[preprocess] has no option 'image_sise': did you mean 'image-size'"),
        ("[preprocess]\nzzz = 3\n", "[preprocess] has no option 'zzz'\n"),
        ("[preprocess\n", "fda.toml"),
        ("preprocess = 3\n", "[preprocess] must be a table"),
        ("[preprocess]\nimage_size = 'big'\n", "'big' is not a valid integer"),
    ],
)
def test_a_bad_file_of_options_is_wrong_usage(
    fda: Commands, small: Path, tmp_path: Path, content: str, message: str
) -> None:
    config = tmp_path / "fda.toml"
    config.write_text(content)
    ended = fda("preprocess", small, tmp_path / "store", "--config", config)
    assert ended.code == 2
    assert message in ended.err
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('slice = "colour"', "'colour' is not one of 'all'"),  # and not: 'c' is not one of ...
        ("slice = 3", "3 is not one of 'all'"),
        ("slice = { motion = true }", "slice must be a text or a list of texts, got {'motion': True}"),
        ('slice = [["motion"]]', "slice must be a text or a list of texts"),
        ('features = ["mine"]', "features takes one value, got ['mine']"),
        ("pooling = true", "pooling takes one value, got True"),
        ("dsl = [true]", "dsl takes one value, got [True]"),
    ],
)
def test_values_in_a_file_are_of_the_kind_that_the_option_takes(
    fda: Commands, tmp_path: Path, line: str, said: str
) -> None:
    config = tmp_path / "fda.toml"
    config.write_text(f"[eval]\n{line}\n")
    ended = fda("eval", tmp_path / "store", "--features", "mine", "--config", config)
    assert ended.code == 2
    assert said in " ".join(ended.err.split())


def test_one_name_in_a_file_is_a_list_of_one(fda: Commands, tmp_path: Path) -> None:
    cached(tmp_path / "store")
    config, eval_mine = tmp_path / "fda.toml", ("eval", tmp_path / "store", "--features", "mine", "--json")
    found = []
    for entry in ('"motion"', '["motion"]'):
        config.write_text(f"[eval]\nslice = {entry}\n")
        found.append(json.loads(fda(*eval_mine, "--config", config).out))
    assert found[0]["slices"] == found[1]["slices"] == json.loads(fda(*eval_mine, "--slice", "motion").out)["slices"]


def test_an_area_that_no_picture_has_is_refused(fda: Commands, small: Path, tmp_path: Path) -> None:
    place = tmp_path / "store"
    refused = fda("preprocess", small, place, *SERIAL_FLAGS, "--min-area", "1025")
    assert (refused.code, place.exists()) == (2, False)
    assert (
        "min_area must be at most 1024, a picture of 32 x 32 pixels, got 1025: every mask would be empty" in refused.err
    )
    fill_store(make_store(place, 2))
    refused = fda("masks", place, "--masks", "none", "--min-area", "65", "--workers", "0")
    assert refused.code == 2
    assert "a picture of 8 x 8 pixels, got 65" in refused.err
