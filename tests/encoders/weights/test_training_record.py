"""What weights were trained on goes with them, whatever is made of their file."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from encoders.errors import WeightsFormatError
from encoders.options import Activation, WeightsLayout
from encoders.weights.export import exported, write_weights
from encoders.weights.loading import load_checkpoint, load_model, save_checkpoint
from encoders.weights.record import MAX_DIGESTS, KnownVideos, RecordError, TrainingRecord, WeightsHeader
from tests.encoders_tiny import TENSORS, TINY, tiny_model, write_config

MODEL = tiny_model(seed=1)


def digests(numbers: list[int] | range) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in numbers]


known = st.lists(st.integers(0, 30), max_size=20).map(lambda numbers: KnownVideos.of(digests(numbers)))
records = st.builds(TrainingRecord, known, known, st.booleans())
RECORD = TrainingRecord(KnownVideos.of(digests(range(5))), KnownVideos.of(digests(range(5, 7))), chosen_on_test=True)


@given(one=records, other=records)
def test_a_record_is_read_as_it_was_written_and_joined_like_sets(one: TrainingRecord, other: TrainingRecord) -> None:
    assert TrainingRecord.from_dict(json.loads(json.dumps(one.to_dict())), "it") == one
    header = WeightsHeader(quick_gelu=True, training=one)
    assert WeightsHeader.from_metadata(header.to_metadata(), "it") == header
    both = one | other
    assert both.trained.digests == one.trained.digests | other.trained.digests
    assert both.chosen.num_videos == len(both.chosen.digests)
    assert both.chosen_on_test == (one.chosen_on_test or other.chosen_on_test)
    assert one | TrainingRecord() == one | one == one


def test_of_many_videos_a_sample_is_kept_that_finds_what_is_shared() -> None:
    many = KnownVideos.of(digests(range(2 * MAX_DIGESTS)))
    assert (many.num_videos, len(many.digests)) == (2 * MAX_DIGESTS, MAX_DIGESTS)
    assert 300 < many.num_in(digests(range(800))) < 500
    assert many.num_in(digests(range(2 * MAX_DIGESTS, 2 * MAX_DIGESTS + 800))) == 0
    assert (many | KnownVideos.of(digests([-1]))).num_videos == 2 * MAX_DIGESTS + 1


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_exported_weights_keep_it_and_pass_it_on(tmp_path: Path, suffix: str) -> None:
    header = WeightsHeader(quick_gelu=True, training=RECORD)
    both, tower = tmp_path / f"both{suffix}", tmp_path / f"tower{suffix}"
    write_weights(both, exported(MODEL, WeightsLayout.CLIP), layout=WeightsLayout.CLIP, header=header)
    write_weights(tower, exported(MODEL, WeightsLayout.ALPHA_CLIP), layout=WeightsLayout.ALPHA_CLIP, header=header)
    config = write_config(tmp_path)
    assert load_model(config, str(both)).training == RECORD
    assert load_model(config, "none", tower).training == RECORD
    assert not load_model(config, "none").training
    other = TrainingRecord(KnownVideos.of(digests([99])))
    write_weights(
        tmp_path / "other.pt",
        exported(MODEL, WeightsLayout.CLIP),
        layout=WeightsLayout.CLIP,
        header=WeightsHeader(quick_gelu=True, training=other),
    )
    assert load_model(config, str(tmp_path / "other.pt"), tower).training == other | RECORD


def test_a_checkpoints_weights_keep_it_without_their_configuration(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "mine", MODEL, TINY, {}, RECORD)
    assert load_checkpoint(tmp_path / "mine").training == RECORD
    taken = (tmp_path / "mine/model.safetensors").rename(tmp_path / "renamed.bin")
    assert load_model(write_config(tmp_path), str(taken)).training == RECORD


def test_files_of_others_and_of_older_versions_have_none(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    safetensors.torch.save_file(dict(TENSORS), tmp_path / "old.safetensors", metadata={"quick_gelu": "true"})
    assert not load_model(config, str(tmp_path / "old.safetensors")).training
    state = OrderedDict(TENSORS)
    state._metadata = {"": {"version": 1}, "visual": {"version": 1}}  # type: ignore[attr-defined]  # as torch's modules
    torch.save(state, tmp_path / "plain.pt")
    assert not load_model(config, str(tmp_path / "plain.pt"), activation=Activation.QUICK_GELU).training


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("3", "must be a table"),
        ("{}", "lacks quick_gelu"),
        ('{"quick_gelu": 1}', "must be true or false"),
        ('{"quick_gelu": true, "training": 1}', "must be a table"),
        ('{"quick_gelu": true, "training": {"trained": {}, "chosen": {}, "chosen_on_test": true}}', "lacks num_videos"),
    ],
)
def test_a_damaged_record_is_refused(tmp_path: Path, header: str, words: str) -> None:
    safetensors.torch.save_file(dict(TENSORS), tmp_path / "x.safetensors", metadata={"fda": header})
    with pytest.raises(WeightsFormatError, match=words):
        load_model(write_config(tmp_path), str(tmp_path / "x.safetensors"))


@pytest.mark.parametrize(
    ("num_videos", "sha256_starts"), [(1, "AAA"), (1, "é"), (0, "AAAAAAAA"), ("1", ""), (1, 1), (1, "AAAA")]
)
def test_digests_that_cannot_be_are_refused(num_videos: object, sha256_starts: object) -> None:
    with pytest.raises(RecordError):
        KnownVideos.from_dict({"num_videos": num_videos, "sha256_starts": sha256_starts}, "it")
