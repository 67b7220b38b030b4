import importlib.util
import json
import math
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders import torchvision_shim
from encoders.building import num_bytes
from encoders.config import ModelConfig, TextTower, VisionTower, supported_models
from encoders.errors import ModelError
from encoders.inputs import check_clips
from encoders.model import AlphaClip, AlphaConv, pool
from encoders.options import Pooling
from encoders.patches import gather_patches
from encoders.temporal.options import TemporalOptions
from encoders.temporal.trainer import TemporalShape, TemporalTrainer
from encoders.tokens import Tokenizer
from encoders.torchvision_shim import import_open_clip, import_timm
from encoders.training.options import TrainOptions
from encoders.training.trainer import TrainBatch, Trainer
from encoders.weights.loading import load_model
from tests.encoders_tiny import (
    ALPHA_WEIGHT,
    TEXT_HEADS,
    TINY,
    TINY_TEXT,
    TINY_VISION,
    assert_close,
    random_clips,
    reference_inputs,
    reference_text_features,
    tiny_model,
    vision_inputs,
    write_config,
)
from tests.forked import Forked

open_clip = import_open_clip()
CPU = torch.device("cpu")


def test_text_features_are_clips() -> None:
    model = tiny_model()
    tokens = Tokenizer(TINY.context_length)(["a red star is moving", "", "it " * 30]).tokens
    tensors = {name.replace("in_proj_", "in_proj."): tensor for name, tensor in model.named_tensors().items()}
    with torch.inference_mode():
        expected = reference_text_features(tensors, tokens, TEXT_HEADS)
        assert_close(model.encode_texts(tokens), expected, rtol=0, atol=1e-5)


def test_zero_alpha_convolution_is_plain_open_clip_to_the_bit() -> None:
    torch.manual_seed(0)
    alpha_clip = AlphaClip(TINY).eval()
    torch.manual_seed(0)
    plain = open_clip.CLIP(
        TINY.embed_dim,
        open_clip.CLIPVisionCfg(**asdict(TINY.vision_cfg)),
        open_clip.CLIPTextCfg(**asdict(TINY.text_cfg)),
        quick_gelu=True,
    ).eval()
    frames, alpha = random_clips(1, 3)
    images, masks = vision_inputs(frames[0], alpha[0], CPU)
    tokens = Tokenizer(TINY.context_length)(["a dog"]).tokens
    with torch.inference_mode():
        assert torch.equal(alpha_clip.encode_frames(images, masks), plain.encode_image(images))
        assert torch.equal(alpha_clip.encode_texts(tokens), plain.encode_text(tokens, normalize=True))


@pytest.mark.parametrize("soft", [False, True])
def test_patches_of_stored_frames_give_the_features_and_gradients_of_normalised_ones(soft: bool) -> None:
    model = tiny_model()
    size, grid = model.patch_size, TINY.image_size // model.patch_size
    clips, binary = random_clips(1, 3)
    frames, masks = clips[0], (binary[0] * np.uint8(200) if soft else binary[0])
    used = torch.full((3, grid * grid, 4 * size * size), torch.nan)  # memory that something else was in
    patches = gather_patches(torch.from_numpy(frames), torch.from_numpy(masks), used)
    conv1, gradients, features = model.clip.visual.conv1, [], []
    for encode, pictures in (
        (model.encode_patches, (patches,)),
        (model.encode_frames, vision_inputs(frames, masks, CPU)),
    ):
        model.zero_grad()
        found = encode(*pictures)
        torch.autograd.backward([(found * torch.arange(found.numel()).view_as(found)).sum()])
        features.append(found.detach())
        gradients.append([one.weight.grad.clone() for one in (conv1.rgb, conv1.alpha)])
    assert_close(*features, rtol=0, atol=2e-6)
    for of_patches, of_images in zip(*gradients, strict=True):
        assert_close(of_patches, of_images, rtol=1e-4, atol=1e-5 * float(of_images.abs().max()))


def test_alpha_matters_once_the_convolution_is_not_zero() -> None:
    model = tiny_model()
    frames, _ = random_clips(1, 1)
    on, off = np.ones((1, 32, 32), bool), np.zeros((1, 32, 32), bool)
    with torch.inference_mode():
        features = [model.encode_frames(*vision_inputs(frames[0], alpha, CPU)) for alpha in (on, off)]
    assert (features[0] - features[1]).abs().max() > 1e-3


def test_tensors_have_open_clips_names_and_one_more() -> None:
    model = AlphaClip(TINY)
    plain = open_clip.CLIP(16, open_clip.CLIPVisionCfg(layers=2), open_clip.CLIPTextCfg(layers=1))
    assert set(model.named_tensors()) == {*plain.state_dict(), ALPHA_WEIGHT}
    assert isinstance(model.clip.visual.conv1, AlphaConv)
    assert model.named_tensors()[ALPHA_WEIGHT].shape == (32, 1, 16, 16)


def test_pool_averages_and_then_normalises() -> None:
    frames = torch.tensor([[[3.0, 0.0], [3.0, 8.0]]])
    assert_close(pool(frames, torch.ones(frames.shape[:2], dtype=torch.bool), Pooling.MEAN), torch.tensor([[0.6, 0.8]]))


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3), st.sampled_from([1, 2, 16]), st.integers(0, 99))
def test_normalisation_is_clips(num_frames: int, size: int, seed: int) -> None:
    frames, alpha = random_clips(1, num_frames, size, seed)
    for found, expected in zip(
        vision_inputs(frames[0], alpha[0], CPU), reference_inputs(frames[0], alpha[0]), strict=True
    ):
        assert_close(found, expected, rtol=0, atol=1e-6)


def test_normalisation_leaves_its_arguments_alone_and_takes_read_only_and_reversed_ones() -> None:
    frames, alpha = random_clips(1, 2)
    before = frames.copy()
    frames.setflags(write=False)
    images, _ = vision_inputs(frames[0], alpha[0], CPU)
    backwards, _ = vision_inputs(frames[0, ::-1], alpha[0, ::-1], CPU)
    assert torch.equal(images.flip(0), backwards)
    np.testing.assert_array_equal(frames, before)


@pytest.mark.parametrize(
    ("frames", "alpha", "words"),
    [
        (np.zeros((1, 2, 32, 32, 3), np.float32), np.zeros((1, 2, 32, 32), bool), "float32"),
        (np.zeros((2, 32, 32, 3), np.uint8), np.zeros((2, 32, 32), bool), r"\(2, 32, 32, 3\)"),
        (np.zeros((1, 2, 32, 32, 4), np.uint8), np.zeros((1, 2, 32, 32), bool), r"\(1, 2, 32, 32, 4\)"),
        (np.zeros((1, 2, 32, 32, 3), np.uint8), np.zeros((1, 2, 32, 31), bool), r"\(1, 2, 32, 31\)"),
        (np.zeros((1, 2, 32, 32, 3), np.uint8), np.zeros((1, 2, 32, 32), np.float32), "float32"),
        (np.zeros((1, 0, 32, 32, 3), np.uint8), np.zeros((1, 0, 32, 32), bool), "at least one frame"),
        (np.zeros((1, 2, 24, 32, 3), np.uint8), np.zeros((1, 2, 24, 32), bool), r"24 x 32.*32 x 32.*--image-size 32"),
    ],
)
def test_clips_that_do_not_fit_are_refused(frames: np.ndarray, alpha: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_clips(frames, alpha, 32)


def test_a_config_goes_through_a_file(tmp_path: Path) -> None:
    assert ModelConfig.from_name_or_file(write_config(tmp_path)) == TINY


def test_open_clips_vit_names_are_supported() -> None:
    config = ModelConfig.from_name_or_file("ViT-B-16-quickgelu")
    assert (config.image_size, config.context_length, config.embed_dim) == (224, 77, 512)
    assert config.quick_gelu
    names = {model.name for model in supported_models()}
    assert {"ViT-B-32", "ViT-L-14-336-quickgelu", "ViT-H-14", "ViT-bigG-14", "ViT-M-16-alt"} <= names


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ViT-B-16-quickglu", "did you mean ViT-B-16-quickgelu"),
        ("zzz", "neither a model of open_clip nor a file"),
    ],
)
def test_models_that_cannot_be_used_are_refused(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ModelConfig.from_name_or_file(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{not json", "is not a JSON file"),
        ("[" * 100_000, "is not a JSON file"),
        (" " * (17 << 20), "it has more than 16 MiB"),
        ("[1, 2]", "must be a table"),
        ("{}", "lacks embed_dim, text_cfg, vision_cfg"),
        ('{"embed_dim": "16", "vision_cfg": {}, "text_cfg": {}}', "'embed_dim'.*whole number.*'16'"),
        ('{"embed_dim": 16, "vision_cfg": {}, "text_cfg": {}, "quick_gelu": 1}', "'quick_gelu'.*true or false"),
        ('{"embed_dim": 16, "vision_cfg": {}, "text_cfg": {}}', "vision_cfg of .* lacks image_size"),
    ],
)
def test_bad_config_files_say_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        ModelConfig.from_name_or_file(str(path))


@pytest.mark.parametrize(
    ("tower", "key", "value", "words"),
    [
        ("vision_cfg", "image_size", 33, "33 is not a multiple of patch_size 16"),
        ("vision_cfg", "head_width", 12, "32 is not a multiple of head_width 12"),
        ("vision_cfg", "layers", 0, "layers must be positive, got 0"),
        ("vision_cfg", "layers", 10**6, "layers must be at most 1,000, got 1,000,000"),
        ("vision_cfg", "mlp_ratio", math.inf, "mlp_ratio must be at most 1,048,576, got Infinity"),
        ("vision_cfg", "mlp_ratio", math.nan, "mlp_ratio must be positive, got nan"),
        pytest.param("vision_cfg", "width", 10**4000, "width must be at most 1,048,576, got 1.00e\\+4000", id="digits"),
        ("text_cfg", "layers", 1001, "layers must be at most 1,000"),
        ("text_cfg", "context_length", 1 << 21, "context_length must be at most 1,048,576"),
        ("vision_cfg", "width", 32.0, "'width'.*whole number, got 32.0"),
        ("vision_cfg", "pool_tipe", "avg", "unknown keys: pool_tipe"),
        ("text_cfg", "vocab_size", 1000, "49408, got 1000"),
        ("text_cfg", "heads", 3, "8 is not a multiple of heads 3"),
        ("text_cfg", "context_length", 1, "at least 2 \\(start and end\\), got 1"),
    ],
)
def test_bad_config_values_are_named(tmp_path: Path, tower: str, key: str, value: object, words: str) -> None:
    architecture = json.loads(Path(write_config(tmp_path)).read_text())
    architecture[tower][key] = value
    with pytest.raises(ValueError, match=words):
        ModelConfig.from_architecture("bad", architecture, "bad.json")


ARCHITECTURES = [
    TINY,
    ModelConfig("a", 24, VisionTower(48, 8, 36, 1, 12, 2.7, 0.1), TextTower(7, width=8, layers=3, mlp_ratio=1.3)),
    ModelConfig("b", 8, VisionTower(16, 16, 8, 3, 8, 0.5), TextTower(2, width=8, layers=1, ls_init_value=0.5)),
]


@pytest.mark.parametrize("config", ARCHITECTURES, ids=lambda config: config.name)
def test_the_weights_are_counted_without_building_the_model(config: ModelConfig) -> None:
    num_weights = sum(weights.numel() for weights in AlphaClip(config).parameters())
    assert num_bytes(config) == 4 * (num_weights + config.context_length**2 + 4 * config.image_size**2)


MANY = 1 << 20
TOO_LARGE = {
    "wide": replace(TINY, vision_cfg=replace(TINY_VISION, width=MANY)),
    "wide_text": replace(TINY, text_cfg=replace(TINY_TEXT, width=MANY)),
    "deep": replace(TINY, vision_cfg=replace(TINY_VISION, width=2048, layers=1000)),
    "mlp": replace(TINY, vision_cfg=replace(TINY_VISION, width=256, mlp_ratio=float(MANY))),
    "pictures": replace(TINY, vision_cfg=replace(TINY_VISION, image_size=MANY, patch_size=1024)),
    "patches": replace(TINY, vision_cfg=replace(TINY_VISION, image_size=MANY, patch_size=MANY)),
    "fine_patches": replace(TINY, vision_cfg=replace(TINY_VISION, image_size=1 << 16, patch_size=1)),
    "long_texts": replace(TINY, text_cfg=replace(TINY_TEXT, context_length=MANY)),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_memory_does_not_hold_is_refused_before_it_is_built(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distributed.system.memory_limit", lambda: 16 << 30)
    monkeypatch.setattr("encoders.weights.loading.AlphaClip", pytest.fail)
    with pytest.raises(ModelError, match=r"takes at least [\d,]+ GiB, and this machine has 16"):
        load_model(write_config(tmp_path, TOO_LARGE[name]), "none")


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=4), st.integers(2, 12))
def test_start_and_end_tokens_always_fit(texts: list[str], context_length: int) -> None:
    tokenized = Tokenizer(context_length)(texts)
    longer = Tokenizer(400)(texts)
    lengths = longer.num_tokens  # "!" is token 0, as the padding is
    assert tokenized.tokens.shape == (len(texts), context_length)
    assert (tokenized.num_dropped == (lengths - context_length).clip(min=0)).all()
    for row in tokenized.tokens:
        end = int(row.argmax())
        assert row[0] == 49406
        assert row[end] == 49407
        assert not row[end + 1 :].any()


def test_tokens_are_open_clips() -> None:
    texts = ["A man, playing the guitar!", "", "word " * 100]
    assert torch.equal(Tokenizer(77)(texts).tokens, open_clip.tokenize(texts, context_length=77))


@given(
    st.lists(st.sampled_from(["a dog", "<end_of_text>", "<start_of_text>", "&lt;END_of_Text&gt;", "!!", "<", "5"])),
    st.sampled_from([6, 77]),
)
@settings(max_examples=30)
def test_the_name_of_a_special_token_is_a_text_like_others(parts: list[str], context_length: int) -> None:
    """It neither ends a caption nor begins one, and what is cut off is counted."""
    text = "".join(parts)
    found = Tokenizer(context_length)([text])
    assert int((found.tokens == 49407).sum()) == int((found.tokens == 49406).sum()) == 1
    whole = Tokenizer(400)([text])
    assert int(found.num_dropped) == max(0, int(whole.num_tokens) - context_length)


def test_a_caption_with_an_end_token_in_it_is_read_to_its_end() -> None:
    found = Tokenizer(20)(["a dog <end_of_text> runs", "a dog < end_of_text> runs", "a dog"])
    assert torch.equal(found.tokens[0], found.tokens[1])
    assert found.num_tokens.tolist() == [12, 12, 4]


def test_one_text_is_not_a_list_of_letters() -> None:
    with pytest.raises(ValueError, match="'a dog'"):
        Tokenizer(10)("a dog")


def test_torchvision_is_left_alone_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(torchvision_shim, "_import_torchvision", lambda: pytest.fail("it was imported"))
    assert import_open_clip() is open_clip


def test_torchvision_that_is_broken_in_another_way_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> object:
        raise RuntimeError("another fault")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="another fault"):
        import_open_clip()


def test_neither_a_model_nor_training_imports_the_compiler_which_works_when_it_is_called(tmp_path: Path) -> None:
    process = Forked(_train_and_compile, err=tmp_path / "err")  # which has imported all that commands import
    assert process.wait() == 0, (tmp_path / "err").read_text()


def _train_and_compile() -> None:
    Trainer(tiny_model(), TrainOptions(), 1).step(TrainBatch(*random_clips(2, 1), ["a cat", "a dog"]))
    assert "sympy" not in sys.modules
    features = np.eye(4, dtype=np.float32)
    TemporalTrainer(TemporalShape(4, 1, 1), TemporalOptions(layers=1), 1).step(features[:, None], features)
    assert "torch._dynamo" not in sys.modules
    import_timm()
    assert "torch._dynamo" not in sys.modules
    is_supported = importlib.import_module("torchvision.ops.roi_align").is_compile_supported
    assert importlib.import_module("timm.models.naflexvit").NaFlexRopeIterator
    assert (is_supported("cpu"), is_supported("meta")) == (True, False)
    assert hasattr(sys.modules["torch._dynamo"], "optimize")
    assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item() == 2
