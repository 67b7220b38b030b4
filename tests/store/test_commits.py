"""Shards that are written again, on a disk and in an object store."""

from __future__ import annotations

from store.places.folder import StoreFolder
from tests.store.claiming import any_folder as any_folder
from tests.stores import fill_store, make_store


def test_a_record_kept_aside_is_gone_once_its_shard_is_written_again(any_folder: StoreFolder) -> None:
    store = make_store(any_folder.place, 3)
    fill_store(store)
    before = {stored.name for stored in any_folder.walk()}
    fill_store(store)
    assert {stored.name for stored in any_folder.walk()} == before
    assert "withdrawn" not in any_folder.folders("")
