"""Fine-tuning Alpha-CLIP: one step at a time, on whatever batches the caller brings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from numpy.typing import NDArray
from torch import Tensor, nn

from encoders.errors import DivergedError
from encoders.inputs import check_clips, only_frames, vision_inputs
from encoders.model import AlphaClip
from encoders.tables import read_table
from encoders.tokens import Tokenizer

MAX_LOGIT_SCALE = math.log(100)
"""CLIP's upper limit on the logarithm of the temperature's inverse."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How to fine-tune. Defaults: FDA-CLIP and Alpha-CLIP for the rates, CLIP4Clip for the rest."""

    epochs: int = 5
    batch_size: int = 128
    """Pairs of a clip and a text in a step; each is told apart from all the others."""
    lr: float = 1e-6
    """Peak rate of all weights but the alpha convolution (FDA-CLIP; CLIP4Clip's 1e-7 holds for its fp16 Adam alone)."""
    alpha_lr: float = 1e-4
    """Peak rate of the alpha convolution, which starts from zero where CLIP's weights do not (Alpha-CLIP)."""
    weight_decay: float = 0.2
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-6
    warmup: float = 0.1
    """Part of all steps, 0..1, in which the rate rises."""
    grad_clip: float = 1.0
    """Upper limit on the norm of the whole gradient."""

    def __post_init__(self) -> None:
        limits = {
            "epochs": self.epochs >= 1,
            "batch_size": self.batch_size >= 2,
            "lr": 0 <= self.lr < math.inf,
            "alpha_lr": 0 <= self.alpha_lr < math.inf,
            "weight_decay": 0 <= self.weight_decay < math.inf,
            "beta1": 0 <= self.beta1 < 1,
            "beta2": 0 <= self.beta2 < 1,
            "eps": 0 < self.eps < math.inf,
            "warmup": 0 <= self.warmup <= 1,
            "grad_clip": 0 < self.grad_clip < math.inf,
        }
        for name, holds in limits.items():
            if not holds:
                raise ValueError(f"{name} is out of range, got {getattr(self, name)!r}")

    @classmethod
    def from_dict(cls, values: Mapping[str, object], where: str = "the training options") -> Self:
        """Read options from TOML or JSON; what is left out has its default.

        Raises:
            ValueError: an unknown key, a value of the wrong type or out of range.
        """
        return read_table(cls, values, where)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step saw, before it changed the weights."""

    loss: float
    grad_norm: float
    """Before clipping."""
    lr: float
    """That the step used, of all weights but the alpha convolution."""
    logit_scale: float
    """Factor on cosine similarities (not its logarithm), 0..100."""


class Trainer:
    """AdamW on a model's float32 weights, with symmetric cross-entropy between clips and texts.

    Runs where the model is. On the CPU, the same weights, batches and number of threads give the same bits.
    """

    def __init__(self, model: AlphaClip, options: TrainOptions, num_steps: int) -> None:
        """Prepare a run of `num_steps` steps, over which the rate rises and falls.

        Raises:
            ValueError: no steps, or weights that are not float32.
        """
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}")
        if other := {parameter.dtype for parameter in model.parameters()} - {torch.float32}:
            raise ValueError(f"weights must be float32 to be trained, got {', '.join(map(str, other))}")
        self._model = model
        self._options = options
        self._num_steps = num_steps
        self._num_done = 0
        self._device = model.logit_scale.device
        self._tokenizer = Tokenizer(model.config.context_length)
        groups = parameter_groups(model, options)
        self._peak_rates = [group.lr for group in groups]
        settings = [{"params": group.parameters, "weight_decay": group.weight_decay} for group in groups]
        self._optimizer = torch.optim.AdamW(settings, betas=(options.beta1, options.beta2), eps=options.eps, fused=True)

    def step(
        self,
        frames: NDArray[np.uint8],
        alpha: NDArray[np.bool_],
        texts: Sequence[str],
        is_frame: NDArray[np.bool_] | None = None,
    ) -> StepResult:
        """Take one step on a batch of clips, each with its text.

        Args:
            frames: shape (batch_size, num_frames, height, width, 3), RGB.
            alpha: the masks, shape (batch_size, num_frames, height, width).
            texts: one for each clip.
            is_frame: shape (batch_size, num_frames): where it is False, a clip has no frame, and what stands there does
                not count. Without it, all are frames.

        Raises:
            ValueError: clips, masks and texts that do not fit together or do not fit the model, or a step too many.
            DivergedError: the loss or its gradient is not finite; the weights are as before the step.
        """
        there = self._check(frames, alpha, texts, is_frame)
        self._model.train()
        self._optimizer.zero_grad()
        loss = self._loss(frames, alpha, texts, there)
        self._require_finite("loss", loss.item())
        loss.backward()  # type: ignore[no-untyped-call]
        grad_norm = nn.utils.clip_grad_norm_(self._model.parameters(), self._options.grad_clip).item()
        self._require_finite("gradient's norm", grad_norm)
        scale = self._model.logit_scale.exp().item()
        factor = learning_rate_factor(self._num_done, self._num_steps, self._options.warmup)
        for group, peak in zip(self._optimizer.param_groups, self._peak_rates, strict=True):
            group["lr"] = peak * factor
        self._optimizer.step()
        with torch.no_grad():
            self._model.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        self._num_done += 1
        return StepResult(loss.item(), grad_norm, self._options.lr * factor, scale)

    def _check(
        self,
        frames: NDArray[np.uint8],
        alpha: NDArray[np.bool_],
        texts: Sequence[str],
        is_frame: NDArray[np.bool_] | None,
    ) -> NDArray[np.bool_]:
        there = check_clips(frames, alpha, self._model.config.image_size, is_frame)
        if not len(texts) == len(frames) > 0:
            raise ValueError(f"a batch needs one text for each clip, got {len(texts)} texts and {len(frames)} clips")
        if self._num_done >= self._num_steps:
            raise ValueError(f"all {self._num_steps} steps of the schedule are done: make the trainer with more")
        return there

    def _loss(
        self,
        frames: NDArray[np.uint8],
        alpha: NDArray[np.bool_],
        texts: Sequence[str],
        is_frame: NDArray[np.bool_],
    ) -> Tensor:
        features = self._model.encode_frames(*vision_inputs(*only_frames(frames, alpha, is_frame), self._device))
        there = torch.from_numpy(is_frame).to(self._device)
        frame_features = features.new_zeros((*is_frame.shape, features.shape[-1])).masked_scatter(
            there.unsqueeze(-1), features
        )
        video = self._model.pool(frame_features, there)
        text = self._model.encode_texts(self._tokenizer(texts).tokens.to(self._device))
        return symmetric_cross_entropy(self._model.logit_scale.exp() * text @ video.T)

    def _require_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            self._optimizer.zero_grad()
            raise DivergedError(
                f"the {what} is {value} at step {self._num_done + 1} of {self._num_steps}; the weights are those of "
                f"the step before. Lower lr ({self._options.lr}) or alpha_lr ({self._options.alpha_lr}), or check the "
                "weights it started from"
            )


def symmetric_cross_entropy(similarity_logits: Tensor) -> Tensor:
    """CLIP's loss: how far each row and each column is from choosing its diagonal element.

    >>> round(symmetric_cross_entropy(torch.zeros(4, 4)).item() / math.log(4), 6)
    1.0

    Args:
        similarity_logits: scaled similarities, shape (n, n); row i and column i belong together.

    Returns:
        A scalar: the mean of the cross-entropies over rows and over columns.

    Raises:
        ValueError: a matrix that is not square.
    """
    if similarity_logits.ndim != 2 or similarity_logits.shape[0] != similarity_logits.shape[1]:
        raise ValueError(f"similarity_logits must be a square matrix, got shape {tuple(similarity_logits.shape)}")
    truth = torch.arange(len(similarity_logits), device=similarity_logits.device)
    rows, columns = F.cross_entropy(similarity_logits, truth), F.cross_entropy(similarity_logits.T, truth)
    return (rows + columns) / 2


def learning_rate_factor(step: int, num_steps: int, warmup: float) -> float:
    """Return the part of the peak rate that a step uses: a straight rise, then half a cosine down to almost zero.

    >>> [round(learning_rate_factor(step, 6, warmup=1 / 3), 2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.85, 0.5, 0.15]

    Args:
        step: `[0, num_steps)`.
        num_steps: of the whole run.
        warmup: part of the steps that rise, 0..1.
    """
    num_warmup = round(num_steps * warmup)
    if step < num_warmup:
        return (step + 1) / num_warmup
    return (1 + math.cos(math.pi * (step - num_warmup) / (num_steps - num_warmup))) / 2


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that share a peak rate and a weight decay."""

    parameters: Sequence[nn.Parameter]
    lr: float
    weight_decay: float


def parameter_groups(model: AlphaClip, options: TrainOptions) -> list[ParameterGroup]:
    """Sort a model's parameters into three groups, in this order.

    1. All matrices but the alpha convolution.
    2. Norms, biases, the class embedding and the logit scale (less than two axes): no weight decay.
    3. The alpha convolution, at its own rate.
    """
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    alpha: list[nn.Parameter] = list(model.clip.visual.conv1.alpha.parameters())
    for parameter in model.parameters():
        if not any(parameter is one for one in alpha):
            (matrices if parameter.ndim >= 2 else vectors).append(parameter)
    return [
        ParameterGroup(matrices, options.lr, options.weight_decay),
        ParameterGroup(vectors, options.lr, 0.0),
        ParameterGroup(alpha, options.alpha_lr, options.weight_decay),
    ]
