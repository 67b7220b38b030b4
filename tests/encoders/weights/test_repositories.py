"""Models that come whole: folders and repositories of the hub as open_clip publishes them."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import safetensors.torch
import torch

from encoders.config import ModelConfig
from encoders.errors import ModelError, WeightsFormatError, WeightsMissingError
from encoders.options import ModelSource
from encoders.repositories import Repository
from encoders.weights.loading import load, load_checkpoint, load_model, save_checkpoint
from tests.encoders_tiny import PLAIN, TINY, assert_same

ORG, NAME, COMMIT = "some-org", "tiny_clip.v2", "0" * 40
TOKENIZER = {"tokenizer.json": "{}", "tokenizer_config.json": '{"tokenizer_class": "T5Tokenizer"}'}


def write_repository(folder: Path, weights: str = "open_clip_model.safetensors", **text: object) -> Path:
    """A model as open_clip publishes it, with weights of `TINY`."""
    folder.mkdir(parents=True, exist_ok=True)
    described: dict[str, Any] = json.loads(json.dumps(TINY.architecture))
    described["text_cfg"] |= text
    pixels = {"size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 0.5], "interpolation": "bicubic"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": described, "preprocess_cfg": pixels}))
    if weights.endswith(".safetensors"):
        safetensors.torch.save_file(PLAIN, folder / weights)
    else:
        torch.save(PLAIN, folder / weights)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def cached(cache: Path) -> Path:
    """Where the files of the repository belong in a cache."""
    repository = cache / f"models--{ORG}--{NAME}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(COMMIT)
    return repository / "snapshots" / COMMIT


@pytest.mark.parametrize("prefix", ["", "local-dir:"])
def test_a_folder_has_its_model_its_pixels_and_its_weights(prefix: str, tmp_path: Path) -> None:
    folder = write_repository(tmp_path / "mein-modell é")
    loaded = load_model(f"{prefix}{folder}", "")
    assert_same(loaded.model, PLAIN)
    assert (loaded.config.name, loaded.config.mean, loaded.config.std) == (
        "mein-modell é",
        (0.5, 0.5, 0.5),
        (0.25, 0.5, 0.5),
    )
    assert loaded.report.source == f"{prefix}{folder}"
    assert load_model(f"{prefix}{folder}", "none").report.kind == "random"


@pytest.mark.parametrize("weights", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_a_repository_that_is_cached_needs_no_network(weights: str, cache: Path) -> None:
    write_repository(cached(cache), weights)
    loaded = load_model(f"hf-hub:{ORG}/{NAME}", "")
    assert_same(loaded.model, PLAIN)
    assert loaded.config.name == loaded.report.source == f"hf-hub:{ORG}/{NAME}"


def test_a_repository_that_cannot_be_had_names_the_files_to_fetch(cache: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load_model(f"hf-hub:{ORG}/{NAME}", "")
    for name in ("open_clip_config.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin"):
        assert name in str(caught.value)
    assert f"https://huggingface.co/{ORG}/{NAME}" in str(caught.value)
    (write_repository(cached(cache)) / "open_clip_model.safetensors").unlink()
    with pytest.raises(WeightsMissingError, match="cannot get open_clip_model.safetensors or"):
        load_model(f"hf-hub:{ORG}/{NAME}", "")


class _Hub(BaseHTTPRequestHandler):
    """A hub with one repository, which has its weights as a pickle alone."""

    content = b"weights"

    def do_HEAD(self) -> None:
        is_there = self.path.endswith("/open_clip_pytorch_model.bin")
        self.send_response(200 if is_there else 404)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(self.content)) if is_there else "0")
        self.send_header(*(("ETag", f'"{COMMIT}"') if is_there else ("X-Error-Code", "EntryNotFound")))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def hub() -> Iterator[str]:
    """The address of a hub on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_repository_that_lacks_safetensors_gives_its_pickle(
    hub: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    repository = Repository.of(f"hf-hub:{ORG}/{NAME}")
    assert repository is not None
    found = repository.weights({"endpoint": hub, "cache_dir": cache})
    assert (found.name, found.read_bytes()) == ("open_clip_pytorch_model.bin", _Hub.content)


@pytest.mark.parametrize("name", ["", "name", "-x/y", "../..", "a/b/c", "ö/ü", "a/b\n", "a/..b", "a b/c", "org/"])
def test_names_that_no_repository_has(name: str) -> None:
    with pytest.raises(ModelError, match="is not of the form hf-hub:ORG/NAME"):
        ModelConfig.from_name_or_file(f"hf-hub:{name}")


def test_a_revision_is_refused_with_what_to_do() -> None:
    with pytest.raises(ModelError, match="names the revision 'v2'.*https://huggingface.co/a/b into a folder"):
        ModelConfig.from_name_or_file("hf-hub:a/b@v2")


def test_folders_that_are_no_models_say_why(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no folder"):
        load_model(f"local-dir:{tmp_path / 'none'}", "")
    with pytest.raises(ModelError, match="there is no folder ''"):
        load_model("local-dir:", "")
    with pytest.raises(ModelError, match=r"has no open_clip_config.json"):
        load_model(str(tmp_path), "")
    folder = write_repository(tmp_path / "model", "first.safetensors")
    assert_same(load_model(str(folder), "").model, PLAIN)  # the only one, whatever its name
    shutil.copy(folder / "first.safetensors", folder / "second.safetensors")
    with pytest.raises(
        WeightsMissingError, match=r"several files of weights \(first.safetensors, second.safetensors\)"
    ):
        load_model(str(folder), "")
    assert_same(load_model(str(folder), str(folder / "second.safetensors")).model, PLAIN)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(WeightsMissingError, match="no file of weights"):
        load_model(str(folder), "")
    (folder / "open_clip_config.json").write_text("[")
    with pytest.raises(ValueError, match="not a JSON file"):
        load_model(str(folder), "")
    with pytest.raises(ModelError, match="no weights are given for 'ViT-B-32'"):
        load_model("ViT-B-32", "")


def test_a_source_is_found_from_another_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_repository(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    for name, told in (("model", f"{tmp_path}/model"), ("local-dir:model", f"local-dir:{tmp_path}/model")):
        source = ModelSource.from_dict(ModelSource(model=name).to_dict())
        assert source.model == told
        assert_same(load(source).model, PLAIN)
    assert ModelSource(model=f"hf-hub:{ORG}/{NAME}").to_dict()["model"] == f"hf-hub:{ORG}/{NAME}"


def test_a_tokenizer_in_the_folder_goes_with_the_model_and_its_checkpoints(tmp_path: Path) -> None:
    folder = write_repository(tmp_path / "model", hf_tokenizer_name="org/elsewhere")
    assert ModelConfig.from_name_or_file(str(folder)).tokenizer_name == "org/elsewhere"
    for name, content in TOKENIZER.items():
        (folder / name).write_text(content)
    loaded = load_model(str(folder), "")
    assert loaded.config.tokenizer_name == str(folder)
    save_checkpoint(tmp_path / "checkpoint", loaded.model, loaded.config, {})
    shutil.rmtree(folder)
    moved = shutil.move(tmp_path / "checkpoint", tmp_path / "moved")
    again = load_checkpoint(moved)
    assert {path.name: path.read_text() for path in Path(moved, "tokenizer").iterdir()} == TOKENIZER
    assert again.config.tokenizer_name == str(tmp_path / "moved/tokenizer")
    named = again.config.architecture["text_cfg"]
    assert isinstance(named, dict)
    assert str(named["hf_tokenizer_name"]).startswith("sha256:")
    Path(moved, "tokenizer/tokenizer.json").write_text('{"another": 1}')
    with pytest.raises(WeightsFormatError, match="is not the tokenizer it was written with"):
        load_checkpoint(moved)
    shutil.rmtree(Path(moved, "tokenizer"))
    with pytest.raises(WeightsFormatError, match="is not the tokenizer it was written with"):
        load_checkpoint(moved)


def test_a_model_file_may_name_a_tokenizer_folder_beside_it(tmp_path: Path) -> None:
    (tmp_path / "tokens").mkdir()
    described: dict[str, Any] = json.loads(json.dumps(replace(TINY, name="mine").architecture))
    described["text_cfg"]["hf_tokenizer_name"] = "tokens"
    (tmp_path / "mine.json").write_text(json.dumps(described))
    assert ModelConfig.from_name_or_file(str(tmp_path / "mine.json")).tokenizer_name == str(tmp_path / "tokens")
