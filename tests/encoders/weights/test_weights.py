import logging
import os
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from encoders.config import ModelConfig
from encoders.errors import WeightsFormatError, WeightsMismatchError, WeightsMissingError
from encoders.options import Activation
from encoders.torchvision_shim import import_open_clip
from encoders.weights.files import WeightsFile, WeightsKind, sha256_of
from encoders.weights.fit import check_activation
from encoders.weights.loading import load_model
from tests.encoders_tiny import (
    ALPHA_WEIGHT,
    PLAIN,
    TENSORS,
    TINY,
    alpha_clip_layout,
    assert_same,
    saved,
    tiny_model,
    write_config,
)

open_clip = import_open_clip()

SCALARS = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors"])
def test_open_clips_state_dict(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(PLAIN, path)
    else:
        torch.save(PLAIN, path)
    loaded = load_model(write_config(tmp_path), str(path), None, seed=0, activation=Activation.QUICK_GELU)
    assert_same(loaded.model, PLAIN | {ALPHA_WEIGHT: torch.zeros(32, 1, 16, 16)})
    report = loaded.report
    assert (report.source, report.kind, report.matched) == (str(path), "open_clip", len(PLAIN))
    assert (report.missing, report.unexpected) == ((ALPHA_WEIGHT,), ())
    assert report.sha256 == sha256_of(path)
    assert "alpha convolution is zero" in report.summary()


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    halves = {name: tensor.half() for name, tensor in PLAIN.items()}
    path = saved(tmp_path / "half.pt", halves)
    loaded = load_model(write_config(tmp_path), str(path), None, seed=0, activation=Activation.QUICK_GELU)
    assert_same(loaded.model, {name: tensor.float() for name, tensor in halves.items()})
    assert {tensor.dtype for tensor in loaded.model.named_tensors().values()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_floats_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    stored = {name: tensor.to(dtype) for name, tensor in PLAIN.items()}
    path = saved(tmp_path / "weights.pt", stored)
    loaded = load_model(write_config(tmp_path), str(path), activation=Activation.QUICK_GELU)
    assert_same(loaded.model, {name: tensor.float() for name, tensor in stored.items()})


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_tensors_that_are_no_floats_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    path = saved(tmp_path / "packed.pt", PLAIN | {"visual.proj": PLAIN["visual.proj"].to(dtype)})
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(WeightsMismatchError, match=f"packed.pt.*1 not floating point.*visual.proj is {name}"):
        load_model(write_config(tmp_path), str(path), activation=Activation.QUICK_GELU)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e300])
@pytest.mark.parametrize("argument", ["pretrained", "alpha"])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float, argument: str) -> None:
    tensors = {name: tensor.double() for name, tensor in TENSORS.items()}  # float32 has no 1e300
    tensors["visual.proj"][0, :3] = value
    tensors["visual.ln_post.bias"][1] = value
    path = tmp_path / "diverged.pt"
    config = write_config(tmp_path)
    words = r"diverged\.pt contains NaN or infinite values: .*3 of 512 in visual\.proj"
    saved(path, tensors if argument == "pretrained" else alpha_clip_layout(tensors))
    pretrained, alpha = (str(path), None) if argument == "pretrained" else ("none", path)
    activation = Activation.QUICK_GELU if argument == "pretrained" else None
    with pytest.raises(WeightsFormatError, match=words) as caught:
        load_model(config, pretrained, alpha, activation=activation)
    assert "1 of 32 in visual.ln_post.bias" in str(caught.value)


def test_large_values_are_finite_though_their_sum_is_not(tmp_path: Path) -> None:
    path = saved(tmp_path / "large.pt", PLAIN | {"visual.proj": torch.full((32, 16), 3e38)})
    loaded = load_model(write_config(tmp_path), str(path), activation=Activation.QUICK_GELU)
    assert (loaded.model.named_tensors()["visual.proj"] == torch.tensor(3e38)).all()


def test_openais_state_dict(tmp_path: Path) -> None:
    path = saved(tmp_path / "openai.pt", PLAIN | SCALARS)
    loaded = load_model(write_config(tmp_path), str(path), None, seed=0)
    assert_same(loaded.model, PLAIN)
    assert loaded.report.kind == "OpenAI CLIP"
    assert loaded.report.unexpected == ("context_length", "input_resolution", "vocab_size")


class _Tree(nn.Module):
    """Parameters under given names, to be traced into an archive like OpenAI's."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        branches: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            head, _, tail = name.partition(".")
            if tail:
                branches.setdefault(head, {})[tail] = tensor
            else:
                self.register_buffer(head, tensor)
        for head, branch in branches.items():
            self.add_module(head, _Tree(branch))

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_openais_archive(tmp_path: Path) -> None:
    path = tmp_path / "archive.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(_Tree(PLAIN | SCALARS)).save(str(path))  # type: ignore[no-untyped-call]
    loaded = load_model(write_config(tmp_path), str(path), None, seed=0)
    assert_same(loaded.model, PLAIN)
    assert loaded.report.kind == "OpenAI CLIP"


def test_training_checkpoint_of_distributed_data_parallel(tmp_path: Path) -> None:
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in PLAIN.items()}}
    path = saved(tmp_path / "epoch_3.pt", wrapped)
    assert_same(
        load_model(write_config(tmp_path), str(path), None, seed=0, activation=Activation.QUICK_GELU).model, PLAIN
    )


@pytest.mark.parametrize("prefix", ["", "module."])
def test_alpha_clips_file_over_openais(tmp_path: Path, prefix: str) -> None:
    other = tiny_model(seed=8).named_tensors()
    base = saved(tmp_path / "openai.pt", PLAIN | SCALARS)
    tower = saved(tmp_path / "alpha.pth", alpha_clip_layout(other, prefix))
    loaded = load_model(write_config(tmp_path), str(base), tower, seed=0)
    text = {name: tensor for name, tensor in PLAIN.items() if not name.startswith("visual.")}
    assert_same(loaded.model, {name: tensor for name, tensor in other.items() if name.startswith("visual.")} | text)
    report = loaded.report
    assert report.source == f"{base} + {tower}"
    assert report.kind == "OpenAI CLIP + Alpha-CLIP"
    assert report.sha256 == f"{sha256_of(base)} + {sha256_of(tower)}"
    assert (report.matched, report.missing) == (len(TENSORS), ())


def test_alpha_clips_file_over_random_weights_says_that_the_text_tower_is_random(tmp_path: Path) -> None:
    tower = saved(tmp_path / "alpha.pth", alpha_clip_layout(TENSORS))
    report = load_model(write_config(tmp_path), "none", tower, seed=0).report
    assert all(not name.startswith("visual.") for name in report.missing)
    assert f"{len(report.missing)} tensors are RANDOM" in report.summary()


def test_alpha_clips_file_without_its_convolution_leaves_it_zero(tmp_path: Path) -> None:
    # Even over weights that had one: it belongs to the tower that was replaced.
    base = saved(tmp_path / "ours.pt", dict(TENSORS))
    tower = alpha_clip_layout(TENSORS)
    del tower["conv1_alpha.weight"]
    loaded = load_model(
        write_config(tmp_path),
        str(base),
        saved(tmp_path / "tower.pth", tower),
        seed=0,
        activation=Activation.QUICK_GELU,
    )
    assert loaded.report.missing == (ALPHA_WEIGHT,)
    assert not loaded.model.named_tensors()[ALPHA_WEIGHT].any()


def test_random_weights_are_said_out_loud_and_depend_on_the_seed_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = write_config(tmp_path)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with caplog.at_level(logging.INFO, "encoders.weights.loading"):
        one = load_model(config, "none", None, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    same, other = load_model(config, "none", None, seed=3), load_model(config, "none", None, seed=4)
    assert_same(same.model, one.model.named_tensors())
    assert same.report == one.report
    assert other.report.sha256 != one.report.sha256
    assert (one.report.kind, one.report.matched, len(one.report.missing)) == ("random", 0, len(TENSORS))
    assert "RANDOM" in caplog.text
    assert "seed 3" in caplog.text
    assert not one.model.named_tensors()[ALPHA_WEIGHT].any()


def _cut(write: Callable[[Path], object]) -> Callable[[Path], object]:
    def write_and_cut(path: Path) -> None:
        write(path)
        path.write_bytes(path.read_bytes()[:-4000])

    return write_and_cut


class _RunsCode:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("echo this must never run",)


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "web page": (lambda path: path.write_text("\n<!DOCTYPE html><html>Quota exceeded</html>"), "saved web page"),
    "text": (lambda path: path.write_text("Not Found — sorry"), "text file.*Not Found"),
    "lfs": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n"), "git lfs pull"),
    "noise": (lambda path: path.write_bytes(bytes(range(256)) * 20), "not a weights file|damaged"),
    "cut zip": (_cut(lambda path: torch.save(PLAIN, path)), "cut short or damaged"),
    "cut pickle": (
        _cut(lambda path: torch.save(PLAIN, path, _use_new_zipfile_serialization=False)),
        "cut short or damaged",
    ),
    "cut safetensors": (_cut(lambda path: safetensors.torch.save_file(PLAIN, path)), "cut short or damaged"),
    "code": (lambda path: torch.save({"x": _RunsCode()}, path), "never unpickled"),
    "plain pickle": (lambda path: path.write_bytes(pickle.dumps({"x": 1.5})), "not a (weights file|state dict)"),
    "a list": (lambda path: torch.save([torch.ones(1)], path), "a list, not a state dict"),
    "no tensors": (lambda path: torch.save({"epoch": 3}, path), "it contains epoch"),
    "nothing": (lambda path: torch.save({}, path), "it contains nothing"),
    "LoRA": (
        lambda path: torch.save(
            alpha_clip_layout(TENSORS) | {"transformer.resblocks.0.attn.in_proj.lora_A": torch.ones(2)}, path
        ),
        "LoRA adapters.*merge",
    ),
    "Hugging Face": (lambda path: torch.save({"vision_model.x": torch.ones(1)}, path), "Hugging Face's layout"),
    "another model": (lambda path: torch.save({"layer1.weight": torch.ones(1)}, path), "layer1.weight"),
}


@pytest.mark.parametrize("case", BAD_FILES)
@pytest.mark.parametrize("argument", ["pretrained", "alpha"])
def test_files_that_are_no_weights(tmp_path: Path, case: str, argument: str, capfd: pytest.CaptureFixture[str]) -> None:
    write, words = BAD_FILES[case]
    path = tmp_path / "clip_b16_grit1m_fultune_8xe.pth"
    write(path)
    pretrained, alpha = (str(path), None) if argument == "pretrained" else ("none", path)
    with pytest.raises(WeightsFormatError, match=words) as caught:
        load_model(write_config(tmp_path), pretrained, alpha, seed=0)
    assert path.name in str(caught.value)
    assert "must never run" not in capfd.readouterr().out


def test_files_that_are_not_there(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with pytest.raises(WeightsMissingError, match=r"no weights 'gone\.pt'.*no such file and no such tag"):
        load_model(config, "gone.pt", None, seed=0)
    with pytest.raises(FileNotFoundError, match=r"gone\.pth: no such file"):
        load_model(config, "none", tmp_path / "gone.pth", seed=0)
    with pytest.raises(WeightsMissingError, match="a folder"):
        load_model(config, str(tmp_path), None, seed=0)


def test_towers_and_whole_models_are_not_confused(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    tower = saved(tmp_path / "tower.pth", alpha_clip_layout(TENSORS))
    whole = saved(tmp_path / "whole.pth", PLAIN)
    with pytest.raises(WeightsFormatError, match=r"without a text tower.*--alpha-checkpoint"):
        load_model(config, str(tower), None, seed=0)
    with pytest.raises(WeightsFormatError, match=r"whole CLIP model.*--pretrained"):
        load_model(config, "none", whole, seed=0)


def test_missing_and_unexpected_tensors_are_listed(tmp_path: Path) -> None:
    tensors = PLAIN | {"visual.extra": torch.ones(1)}
    del tensors["ln_final.bias"]
    path = saved(tmp_path / "odd.pt", tensors)
    with pytest.raises(WeightsMismatchError, match=r"1 missing: ln_final\.bias; 1 unexpected: visual\.extra") as caught:
        load_model(write_config(tmp_path), str(path), None, seed=0, activation=Activation.QUICK_GELU)
    assert isinstance(caught.value, ValueError)


def test_no_more_than_five_names_are_listed(tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in PLAIN.items() if "resblocks.1" not in name}
    path = saved(tmp_path / "shallow.pt", tensors)
    with pytest.raises(WeightsMismatchError, match="12 missing: ") as caught:
        load_model(write_config(tmp_path), str(path), None, seed=0, activation=Activation.QUICK_GELU)
    assert str(caught.value).count("resblocks.1") == 5


def test_positions_are_not_resized_and_the_right_model_is_named(tmp_path: Path) -> None:
    # A tower of L/14@336 in all that tells it apart, offered to the model of 224 pixels.
    tower: dict[str, Tensor] = {
        "class_embedding": torch.zeros(1024),
        "conv1.weight": torch.zeros(1024, 3, 14, 14),
        "positional_embedding": torch.zeros(577, 1024),
        "proj": torch.zeros(1024, 768),
        "transformer.resblocks.23.mlp.c_fc.weight": torch.zeros(4096, 1024),
    }
    path = saved(tmp_path / "clip_l14_336.pth", tower)
    small = {
        "embed_dim": 768,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 224, "patch_size": 14, "width": 1024, "layers": 1},
        "text_cfg": {"width": 16, "heads": 2, "layers": 1},
    }
    config = ModelConfig.from_architecture("small", small, "small")
    with pytest.raises(WeightsMismatchError) as caught:
        load_model(write_config(tmp_path, config), "none", path, seed=0)
    message = str(caught.value)
    assert "visual.positional_embedding is (577, 1024) and should be (257, 1024)" in message
    assert "it is ViT-L-14-336-quickgelu: use that model name" in message


@pytest.mark.parametrize("kind", ["openai", "alpha"])
def test_quick_gelu_is_demanded(tmp_path: Path, kind: str) -> None:
    gelu = ModelConfig(TINY.name, TINY.embed_dim, TINY.vision_cfg, TINY.text_cfg, quick_gelu=False)
    config = write_config(tmp_path, gelu)
    path = saved(tmp_path / "x.pt", PLAIN | SCALARS if kind == "openai" else alpha_clip_layout(TENSORS))
    pretrained, alpha = (str(path), None) if kind == "openai" else ("none", path)
    with pytest.raises(WeightsMismatchError, match=r'QuickGELU.*"quick_gelu": true'):
        load_model(config, pretrained, alpha, seed=0)


def test_quick_gelu_names_open_clips_model() -> None:
    file = WeightsFile(Path("x.pt"), WeightsKind.OPENAI, "", {}, (), quick_gelu=True)
    with pytest.raises(WeightsMismatchError, match="use ViT-B-16-quickgelu"):
        check_activation(ModelConfig.from_name_or_file("ViT-B-16"), file, None)
