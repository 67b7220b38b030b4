"""Clips and texts to embeddings, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from numpy.typing import NDArray
from torch import Tensor

from encoders.config import ModelConfig
from encoders.encoding.adaptive_batch import AdaptiveBatch
from encoders.encoding.texts import encode_distinct, num_texts_at_once
from encoders.encoding.towers import Towers
from encoders.errors import NotFiniteError
from encoders.inputs import Alpha, check_clips, only_frames, writable
from encoders.model import AlphaClip, pool
from encoders.options import Pooling, Precision
from encoders.tokens import Tokenizer

BATCH_FRAMES_CPU, BATCH_FRAMES_GPU = 64, 192
"""Frames at once. On a CPU more are no faster; a GPU takes a shard of 16 clips of 12 frames in one go."""


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
    num_dropped: NDArray[np.int64]
    """Shape (num_texts,): tokens of each that did not fit into the model's context, and were left out."""


@dataclass(frozen=True, slots=True)
class StagedClips:
    """Clips that are on the device, or being copied to it."""

    frames: Tensor
    """uint8, shape (number of frames of all clips, height, width, 3)."""
    masks: Tensor
    """bool or uint8, shape (number of frames of all clips, height, width)."""
    is_frame: NDArray[np.bool_]
    """Shape (num_clips, num_frames)."""
    arrival: torch.cuda.Event | None = None
    """End of the copy to a GPU; None on a CPU."""


class Encoder:
    """A model that only encodes, where the model is.

    One thread encodes; others may `stage` clips meanwhile.
    """

    def __init__(
        self,
        model: AlphaClip,
        *,
        precision: Precision = Precision.FP32,
        pooling: Pooling = Pooling.MEAN,
        batch_frames: int | None = None,
        max_words: int | None = None,
        truncate_dim: int | None = None,
        compiled: bool = False,
    ) -> None:
        """Prepare a model for encoding.

        Args:
            model: its weights are float32. It must not change or move while the encoder is in use, because some weights
                are shared and others copied: after a change, make another encoder.
            precision: of the computation.
            pooling: of frames into videos.
            batch_frames: frames to encode at once; the default depends on the device. If they do not fit into memory,
                the number is halved and a warning is logged.
            max_words: tokens of a text that are read, start and end included; None: as many as the model reads.
            truncate_dim: first numbers of each embedding that are kept, brought to unit norm again, as models allow
                that were trained for it (Matryoshka); None: all.
            compiled: whether to compile the vision tower, which takes a while.

        Raises:
            ValueError: `batch_frames` is less than 1, the model reads fewer than `max_words`, it gives fewer than
                `truncate_dim`, or there is no such precision or pooling.
        """
        self.device = model.logit_scale.device
        if batch_frames is None:
            batch_frames = BATCH_FRAMES_GPU if self.device.type == "cuda" else BATCH_FRAMES_CPU
        if batch_frames < 1:
            raise ValueError(f"batch_frames must be at least 1, got {batch_frames}")
        self.config: ModelConfig = model.config
        self.truncate_dim = model.config.kept_dim(truncate_dim)
        precision, pooling = Precision(precision), Pooling(pooling)  # a plain string would silently match none
        self.precision, self.pooling = precision, pooling
        self._pads = compiled  # the blocks are compiled for one shape; each other one would be compiled again
        self._frame_batch = AdaptiveBatch(batch_frames, self.device)
        self._towers = Towers(model, precision, compiled=compiled)
        self._tokenizer = Tokenizer.of(model.config, max_words)
        self._copies: torch.cuda.Stream | None = None
        if self.device.type == "cuda":
            self._copies = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    @property
    def batch_frames(self) -> int:
        """Frames that are encoded at once: what was asked for, or less since memory ran out."""
        return self._frame_batch.size

    @property
    def num_texts_at_once(self) -> int:
        """Texts that are encoded side by side."""
        return num_texts_at_once(self.device)

    def stage(self, frames: NDArray[np.uint8], alpha: Alpha, is_frame: NDArray[np.bool_] | None = None) -> StagedClips:
        """Check clips and their masks, and start to copy them to the device while it computes.

        Args:
            frames: shape (num_clips, num_frames, height, width, 3), RGB.
            alpha: the masks, shape (num_clips, num_frames, height, width).
            is_frame: shape (num_clips, num_frames): False where a clip has no frame; pixels there are ignored. Without
                it, all are frames.

        Raises:
            ValueError: a wrong type or shape, a clip without a frame, or frames of another size than the model's.
        """
        is_frame = check_clips(frames, alpha, self.config.image_size, is_frame)
        pictures, masks = (torch.from_numpy(writable(part)) for part in only_frames(frames, alpha, is_frame))
        if self._copies is None:
            return StagedClips(pictures.to(self.device), masks.to(self.device), is_frame)
        # Pinned memory and a stream of its own: only then does the copy run beside the computation.
        with torch.cuda.stream(self._copies):
            pictures, masks = (part.pin_memory().to(self.device, non_blocking=True) for part in (pictures, masks))
            return StagedClips(pictures, masks, is_frame, self._copies.record_event())

    def encode_staged(self, clips: StagedClips) -> ClipEmbeddings:
        """Embed clips that were staged.

        Raises:
            ArithmeticError: an embedding is not finite: the weights are broken.
            MemoryError: not even one frame fits into the device's memory.
        """
        self._wait_for(clips)
        with torch.inference_mode():
            features = self._frame_features(clips.frames, clips.masks)
            # (frames of all clips, dim) -> (clips, frames, dim), NaN where a clip has no frame.
            frame = np.full((*clips.is_frame.shape, features.shape[-1]), np.nan, dtype=np.float32)
            frame[clips.is_frame] = _finite(features)
            return self._pooled(frame[..., : self.truncate_dim], clips.is_frame)

    def whole(self) -> Encoder:
        """The same encoder, which keeps all numbers of an embedding."""
        # Shallow: both have the same towers, and the same batch size once memory has run out.
        other = copy(self)
        other.truncate_dim = None
        return other

    def cut_clips(self, clips: ClipEmbeddings, is_frame: NDArray[np.bool_]) -> ClipEmbeddings:
        """What this encoder keeps of what `whole` gave. Arguments as of `ClipEmbeddings` and `stage`."""
        return self._pooled(clips.frame[..., : self.truncate_dim], is_frame)

    def cut_texts(self, text: NDArray[np.float32]) -> NDArray[np.float32]:
        """What this encoder keeps of texts: shape (num_texts, embed_dim) to (num_texts, truncate_dim), unit rows."""
        if self.truncate_dim is None:
            return text
        return _finite(F.normalize(torch.from_numpy(text[:, : self.truncate_dim]), dim=-1))

    def encode_clips(
        self, frames: NDArray[np.uint8], alpha: Alpha, is_frame: NDArray[np.bool_] | None = None
    ) -> ClipEmbeddings:
        """Embed clips with their masks: `stage`, then `encode_staged`, with their arguments and errors."""
        return self.encode_staged(self.stage(frames, alpha, is_frame))

    def encode_texts(self, texts: Sequence[str]) -> TextEmbeddings:
        """Embed any number of texts, also none.

        Texts of the same tokens get the same bits, whatever texts they come with; on a CPU, with any number of threads.

        Raises:
            ValueError: a single text instead of a sequence of texts.
            ArithmeticError: an embedding is not finite: the weights are broken.
            MemoryError: some texts do not fit into the device's memory.
        """
        tokenized = self._tokenizer(texts)
        features = encode_distinct(tokenized, self._towers.encode_tokens, self.config.embed_dim, self.device)
        return TextEmbeddings(self.cut_texts(_finite(features)), tokenized.num_dropped.numpy())

    def attention(self, frames: NDArray[np.uint8], alpha: Alpha) -> NDArray[np.float32]:
        """Compute how much each patch of a frame counts where its features are read, on average over the heads.

        That is the attention of the class token in the last block, or of the query of a layer that pools patches.

        Args:
            frames: shape (num_frames, height, width, 3), RGB.
            alpha: shape (num_frames, height, width).

        Returns:
            Shape (num_frames, grid, grid), 0..1.

        Raises:
            ValueError: a wrong type, shape or size.
            ModelError: the vision tower has no such attention: it averages its patches.
        """
        clips = self.stage(frames[None], alpha[None])
        with torch.inference_mode():
            self._wait_for(clips)
            parts = self._frame_batch.encode(
                len(clips.frames),
                lambda batch: self._towers.attention(clips.frames[batch], clips.masks[batch]),
            )
            return _finite(torch.cat([encoded for _, encoded in parts]))

    def _pooled(self, frame: NDArray[np.float32], is_frame: NDArray[np.bool_]) -> ClipEmbeddings:
        video = pool(torch.from_numpy(frame), torch.from_numpy(is_frame), self.pooling)
        return ClipEmbeddings(video=_finite(video), frame=frame)

    def _wait_for(self, clips: StagedClips) -> None:
        """Let the stream that computes wait for the copy of clips."""
        if clips.arrival is None:
            return
        stream = torch.cuda.current_stream(self.device)
        stream.wait_event(clips.arrival)
        for part in (clips.frames, clips.masks):
            part.record_stream(stream)  # their memory belongs to the stream of copies, which must not reuse it too soon

    def _frame_features(self, frames: Tensor, masks: Tensor) -> Tensor:
        features = self._empty(len(frames))

        def encode(batch: slice) -> Tensor:
            pictures, moving = frames[batch], masks[batch]
            num_frames, num_lacking = len(pictures), self.batch_frames - len(pictures)
            if self._pads and num_lacking:
                # Pairs from the last axis on: colours, width, height and, at its end, the batch.
                pictures = F.pad(pictures, (0, 0, 0, 0, 0, 0, 0, num_lacking))
                moving = F.pad(moving, (0, 0, 0, 0, 0, num_lacking))
            return self._towers.encode_frames(pictures, moving)[:num_frames]

        for batch, encoded in self._frame_batch.encode(len(frames), encode):
            features[batch] = encoded
        return features

    def _empty(self, num_rows: int) -> Tensor:
        return torch.empty((num_rows, self.config.embed_dim), dtype=torch.float32, device=self.device)


def lowest_cosine(
    exact: Encoder,
    encoder: Encoder,
    frames: NDArray[np.uint8],
    alpha: Alpha,
    texts: Sequence[str] = (),
) -> float:
    """Compare two encoders of one model: the lowest cosine between their features of frames and texts.

    Args:
        exact: in float32.
        encoder: in any precision.
        frames: shape (num_clips, num_frames, height, width, 3), RGB.
        alpha: the masks, shape (num_clips, num_frames, height, width).
        texts: any.
    """
    both = zip(*(_rows(one, frames, alpha, texts) for one in (exact, encoder)), strict=True)
    return min(float(F.cosine_similarity(true, found, dim=-1).min()) for true, found in both if len(true))


def _rows(encoder: Encoder, frames: NDArray[np.uint8], alpha: Alpha, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Features of frames and of texts, one a row."""
    frame = torch.from_numpy(encoder.encode_clips(frames, alpha).frame)
    return frame.flatten(0, 1), torch.from_numpy(encoder.encode_texts(texts).text)


def _finite(features: Tensor) -> NDArray[np.float32]:
    embeddings: NDArray[np.float32] = features.cpu().numpy()
    if not np.isfinite(embeddings).all():
        raise NotFiniteError(
            "an embedding is not finite (NaN or infinity): the model's weights are broken, load others"
        )
    return embeddings
