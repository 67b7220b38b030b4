"""`fda compare` end to end on a store with features made by hand, and what it says to bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline.evaluation.names import METRICS
from store.json_values import JSON
from store.store import Store
from tests.clips_on_disk import Commands
from tests.pipeline.evaluation.comparing.test_compare import PERFECT, add, confused
from tests.pipeline.evaluation.test_evaluate import ONE_HOT, cached
from tests.stores import fill_shard

INTERVAL = {"low", "high", "level"}
"""The keys of every interval in JSON, whichever command prints it."""
QUICK = ("--resamples", "100", "--permutations", "100")
MASKS_25: dict[str, JSON] = {"masks": {"options": {"threshold": 25}}, "model": {"weights_sha256": "a"}}
MASKS_50: dict[str, JSON] = {
    "masks": {"options": {"threshold": 50}},
    "model": {"weights_sha256": "b", "chosen_on_test": True},
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """`mine`, by hand; `tau25`, which confuses videos 0 and 1; `tau50`, perfect but without video 3."""
    store = cached(tmp_path / "store", ONE_HOT, PERFECT)
    add(store, "tau25", ONE_HOT, confused(0, 1), made_by=MASKS_25)
    add(store, "tau50", ONE_HOT, PERFECT, failed=frozenset({3}), made_by=MASKS_50)
    return store


def test_tables(store: Store, fda: Commands) -> None:
    ended = fda("compare", store.place, "tau25", "tau50", "--max-missing", "1", *QUICK)
    assert (ended.code, ended.err) == (0, "")
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert (
        "the numbers of 'tau50' are not fair: the model was trained or CHOSEN ON TEST VIDEOS (--choose-on-test)"
        in lines
    )
    assert "left out of 'tau25': 1 video that another set lacks, with 2 captions" in lines
    notes = [line for line in lines if line.startswith("OTHER CLIPS OR MASKS")]
    assert notes == ["OTHER CLIPS OR MASKS than those of 'tau25' made 'tau50': masks.options.threshold"]
    made_with = lines.index("made with")
    assert lines[made_with + 4 : made_with + 7] == [
        "masks.options.threshold 25 50",
        "model.chosen_on_test - true",
        "model.weights_sha256 a b",
    ]
    assert "text to video, 95% intervals" in lines
    assert any(re.fullmatch(r"R@1 60\.0 \[.*\] 100\.0 \[\d\d\.\d, 100\.0\]", line) for line in lines)
    assert "tau50 minus tau25, text to video" in lines
    assert any(line.startswith("R@1 +40.0 [") for line in lines)
    assert any(line.startswith("MnR -0.4 [") for line in lines)
    assert "text to video: 4 of 10 queries better, 0 worse, 6 the same" in lines
    assert "text to video: risen most" in lines
    assert "-vidéo_0 2 1 caption 0 of 0" in lines
    assert lines[-2].startswith("10 captions x 5 videos (5 of 6 videos used); protocol fda; 100 resamples, 100 perm")


def test_json(store: Store, fda: Commands) -> None:
    flags = ("--max-missing", "20%", "--level", "0.9", "--top", "1", "--ties", "mean", "--seed", "3", "--json")
    ended = fda("compare", store.place, "mine", "tau25", "tau50", *flags, *QUICK)
    assert ended.code == 0
    found = json.loads(ended.out)
    assert "OTHER CLIPS OR MASKS" in ended.err
    assert (found["level"], found["seed"], found["ties"]) == (0.9, 3, "mean")
    assert [one["features"] for one in found["sets"]] == ["mine", "tau25", "tau50"]
    assert [one["num_videos_left_out"] for one in found["sets"]] == [1, 1, 0]
    assert [bool(one["caveats"]) for one in found["sets"]] == [False, False, True]
    assert found["sets"][1]["text_to_video"]["r1"] == 60.0
    assert set(found["sets"][1]["text_to_video"]["intervals"]) == set(METRICS)
    worse, same = found["against_first"]
    assert (worse["features"], worse["against"], same["features"]) == ("tau25", "mine", "tau50")
    r1 = worse["text_to_video"]["differences"]["r1"]
    assert r1["value"] == -40.0
    assert r1["interval"]["low"] <= -40.0 <= r1["interval"]["high"]
    assert found["sets"][1]["text_to_video"]["intervals"]["r1"].keys() == r1["interval"].keys() == INTERVAL
    assert worse["text_to_video"]["fallen"] == [
        {"video_id": "-vidéo_0", "caption_id": "-vidéo_0#0", "caption": "caption 0 of 0", "before": 1.0, "after": 2.0}
    ]
    none = {"low": 0.0, "high": 0.0, "level": 0.9}
    assert same["text_to_video"]["differences"]["r1"] == {"value": 0.0, "interval": none, "p_value": 1.0}
    threshold = {"mine": None, "tau25": 25, "tau50": 50}
    assert {"key": "masks.options.threshold", "is_input": True, "values": threshold} in found["unlike"]
    assert fda("compare", store.place, "mine", "tau25", "tau50", *flags, *QUICK).out == ended.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing argument 'N1 N2 ...'"),
        (("mine",), "two feature sets or more, got 1: mine"),
        (("mine", "tau25", "mine"), "feature set 'mine' is given twice"),
        (("mine", "tau25", "--level", "95"), "'95' must lie between 0% and 100%"),
        (("mine", "tau25", "--level", "high"), "'high' is no confidence such as 95%"),
        (("mine", "tau25", "--resamples", "10"), "10 is not in the range x>=100"),
        (("mine", "tau25", "--protocol", "mine"), "'mine' is not one of 'fda'"),
        (("mine", "tau25", "--max-missing", "some"), "'some' is not a number of videos such as 5, or a share"),
    ],
)
def test_wrong_usage(store: Store, fda: Commands, arguments: tuple[str, ...], message: str) -> None:
    ended = fda("compare", store.place, *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert message in " ".join(ended.err.split())


def test_what_cannot_be_compared(store: Store, fda: Commands, tmp_path: Path) -> None:
    cases = [
        ((store.place, "mine", "yours"), "no features 'yours' for split 'test' .*(there: 'mine', 'tau25', 'tau50')"),
        ((store.place, "mine", "tau50"), "1 of 6 videos of split 'test' (16.7%) have no features"),
        ((store.place, "mine", "tau25", "--split", "val"), "no split 'val'"),
        ((store.place, "mine", "tau25", "--protocol", "paragraph"), "'paragraph' cannot be applied to split 'test'"),
        ((tmp_path / "nowhere", "mine", "tau25"), "no store at"),
    ]
    for arguments, message in cases:
        ended = fda("compare", *arguments)
        assert (ended.code, ended.out) == (1, "")
        assert all(part in ended.error_line for part in message.split(".*")), ended.err
    fill_shard(store, store.shards("test")[1], failed=frozenset({5}))
    ended = fda("compare", store.place, "mine", "tau25")
    assert ended.code == 1
    assert "are out of date" in ended.error_line
