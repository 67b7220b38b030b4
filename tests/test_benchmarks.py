"""The parts of the benchmarks that are not timing: ratios, tables, and telling a wrong frame from another rounding."""

from __future__ import annotations

import itertools
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.video.decoding import DecodeOptions, decode_clip
from tests.benchmarks import measure
from tests.benchmarks.bench_decoding import FLOOR, fastest_exact_peer, medians, near_methods, summary
from tests.benchmarks.bench_resizing import Cosines
from tests.benchmarks.bench_retrieval import (
    clip4clip_padded,
    full_sort,
    ours,
    same_ranks,
    sort_per_caption,
    unit_rows,
)
from tests.benchmarks.footage import scenes
from tests.benchmarks.measure import Cost, Rounds, Table, cost_rounds, interleaved_costs, paired_seconds, ratio_table
from tests.benchmarks.native import decode_barely, decode_native
from tests.benchmarks.peers import Truth, neighbours_of, wrong_frames
from tests.videos import decode_all, textured_frames, write_numbered_video


def decoding_table(ours: float, **peers: float | None) -> Table:
    seconds = {"OpenCV, sequential": 1.0, **peers, "fda": ours}
    notes = {"seek": "wrong: 3 of 12 frames", "absent": "not available: no such library"}
    return ratio_table("decoding", seconds, "OpenCV, sequential", notes)


def truth(num_frames: int = 6) -> Truth:
    """Of every other frame of a grainy video."""
    frames = np.stack(list(scenes(2 * num_frames + 1, 48, 64, 30, seed=0)))
    return Truth(frames[1::2], np.stack([frames[0:-1:2], frames[2::2]]))


def brighter(frames: NDArray[np.uint8], levels: int) -> NDArray[np.uint8]:
    return np.clip(frames.astype(np.int16) + levels, 0, 255).astype(np.uint8)


def test_ratio_is_how_many_times_faster_than_the_peer() -> None:
    table = decoding_table(0.25, slow=4.0)
    assert [row.ratio for row in table.rows] == [1.0, 0.25, 4.0]


def test_wrong_and_absent_methods_are_shown_without_a_ratio() -> None:
    table = decoding_table(0.5, seek=0.01, absent=None)
    assert table.row("seek").ratio is None
    assert "wrong: 3 of 12 frames" in str(table)
    assert table.row("absent").seconds is None
    assert "not available: no such library" in str(table)


def test_fastest_exact_peer_is_never_a_wrong_one() -> None:
    assert fastest_exact_peer(decoding_table(0.2, seek=0.01, decord=0.5, absent=None)) == ("decord", 2.5)


def test_calls_alone_are_no_peer_and_say_how_fast_fda_could_be() -> None:
    table = decoding_table(0.2, **{"decord": 0.5, FLOOR: 0.1})
    assert fastest_exact_peer(table) == ("decord", 2.5)
    assert fastest_exact_peer(table, FLOOR) == ("decord", 5.0)
    assert medians({"a": table, "b": decoding_table(0.25)}).splitlines() == [
        "fda, against the fastest exact peer: 3.25x (median of 2; 2.50 to 4.00)",
        f"{FLOOR}, against the fastest exact peer: 5.00x (median of 1; 5.00 to 5.00)",
    ]


def test_methods_that_are_far_slower_are_not_measured_again() -> None:
    seconds = {"fda": 0.2, "fastest": 1.0, "near": 1.4, "far": 1.6}
    assert near_methods({name: Cost(0.1, cpu) for name, cpu in seconds.items()}) == ["fda", "fastest", "near"]


def test_table_without_its_peer_is_refused() -> None:
    with pytest.raises(ValueError, match="OpenCV was not measured|OpenCV, which all are compared with"):
        ratio_table("decoding", {"OpenCV": None, "fda": 1.0}, "OpenCV")


@pytest.mark.parametrize(
    ("name", "ours", "missed"),
    [("360p g250", 0.5 / 1.5, False), ("360p g250", 0.5 / 1.4, True), ("2 min", 0.21, True), ("2 min", 0.19, False)],
)
def test_summary_marks_a_missed_target(name: str, ours: float, missed: bool) -> None:
    assert ("MISSED" in summary({name: decoding_table(ours * 0.999, decord=0.5)})) == missed


def test_summary_has_no_targets_for_other_files() -> None:
    assert "MISSED" not in summary({"holiday.mp4": decoding_table(2.0)})


def test_first_round_is_not_counted() -> None:
    costs = iter([20.0, 1.0, 5.0, 2.0])
    assert interleaved_costs({"fda": lambda: Cost(next(costs), 0.5)}, 3) == {"fda": Cost(2.0, 0.5)}


@pytest.mark.parametrize(
    ("round_seconds", "repeats", "counted"),
    [(1, 5, [1, 2, 3, 4, 5]), (8, 5, [1, 2, 3]), (19, 5, [1, 2]), (21, 5, [0, 1]), (21, 1, [0])],
)
def test_rounds_that_take_long_are_fewer(round_seconds: float, repeats: int, counted: list[int]) -> None:
    numbers = itertools.count()
    found = cost_rounds({"fda": lambda: Cost(round_seconds, next(numbers))}, repeats)
    assert [cost.cpu_seconds for cost in found["fda"]] == counted


def test_rounds_and_how_far_they_differ_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "rounds_made", [])
    walls = {"fda": iter([1.0, 2.0, 1.5]), "tar": iter([4.0, 4.0, 5.0])}
    cost_rounds({name: lambda of=of: Cost(next(of), 1.0) for name, of in walls.items()}, 3, is_warm=True)  # type: ignore[misc]
    assert measure.rounds_made == [Rounds(("fda", "tar"), 3, wall_spread=2.0, cpu_spread=1.0)]


def test_each_run_is_compared_with_the_one_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # The machine is slow for the second round and a half: the ratio of the medians would be 4 / 6.
    walls = {"bare": iter([2, 1, 3, 1]), "fda": iter([2, 0.5, 1.5, 1.5])}
    monkeypatch.setattr("tests.benchmarks.measure.timed", lambda run: lambda: Cost(run(), 0))
    methods = {name: partial(next, of) for name, of in walls.items()}
    assert paired_seconds(methods, 3, dict.fromkeys(methods, "bare")) == {"bare": (1, 1.0), "fda": (1.5, 2.0)}


@given(st.integers(1, 50).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), min_size=1))))
def test_neighbours_are_one_frame_off_and_inside(video: tuple[int, set[int]]) -> None:
    num_frames, wanted = video[0], sorted(video[1])
    asked, before, after = neighbours_of(wanted, num_frames)
    assert asked == sorted(set(asked))
    assert set(wanted) <= set(asked) <= set(range(num_frames))
    assert [asked[place] for place in before] == [max(number - 1, 0) for number in wanted]
    assert [asked[place] for place in after] == [min(number + 1, num_frames - 1) for number in wanted]


def test_other_rounding_is_no_wrong_frame() -> None:
    true = truth()
    assert wrong_frames(true.frames, true) == 0
    assert wrong_frames(brighter(true.frames, -2), true) == 0


def test_frames_beside_the_wanted_ones_are_wrong() -> None:
    true = truth()
    assert wrong_frames(true.neighbours[0], true) == 6
    mixed = true.frames.copy()
    mixed[2] = true.neighbours[1, 2]
    assert wrong_frames(mixed, true) == 1


def test_other_colours_are_wrong() -> None:
    true = truth()
    assert wrong_frames(true.frames[..., ::-1], true) == 6


def test_frames_that_are_missing_or_too_many_are_wrong() -> None:
    true = truth()
    assert wrong_frames(true.frames[:-1], true) == 1
    assert wrong_frames(np.concatenate([true.frames, true.frames[:1]]), true) == 6
    assert wrong_frames(true.frames[:, :-2], true) == 6


def test_fda_takes_part_with_its_own_choice_of_frames_at_their_own_size(tmp_path: Path) -> None:
    path = write_numbered_video(tmp_path / "numbered.mkv", 24)
    _, everything = decode_all(path)
    chosen = decode_clip(path, DecodeOptions(6, 32)).sample.frame_index
    np.testing.assert_array_equal(np.stack(decode_native(str(path), 6)), np.stack(everything)[chosen])
    np.testing.assert_array_equal(np.stack(decode_barely(str(path), 6)), np.stack(everything)[chosen])


def test_a_still_video_has_no_wrong_frames() -> None:
    still = np.repeat(textured_frames(1), 4, axis=0)
    assert wrong_frames(brighter(still, 1), Truth(still, np.stack([still, still]))) == 0


def test_scenes_are_the_same_every_time_and_never_stand_still() -> None:
    frames = list(scenes(5, 48, 64, 30, seed=3))
    np.testing.assert_array_equal(frames, list(scenes(5, 48, 64, 30, seed=3)))
    assert all(np.abs(one.astype(int) - other).mean() > 4 for one, other in pairwise(frames))


def test_cosines_of_frames_and_of_their_mean() -> None:
    one = np.array([[[1, 0], [0, 1]]], dtype=np.float32)
    other = np.array([[[0, 1], [2, 0]]], dtype=np.float32)
    cosines = Cosines.between(one, other)
    assert cosines.frame_mean == cosines.frame_min == 0
    assert cosines.clip_min == pytest.approx(3 / 10**0.5)  # (1, 1) and (2, 1)


def test_peers_of_ranking_have_the_same_ranks() -> None:
    text, video, truth = unit_rows(60, 0), unit_rows(17, 1), np.sort(np.arange(60) % 17)
    expected = ours(text, video, truth)
    assert same_ranks(clip4clip_padded(text, video, truth), expected).startswith("100.00%")
    assert same_ranks(sort_per_caption(text, video, truth), expected).startswith("100.00%")
    expected = ours(text[:15], video[:15], np.arange(15))
    assert same_ranks(full_sort(text[:15], video[:15]), expected).startswith("100.00%")


def test_other_ranks_than_ours_stop_the_benchmark() -> None:
    ranks = np.arange(1, 201)
    swapped = ranks.copy()
    swapped[:2] = [2, 1]  # as rounding does it
    assert same_ranks({"best": swapped}, {"best": ranks}) == "99.00% of its ranks are the same"
    for wrong in (np.minimum(ranks + 1, 200), np.where(ranks == 1, 5, ranks)):
        with pytest.raises(RuntimeError, match="of the ranks are the same"):
            same_ranks({"best": wrong}, {"best": ranks})
