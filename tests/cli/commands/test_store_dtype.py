"""`fda encode --store-dtype`: embeddings in fewer bytes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.encode_commands import encode, features
from tests.clips_on_disk import Commands, run_preprocess, write_small_dataset
from tests.encoders_tiny import write_config


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_features_in_fewer_bytes_are_measured_scored_and_searched(fda: Commands, tmp_path: Path, dtype: str) -> None:
    config = Path(write_config(tmp_path))
    store = Path(run_preprocess(write_small_dataset(tmp_path, {"train": 3, "test": 9}), tmp_path / "store").place)
    small = encode(store, config, "--store-dtype", dtype, name="small")
    assert fda(*encode(store, config)).code == 0
    said = fda(*small)
    assert said.code == 0, said.err
    assert re.search(rf"stored as {dtype}: \d of 3 captions ranks? .* R@1 .* in float32, cosine", said.err), said.err
    rounding = json.loads(fda(*small, "--overwrite", "--yes", "--json").out)["rounding"]
    assert rounding["num_videos"] == 3
    assert 0.999 < rounding["lowest_cosine"] <= 1
    made = features(store, "small")
    assert json.loads(fda(*small, "--json").out)["rounding"] is None  # nothing is pending
    assert features(store, "small") == made
    sizes = {
        name: sum(file.stat().st_size for file in (store / f"features.zarr/{name}").rglob("c.*"))
        for name in ("mine", "small")
    }
    assert sizes["small"] < sizes["mine"]
    scored = [json.loads(fda("eval", store, "--features", name, "--json").out) for name in ("mine", "small")]
    assert scored[0]["num_videos"] == scored[1]["num_videos"] == 9
    found = fda("search", store, "a red star", "--features", "small", "--json", "--no-progress")
    assert found.code == 0, found.err
    refused = fda(*encode(store, config, "--store-dtype", "float32", name="small"))
    assert refused.code != 0
    assert f'store_dtype is "{dtype}" in the store' in refused.err
    bad = fda(*encode(store, config, "--store-dtype", "float8"))
    assert bad.code == 2
