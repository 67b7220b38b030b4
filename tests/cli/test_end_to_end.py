"""The four commands on real videos by the real command line."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.reporting.records import read_runs, work_of
from pipeline.run.events import Reporter, ignore_events
from store.store import Store
from tests.clips_on_disk import SMALL_FLAGS, Commands, write_small_dataset
from tests.encoders_tiny import write_config
from tests.stores import tree_digest


def write_preset(folder: Path) -> Path:
    config = write_config(folder)
    preset = folder / "tiny.toml"
    preset.write_text(
        f'[model]\nmodel = "{Path(config).name}"\npretrained = "none"\n\n'
        "[finetune]\nepochs = 2\nbatch_size = 4\nlr = 1e-3\nalpha_lr = 1e-3\n"
    )
    return preset


def trained_files(checkpoint: Path) -> dict[str, str]:
    """Without the logs, which hold speeds and clock times."""
    return {name: digest for name, digest in tree_digest(checkpoint).items() if not name.startswith(("log", "tensor"))}


def test_the_four_commands(fda: Commands, tmp_path: Path) -> None:
    clips = write_small_dataset(tmp_path, {"train": 6, "val": 2, "test": 4})
    store, checkpoint, preset = tmp_path / "store", tmp_path / "checkpoint", write_preset(tmp_path)
    made = fda("preprocess", clips, store, *SMALL_FLAGS, "--workers", "0")
    assert made.code == 0
    assert "12 clips; no video failed" in made.out
    train = ("finetune", store, checkpoint, "--preset", preset)

    trained = fda(*train, "--json")
    assert trained.code == 0
    assert "RANDOM" in trained.err or "random" in trained.err  # `none` is said out loud
    assert len(json.loads(trained.out)["evaluations"]) == 2
    (run,) = (run for run in read_runs(Store.open(store), Reporter(ignore_events)) if run.command == "finetune")
    work = work_of(run)  # for the throughput of `fda report`
    assert work is not None
    assert (work.number, work.unit) == (json.loads(trained.out)["evaluations"][-1]["step"], "step")
    weights = trained_files(checkpoint)
    again = fda(*train)
    assert again.code == 0
    assert f"nothing to do: {checkpoint} was trained to the end with these inputs" in again.err
    refused = fda(*train, "--seed", "1")
    assert (refused.code, refused.out) == (1, "")
    assert "options.seed is 0 in the checkpoint and 1 now" in refused.error_line
    assert "--overwrite" in refused.error_line
    assert trained_files(checkpoint) == weights
    assert fda(*train, "--set", "epochs=x").code == 2
    assert fda(*train, "--overwrite", "--yes").code == 0
    assert trained_files(checkpoint) == weights

    # Of a model this small, `auto` may measure now one precision and now the other to be faster.
    encode = ("encode", store, "--features", "mine", "--precision", "fp32", "--checkpoint", checkpoint)
    encoded = fda(*encode, "--json")
    assert encoded.code == 0
    num_encoded = {one["split"]: one["num_clips_encoded"] for one in json.loads(encoded.out)["splits"]}
    assert num_encoded == {"train": 6, "val": 2, "test": 4}
    (record,) = (store / "runs").glob("*-encode-*.json")
    assert json.loads(record.read_text())["result"] == json.loads(encoded.out)
    before = tree_digest(store)
    assert [one["num_clips_encoded"] for one in json.loads(fda(*encode, "--json").out)["splits"]] == [0, 0, 0]
    other = fda(*encode[:-2], "--model", tmp_path / "tiny.json", "--pretrained", "none")
    assert other.code == 1
    assert "model.weights_sha256 is" in other.error_line
    assert fda(*encode, "--overwrite", "--yes").code == 0
    assert tree_digest(store) == before
    assert fda("encode", store, "--features", "guessed").code == 2  # weights are never guessed

    scored = fda("eval", store, "--features", "mine", "--json")
    assert scored.code == 0
    result = json.loads(scored.out)
    assert (result["num_videos"], result["num_videos_expected"], result["num_captions"]) == (4, 4, 8)
    assert set(result["text_to_video"]) >= {"r1", "r5", "r10", "r50", "median_rank", "mean_rank"}
    table = fda("eval", store, "--features", "mine", "--split", "val")
    assert table.code == 0
    assert "text to video" in table.out
    assert "4 captions x 2 videos (2 of 2 videos used); protocol fda" in table.out
    absent = fda("eval", store, "--features", "yours")
    assert absent.code == 1
    assert "there: 'mine'" in absent.error_line


def test_evaluating_says_how_many_are_missing(fda: Commands, tmp_path: Path) -> None:
    clips = write_small_dataset(tmp_path, {"test": 3})
    (tmp_path / "videos/test_1.mp4").unlink()
    store = tmp_path / "store"
    assert fda("preprocess", clips, store, *SMALL_FLAGS, "--workers", "0").code == 3
    model = ("--model", write_config(tmp_path), "--pretrained", "none", "--precision", "fp32")
    assert fda("encode", store, "--features", "mine", *model).code == 0
    refused = fda("eval", store, "--features", "mine")
    assert refused.code == 1
    assert "1 of 3 videos of split 'test' (33.3%) have no features" in refused.error_line
    for limit in ("1", "34%"):
        assert "(2 of 3 videos used)" in fda("eval", store, "--features", "mine", "--max-missing", limit).out


def test_a_checkpoint_folder_that_holds_something_else_is_left_alone(fda: Commands, tmp_path: Path) -> None:
    clips = write_small_dataset(tmp_path, {"train": 4, "val": 1})
    fda("preprocess", clips, tmp_path / "store", *SMALL_FLAGS, "--workers", "0")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/thesis.tex").write_text("years of work")
    for flags in ([], ["--overwrite"]):
        ended = fda("finetune", tmp_path / "store", tmp_path / "thesis", "--preset", write_preset(tmp_path), *flags)
        assert ended.code == 1
        assert "contains 'thesis.tex', which `fda finetune` did not write" in ended.error_line
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]
