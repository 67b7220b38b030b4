"""Clips and texts to embeddings, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.inputs import check_clips, only_frames, vision_inputs
from encoders.model import AlphaClip
from encoders.tokens import Tokenizer

_BATCH_TEXTS = 256


@dataclass(frozen=True, slots=True)
class ClipEmbeddings:
    """Embeddings of some clips."""

    video: NDArray[np.float32]
    """Shape (num_clips, embed_dim); rows of unit norm."""
    frame: NDArray[np.float32]
    """Shape (num_clips, num_frames, embed_dim); not normalised, and NaN where a clip has no frame."""


@dataclass(frozen=True, slots=True)
class TextEmbeddings:
    """Embeddings of some texts."""

    text: NDArray[np.float32]
    """Shape (num_texts, embed_dim); rows of unit norm."""
    num_truncated: int
    """Texts that were longer than the model's context, and lost their tail."""


class Encoder:
    """A model that only encodes, in float32, where the model is."""

    def __init__(self, model: AlphaClip, batch_frames: int = 64) -> None:
        """Take a model, with the number of frames to encode at once: speed and memory, never the result.

        Raises:
            ValueError: `batch_frames` is less than 1.
        """
        if batch_frames < 1:
            raise ValueError(f"batch_frames must be at least 1, got {batch_frames}")
        self._model = model
        self._batch_frames = batch_frames
        self._device = model.logit_scale.device
        self._tokenizer = Tokenizer(model.config.context_length)

    def encode_clips(
        self, frames: NDArray[np.uint8], alpha: NDArray[np.bool_], is_frame: NDArray[np.bool_] | None = None
    ) -> ClipEmbeddings:
        """Embed clips with their masks; none is fine too.

        Args:
            frames: shape (num_clips, num_frames, height, width, 3), RGB.
            alpha: the masks, shape (num_clips, num_frames, height, width).
            is_frame: shape (num_clips, num_frames): where it is False, a clip has no frame, and what stands there does
                not count. Without it, all are frames.

        Raises:
            ValueError: a wrong type or shape, a clip without a frame, or frames of another size than the model's.
            ArithmeticError: an embedding is not finite: the weights are broken.
        """
        there = check_clips(frames, alpha, self._model.config.image_size, is_frame)
        images, masks = only_frames(frames, alpha, there)
        self._model.eval()
        with torch.inference_mode():
            features = self._empty(len(images))
            for start in range(0, len(images), self._batch_frames):
                batch = slice(start, start + self._batch_frames)
                inputs = vision_inputs(images[batch], masks[batch], self._device)
                features[batch] = self._model.encode_frames(*inputs)
            frame = np.full((*there.shape, features.shape[-1]), np.nan, dtype=np.float32)
            frame[there] = _finite(features)
            video = self._model.pool(torch.from_numpy(frame), torch.from_numpy(there))
            return ClipEmbeddings(video=_finite(video), frame=frame)

    def encode_texts(self, texts: Sequence[str]) -> TextEmbeddings:
        """Embed texts; none is fine too.

        Raises:
            ValueError: one text where a sequence of them belongs.
            ArithmeticError: an embedding is not finite: the weights are broken.
        """
        tokenized = self._tokenizer(texts)
        self._model.eval()
        with torch.inference_mode():
            features = self._empty(len(texts))
            for start in range(0, len(texts), _BATCH_TEXTS):
                batch = slice(start, start + _BATCH_TEXTS)
                features[batch] = self._model.encode_texts(tokenized.tokens[batch].to(self._device))
            return TextEmbeddings(_finite(features), tokenized.num_truncated)

    def _empty(self, num_rows: int) -> Tensor:
        return torch.empty((num_rows, self._model.config.embed_dim), dtype=torch.float32, device=self._device)


def _finite(features: Tensor) -> NDArray[np.float32]:
    embeddings: NDArray[np.float32] = features.cpu().numpy()
    if not np.isfinite(embeddings).all():
        raise ArithmeticError(
            "an embedding is not finite (NaN or infinity): the model's weights are broken, load others"
        )
    return embeddings
