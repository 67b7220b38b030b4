"""The plan of an epoch: every clip once, no text twice in a batch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.batches import MIN_BATCH, Pair, draw_epoch, hold_out

captions_by_row = st.dictionaries(
    st.integers(0, 50), st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=4), max_size=25
)


@given(captions=captions_by_row, batch_size=st.integers(MIN_BATCH, 9), seed=st.integers(0, 99))
def test_every_clip_comes_at_most_once_with_a_caption_of_its_own(
    captions: dict[int, list[str]], batch_size: int, seed: int
) -> None:
    epoch = draw_epoch(captions, batch_size, np.random.default_rng(seed))
    pairs = [pair for batch in epoch for pair in batch]
    assert max(Counter(pair.row for pair in pairs).values(), default=0) <= 1
    assert all(pair.text in captions[pair.row] for pair in pairs)
    for batch in epoch:
        assert MIN_BATCH <= len(batch) <= batch_size
        assert len({pair.text for pair in batch}) == len(batch)
    assert epoch == draw_epoch(captions, batch_size, np.random.default_rng(seed))


@given(num_rows=st.integers(0, 40), batch_size=st.integers(MIN_BATCH, 9), seed=st.integers(0, 99))
def test_with_distinct_texts_only_a_last_single_clip_is_left_out(num_rows: int, batch_size: int, seed: int) -> None:
    captions = {row: [f"caption {row}"] for row in range(num_rows)}
    epoch = draw_epoch(captions, batch_size, np.random.default_rng(seed))
    num_left = num_rows % batch_size
    expected = [batch_size] * (num_rows // batch_size) + ([num_left] if num_left >= MIN_BATCH else [])
    assert [len(batch) for batch in epoch] == expected


@given(texts=st.lists(st.sampled_from("abcde"), max_size=25), batch_size=st.integers(2, 6), seed=st.integers(0, 99))
def test_a_clip_whose_text_is_taken_waits_and_only_clips_of_one_text_are_left_out(
    texts: list[str], batch_size: int, seed: int
) -> None:
    epoch = draw_epoch({row: [text] for row, text in enumerate(texts)}, batch_size, np.random.default_rng(seed))
    drawn = {pair.row for batch in epoch for pair in batch}
    assert len({text for row, text in enumerate(texts) if row not in drawn}) <= 1


def test_clips_of_one_text_alone_give_no_batch() -> None:
    assert draw_epoch({row: ["same"] for row in range(10)}, 4, np.random.default_rng(0)) == ()
    assert draw_epoch({}, 4, np.random.default_rng(0)) == ()


def test_orders_and_captions_differ_from_epoch_to_epoch() -> None:
    rng = np.random.default_rng(0)
    captions = {row: [f"{row} one", f"{row} two"] for row in range(12)}
    epochs = [draw_epoch(captions, 4, rng) for _ in range(4)]
    assert len({tuple(pair.row for batch in epoch for pair in batch) for epoch in epochs}) == 4
    drawn = {pair for epoch in epochs for batch in epoch for pair in batch}
    assert {Pair(0, "0 one"), Pair(0, "0 two")} <= drawn


@pytest.mark.parametrize("batch_size", [1, 0, -3])
def test_a_batch_of_one_teaches_nothing(batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size must be at least 2, got {batch_size}"):
        draw_epoch({0: ["a"]}, batch_size, np.random.default_rng(0))


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
