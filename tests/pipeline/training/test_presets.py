from pathlib import Path

import pytest

from encoders.training.options import TrainOptions
from encoders.weights.loading import load_model
from pipeline.training.presets import load_preset, preset_names


def test_presets_that_come_with_the_package() -> None:
    paper = load_preset("fda-clip")
    assert (paper.model, paper.pretrained, paper.train) == ("ViT-B-16-quickgelu", "openai", TrainOptions())
    demo = load_preset("demo")
    assert demo.pretrained == "none"
    loaded = load_model(demo.model, demo.pretrained, None, seed=0)
    assert (loaded.config.name, loaded.config.image_size) == ("demo", 224)


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
