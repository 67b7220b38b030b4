from dataclasses import replace
from pathlib import Path

import pytest

from encoders.config import ModelConfig
from encoders.training.options import TrainOptions
from encoders.weights.loading import load_model
from encoders.weights.pretrained import is_tag
from pipeline.training.presets import clip_differences, load_preset, preset_folder, preset_names


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
    assert other.encoding == {
        "model": other.model,
        "pretrained": other.pretrained,
        "alpha": "masks",
        "pooling": pooling,
    }


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
    preset = load_preset(str(tmp_path / "mine.toml"))
    assert preset.model == str(tmp_path / "mine.json")
    assert preset.train == TrainOptions(epochs=2)


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
    ],
)
def test_bad_presets_say_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ValueError, match=words):
        load_preset(str(tmp_path / "mine.toml"))


def test_unknown_presets_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match=f"'demoo'.*{', '.join(preset_names())}"):
        load_preset("demoo")
