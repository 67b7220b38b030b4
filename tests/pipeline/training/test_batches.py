"""The plan of an epoch: every clip once, no text twice in a batch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.batches import MIN_BATCH, Batch, draw_epoch, hold_out, num_pairs
from pipeline.training.options import BatchOptions

captions_by_row = st.dictionaries(
    st.integers(0, 50), st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=4), max_size=25
)


ONE, ALL = BatchOptions(), BatchOptions(captions="all")
TOGETHER = BatchOptions(captions="all", same_video="together")


def pairs_of(batch: Batch) -> list[tuple[int, int]]:
    return list(zip(batch.rows.tolist(), batch.captions.tolist(), strict=True))


@given(captions=captions_by_row, batch_size=st.integers(MIN_BATCH, 9), seed=st.integers(0, 99))
def test_every_clip_comes_at_most_once_with_a_caption_of_its_own(
    captions: dict[int, list[str]], batch_size: int, seed: int
) -> None:
    epoch = draw_epoch(captions, batch_size, ONE, np.random.default_rng(seed))
    pairs = [pair for batch in epoch for pair in pairs_of(batch)]
    assert max(Counter(row for row, _ in pairs).values(), default=0) <= 1
    assert all(0 <= number < len(captions[row]) for row, number in pairs)
    again = draw_epoch(captions, batch_size, ONE, np.random.default_rng(seed))
    assert list(map(pairs_of, epoch)) == list(map(pairs_of, again))


@given(
    captions=captions_by_row,
    batch_size=st.integers(MIN_BATCH, 9),
    seed=st.integers(0, 99),
    options=st.sampled_from([ONE, ALL, TOGETHER]),
)
def test_no_batch_has_a_false_negative(
    captions: dict[int, list[str]], batch_size: int, seed: int, options: BatchOptions
) -> None:
    for batch in draw_epoch(captions, batch_size, options, np.random.default_rng(seed)):
        assert MIN_BATCH <= len(batch) <= batch_size
        pairs = pairs_of(batch)
        owners = {(captions[row][number], row) for row, number in pairs}
        assert len({text for text, _ in owners}) == len(owners)  # no text has two videos
        if options is not TOGETHER:
            assert len({row for row, _ in pairs}) == len(pairs)


@given(captions=captions_by_row, batch_size=st.integers(MIN_BATCH, 9), seed=st.integers(0, 99))
def test_every_pair_comes_once_where_all_are_wanted(captions: dict[int, list[str]], batch_size: int, seed: int) -> None:
    distinct = {row: [f"{row} {number}" for number in range(len(texts))] for row, texts in captions.items()}
    epoch = draw_epoch(distinct, batch_size, TOGETHER, np.random.default_rng(seed))
    num_pairs = sum(map(len, distinct.values()))
    expected = num_pairs - (num_pairs % batch_size if num_pairs % batch_size < MIN_BATCH else 0)
    pairs = [pair for batch in epoch for pair in pairs_of(batch)]
    assert len(pairs) == len(set(pairs)) == expected


@given(num_rows=st.integers(0, 40), batch_size=st.integers(MIN_BATCH, 9), seed=st.integers(0, 99))
def test_with_distinct_texts_only_a_last_single_clip_is_left_out(num_rows: int, batch_size: int, seed: int) -> None:
    captions = {row: [f"caption {row}"] for row in range(num_rows)}
    epoch = draw_epoch(captions, batch_size, ONE, np.random.default_rng(seed))
    num_left = num_rows % batch_size
    expected = [batch_size] * (num_rows // batch_size) + ([num_left] if num_left >= MIN_BATCH else [])
    assert [len(batch) for batch in epoch] == expected


@given(texts=st.lists(st.sampled_from("abcde"), max_size=25), batch_size=st.integers(2, 6), seed=st.integers(0, 99))
def test_a_clip_whose_text_is_taken_waits_and_only_clips_of_one_text_are_left_out(
    texts: list[str], batch_size: int, seed: int
) -> None:
    epoch = draw_epoch({row: [text] for row, text in enumerate(texts)}, batch_size, ONE, np.random.default_rng(seed))
    drawn = {row for batch in epoch for row in batch.rows.tolist()}
    assert len({text for row, text in enumerate(texts) if row not in drawn}) <= 1


def test_clips_of_one_text_alone_give_no_batch() -> None:
    assert draw_epoch({row: ["same"] for row in range(10)}, 4, ONE, np.random.default_rng(0)) == ()
    assert draw_epoch({}, 4, ALL, np.random.default_rng(0)) == ()


def test_orders_and_captions_differ_from_epoch_to_epoch() -> None:
    rng = np.random.default_rng(0)
    captions = {row: [f"{row} one", f"{row} two"] for row in range(12)}
    epochs = [draw_epoch(captions, 4, ONE, rng) for _ in range(8)]
    assert len({tuple(row for batch in epoch for row in batch.rows.tolist()) for epoch in epochs}) == 8
    drawn = {pair for epoch in epochs for batch in epoch for pair in pairs_of(batch)}
    assert {(0, 0), (0, 1)} <= drawn


@pytest.mark.parametrize("batch_size", [1, 0, -3])
def test_a_batch_of_one_teaches_nothing(batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size must be at least 2, got {batch_size}"):
        draw_epoch({0: ["a"]}, batch_size, ONE, np.random.default_rng(0))


@given(rows=st.sets(st.integers(0, 99), min_size=1), share=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_holding_out_parts_the_rows_in_two(rows: set[int], share: float, seed: int) -> None:
    train, held_out = hold_out(sorted(rows), share, seed)
    assert sorted(train + held_out) == sorted(rows)
    assert len(held_out) == max(1, round(len(rows) * share))
    assert (train, held_out) == (sorted(train), sorted(held_out))
    assert (train, held_out) == hold_out(sorted(rows), share, seed)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, float("nan")])
def test_a_share_outside_0_and_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="the share held out must lie between 0 and 1"):
        hold_out([1, 2, 3], share, 0)


@given(
    captions=captions_by_row,
    batch_size=st.integers(MIN_BATCH, 9),
    seed=st.integers(0, 99),
    options=st.sampled_from([ONE, ALL, TOGETHER]),
)
def test_what_is_in_no_batch_can_be_counted(
    captions: dict[int, list[str]], batch_size: int, seed: int, options: BatchOptions
) -> None:
    epoch = draw_epoch(captions, batch_size, options, np.random.default_rng(seed))
    wanted = {(row, number) for row, texts in captions.items() for number in range(len(texts))}
    taken = [pair for batch in epoch for pair in pairs_of(batch)]
    assert len(set(taken)) == len(taken) <= num_pairs(captions, options)
    assert num_pairs(captions, options) == (len(captions) if options is ONE else len(wanted))


def test_a_video_of_many_captions_does_not_come_apart() -> None:
    captions = {0: [f"caption {number}" for number in range(20)], 1: ["a"], 2: ["b"]}
    counts = [
        num_pairs(captions, options) - sum(map(len, draw_epoch(captions, 4, options, np.random.default_rng(0))))
        for options in (ALL, TOGETHER)
    ]
    assert counts[0] >= 18
    assert counts[1] == 0
