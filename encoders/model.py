"""Alpha-CLIP: a dual encoder of open_clip with one more convolution, and nothing else changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn

from encoders.building import Stem, build, find_stem
from encoders.config import Colours, ModelConfig
from encoders.options import Pooling
from encoders.patches import fold_channels, fold_normalisation
from encoders.torchvision_shim import import_open_clip

open_clip = import_open_clip()

_ALPHA_ENDING = "_alpha.weight"
"""Of the name of the one tensor that CLIP does not have, shape (width, 1, patch_size, patch_size). It begins as that of
the first layer: `visual.conv1_alpha.weight`, in other towers `visual.trunk.patch_embed.proj_alpha.weight`."""
_PATCH_SIZE = 16
"""Where the first layer is no patches: what most ViTs have."""

_alpha: ContextVar[Tensor] = ContextVar("alpha")
"""Normalised masks of the pictures that a tower is being given, shape (batch_size, 1, height, width). Towers look at
the shape of the pictures before the first layer does, so that nothing but pictures goes in by that door. A variable of
the context is another one in each thread."""


def is_alpha(name: str) -> bool:
    """Whether this is the public name of an alpha convolution's weights."""
    return name.endswith(_ALPHA_ENDING)


@contextmanager
def _beside(alpha: Tensor) -> Iterator[None]:
    """Give the first layer these masks, while a tower is given their pictures."""
    token = _alpha.set(alpha)
    try:
        yield
    finally:
        _alpha.reset(token)


def pool(frame_features: Tensor, is_frame: Tensor, pooling: Pooling) -> Tensor:
    """Average frames into videos of unit norm.

    Args:
        frame_features: shape (num_clips, num_frames, embed_dim), not normalised.
        is_frame: bool, shape (num_clips, num_frames); values where it is False are ignored, even NaN.
        pooling: which average.

    Returns:
        Shape (num_clips, embed_dim).
    """
    is_valid = is_frame.unsqueeze(-1)
    features = frame_features.masked_fill(~is_valid, 0)  # not a product: NaN times 0 is NaN
    if pooling is Pooling.UNIT_MEAN:
        features = F.normalize(features, dim=-1)
    return F.normalize(features.sum(dim=1) / is_valid.sum(dim=1), dim=-1)


class AlphaConv(nn.Module):
    """The first layer of a vision tower, for pictures and their alpha channel: `conv(pictures) + conv_alpha(alpha)`.

    It takes normalised pictures, with the alpha of the context; or patches of stored frames, which is the same in one
    matrix product and faster. The alpha is no fourth channel of the pictures: joining and splitting them takes longer
    than both convolutions.

    Source: SunzeY/AlphaCLIP e5676c9, `alpha_clip/model.py`, `VisionTransformer.forward`.
    """

    def __init__(self, conv: nn.Conv2d, mean: Colours, std: Colours) -> None:
        """Put an alpha convolution of the same kernel, stride and padding beside `conv`.

        Args:
            conv: of three channels.
            mean: of the pixels that it expects.
            std: likewise.
        """
        super().__init__()
        self.rgb = conv
        self.alpha = nn.Conv2d(
            1,
            conv.out_channels,
            kernel_size=(conv.kernel_size[0], conv.kernel_size[1]),
            stride=(conv.stride[0], conv.stride[1]),
            padding=conv.padding if isinstance(conv.padding, str) else (conv.padding[0], conv.padding[1]),
            bias=False,
        )
        nn.init.zeros_(self.alpha.weight)  # until it is trained or loaded, masks change nothing
        self.mean, self.std = mean, std

    def forward(self, pictures: Tensor) -> Tensor:
        """Embed pictures.

        Args:
            pictures: shape (batch_size, 3, height, width); or patches, as `gather_patches` gives them.

        Returns:
            Shape (batch_size, width of the tower, rows, columns); of patches, the last two axes are one.
        """
        if pictures.ndim == 3:
            weight, bias = self.folded()
            return F.linear(pictures, weight, bias).transpose(1, 2)
        return self.rgb(pictures) + self.alpha(_alpha.get())  # type: ignore[no-any-return]

    def folded(self, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Weights and bias for patches of stored frames, computed in a type."""
        return fold_normalisation(*self._weights(dtype), mean=self.mean, std=self.std)

    def folded_channels(self, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Weights and bias of one convolution of stored frames with their masks, computed in a type."""
        return fold_channels(*self._weights(dtype), mean=self.mean, std=self.std)

    def _weights(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor | None]:
        bias = None if self.rgb.bias is None else self.rgb.bias.to(dtype)
        return self.rgb.weight.to(dtype), self.alpha.weight.to(dtype), bias


class AlphaClip(nn.Module):
    """A dual encoder whose vision tower sees a fourth channel, the mask, and that averages frames into a video."""

    def __init__(self, config: ModelConfig) -> None:
        """Build the model with random weights, from torch's random state; the alpha convolution is zero.

        Raises:
            ModelError: open_clip or timm refuses the description, or there is no place for an alpha convolution.
        """
        super().__init__()
        self.config = config
        self.clip: Any = build(config)  # of open_clip, which has no types
        visual: nn.Module = self.clip.visual
        self.stem: Stem = find_stem(visual, f"model {config.name}")
        conv = visual.get_submodule(self.stem.name)
        assert isinstance(conv, nn.Conv2d)
        visual.set_submodule(self.stem.name, AlphaConv(conv, config.mean, config.std))
        self._stem_name = f"visual.{self.stem.name}"

    @property
    def logit_scale(self) -> nn.Parameter:
        """Natural logarithm of the factor on cosine similarities; a scalar."""
        scale: nn.Parameter = self.clip.logit_scale
        return scale

    @property
    def alpha_weight(self) -> str:
        """Public name of the alpha convolution's weights."""
        return self._stem_name + _ALPHA_ENDING

    @property
    def patch_size(self) -> int:
        """Height and width of a patch, in pixels; of a tower without patches, what most have."""
        return self.stem.stride if self.takes_patches else _PATCH_SIZE

    @property
    def takes_patches(self) -> bool:
        """Whether the tower goes on from patches as open_clip's ViT does: see `encode_patches`."""
        return self.stem.is_patches and isinstance(self.clip.visual, open_clip.transformer.VisionTransformer)

    def encode_frames(self, images: Tensor, alpha: Tensor) -> Tensor:
        """Embed frames: what the tower makes of each, projected, not normalised.

        Args:
            images: normalised, shape (batch_size, 3, image_size, image_size).
            alpha: normalised, shape (batch_size, 1, image_size, image_size).

        Returns:
            Shape (batch_size, embed_dim).
        """
        with _beside(alpha):
            features: Tensor = self.clip.visual(images)
        return features

    def encode_patches(self, patches: Tensor) -> Tensor:
        """Embed stored frames, as `encode_frames` does, from patches of `encoders.patches.gather_patches`.

        Args:
            patches: shape (batch_size, num_patches, 4 * patch_size * patch_size).

        Returns:
            Shape (batch_size, embed_dim).
        """
        features: Tensor = self.clip.visual(patches)
        return features

    def encode_texts(self, tokens: Tensor) -> Tensor:
        """Embed texts, of unit norm.

        Where a token attends only to itself and to those before it, what follows the end token changes nothing: cut
        the texts after the longest one, which saves most of the work (`TokenizedTexts.num_needed`).

        Args:
            tokens: int64, shape (num_texts, num_tokens), at most `context_length` of them.

        Returns:
            Shape (num_texts, embed_dim).
        """
        return self.project_ends(self.end_tokens(tokens))

    def end_tokens(self, tokens: Tensor) -> Tensor:
        """What the blocks make of the token that stands for each text: shape (num_texts, width of the tower).

        Of a tower that is taken whole (with a class token, or from Hugging Face), the projected features.
        """
        tower = self._text_tower
        if tower is None:
            whole: Tensor = self.clip.text(tokens)
            return whole
        length, mask = tokens.shape[1], tower.attn_mask
        x = tower.token_embedding(tokens) + tower.positional_embedding[:length]
        # The mask was made for all columns: of fewer, its corner.
        x = tower.transformer(x, attn_mask=None if mask is None else mask[:length, :length])
        # open_clip's `CLIP` has the text tower's modules itself, under names with `text_` before.
        is_own = tower is self.clip
        pool_type, end = (tower.text_pool_type, tower.text_eos_id) if is_own else (tower.pool_type, tower.eos_id)
        # (num_texts, num_tokens, width) -> (num_texts, width). The last norm, which looks at each token by itself, then
        # has one token a text to do.
        ends: Tensor = open_clip.transformer.text_global_pool(x, tokens, pool_type, eos_token_id=end)
        return ends

    def project_ends(self, ends: Tensor) -> Tensor:
        """Results of `end_tokens` to features of unit norm: shape (num_texts, embed_dim)."""
        tower = self._text_tower
        if tower is not None:
            ends = tower.ln_final(ends)
            projection = tower.text_projection
            if isinstance(projection, nn.Linear):
                ends = projection(ends)
            elif projection is not None:
                ends = ends @ projection
        return F.normalize(ends, dim=-1)

    @property
    def _text_tower(self) -> Any:
        """What has open_clip's text transformer; None if the tower is taken whole."""
        if isinstance(self.clip, open_clip.CLIP):
            return self.clip
        tower = self.clip.text
        is_plain = isinstance(tower, open_clip.transformer.TextTransformer) and tower.cls_emb is None
        return tower if is_plain else None

    def public_name(self, name: str) -> str:
        """How a parameter of this module is called elsewhere: open_clip's name, or that of the alpha convolution."""
        inside = name.removeprefix("clip.")
        if inside == f"{self._stem_name}.alpha.weight":
            return self.alpha_weight
        return inside.replace(f"{self._stem_name}.rgb.", f"{self._stem_name}.")

    def named_tensors(self) -> dict[str, Tensor]:
        """All weights, under open_clip's names plus that of the alpha convolution. They share memory with the model."""
        return {self.public_name(name): tensor for name, tensor in self.clip.state_dict().items()}
