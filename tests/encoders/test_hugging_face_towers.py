"""Text towers and tokenizers of Hugging Face, small ones in its format. Skipped where transformers is not installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from encoders.encoding.encoder import Encoder
from encoders.errors import ModelError
from encoders.options import Precision
from encoders.tokens import Tokenizer
from encoders.torchvision_shim import import_open_clip, import_text_towers
from encoders.training.options import TrainOptions
from encoders.training.parameters import parameter_groups
from encoders.weights.loading import load_checkpoint, load_model, save_checkpoint
from tests.encoders_tiny import TINY_VISION, random_clips
from tests.small_towers import plain_of

transformers = pytest.importorskip("transformers", reason="the extra transformers is not installed")
open_clip = import_open_clip()

WORDS = ["a", "dog", "cat", "runs", "stands", "red"]
SIZES = {"vocab_size": 32, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
TOWERS: dict[str, dict[str, Any]] = {
    "roberta": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    "xlm-roberta": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    "mt5": {"d_model": 32, "num_layers": 2, "num_heads": 2, "d_kv": 16, "d_ff": 32, "decoder_start_token_id": 0},
    "m2m_100": {
        "d_model": 32,
        **{f"{part}_layers": 2 for part in ("encoder", "decoder")},
        **{f"{part}_attention_heads": 2 for part in ("encoder", "decoder")},
        **{f"{part}_ffn_dim": 32 for part in ("encoder", "decoder")},
    },
}
TEXTS = ["a dog runs", "a red cat stands", "a dog runs", "a dog a dog a dog a dog a dog a dog"]


def write_model(folder: Path, kind: str) -> Path:
    """A model file of open_clip, with its text tower and its tokenizer in a folder beside it."""
    text = folder / "text"
    text.mkdir()
    (text / "config.json").write_text(
        json.dumps({"model_type": kind, "max_position_embeddings": 32, **SIZES, **TOWERS[kind]})
    )
    tokenizers = pytest.importorskip("tokenizers")
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(text)
    described = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
        "text_cfg": {
            "hf_model_name": "text",
            "hf_tokenizer_name": "text",
            "hf_proj_type": "mlp",
            "context_length": 12,
            "hf_pooler_type": "cls_pooler" if kind == "m2m_100" else "mean_pooler",
        },
    }
    (folder / "mine.json").write_text(json.dumps(described))
    return folder / "mine.json"


@pytest.mark.parametrize("kind", TOWERS)
def test_texts_are_open_clips(kind: str, tmp_path: Path) -> None:
    loaded = load_model(str(write_model(tmp_path, kind)), "none")
    encoder = Encoder(loaded.model)
    texts = encoder.encode_texts(TEXTS)
    assert (texts.text[0] == texts.text[2]).all()
    assert texts.num_dropped.tolist() == [0, 0, 0, 2]
    import_text_towers()
    plain = plain_of({**json.loads(json.dumps(loaded.config.architecture)), **_local(loaded.config.text_cfg)})
    plain.load_state_dict({name: one for name, one in loaded.model.named_tensors().items() if "alpha" not in name})
    tokenizer = open_clip.tokenizer.HFTokenizer(str(tmp_path / "text"), context_length=12)
    with torch.inference_mode():
        expected = plain.encode_text(tokenizer(TEXTS), normalize=True).numpy()
    np.testing.assert_allclose(texts.text, expected, atol=1e-6)
    half = Encoder(loaded.model, precision=Precision.BF16).encode_texts(TEXTS).text
    assert (half * expected).sum(axis=1).min() > 0.99
    frames, masks = random_clips(1, 2, TINY_VISION.image_size)
    assert np.isfinite(encoder.encode_clips(frames, masks).video).all()


def test_a_tower_is_trained_layer_by_layer_and_kept(tmp_path: Path) -> None:
    loaded = load_model(str(write_model(tmp_path, "roberta")), "none")
    rates = {
        name: group.lr
        for group in parameter_groups(loaded.model, TrainOptions(layer_decay=0.5, lr=1.0, alpha_lr=1.0))
        for name in group.names
    }
    blocks = [next(rate for name, rate in rates.items() if f"encoder.layer.{number}." in name) for number in (0, 1)]
    assert blocks == [0.25, 0.5]
    assert next(rate for name, rate in rates.items() if "embeddings.word" in name) == 0.125
    save_checkpoint(tmp_path / "checkpoint", loaded.model, loaded.config, {})
    again = load_checkpoint(tmp_path / "checkpoint")
    assert Tokenizer.of(again.config)(TEXTS).tokens.tolist() == Tokenizer.of(loaded.config)(TEXTS).tokens.tolist()
    assert (Encoder(again.model).encode_texts(TEXTS).text == Encoder(loaded.model).encode_texts(TEXTS).text).all()


def test_positions_that_older_versions_kept_are_no_weights(tmp_path: Path) -> None:
    model = write_model(tmp_path, "roberta")
    tensors = load_model(str(model), "none").model.named_tensors()
    extra = {"text.transformer.embeddings.position_ids": torch.arange(32)[None]}
    torch.save({**{name: one for name, one in tensors.items() if "alpha" not in name}, **extra}, tmp_path / "old.pt")
    report = load_model(str(model), str(tmp_path / "old.pt")).report
    assert report.unexpected == tuple(extra)


def test_a_tower_that_is_not_described_here_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    model = write_model(tmp_path, "roberta")
    (tmp_path / "text/config.json").unlink()
    with pytest.raises(ModelError, match=r"put config\.json of https://huggingface\.co/"):
        load_model(str(model), "none")
    (tmp_path / "text/config.json").write_text('{"model_type": "nonesuch", "auto_map": {"AutoConfig": "evil.Config"}}')
    with pytest.raises(ModelError, match="cannot read the description of the text tower"):
        load_model(str(model), "none")


def _local(text: Any) -> dict[str, Any]:
    return {"text_cfg": {**text.settings, "hf_model_pretrained": False}, "custom_text": True}
