"""Clips that are windows of one file: the store is as if each had been decoded alone, and the file is read once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.run.sources import file_sha256
from store.completion import outcomes_of
from store.store import Store
from tests.clips_on_disk import SMALL, record, run_preprocess, write_clip, write_manifest
from tests.remembering import RememberingDecoder
from tests.stores import tree_digest

OPTIONS = replace(SMALL, shard_size=4)


def write_windows(folder: Path) -> Path:
    """Of two files, in turn and in no order of time; one lies after the end of its file."""
    windows = [("a", 0.2, None), ("b", 0.0, 0.2), ("a", 0.0, 0.16), ("a", 50.0, None), ("b", 0.1, 0.3), ("a", 0.1, 0.3)]
    for number, name in enumerate("ab"):
        write_clip(folder / f"{name}.mp4", number)
    records = [
        record(f"{name}_{number}", f"{name}.mp4") | {"start_seconds": start, "end_seconds": end}
        for number, (name, start, end) in enumerate(windows)
    ]
    return write_manifest(folder, records)


def test_a_store_of_windows_is_as_if_each_was_decoded_alone(tmp_path: Path) -> None:
    manifest = write_windows(tmp_path)
    together = run_preprocess(manifest, tmp_path / "together", OPTIONS)
    alone = run_preprocess(manifest, tmp_path / "alone", OPTIONS, decoder=RememberingDecoder())
    assert tree_digest(Path(together.place)) == tree_digest(Path(alone.place))
    assert statuses(together) == ["ok", "ok", "ok", "too_short", "ok", "ok"]


def statuses(store: Store) -> list[str]:
    return [str(outcome.status) for shard in store.shards("test") for outcome in outcomes_of(store, shard)]


def test_the_digest_of_a_file_is_computed_once_for_all_of_its_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest: Callable[..., object] = hashlib.file_digest
    read: list[str] = []

    def counted(file: object, name: str) -> object:
        read.append(Path(getattr(file, "name", "")).name)
        return digest(file, name)

    manifest = write_windows(tmp_path)
    monkeypatch.setattr(hashlib, "file_digest", counted)
    run_preprocess(manifest, tmp_path / "store", OPTIONS, decoder=RememberingDecoder())
    assert sorted(read) == ["a.mp4", "b.mp4"]
    before = file_sha256(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").write_bytes(b"another file")
    assert file_sha256(tmp_path / "a.mp4") == hashlib.sha256(b"another file").hexdigest() != before
    assert file_sha256(tmp_path / "gone.mp4") is None
