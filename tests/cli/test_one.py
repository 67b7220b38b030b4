"""One of everything: no message says "1 videos"."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.slices.families import _word_bins
from tests.clips_on_disk import SERIAL_FLAGS, Commands, record, write_clip, write_manifest
from tests.pipeline.evaluation.comparing.test_compare import add
from tests.stores import fill_store, make_store

PLURAL_OF_ONE = re.compile(r"(?<![\d.,/-])1 (?!is\b|has\b|was\b|this\b)[a-z]+s\b(?! of)(?!/s)")


@pytest.fixture
def texts(fda: Commands, tmp_path: Path) -> list[str]:
    """What the commands print of two videos with two captions each, one of which is missing, and of a single one."""
    write_clip(tmp_path / "a.mp4", 1)
    write_manifest(tmp_path, [record("a", "a.mp4"), record("b", "b.mp4")])
    place, alone = tmp_path / "store", tmp_path / "alone"
    made, single = make_store(place, 2), make_store(alone, 1)
    fill_store(made, failed=frozenset({1}))
    fill_store(single)
    for name in ("mine", "yours"):
        add(made, name, np.eye(2), np.repeat(np.eye(2), 2, axis=0), failed=frozenset({1}))
        add(single, name, np.eye(1), np.ones((2, 1)))
    lines: list[tuple[str | Path, ...]] = [
        ("preprocess", tmp_path / "clips.jsonl", tmp_path / "real", *SERIAL_FLAGS, "--max-failed", "0"),
        ("preprocess", tmp_path / "clips.jsonl", tmp_path / "real", *SERIAL_FLAGS),
        ("eval", place, "--features", "mine"),
        ("eval", place, "--features", "mine", "--max-missing", "1", "--top-frames", "1"),
        ("eval", place, "--features", "mine", "--max-missing", "1", "--slice", "all", "--diagnostics"),
        ("eval", alone, "--features", "mine", "--diagnostics"),
        ("eval", alone, "--features", "mine", "--qb-norm"),
        ("compare", place, "mine", "yours", "--max-missing", "1"),
        ("compare", place, "mine", "yours"),
        ("status", place, "--failures"),
        ("status", alone),
        ("verify", alone),
        ("finalise", place),
        ("remove", place, "--features", "mine"),
        ("encode", alone, "--features", "new", "--model", "ViT-B-32", "--pretrained", "none"),
    ]
    ended = [fda(*line) for line in lines]
    return [text for one in ended for text in (one.out + one.err).splitlines()]


def test_one_is_singular(texts: list[str]) -> None:
    assert sum("1 video" in text for text in texts) > 5
    assert [text for text in texts if PLURAL_OF_ONE.search(text)] == []


def test_labels_of_one_word() -> None:
    assert [label for _, label in _word_bins([1.0, 2.0])] == ["up to 0 words", "1 word", "2 words and more"]
    assert [label for _, label in _word_bins([2.0])] == ["up to 1 word", "2 words and more"]
