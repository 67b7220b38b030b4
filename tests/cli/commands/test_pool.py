"""`fda pool` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.clips_on_disk import Commands
from tests.frame_stores import frame_store
from tests.ordered_events import ordered_events

QUICK = ("--layers", "1", "--epochs", "1", "--batch-size", "16", "--device", "cpu")


def test_a_set_is_pooled_and_scored(fda: Commands, tmp_path: Path) -> None:
    splits = {split: ordered_events(seed, 24) for seed, split in enumerate(("train", "val", "test"))}
    frame_store(tmp_path / "store", splits)
    pool = ("pool", tmp_path / "store", tmp_path / "out", "--features", "mine", "--to", "seq", *QUICK)
    ended = fda(*pool)
    assert ended.code == 0, ended.err
    assert "untrained" in ended.out
    assert "trained on 24 videos, chosen on 24 (split 'val')" in ended.out
    assert "features seq, from mine" in ended.out
    again = json.loads(fda(*pool, "--json").out)
    assert again["was_trained"]
    assert again["splits"][2] == {"split": "test", "num_videos": 24, "num_videos_expected": 24, "num_captions": 24}
    scored = fda("eval", tmp_path / "store", "--features", "seq")
    assert "pooling seqtransf" in scored.out
    assert "seqtransf of mine" in fda("status", tmp_path / "store").out


def test_wrong_lines(fda: Commands, tmp_path: Path) -> None:
    frame_store(tmp_path / "store", {"test": ordered_events(0, 8)})
    pool = ("pool", tmp_path / "store", tmp_path / "out", "--features", "mine")
    for words, code, message in (
        (("--to", "seq"), 1, "no split 'train'"),
        (("--to", "mine"), 2, "would be read and written"),
        (("--to", "seq", "--val-split", "test"), 2, "is for testing"),
        (("--to", "seq", "--layers", "0"), 2, "Invalid value for '--layers'"),
        (("--to", "seq", "--lr", "nan"), 2, "lr must be above 0, got nan"),
        ((), 2, "Missing option '--to'"),
    ):
        ended = fda(*pool, *words)
        assert (ended.code, ended.out) == (code, ""), words
        assert message in ended.err, words
