"""How to fine-tune, as one value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from encoders.errors import SettingError
from encoders.options import MIN_WORDS, Pooling, Precision
from encoders.tables import read_table

MAX_EPOCHS = 10_000
"""A limit, because all batches of all epochs are drawn before training begins."""
MAX_EVALUATIONS = 1_000
"""In an epoch: each costs as much as embedding the validation videos."""


class Schedule(StrEnum):
    """How the rate rises and falls over a run, as a part of its peak."""

    COSINE = "cosine"
    """From the first step on a linear rise to the peak, from there half a cosine; every step has a rate."""
    CLIP4CLIP = "clip4clip"
    """CLIP4Clip's `warmup_cosine` (`modules/optimization.py`): the first step has a rate of 0, and the cosine begins
    with the run and not at the end of the warm-up, where the rate drops by 2.4% of its peak (a warm-up of 0.1)."""
    TRANSFORMERS = "transformers"
    """transformers' `get_cosine_schedule_with_warmup`: as cosine, but that the first step has a rate of 0 and the steps
    of the warm-up are rounded down. X-Pool's, and so FDA-CLIP's code."""


class Loss(StrEnum):
    """What is asked of the similarities of a batch."""

    CONTRASTIVE = "contrastive"
    """CLIP's: which video of the batch belongs to a text, and which text to a video."""
    SIGMOID = "sigmoid"
    """SigLIP's: of each text and each video by itself, whether they belong together. The model has a bias for it."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How to fine-tune. Defaults: FDA-CLIP and Alpha-CLIP for the rates, CLIP4Clip for the rest."""

    epochs: int = 5
    evaluations: int = 1
    """Validations in an epoch, the last one after its last step; the others in equal distances (X-Pool's
    `evals_per_epoch`). An epoch of fewer steps has one after each."""
    window: int = 1
    """The weights that are kept are those with the best mean of so many last validation R@1s, or of those that there
    are (X-Pool's `eval_window_size`). 1: with the best R@1."""
    batch_size: int = 128
    """Pairs of a clip and a text in a step, on all devices together; each is contrasted with all others."""
    lr: float = 1e-6
    """Peak rate of all weights except the alpha convolution (FDA-CLIP's; CLIP4Clip's 1e-7 fits only its fp16 Adam)."""
    text_lr: float | None = None
    """Peak rate of the text tower, of the logit scale and of the logit bias; None: the same as `lr`."""
    alpha_lr: float = 1e-4
    """Peak rate of the alpha convolution (Alpha-CLIP's): higher, because it starts from zero and CLIP's weights do
    not."""
    layer_decay: float = 1.0
    """A block's rate is this factor, 0..1, times the rate of the next block, in both towers. Embeddings come before the
    first block; the alpha convolution has its own rate."""
    freeze_layers: int = -1
    """Number of first blocks that are not trained, in both towers, together with the embeddings, conv1 and ln_pre
    before them (CLIP4Clip's `freeze_layer_num`); -1 trains everything. The alpha convolution is always trained."""
    freeze_text: bool = False
    """Whether the whole text tower stays as it is."""
    freeze_logit_scale: bool = False
    """Whether the logit scale stays as it is, and the logit bias, where there is one."""
    weight_decay: float = 0.2
    decay_vectors: bool = False
    """Whether norms, biases, the class embedding and the logit scale decay, too, as where torch's AdamW gets all
    parameters in one group (X-Pool, FDA-CLIP's code)."""
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-6
    warmup: float = 0.1
    """Part of all steps, 0..1, in which the rate rises."""
    schedule: str = str(Schedule.COSINE)
    """How the rate rises and falls: cosine, clip4clip or transformers (see `Schedule`)."""
    grad_clip: float = 1.0
    """Upper limit on the norm of the whole gradient."""
    loss: str = str(Loss.CONTRASTIVE)
    """contrastive (CLIP), or sigmoid (SigLIP), for models with a logit bias."""
    label_smoothing: float = 0.0
    """Part of each target, 0..1, that is spread over all pairs of the batch. Only of the contrastive loss."""
    accumulate: int = 1
    """Number of parts in which a step's pairs go through the model: less memory, more time. The gradient is still that
    of the whole batch: each part is embedded once without and once with what the gradient needs (GradCache)."""
    grad_checkpointing: bool = False
    """Whether activations are computed again instead of stored: less memory, a third more time."""
    precision: str = "auto"
    """fp32, bf16 (float32 weights, bfloat16 products), or auto: bf16 on a GPU that has it, otherwise fp32."""
    pooling: str = str(Pooling.MEAN)
    """Of frames into videos: mean (FDA-CLIP), or unit-mean (CLIP4Clip: of frames at unit norm)."""
    max_words: int | None = None
    """Tokens of a caption that are read, start and end included (CLIP4Clip's `max_words`); None: as many as the model
    reads. It is kept with the checkpoint, and `fda encode` reads as many."""

    def __post_init__(self) -> None:
        not_negative, finite = "0 or more", math.inf
        limits = {
            "epochs": (1 <= self.epochs <= MAX_EPOCHS, f"within 1..{MAX_EPOCHS:,}"),
            "evaluations": (1 <= self.evaluations <= MAX_EVALUATIONS, f"within 1..{MAX_EVALUATIONS:,}"),
            "window": (self.window >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 2, "2 or more"),
            "lr": (0 <= self.lr < finite, not_negative),
            "text_lr": (self.text_lr is None or 0 <= self.text_lr < finite, not_negative),
            "alpha_lr": (0 <= self.alpha_lr < finite, not_negative),
            "layer_decay": (0 < self.layer_decay <= 1, "above 0 and at most 1"),
            "freeze_layers": (self.freeze_layers >= -1, "-1 or more"),
            "weight_decay": (0 <= self.weight_decay < finite, not_negative),
            "beta1": (0 <= self.beta1 < 1, "0 or more and below 1"),
            "beta2": (0 <= self.beta2 < 1, "0 or more and below 1"),
            "eps": (0 < self.eps < finite, "above 0"),
            "warmup": (0 <= self.warmup <= 1, "within 0..1"),
            "grad_clip": (0 < self.grad_clip < finite, "above 0"),
            "loss": (self.loss in tuple(Loss), " or ".join(Loss)),
            "label_smoothing": (0 <= self.label_smoothing < 1, "0 or more and below 1"),
            "accumulate": (1 <= self.accumulate <= self.batch_size, f"within 1..{self.batch_size} (batch_size)"),
            "precision": (self.precision in ("auto", *Precision), "auto, fp32 or bf16"),
            "schedule": (self.schedule in tuple(Schedule), " or ".join(Schedule)),
            "max_words": (self.max_words is None or self.max_words >= MIN_WORDS, f"{MIN_WORDS} or more"),
            "pooling": (self.pooling in tuple(Pooling), " or ".join(Pooling)),
        }
        for name, (holds, limit) in limits.items():
            if not holds:
                raise SettingError(f"{name} must be {limit}, got {getattr(self, name)!r}")
        if self.label_smoothing and self.loss == Loss.SIGMOID:
            raise SettingError(
                "label_smoothing is of the contrastive loss, and loss is sigmoid: set it to 0, got "
                f"{self.label_smoothing}"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, object], where: str = "the training options") -> Self:
        """Read options from TOML or JSON; a missing key has its default.

        Raises:
            ValueError: an unknown key, a value of the wrong type or out of range.
        """
        return read_table(cls, values, where)
