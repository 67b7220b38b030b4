"""The class token of a vision tower, which is all that features are read off.

In the last block each other token is a key and a value, and nothing reads what becomes of it. So one query attends
there instead of 50, and one token goes through the MLP: of the twelve blocks of a ViT-B, ten elevenths of the last one
are left out.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class ClassToken(nn.Module):
    """What the blocks of open_clip's vision transformer make of the first token."""

    def __init__(self, blocks: nn.ModuleList) -> None:
        """Take blocks as CLIP's ViT has them; the last one is a `ResidualAttentionBlock`."""
        super().__init__()
        self.before, self.last = blocks[:-1], blocks[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch_size, num_tokens, width) to (batch_size, width)."""
        for block in self.before:
            x = block(x)
        last: Any = self.last
        normed = last.ln_1(x)
        # (batch, tokens, width) -> (batch, 1, width): one query, and keys and values of all tokens.
        token: Tensor = x[:, :1] + last.ls_1(last.attention(normed[:, :1], normed, normed))
        token = token + last.ls_2(last.mlp(last.ln_2(token)))
        return token.squeeze(1)
