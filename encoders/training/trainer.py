"""Fine-tuning Alpha-CLIP: one step at a time, on the batches that the caller gives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from encoders.devices import computes_bf16, is_out_of_memory
from encoders.errors import DivergedError, SettingError, TrainMemoryError
from encoders.inputs import Alpha, check_clips, normalise_alpha, normalise_frames, only_frames, writable
from encoders.model import AlphaClip, pool
from encoders.options import Pooling, Precision
from encoders.patches import PatchMemory
from encoders.tokens import Tokenizer
from encoders.training.adamw import AdamW
from encoders.training.losses import sigmoid_loss, symmetric_cross_entropy
from encoders.training.options import Loss, Schedule, TrainOptions
from encoders.training.parameters import learning_rate_factor, parameter_groups
from encoders.training.processes import ALONE, Processes, nth_share

MAX_LOGIT_SCALE = math.log(100)
"""CLIP's upper limit on the logarithm of the temperature's inverse."""

NORM_PART = 2**20
"""Numbers whose squares are added up at once."""


@dataclass(frozen=True, slots=True)
class TrainBatch:
    """The pairs of a step that one process embeds: clips, each with its text."""

    frames: NDArray[np.uint8]
    """Shape (num_pairs, num_frames, height, width, 3), RGB."""
    masks: Alpha
    """Shape (num_pairs, num_frames, height, width)."""
    texts: Sequence[str]
    """One for each clip."""
    is_frame: NDArray[np.bool_] | None = None
    """Shape (num_pairs, num_frames): False where a clip has no frame; pixels there are ignored. Without it, all
    are frames."""
    labels: NDArray[np.int64] | None = None
    """Shape (batch_size,), of the pairs of all processes: pairs of one label belong together. Without labels, each pair
    is alone."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """Figures of one step, from before it changed the weights."""

    loss: float
    """Over the pairs of all processes."""
    grad_norm: float
    """Before clipping."""
    lr: float
    """Rate of this step, of all weights that have no rate of their own."""
    logit_scale: float
    """Factor on cosine similarities (not its logarithm), 0..100."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Some pairs of a step, as the model takes them."""

    frames: Tensor
    """uint8, shape (number of frames, height, width, 3)."""
    masks: Tensor
    """bool or uint8, shape (number of frames, height, width)."""
    is_frame: Tensor
    tokens: Tensor


class Trainer:
    """AdamW on a model's float32 weights, with the loss between clips and texts that the options say.

    Runs where the model is, and changes nothing but weights: see `_settle`. On the CPU, the same weights, batches and
    number of threads give the same bits.

    With several processes, each embeds its share of the pairs and computes the loss over the pairs of all, in which
    only its own have a gradient. The sum of these gradients is exactly that of the whole batch.
    """

    def __init__(self, model: AlphaClip, options: TrainOptions, num_steps: int, processes: Processes = ALONE) -> None:
        """Prepare a run of `num_steps` steps, in which the rate rises and falls.

        Raises:
            ValueError: no steps, weights that are not float32, or captions of more tokens than the model reads.
        """
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}")
        if other := {parameter.dtype for parameter in model.parameters()} - {torch.float32}:
            raise ValueError(f"weights must be float32 to be trained, got {', '.join(map(str, other))}")
        if options.loss == Loss.SIGMOID and model.clip.logit_bias is None:
            raise SettingError(
                f"loss is sigmoid, and {model.config.name} has no logit bias: give its model file init_logit_bias "
                "(SigLIP's is -10), or take the contrastive loss"
            )
        self._model, self._options, self._processes = model, options, processes
        self.num_steps = num_steps
        """Of the whole schedule."""
        self.num_done = 0
        """Number of steps taken."""
        self._device = model.logit_scale.device
        self.precision = train_precision(options, self._device)
        self._tokenizer = Tokenizer.of(model.config, options.max_words)
        groups = parameter_groups(model, options)
        trained = [parameter for group in groups for parameter in group.parameters]
        # What is frozen has no gradient to compute either.
        model.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_()
        self._gradient = _gradient_of(trained)
        self._patches = PatchMemory(model.patch_size)
        model.clip.set_grad_checkpointing(options.grad_checkpointing)
        self._optimizer = AdamW(groups, (options.beta1, options.beta2), options.eps, fused=True)

    def step(self, batch: TrainBatch, batch_size: int | None = None) -> StepResult:
        """Take one step.

        Args:
            batch: the pairs of this process.
            batch_size: number of pairs of all processes; by default that of the batch, which is right for one process.

        Raises:
            ValueError: clips, masks and texts that do not fit together or do not fit the model, or a step too many.
            DivergedError: the loss or its gradient is not finite; the weights are as before the step.
            TrainMemoryError: the step does not fit into memory; the weights are as before the step.
        """
        is_frame = self._check(batch)
        _settle(self._model)
        self._gradient.zero_()
        try:
            loss = self._backward(batch, is_frame, len(batch.texts) if batch_size is None else batch_size)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise TrainMemoryError(
                f"a step of {len(batch.texts)} pairs does not fit into the memory of {self._device}: take it in more "
                f"parts (--set accumulate={2 * self._options.accumulate}, the same gradient), compute activations "
                "twice (--set grad_checkpointing=true), or take a smaller batch_size"
            ) from error
        self._require_finite("loss", loss)
        self._processes.add_up(self._gradient)
        grad_norm = norm_of(self._gradient)
        self._require_finite("gradient's norm", grad_norm)
        self._gradient.mul_(min(1.0, self._options.grad_clip / (grad_norm + 1e-6)))  # as torch's clip_grad_norm_
        scale = self._model.logit_scale.exp().item()
        schedule = Schedule(self._options.schedule)
        factor = learning_rate_factor(self.num_done, self.num_steps, self._options.warmup, schedule)
        self._optimizer.step(factor)
        if self._options.loss == Loss.CONTRASTIVE:  # SigLIP's own scale is above the limit
            with torch.no_grad():
                self._model.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        self.num_done += 1
        return StepResult(loss, grad_norm, self._options.lr * factor, scale)

    def state(self) -> dict[str, Tensor]:
        """All that the next steps depend on except the batches: weights, AdamW's moments, number of steps taken.

        The tensors share memory with the trainer.
        """
        weights = {f"weight/{name}": tensor for name, tensor in self._model.named_tensors().items()}
        moments = self._optimizer.state() if self.num_done else {}
        return {**weights, **moments, "num_done": torch.tensor(self.num_done)}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Resume where another trainer was, with the same model, options and number of steps.

        Raises:
            KeyError: the state is of another model or of other options.
        """
        with torch.no_grad():
            for name, tensor in self._model.named_tensors().items():
                tensor.copy_(tensors[f"weight/{name}"])
        self.num_done = int(tensors["num_done"])
        if self.num_done:
            self._optimizer.load_state(tensors, self.num_done)

    def _check(self, batch: TrainBatch) -> NDArray[np.bool_]:
        is_frame = check_clips(batch.frames, batch.masks, self._model.config.image_size, batch.is_frame)
        # Of a small batch, one of several processes may have no pair; it still takes part in sums.
        if len(batch.texts) != len(batch.frames) or (self._processes.world_size == 1 and not batch.texts):
            raise ValueError(
                f"a batch needs one text for each clip, got {len(batch.texts)} texts and {len(batch.frames)} clips"
            )
        if self.num_done >= self.num_steps:
            raise ValueError(f"all {self.num_steps} steps of the schedule are done: make the trainer with more")
        return is_frame

    def _backward(self, batch: TrainBatch, is_frame: NDArray[np.bool_], batch_size: int) -> float:
        """Add the contribution of this process's pairs to the gradient, and return the loss over all pairs."""
        parts = list(self._parts(batch, is_frame))
        if len(parts) == 1:
            embedded = [self._embed(parts[0])]
        else:  # GradCache: the loss needs the embeddings of all parts, and memory has room for the graph of one
            with torch.no_grad():
                embedded = [self._embed(part) for part in parts]
        # Detached: the gradient of the loss is first taken to the embeddings, then from each part's embeddings to the
        # weights.
        video, text = (self._joined([one[side].detach() for one in embedded]) for side in (0, 1))
        loss = self._loss(video, text, batch.labels, batch_size)
        loss.backward()  # type: ignore[no-untyped-call]  # ends at the embeddings and the logit scale
        # Every process computes the same loss, so the sum over processes would count its gradient once for each.
        for scalar in (self._model.logit_scale, self._model.clip.logit_bias):
            if scalar is not None and scalar.grad is not None:
                scalar.grad.div_(self._processes.world_size)
        assert video.grad is not None
        assert text.grad is not None
        start = 0
        for part, features in zip(parts, embedded, strict=True):
            rows = slice(start, start + len(part.tokens))
            start = rows.stop
            pair = features if len(parts) == 1 else self._embed(part)
            trained = [
                (one * grad[rows]).sum()
                for one, grad in zip(pair, (video.grad, text.grad), strict=True)
                if one.requires_grad
            ]
            # The gradient of this sum is the same to the last bit; told of gradients, torch would import SymPy.
            torch.autograd.backward(trained)
        return loss.item()

    def _parts(self, batch: TrainBatch, is_frame: NDArray[np.bool_]) -> Iterator[_Part]:
        num_parts = min(self._options.accumulate, len(batch.texts))
        for number in range(num_parts):
            rows = nth_share(number, num_parts, len(batch.texts))
            frames, masks = only_frames(batch.frames[rows], batch.masks[rows], is_frame[rows])
            tokenized = self._tokenizer(batch.texts[rows])
            # Columns that no text needs are left out: less work, and the same features.
            tokens = tokenized.tokens[:, : int(tokenized.num_needed.max())]
            yield _Part(
                torch.from_numpy(writable(frames)).to(self._device),
                torch.from_numpy(writable(masks)).to(self._device),
                torch.from_numpy(is_frame[rows]).to(self._device),
                tokens.to(self._device),
            )

    def _embed(self, part: _Part) -> tuple[Tensor, Tensor]:
        """Videos and texts of a part: each float32, shape (num_pairs, embed_dim), rows of unit norm."""
        bf16 = self.precision is Precision.BF16
        with torch.autocast(self._device.type, torch.bfloat16, enabled=bf16):
            features = self._frame_features(part)
            text = self._model.encode_texts(part.tokens)
        features = features.float()
        # (frames of all clips, dim) -> (pairs, frames, dim), zero where a clip has no frame.
        of_clips = features.new_zeros((*part.is_frame.shape, features.shape[-1])).masked_scatter(
            part.is_frame.unsqueeze(-1), features
        )
        return pool(of_clips, part.is_frame, Pooling(self._options.pooling)), text.float()

    def _frame_features(self, part: _Part) -> Tensor:
        if self._model.takes_patches:
            # Those of the part before are overwritten: its gradient has been taken.
            return self._model.encode_patches(self._patches.gather(part.frames, part.masks))
        config = self._model.config
        # Colour by colour: from pixel by pixel, torch 2.13's gradient of FastViT's stem writes where it must not.
        images = normalise_frames(part.frames, config.mean, config.std).contiguous()
        return self._model.encode_frames(images, normalise_alpha(part.masks))

    def _joined(self, embeddings: Sequence[Tensor]) -> Tensor:
        dim = self._model.config.embed_dim
        none = torch.empty((0, dim), device=self._device)
        return torch.cat([none, *embeddings]).requires_grad_()

    def _loss(self, video: Tensor, text: Tensor, labels: NDArray[np.int64] | None, batch_size: int) -> Tensor:
        """Loss over the pairs of all processes; only the embeddings of this process have a gradient."""
        mine = self._processes.share(batch_size)
        joined = []
        for part in (video, text):
            # No gradient goes through other processes: own rows are put back in place of their copies.
            others = self._processes.gather(part.detach(), batch_size)
            joined.append(torch.cat([others[: mine.start], part, others[mine.stop :]]))
        videos, texts = joined
        # (pairs, dim) @ (dim, pairs) -> (pairs, pairs): a text a row.
        logits = self._model.logit_scale.exp() * texts @ videos.T
        own_labels = None if labels is None else torch.from_numpy(labels).to(self._device)
        if self._options.loss == Loss.SIGMOID:
            return sigmoid_loss(logits + self._model.clip.logit_bias, own_labels)
        return symmetric_cross_entropy(logits, own_labels, self._options.label_smoothing)

    def _require_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise DivergedError(
                f"the {what} is {value} at step {self.num_done + 1} of {self.num_steps}; the weights are those of "
                f"the step before. Lower lr ({self._options.lr}) or alpha_lr ({self._options.alpha_lr}), or check the "
                "weights it started from"
            )


def _settle(model: AlphaClip) -> None:
    """Let a model compute as it does when it encodes, so that only its weights decide.

    Statistics of batches stay what they are, and nothing is dropped at random: a part of a batch is then embedded alike
    each time, in whichever part it is, and a run that is resumed gives the same bits. Attention of torch is told that
    it trains, because the kernel that it has for encoding rounds otherwise.
    """
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.training = True


def train_precision(options: TrainOptions, device: torch.device) -> Precision:
    """The precision of training on a device."""
    if options.precision != "auto":
        return Precision(options.precision)
    # Also on a CPU with bfloat16, autocast is slower than float32 unless batches are large.
    return Precision.BF16 if device.type == "cuda" and computes_bf16(device) else Precision.FP32


def norm_of(gradient: Tensor) -> float:
    """The norm of a vector of any length, its squares added up in float64.

    In float32, a square is added to a sum that is so much larger that most of it is rounded away: on a CPU the norm of
    150 million weights comes out 1.8% too low, and what is clipped to 1.0 has a norm of 1.02.

    Args:
        gradient: float32, shape (num_weights,).
    """
    parts = torch.split(gradient, NORM_PART)  # a copy of the whole in float64 would take twice the gradient's memory
    return float(torch.stack([torch.linalg.vector_norm(part, dtype=torch.float64) for part in parts]).norm())


def _gradient_of(parameters: Sequence[nn.Parameter]) -> Tensor:
    """One vector for the gradients of all parameters, which become views of it: cleared, summed and clipped at once."""
    gradient = torch.zeros(sum(parameter.numel() for parameter in parameters), device=parameters[0].device)
    start = 0
    for parameter in parameters:
        stop = start + parameter.numel()
        # torch adds to a gradient that is there, in place, so that it stays a view.
        parameter.grad = gradient[start:stop].view_as(parameter)
        start = stop
    return gradient
