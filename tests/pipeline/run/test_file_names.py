from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.run.file_names import MAX_BYTES, file_name

IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1) | st.text("./\\%~2Ea", min_size=1, max_size=9)


@given(st.sets(IDS, min_size=2, max_size=30), st.booleans())
def test_no_two_ids_have_one_name(ids: set[str], keep_dots: bool) -> None:
    assert len({file_name(one, keep_dots=keep_dots) for one in ids}) == len(ids)


@given(IDS | st.text("xé/", min_size=150, max_size=400))
def test_every_name_is_one_that_a_file_may_have(video_id: str) -> None:
    name = file_name(video_id)
    assert 0 < len(name.encode()) <= MAX_BYTES
    assert not set(name) & set('/\\:*?"<>| \0')
    assert name[0] != "."
    assert name[-1] != "."
    assert "." not in file_name(video_id, keep_dots=False)


@given(st.text("abcXYZ019_-é漢", min_size=1, max_size=20))
def test_most_ids_are_their_own_name(video_id: str) -> None:
    assert file_name(video_id) == video_id


@given(IDS.filter(lambda one: len(one) < 20))
def test_a_short_name_can_be_read_back_as_a_url_is(video_id: str) -> None:
    escaped = file_name(video_id).encode()
    found = re.sub(rb"%([0-9A-F]{2})", lambda one: bytes([int(one[1], 16)]), escaped)
    assert found.decode() == video_id


@pytest.mark.parametrize("beginning", ["x" * 300, "é" * 150, "/" * 90])
def test_long_ids_differ_in_their_last_letter(beginning: str) -> None:
    assert file_name(beginning + "a") != file_name(beginning + "b")
