"""Training of dual encoders beside CLIP's ViTs: nothing but weights changes, and parts of a step are the whole."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders.config import ModelConfig
from encoders.errors import SettingError
from encoders.model import AlphaClip
from encoders.torchvision_shim import import_open_clip
from encoders.training.options import Loss, TrainOptions
from encoders.training.parameters import parameter_groups
from encoders.training.processes import joined_processes
from encoders.training.trainer import TrainBatch, Trainer
from tests.encoders_tiny import TINY, assert_close, random_clips
from tests.forked import Forked
from tests.small_towers import reduced, shrink_timm, stand_in_for_tokenizers

SigLipLoss = import_open_clip().loss.SigLipLoss
FAST = TrainOptions(lr=1e-3, alpha_lr=1e-2, weight_decay=0.0, warmup=0.0)
SIGMOID = replace(FAST, loss="sigmoid")
BIASED = replace(TINY, init_logit_bias=-10.0)
TEXTS = ["a cat", "a dog runs", "two birds"]


def _made(config: ModelConfig) -> AlphaClip:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AlphaClip(config)


def _small(name: str, monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
    shrink_timm(monkeypatch)
    described = reduced(name)
    stand_in_for_tokenizers(monkeypatch)
    return ModelConfig.from_architecture(name, described, name)


@pytest.mark.parametrize(
    ("name", "options"),
    [("RN50", FAST), ("MobileCLIP2-S0", FAST), ("PE-Core-B-16", FAST), ("ViT-B-16-SigLIP2", SIGMOID)],
)
def test_parts_of_a_step_are_the_whole_and_only_weights_change(
    name: str, options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Dropped paths and statistics of batches would make each part another one.
    config = _small(name, monkeypatch)
    batch = TrainBatch(*random_clips(3, 1, config.image_size), TEXTS)
    models = _made(config), _made(config)
    before = {key: tensor.clone() for key, tensor in models[0].named_tensors().items()}
    whole = Trainer(models[0], options, 1).step(batch)
    parts = Trainer(models[1], replace(options, accumulate=2), 1).step(batch)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-5)
    assert parts.grad_norm == pytest.approx(whole.grad_norm, rel=1e-3)
    after = models[0].named_tensors()
    assert (after[models[0].alpha_weight] - before[models[0].alpha_weight]).abs().max() > 5e-3
    assert all(torch.equal(after[key], before[key]) for key in after if "running_" in key)
    if options is SIGMOID:
        assert not torch.equal(after["logit_bias"], before["logit_bias"])


def test_rates_fall_from_block_to_block_in_towers_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _made(_small("convnext_tiny", monkeypatch))
    options = TrainOptions(lr=1.0, text_lr=0.1, alpha_lr=5.0, layer_decay=0.5)
    rates = {model.public_name(name): group.lr for group in parameter_groups(model, options) for name in group.names}
    blocks = [name for name in rates if name.endswith("conv_dw.weight")]
    assert [rates[name] for name in blocks] == sorted(rates[name] for name in blocks)
    assert rates["visual.trunk.stem.0.weight"] < rates[blocks[0]] < rates[blocks[-1]] < rates["visual.head.proj.weight"]
    assert rates[model.alpha_weight] == 5.0
    assert rates["text_projection"] == 0.1


def test_the_step_of_the_sigmoid_loss_is_that_of_open_clips() -> None:
    model, batch = _made(BIASED), TrainBatch(*random_clips(3, 1), TEXTS)
    trainer = Trainer(model, SIGMOID, 1)
    [part] = trainer._parts(batch, np.ones((3, 1), bool))
    with torch.no_grad():
        videos, texts = trainer._embed(part)
        expected = SigLipLoss()(videos, texts, model.logit_scale.exp(), model.clip.logit_bias)
    assert trainer.step(batch).loss == pytest.approx(expected.item(), rel=1e-6)


def _one_step(path: Path, loss: str) -> None:
    """Take a step with the share of this process, and keep what it gave: the loss, and moments of the gradient."""
    with joined_processes(torch.device("cpu")) as processes:
        model, mine = _made(BIASED), processes.share(3)
        frames, masks = random_clips(3, 2)
        labels = np.array([5, 6, 5])
        batch = TrainBatch(frames[mine], masks[mine], TEXTS[mine], labels=labels)
        trainer = Trainer(model, replace(FAST, loss=loss), 1, processes)
        result = trainer.step(batch, 3)
        state = {**trainer.state(), "loss": torch.tensor(result.loss), "norm": torch.tensor(result.grad_norm)}
        torch.save(state, path.with_suffix(f".{processes.rank}"))


@pytest.mark.parametrize("loss", Loss)
def test_the_gradient_of_two_processes_is_that_of_one(loss: Loss, tmp_path: Path) -> None:
    _one_step(tmp_path / "alone", loss)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    both = [
        Forked(
            _one_step, tmp_path / "both", str(loss), err=tmp_path / f"{rank}.err", environment={**place, "RANK": rank}
        )
        for rank in "01"
    ]
    codes = [one.wait(60) for one in both]
    assert codes == [0, 0], [(tmp_path / f"{rank}.err").read_text() for rank in "01"]
    alone, *shares = (torch.load(tmp_path / name) for name in ("alone.0", "both.0", "both.1"))
    assert alone["norm"] > 0
    for share in shares:
        for name, tensor in alone.items():
            if not name.startswith("weight/"):  # the first step is a gradient's sign, also where it is nearly zero
                assert_close(share[name], tensor, rtol=1e-4, atol=1e-7, message=name)


def test_a_scale_above_clips_limit_stays_where_the_loss_is_siglips() -> None:
    model = _made(BIASED)
    with torch.no_grad():
        model.logit_scale.fill_(5.0)
    Trainer(model, replace(SIGMOID, lr=1e-5), 1).step(TrainBatch(*random_clips(3, 1), TEXTS))
    assert model.logit_scale.item() > 4.9


def test_the_contrastive_loss_leaves_the_bias_alone() -> None:
    model = _made(BIASED)
    Trainer(model, replace(FAST, decay_vectors=True, weight_decay=0.5), 1).step(TrainBatch(*random_clips(3, 1), TEXTS))
    assert model.clip.logit_bias.item() == -10


def test_losses_that_do_not_go_with_what_else_is_asked_are_refused() -> None:
    with pytest.raises(SettingError, match="tiny has no logit bias: give its model file init_logit_bias"):
        Trainer(_made(TINY), SIGMOID, 1)
    with pytest.raises(SettingError, match="loss must be contrastive or sigmoid, got 'softmax'"):
        TrainOptions(loss="softmax")
    with pytest.raises(SettingError, match="label_smoothing is of the contrastive loss"):
        TrainOptions(loss="sigmoid", label_smoothing=0.1)
