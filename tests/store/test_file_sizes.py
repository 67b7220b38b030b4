"""Sizes of many files in little memory: what a dictionary says, or nothing."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from store.file_sizes import FileSizes
from store.places.folder import StoredFile


@given(st.dictionaries(st.text(max_size=5), st.integers(0, 2**62)), st.lists(st.text(max_size=5)))
def test_sizes_are_those_of_a_dictionary(files: dict[str, int], others: list[str]) -> None:
    sizes = FileSizes.of(StoredFile(name, num_bytes) for name, num_bytes in files.items())
    for name in (*files, *others):
        assert sizes.get(name) == files.get(name)


def test_names_of_one_hash_are_told_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.file_sizes.hash", len, raising=False)
    sizes = FileSizes.of([StoredFile("ab", 1), StoredFile("c", 2), StoredFile("de", 3)])
    assert (sizes.get("ab"), sizes.get("c"), sizes.get("de"), sizes.get("fgh")) == (None, 2, None, None)
