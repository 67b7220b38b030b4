"""Training a temporal transformer on features that are given, and applying it: NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from numpy.typing import NDArray
from torch import Tensor

from encoders.devices import find_device
from encoders.errors import DeviceError, DivergedError, WeightsFormatError
from encoders.model import pool
from encoders.options import Pooling
from encoders.saving import save_tensors
from encoders.temporal.model import TemporalTransformer
from encoders.temporal.options import TemporalOptions
from encoders.training.adamw import AdamW
from encoders.training.losses import symmetric_cross_entropy
from encoders.training.parameters import ParameterGroup, learning_rate_factor
from encoders.training.trainer import MAX_LOGIT_SCALE
from encoders.weights.files import sha256_of

_NOTE = "note"


@dataclass(frozen=True, slots=True)
class TemporalShape:
    """What a transformer is made for."""

    dim: int
    num_frames: int
    layers: int


@dataclass(frozen=True, slots=True)
class PooledVideos:
    """What a transformer makes of some videos; NaN where a video has no frame."""

    video: NDArray[np.float32]
    """Shape (num_videos, dim), unit rows."""
    frame: NDArray[np.float32]
    """Shape (num_videos, num_frames, dim), not normalised: `unit-mean` pooling of them gives `video`."""


class TemporalTrainer:
    """A transformer with its optimiser. On a CPU, the same data and number of threads give the same bits."""

    def __init__(
        self, shape: TemporalShape, options: TemporalOptions, num_steps: int, seed: int = 0, device: str = "cpu"
    ) -> None:
        """Build it with random weights.

        Args:
            shape: Of the features to train on.
            options: How it is trained; its layers are those of the shape.
            num_steps: Of all epochs, for the rate.
            seed: Of the random weights.
            device: As of `find_device`.

        Raises:
            DeviceError: torch has no such device here.
        """
        self.shape, self._options, self._num_steps = shape, options, num_steps
        self._device = find_device(device)
        # No device: weights are drawn on the CPU, the same for each device.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = TemporalTransformer(shape.dim, shape.num_frames, shape.layers, options.logit_scale)
        try:
            self._model = model.to(self._device)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
            raise DeviceError.of(device, error) from error
        matrices, others = (
            {
                name: one
                for name, one in self._model.named_parameters()
                if (one.ndim >= 2 and name != "positions") is is_decayed
            }
            for is_decayed in (True, False)
        )
        groups = [
            ParameterGroup(tuple(some), list(some.values()), options.lr, decay)
            for some, decay in ((matrices, options.weight_decay), (others, 0.0))
        ]
        self._optimizer = AdamW(groups, (options.beta1, options.beta2), options.eps)
        self.num_done = 0
        """Steps taken."""

    def step(
        self, frame: NDArray[np.float32], text: NDArray[np.float32], labels: NDArray[np.int64] | None = None
    ) -> float:
        """Take one step.

        Args:
            frame: Shape (num_pairs, num_frames, dim), of any norm; NaN for a frame that a video does not have.
            text: Shape (num_pairs, dim), unit rows.
            labels: Shape (num_pairs,): pairs of one label belong together; without, each is alone.

        Returns:
            The loss, from before the step.

        Raises:
            DivergedError: The loss is not finite.
        """
        options, model = self._options, self._model.train()
        video, _ = self._forward(frame)
        # (pairs, dim) @ (dim, pairs) -> (pairs, pairs): a text a row.
        logits = model.logit_scale.exp() * self._put(text) @ video.T
        loss = symmetric_cross_entropy(logits, None if labels is None else torch.from_numpy(labels).to(self._device))
        value = loss.item()
        if not np.isfinite(value):
            raise DivergedError(f"the loss is {value} at step {self.num_done + 1}: try a lower lr ({options.lr})")
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), options.grad_clip)
        step = min(self.num_done, self._num_steps - 1)  # false negatives that are kept apart may cost a step more
        factor = learning_rate_factor(step, self._num_steps, options.warmup)
        self._optimizer.step(factor)
        with torch.no_grad():
            model.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        self.num_done += 1
        return value

    def pooled(self, frame: NDArray[np.float32]) -> PooledVideos:
        """Apply it to videos that each have a frame; arguments as for `step`."""
        self._model.eval()
        with torch.no_grad():
            video, out = self._forward(frame)
        is_lacking = np.isnan(frame).all(axis=2)
        frames = out.cpu().numpy()
        frames[is_lacking] = np.nan
        return PooledVideos(video.cpu().numpy(), frames)

    def _forward(self, frame: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        frames = self._put(frame)
        is_frame = ~torch.isnan(frames).all(dim=2)
        # NaN would spread through attention even where it is masked; a frame of zeros stays one.
        units = F.normalize(torch.nan_to_num(frames), dim=-1)
        out = self._model(units, is_frame)
        return pool(out, is_frame, Pooling.UNIT_MEAN), out

    def _put(self, array: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def save_weights(self, path: Path) -> str:
        """Write the weights, whole or not at all, and return the sha256 of the file."""
        save_tensors(path, self._model.state_dict())
        return sha256_of(path)

    def load_weights(self, path: Path) -> str:
        """Read what `save_weights` wrote, and return the sha256 of the file.

        Raises:
            WeightsFormatError: It is damaged, or of another shape.
        """
        try:
            self._model.load_state_dict(safetensors.torch.load_file(path, device=str(self._device)))
            return sha256_of(path)
        except (safetensors.SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
            raise WeightsFormatError(
                f"{path} is missing, damaged or of another shape ({error}): put it back from a copy, or train again "
                "with --overwrite --yes"
            ) from error

    def save_state(self, path: Path, note: str) -> None:
        """Write all that the next steps depend on, and a note of the caller."""
        weights = {f"weight/{name}": one for name, one in self._model.state_dict().items()}
        moments = self._optimizer.state() if self.num_done else {}
        tensors = {**weights, **moments, "num_done": torch.tensor(self.num_done)}
        save_tensors(path, tensors, {_NOTE: note})

    def load_state(self, path: Path) -> str:
        """Go on from what `save_state` wrote, and return its note.

        Raises:
            WeightsFormatError: It is damaged, or of another transformer.
        """
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                note: str = (file.metadata() or {})[_NOTE]
            self._take_state(safetensors.torch.load_file(path, device=str(self._device)))
        except (safetensors.SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
            raise WeightsFormatError(
                f"{path} is damaged, so training cannot resume from it ({error}): train again with --overwrite --yes"
            ) from error
        return note

    def _take_state(self, tensors: Mapping[str, Tensor]) -> None:
        self._model.load_state_dict(
            {name.removeprefix("weight/"): one for name, one in tensors.items() if name.startswith("weight/")}
        )
        self.num_done = int(tensors["num_done"])
        if self.num_done:
            self._optimizer.load_state(tensors, self.num_done)
