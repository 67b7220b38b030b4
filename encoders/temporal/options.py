"""How a temporal transformer is built and trained, as one value. This loads no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from encoders.errors import SettingError
from encoders.training.options import MAX_EPOCHS


@dataclass(frozen=True, slots=True)
class TemporalOptions:
    """Defaults: CLIP4Clip's for new layers, but the number of epochs, as training stops by itself."""

    layers: int = 4
    """Transformer blocks (CLIP4Clip's `cross_num_hidden_layers`)."""
    epochs: int = 20
    """At most."""
    patience: int = 4
    """Epochs without a better validation score after which training stops."""
    batch_size: int = 128
    """Pairs of a video and a text in a step; each is contrasted with all others."""
    lr: float = 1e-4
    """Peak rate; it rises linearly, then falls as half a cosine."""
    weight_decay: float = 0.2
    """Of matrices; norms, biases, positions and the logit scale have none."""
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-6
    warmup: float = 0.1
    """Part of all steps, 0..1, in which the rate rises."""
    grad_clip: float = 1.0
    """Upper limit on the norm of the whole gradient."""
    logit_scale: float = 20.0
    """Factor on cosines at the start, above 0 and at most 100; it is trained."""

    def __post_init__(self) -> None:
        limits = {
            "layers": (1 <= self.layers <= 64, "within 1..64"),
            "epochs": (1 <= self.epochs <= MAX_EPOCHS, f"within 1..{MAX_EPOCHS:,}"),
            "patience": (self.patience >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 2, "2 or more"),
            "lr": (0 < self.lr < math.inf, "above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "beta1": (0 <= self.beta1 < 1, "0 or more and below 1"),
            "beta2": (0 <= self.beta2 < 1, "0 or more and below 1"),
            "eps": (0 < self.eps < math.inf, "above 0"),
            "warmup": (0 <= self.warmup <= 1, "within 0..1"),
            "grad_clip": (0 < self.grad_clip < math.inf, "above 0"),
            "logit_scale": (0 < self.logit_scale <= 100, "above 0 and at most 100"),
        }
        for name, (holds, limit) in limits.items():
            if not holds:
                raise SettingError(f"{name} must be {limit}, got {getattr(self, name)!r}")
