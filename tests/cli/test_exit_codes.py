"""Exit codes: 2 where the line itself is wrong, 1 where it is right and what it names is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.commands.test_evaluate import cached
from tests.clips_on_disk import Commands

MISSING = (
    ("preprocess", "NOWHERE", "store"),
    ("preprocess", ".", "store", "--videos", "NOWHERE"),
    ("preprocess", ".", "store", "--config", "NOWHERE"),
    ("preprocess", ".", "store", "--preset", "NOWHERE"),
    ("status", "NOWHERE"),
    ("verify", "NOWHERE"),
    ("finalise", "NOWHERE"),
    ("remove", "NOWHERE", "--masks", "default"),
    ("masks", "NOWHERE", "--masks", "other"),
    ("encode", "NOWHERE", "--features", "mine", "--model", "ViT-B-32", "--pretrained", "none"),
    ("encode", "STORE", "--features", "new", "--checkpoint", "NOWHERE"),
    ("encode", "STORE", "--features", "new", "--model", "ViT-B-32", "--pretrained", "none", "--split", "val"),
    ("eval", "NOWHERE", "--features", "mine"),
    ("eval", "STORE", "--features", "yours"),
    ("eval", "STORE", "--features", "mine", "--split", "val"),
    ("eval", "STORE", "--features", "mine", "--qb-norm"),
    ("eval", "STORE", "--features", "mine", "--per-query", "NOWHERE/ranks.parquet"),
    ("import-features", "STORE", "--features", "new", "--text", "NOWHERE"),
    ("compare", "NOWHERE", "a", "b"),
    ("compare", "STORE", "mine", "yours"),
    ("inspect", "NOWHERE"),
    ("inspect", "STORE", "no-such-id"),
    ("inspect", "STORE", "--features", "mine", "--checkpoint", "NOWHERE"),
    ("finetune", "NOWHERE", "checkpoint"),
    ("finetune", "STORE", "checkpoint", "--preset", "NOWHERE"),
    ("export", "NOWHERE", "out", "--format", "parquet"),
    ("weights", "--checkpoint", "NOWHERE"),
)
WRONG = (
    ("prepocess",),
    ("preprocess", "."),
    ("status",),
    ("status", "STORE", "--failurs"),
    ("preprocess", ".", "store", "--workers", "-1"),
    ("eval", "STORE", "--features", "mine", "--protocol", "mine"),
    ("eval", "STORE", "--features", "mine", "--per-query", "ranks.csv"),
    ("inspect", "STORE", "--random", "0"),
    ("inspect", "STORE", "--worst-rank", "3"),
    ("weights", "--model", "ViT-B-32"),
    ("remove", "STORE"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(cached(tmp_path_factory.mktemp("codes") / "store").place)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [*((one, 1) for one in MISSING), *((one, 2) for one in WRONG)],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else str(one),
)
def test_one_code_for_errors_of_one_kind(
    fda: Commands, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = fda(*(one.replace("STORE", str(place)) for one in arguments))
    assert (ended.code, ended.out) == (code, "")
    assert ended.error_line.startswith("fda: error: " if code == 1 else "Error: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("prepocess", "preprocess"),
        ("evaluate", "eval"),
        ("finalize", "finalise"),
        ("mask", "masks"),
        ("stat", "status"),
    ],
)
def test_a_mistyped_command_is_answered_with_the_one_meant(fda: Commands, typed: str, meant: str) -> None:
    for rest in ((), ("--help",), ("SOURCE", "STORE", "--json")):
        ended = fda(typed, *rest)
        assert ended.code == 2
        assert ended.error_line == f"Error: No such command {typed!r}. Did you mean {meant!r}?"
