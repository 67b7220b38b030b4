import logging
from pathlib import Path

import pytest

from encoders.config import ModelConfig
from encoders.errors import WeightsMismatchError, WeightsMissingError
from encoders.torchvision_shim import import_open_clip
from encoders.weights.files import sha256_of
from encoders.weights.loading import load_model
from encoders.weights.pretrained import download_weights, is_cached
from tests.encoders_tiny import PLAIN, assert_same, saved, write_config

open_clip = import_open_clip()


@pytest.mark.parametrize(
    ("model", "tag", "words"),
    [
        ("ViT-B-16", "openai", "with QuickGELU.*use ViT-B-16-quickgelu"),
        ("ViT-B-16-quickgelu", "laion2b_s34b_b88k", "a tag of ViT-B-16: use that model name"),
        ("ViT-B-16-quickgelu", "opnai", "tags of ViT-B-16-quickgelu: openai"),
    ],
)
def test_tags_that_do_not_fit_are_refused_before_anything_is_downloaded(
    monkeypatch: pytest.MonkeyPatch, model: str, tag: str, words: str
) -> None:
    monkeypatch.setattr(open_clip, "download_pretrained", lambda description: pytest.fail("it was downloaded"))
    with pytest.raises((WeightsMismatchError, WeightsMissingError), match=words):
        load_model(model, tag, None, seed=0)


def test_a_tag_of_a_model_from_a_file_is_no_tag(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError, match=r"no tags for tiny.*'openai' is a tag of"):
        load_model(write_config(tmp_path), "openai", None, seed=0)


def test_a_tag_is_downloaded_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "cached.pt", PLAIN)
    monkeypatch.setattr("encoders.weights.loading.is_tag", lambda config, pretrained: True)
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: {"quick_gelu": True})
    monkeypatch.setattr(open_clip, "download_pretrained", lambda description: str(path))
    loaded = load_model(write_config(tmp_path), "openai", None, seed=0)
    assert_same(loaded.model, PLAIN)
    assert (loaded.report.source, loaded.report.sha256) == ("openai", sha256_of(path))


def test_without_a_network_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(description: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    with pytest.raises(WeightsMissingError, match=r"no route to host.*--pretrained"):
        load_model("ViT-B-16-quickgelu", "openai", None, seed=0)


@pytest.mark.parametrize(("level", "expected"), [(logging.WARNING, []), (logging.INFO, ["Retrying in 1s"])])
def test_the_attempts_of_the_hubs_client_are_told_where_more_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, level: int, expected: list[str]
) -> None:
    client = logging.getLogger("huggingface_hub.utils._http")

    def fail(description: object) -> str:
        client.warning("Retrying in 1s")
        raise OSError("no route to host")

    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    with caplog.at_level(level, "encoders"), pytest.raises(WeightsMissingError, match="no route to host"):
        load_model("ViT-B-16-quickgelu", "openai", None, seed=0)
    assert [record.getMessage() for record in caplog.records if record.name == client.name] == expected
    assert client.isEnabledFor(logging.WARNING)


def test_a_download_is_told_of_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved(tmp_path / "cached.pt", PLAIN)
    told: list[tuple[int, str]] = []

    def download(description: object) -> str:
        told[:] = [(record.levelno, record.getMessage()) for record in caplog.records]
        return str(path)

    monkeypatch.setattr(open_clip, "download_pretrained", download)
    monkeypatch.setattr("encoders.weights.pretrained.try_to_load_from_cache", lambda repository, name: None)
    config = ModelConfig.from_name_or_file("ViT-B-16-quickgelu")
    with caplog.at_level(logging.INFO, "encoders"):
        assert download_weights(config, "openai") == path
    [(level, message)] = told
    assert level == logging.WARNING  # which is shown without -v
    assert message.startswith("downloading the weights 'openai' of ViT-B-16-quickgelu: timm/vit_base_patch16_clip_224")
    caplog.clear()
    monkeypatch.setattr("encoders.weights.pretrained.try_to_load_from_cache", lambda repository, name: str(path))
    with caplog.at_level(logging.INFO, "encoders"):
        download_weights(config, "openai")
    assert [level for level, _ in told] == [logging.INFO]


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ({"hf_hub": "owner/here/"}, True),
        ({"hf_hub": "owner/named/weights.bin"}, True),
        ({"hf_hub": "owner/absent/"}, False),
        ({"url": "https://example.org/here.pt"}, True),
        ({"url": "https://example.org/absent.pt"}, False),
        ({"url": "https://example.org/here.pt", "hf_hub": "owner/absent/"}, False),
        ({"file": "mine.pt"}, True),
    ],
)
def test_caches_are_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, description: dict[str, object], expected: bool
) -> None:
    there = {("owner/here", "open_clip_model.safetensors"), ("owner/named", "weights.safetensors")}
    monkeypatch.setattr(
        "encoders.weights.pretrained.try_to_load_from_cache",
        lambda repository, name: "/cache/file" if (repository, name) in there else object(),  # known not to exist
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".cache/clip").mkdir(parents=True)
    (tmp_path / ".cache/clip/here.pt").touch()
    assert is_cached(description) is expected


def test_how_far_a_download_is_is_told_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repo_id: str, filename: str, *, tqdm_class: type, **others: object) -> str:
        with tqdm_class(total=300, initial=100, desc=filename, unit="B") as bar:
            bar.update(150)
            bar.update(50)
        return str(tmp_path / filename)

    monkeypatch.setattr("open_clip.pretrained.hf_hub_download", download)
    monkeypatch.setattr("encoders.weights.pretrained.try_to_load_from_cache", lambda repository, name: None)
    told: list[tuple[int, int]] = []
    config = ModelConfig.from_name_or_file("ViT-B-16-quickgelu")
    path = download_weights(config, "openai", lambda *numbers: told.append(numbers))
    assert path == tmp_path / "open_clip_model.safetensors"
    assert told == [(250, 300), (300, 300)]
    assert open_clip.pretrained.hf_hub_download is download
