"""Gradients of a step against the loss itself: for each tower, its slope along them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from encoders.training.options import TrainOptions
from encoders.training.trainer import TrainBatch, Trainer
from tests.encoders_tiny import random_clips, tiny_model

BATCH = TrainBatch(*random_clips(4, 2), ["a cat", "a dog", "two birds", "the sea"])


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", ["clip.text_projection", "clip.visual.proj"])
def test_the_gradient_is_the_slope_of_the_loss(name: str, accumulate: int) -> None:
    def stepped(moved: Tensor | float) -> tuple[float, Tensor]:
        """The loss with weights that were moved, and its gradient."""
        model = tiny_model()
        weights = dict(model.named_parameters())[name]
        with torch.no_grad():
            weights.add_(moved)
        loss = Trainer(model, TrainOptions(grad_clip=1e9, accumulate=accumulate), 1).step(BATCH).loss
        assert weights.grad is not None
        return loss, weights.grad

    _, gradient = stepped(0.0)
    length = gradient.norm().item()
    ahead, behind = (stepped(sign * 5e-3 * gradient / length)[0] for sign in (1, -1))
    assert (ahead - behind) / 1e-2 == pytest.approx(length, rel=0.02)
