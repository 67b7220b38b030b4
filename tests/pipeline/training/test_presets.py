from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

import fda
from encoders.config import ModelConfig
from encoders.training.options import TrainOptions
from encoders.weights.loading import load_model
from encoders.weights.pretrained import is_tag
from pipeline.training.presets import (
    chosen_preset,
    clip_differences,
    load_preset,
    preset_folder,
    preset_names,
)


def test_presets_that_come_with_the_package() -> None:
    alpha = load_preset("fda-clip-alpha")
    assert (alpha.model, alpha.pretrained, alpha.train) == ("ViT-B-16-quickgelu", "openai", TrainOptions())
    demo = load_preset("demo")
    assert demo.pretrained == "none"
    loaded = load_model(demo.model, demo.pretrained, None, seed=0)
    assert (loaded.config.name, loaded.config.image_size) == ("demo", 224)


def test_the_papers_preset_and_the_authors_differ_where_they_say() -> None:
    paper, code = load_preset("fda-clip"), load_preset("fda-clip-authors")
    assert (paper.train.lr, paper.train.alpha_lr, code.train.lr, code.train.alpha_lr) == (1e-6, 1e-6, 1e-7, 1e-7)
    assert (paper.val_split, code.val_split) == (None, "test")
    same = replace(code.train, lr=1e-6, alpha_lr=1e-6, evaluations=1, window=1, precision="auto")
    assert same == paper.train
    assert replace(code.batches, same_video="apart", align_masks=True) == paper.batches
    assert {**paper.preprocess, "eval-sampling": "prompt-switch"} == code.preprocess


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("pe-core-b16", {"pooling": "unit-mean"}),
        ("siglip2-b16", {"loss": "sigmoid", "weight_decay": 0.0, "decay_vectors": False, "beta2": 0.95}),
        ("eva02-b16", {}),
    ],
)
def test_presets_of_other_models_are_the_papers_but_for_what_they_say(name: str, changed: dict[str, object]) -> None:
    paper, other = load_preset("fda-clip"), load_preset(name)
    assert other.train == replace(paper.train, alpha_lr=1e-4, **changed)  # type: ignore[arg-type]
    assert other.batches == paper.batches
    config = ModelConfig.from_name_or_file(other.model)
    assert is_tag(config, other.pretrained)
    assert other.preprocess["image-size"] == config.image_size
    assert (other.model_source.model, other.model_source.pretrained) == (other.model, other.pretrained)
    pooling = changed.get("pooling", "mean")
    assert other.encode_options("mine") == fda.EncodeOptions(
        "mine", alpha=fda.AlphaSource.MASKS, pooling=fda.Pooling(str(pooling))
    )


def test_a_split_of_the_preset_is_told_where_it_differs() -> None:
    code = load_preset("fda-clip-authors")
    made = {"train_frames": 24, "eval_frames": 12, "sampling": {"mode": "uniform"}, "threshold": 25.0}
    assert clip_differences(code, [made]) == ["eval_sampling is uniform in the store and prompt-switch in the preset"]
    assert clip_differences(code, [{**made, "eval_sampling": {"mode": "prompt-switch"}}]) == []


def test_a_copied_preset_finds_the_model_beside_the_first_one(tmp_path: Path) -> None:
    copy = tmp_path / "mine.toml"
    copy.write_text((preset_folder() / "demo.toml").read_text())
    assert load_preset(str(copy)) == load_preset("demo")


def test_a_preset_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    (tmp_path / "mine.toml").write_text('[model]\nmodel = "mine.json"\npretrained = "none"\n[finetune]\nepochs = 2\n')
    preset = load_preset(tmp_path / "mine.toml")
    assert preset.model == str(tmp_path / "mine.json")
    assert preset.train == TrainOptions(epochs=2)
    assert preset.preprocess_options == fda.PreprocessOptions()


OWN = '[model]\nmodel = "a"\npretrained = "none"\nalpha = "ones"\n[finetune]\nmax_words = 8\n[preprocess]\n'


def test_a_preset_is_the_options_of_each_function(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        f"{OWN}train-frames = 4\neval_frames = 8\nsampling = 'clip4clip'\neval-sampling = 'fps'\nfps = 0.1\n"
        "masks = 'soft'\nsoft = true\ntimeout = 5\ndifference = 'auto'\nframe-codec = 'jpeg'\n"
    )
    preset = load_preset(path)
    assert preset.preprocess_options == fda.PreprocessOptions(
        train_frames=4,
        eval_frames=8,
        sampling=fda.Sampling(fda.SamplingMode.CLIP4CLIP),
        eval_sampling=fda.Sampling(fda.SamplingMode.FPS, Fraction(1, 10)),
        frame_codec="jpeg",
        timeout_seconds=5.0,
        mask_name="soft",
        masks=fda.MaskOptions(soft=True, difference=fda.Difference.AUTO),
    )
    assert preset.encode_options("mine") == fda.EncodeOptions(
        "mine", alpha=fda.AlphaSource.ONES, pooling=fda.Pooling.MEAN, max_words=8
    )
    assert preset.model_source == fda.ModelSource(model="a", pretrained="none")
    assert preset.finetune_options == fda.FinetuneOptions(preset=str(path))


def test_a_preset_with_other_settings_is_trained_with_them() -> None:
    changed = load_preset("demo").with_settings({"lr": 1e-3}).with_settings({"flip": 0.5, "pooling": "unit-mean"})
    assert changed.finetune_options.settings == {"lr": 1e-3, "flip": 0.5, "pooling": "unit-mean"}
    assert chosen_preset(changed.finetune_options) == changed != load_preset("demo")
    assert changed.encode_options("mine").pooling is fda.Pooling.UNIT_MEAN


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[model", "is not a TOML file"),
        ("[finetune]", r"mine\.toml lacks model"),
        ('[model]\nmodel = "a"\n[finetune]', "lacks pretrained"),
        ('[model]\nmodel = "a"\npretrained = 1\n[finetune]', "'pretrained'.*a text, got 1"),
        ('[model]\nmodel = "a"\npretrained = "none"\nseed = 1\n[finetune]', "unknown keys: seed"),
        ('[model]\nmodel = "a"\npretrained = "none"\n[finetune]\nrate = 1', r"\[finetune\].*unknown keys: rate"),
        ('finetune = 1\n[model]\nmodel = "a"\npretrained = "none"', r"\[finetune\].*must be a table"),
        ("[model]\n[finetune]\n[extra]", "unknown keys: extra"),
        (f"{OWN}tresh = 1", r"\[preprocess\] of .*mine\.toml has unknown keys: tresh; it may have compensation, cuts,"),
        (f"{OWN}workers = 1", "unknown keys: workers"),  # not of the clips
        (f"{OWN}train-frames = '6'", "'train-frames' in .* must be a whole number, got '6'"),
        (f"{OWN}train-frames = 6.5", "must be a whole number, got 6.5"),
        (f"{OWN}neighbours = 1", "'neighbours' in .* must be true or false, got 1"),
        (f"{OWN}train-frames = 6\ntrain_frames = 6", "'train_frames' twice"),
        (f"{OWN}resize = 'best'", r"\[preprocess\] of .*: resize must be one of swscale, clip, got 'best'"),
        (f"{OWN}sampling = 'all'", r"\[preprocess\] of .*: sampling must be one of uniform, fps"),
        (f"{OWN}fps = 2", r"\[preprocess\] of .*: fps belongs to sampling 'fps', not to 'uniform'"),
        (f"{OWN}sampling = 'fps'\nfps = true", "'fps' in .* must be a text, got True"),
        (f"{OWN}keep = 'head'", "keep belongs to sampling 'fps' and 'clip4clip'"),
        (f"{OWN}threshold = 300", "threshold must be in 0..255"),
        ('preprocess = 1\n[model]\nmodel = "a"\npretrained = "none"\n[finetune]', r"\[preprocess\].*must be a table"),
    ],
)
def test_bad_presets_say_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ValueError, match=words):
        load_preset(tmp_path / "mine.toml")


def test_unknown_presets_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match=f"'demoo'.*{', '.join(preset_names())}"):
        load_preset("demoo")
