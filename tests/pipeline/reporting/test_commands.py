"""The command lines on the page: run again, they make the same store; and each is understood by the command itself."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import numpy as np
import pytest

from cli.main import fda as commands
from pipeline.reporting.commands import MadeWith, steps_to
from pipeline.reporting.options import ReportOptions
from pipeline.reporting.records import read_runs, work_of
from pipeline.reporting.subject import subject_of
from pipeline.run.events import Reporter, ignore_events
from pipeline.run.records import PastRun
from store.json_values import JSON
from store.store import Store
from tests.clips_on_disk import SMALL_FLAGS, Commands, write_small_dataset
from tests.encoders_tiny import write_config
from tests.frame_stores import frame_store
from tests.ordered_events import ordered_events
from tests.stores import tree_digest

RESULT: Mapping[str, JSON] = {"features": "mine", "splits": []}


def lines_of(store: Store) -> tuple[list[str], tuple[str, ...]]:
    """The commands, without comments, and what is not known."""
    report = Reporter(ignore_events)
    subject = subject_of(store, ReportOptions(), report)
    splits = tuple(store.manifest.splits)
    made = MadeWith(store.place, store.manifest.options, subject.masks, subject.features, splits)
    steps = steps_to(made, read_runs(store, report))
    return [step.text for step in steps.lines if not step.is_comment], steps.unknown


def run_of(command: str, options: Mapping[str, JSON], result: Mapping[str, JSON] = RESULT) -> PastRun:
    return PastRun("runs/a.json", command, "2026-01-01T00:00:00+00:00", 1.0, "done", options, result)


def parsed(line: str) -> click.Context:
    """By click itself, which refuses options that there are not."""
    program, name, *arguments = shlex.split(line)
    assert program == "fda"
    command = commands.get_command(click.Context(commands), name)
    assert command is not None
    return command.make_context(name, arguments, parent=click.Context(commands, **commands.context_settings))


def test_the_lines_make_the_same_store_again(fda: Commands, tmp_path: Path) -> None:
    clips = write_small_dataset(tmp_path, {"train": 1, "test": 2})
    place, again = tmp_path / "my störe", tmp_path / "again"
    rng = np.random.default_rng(0)
    ids = {
        "captions": [f"test_{row}#{number}" for row in range(2) for number in range(2)],
        "videos": ["test_0", "test_1"],
    }
    for name, its in ids.items():
        np.savez(tmp_path / f"{name}.npz", ids=np.array(its), embeddings=rng.normal(size=(len(its), 4)))
    model = ("--model", write_config(tmp_path), "--pretrained", "none", "--seed", "3")
    files = ("--text", tmp_path / "captions.npz", "--video", tmp_path / "videos.npz")
    small = ("--store-dtype", "int8", "--frame-dtype", "float16")
    for arguments in (
        (
            "preprocess",
            clips,
            place,
            *SMALL_FLAGS,
            "--workers",
            "0",
            "--id-key",
            "video_id",
            "--threshold",
            "12.5",
            "--eval-sampling",
            "prompt-switch",
            "--eval-frames",
            "6",
        ),
        ("masks", place, "--masks", "second", "--workers", "0", "--threshold-mode", "noise"),
        (
            "masks",
            place,
            "--masks",
            "third",
            "--workers",
            "0",
            "--difference",
            "auto",
            "--threshold",
            "25",
            "--fill",
            "none",
        ),
        ("encode", place, "--features", "mine", *model, "--masks", "second", "--precision", "fp32", "--split", "test"),
        ("encode", place, "--features", "small", *model, "--precision", "fp32", *small),
        ("import-features", place, "--features", "theirs", *files, "--store-dtype", "float16"),
    ):
        assert fda(*arguments).code == 0
    lines, unknown = lines_of(Store.open(place))
    assert [line.split()[1] for line in lines] == ["preprocess", *(2 * ["masks"]), *(2 * ["encode"]), "import-features"]
    assert unknown == ()
    for line in lines:
        words = [str(again) if word == str(place) else word for word in shlex.split(line)[1:]]
        assert str(again) in words
        assert fda(*words, *(["--workers", "0"] if words[0] in ("preprocess", "masks") else [])).code == 0
    assert tree_digest(again) == tree_digest(place)


def test_a_training_and_its_encoding() -> None:
    recipe: dict[str, JSON] = {
        "train_split": "train",
        "val_split": "test",
        "hold_out_share": 0.2,
        "mask_name": "default",
    }
    options: dict[str, JSON] = {
        "options": {**recipe, "alpha": "masks", "seed": 7},
        "preset": "demo",
        "settings": {"epochs": "3"},
        "source": {"model": None, "pretrained": None, "alpha_checkpoint": None, "activation": None},
    }
    trained = run_of("finetune", options, {"checkpoint": "out/mine"})
    model = {"weights_sha256": "a" * 64}
    source: dict[str, JSON] = {"checkpoint": "/home/me/out/mine"}
    drawn: dict[str, JSON] = {"source": "shuffled", "seed": 5, "masks_sha256": "b" * 64}
    encoded = run_of("encode", {"source": source, "model": model, "alpha": drawn, "splits": ["-x"], "pooling": "mean"})
    made = MadeWith("s3://bucket/a b", {}, {}, {"mine": {"model": model}})
    steps = steps_to(made, [trained, encoded])
    comment, train, encode = steps.lines
    assert comment.is_comment
    assert train.text == (
        "fda finetune 's3://bucket/a b' /home/me/out/mine --preset demo --alpha masks --val-split test --hold-out 0.2 "
        "--seed 7 --choose-on-test --set epochs=3"
    )
    assert parsed(train.text).params["choose_on_test"] is True
    of_preset = run_of("finetune", {**options, "val_split": None, "preset": "fda-clip-authors"}, trained.result)
    _, again, _ = steps_to(made, [of_preset, encoded]).lines
    assert "--val-split" not in again.text
    assert "--choose-on-test" in again.text  # the preset chooses on test, and that must be said all the same
    found = parsed(encode.text).params
    assert (found["alpha"], found["seed"], found["splits"]) == ("shuffled", 5, ("-x",))
    assert any("from where the videos were decoded" in sentence for sentence in steps.unknown)


def test_runs_that_no_longer_count_are_left_out() -> None:
    """Of a set of the same name that was removed since, of runs that failed, and one line for several equal runs."""
    old, new = ({"weights_sha256": letter * 64} for letter in "ab")
    source: dict[str, JSON] = {"model": "ViT-B-32", "pretrained": "openai"}
    runs = [run_of("encode", {"source": source, "model": model, "alpha": "ones"}) for model in (old, new, new)]
    failed = PastRun("runs/b.json", "encode", "", 1.0, "no memory", {}, RESULT)
    made = MadeWith("store", {}, {}, {"mine": {"model": new}, "lost": {"model": old}})
    steps = steps_to(made, [*runs, failed])
    assert [step.text for step in steps.lines if not step.is_comment] == [
        "fda encode store --features mine --model ViT-B-32 --pretrained openai --alpha ones"
    ]
    assert any("how these feature sets were made: lost" in sentence for sentence in steps.unknown)


HOSTILE: Sequence[JSON] = (None, 7, "x\n$(reboot)", [], [{}], {"a": "b"}, {"options": 3}, True)


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_records_of_any_kind_crash_nothing(value: JSON) -> None:
    """A record has a seal, and still may be of another version."""
    keys = ("source", "dataset", "reading", "split_by_hash", "masks", "mask_name", "sampling", "partition", "model")
    options: dict[str, JSON] = {**dict.fromkeys(keys, value), "options": value, "splits": value, "settings": value}
    made = MadeWith("store", {"sampling": value}, {"m": {"options": value}}, {"mine": {"model": value}})
    runs = [run_of(name, options, {"features": "mine"}) for name in ("preprocess", "masks", "encode", "finetune")]
    runs.append(run_of("import-features", {**options, "sources": value, "imported": None}))
    for step in steps_to(made, runs).lines:
        assert shlex.split(step.text, comments=True)[:1] in ([], ["fda"])
    for run in runs:
        work = work_of(run)
        assert work is None or work.number


def test_a_pooled_set_comes_after_its_source(fda: Commands, tmp_path: Path) -> None:
    place = str(tmp_path / "store")
    frame_store(tmp_path / "store", {split: ordered_events(seed, 16) for seed, split in enumerate(("train", "val"))})
    flags = ("--layers", "1", "--epochs", "1")
    pool = ("pool", place, str(tmp_path / "out"), "--features", "mine", "--to", "a-pooled-set", *flags)
    assert fda(*pool, "--device", "cpu").code == 0
    lines, unknown = lines_of(Store.open(place))
    assert lines[-1] == shlex.join(("fda", *pool))
    assert not any("a-pooled-set" in sentence for sentence in unknown)
