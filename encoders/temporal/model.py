"""CLIP4Clip's `seqTransf`: a transformer between the features of frames and their mean."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn

HEAD_DIM = 64
"""Numbers of an attention head, as in CLIP; fewer heads where that does not divide the features."""


def num_heads(dim: int) -> int:
    """Heads for features of a size.

    >>> num_heads(512), num_heads(100), num_heads(32)
    (8, 1, 1)
    """
    heads = max(1, dim // HEAD_DIM)
    return next(number for number in range(heads, 0, -1) if dim % number == 0)


class _Block(nn.Module):
    """CLIP's residual attention block; its two last layers begin with zeros, so that it changes nothing at first."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = nn.MultiheadAttention(dim, num_heads(dim), batch_first=True)
        self.c_fc, self.c_proj = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        for last in (self.attn.out_proj, self.c_proj):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, is_no_frame: Tensor) -> Tensor:
        y = self.ln_1(x)
        # torch leaves out the keys where the mask is True.
        x = x + self.attn(y, y, y, key_padding_mask=is_no_frame, need_weights=False)[0]
        y = self.c_fc(self.ln_2(x))
        return x + self.c_proj(y * torch.sigmoid(1.702 * y))  # type: ignore[no-any-return]


class TemporalTransformer(nn.Module):
    """Frames of unit norm -> frames that know of each other and of their places; their mean is the video.

    `out = x + blocks(x + positions)`, then `unit-mean` pooling. Before it is trained it is that pooling alone: blocks
    and positions begin with zeros. CLIP4Clip begins with blocks of the text tower instead, and trains all of CLIP with
    them; here nothing but this is trained, on features that are given.

    A clip of another number of frames than it was trained with gets positions interpolated between the trained ones.

    Source: ArrowLuo/CLIP4Clip 508ffa3, `modules/modeling.py`, `_loose_similarity` (sim_header seqTransf).
    """

    def __init__(self, dim: int, num_frames: int, layers: int, logit_scale: float) -> None:
        """Build it with random weights, from torch's random state.

        Args:
            dim: Numbers of a feature.
            num_frames: Of the clips to train on: so many positions.
            layers: Number of blocks.
            logit_scale: Factor on cosines in the loss.
        """
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(num_frames, dim))
        self.blocks = nn.ModuleList(_Block(dim) for _ in range(layers))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(logit_scale)))

    def forward(self, frames: Tensor, is_frame: Tensor) -> Tensor:
        """Frames after the transformer, not normalised.

        Args:
            frames: Shape (num_videos, num_frames, dim), unit norm.
            is_frame: Bool, shape (num_videos, num_frames): False where a video has no frame; it has at least one.

        Returns:
            Shape (num_videos, num_frames, dim).
        """
        x = frames + self._positions_of(frames.shape[1])
        for block in self.blocks:
            x = block(x, ~is_frame)
        return frames + x

    def _positions_of(self, num_frames: int) -> Tensor:
        if num_frames == len(self.positions):
            return self.positions
        # (trained, dim) -> (1, dim, trained) -> (1, dim, num_frames) -> (num_frames, dim)
        return F.interpolate(self.positions.T[None], num_frames, mode="linear", align_corners=False)[0].T
