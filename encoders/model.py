"""Alpha-CLIP: open_clip's CLIP with one more convolution, and nothing else changed."""

from __future__ import annotations

from dataclasses import asdict

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn

from encoders.config import ModelConfig
from encoders.options import Pooling
from encoders.patches import fold_normalisation
from encoders.torchvision_shim import import_open_clip

open_clip = import_open_clip()

ALPHA_WEIGHT = "visual.conv1_alpha.weight"
"""The one tensor that CLIP does not have; shape (width, 1, patch_size, patch_size)."""

_PUBLIC_NAMES = {"visual.conv1.rgb.weight": "visual.conv1.weight", "visual.conv1.alpha.weight": ALPHA_WEIGHT}


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
    """Patch embedding of an image and its alpha channel: `conv1(image) + conv1_alpha(alpha)`.

    It replaces `visual.conv1`. It takes what open_clip's vision tower passes on without looking into it: a pair of
    normalised images and alpha, which is Alpha-CLIP as published, or patches of stored frames, which is the same in one
    matrix product and faster. A pair and not one tensor of four channels: joining and splitting them takes longer than
    both convolutions.

    Source: SunzeY/AlphaCLIP e5676c9, `alpha_clip/model.py`, `VisionTransformer.forward`.
    """

    def __init__(self, conv1: nn.Conv2d) -> None:
        super().__init__()
        self.rgb = conv1
        size, stride = conv1.kernel_size[0], conv1.stride[0]
        self.alpha = nn.Conv2d(1, conv1.out_channels, kernel_size=size, stride=stride, bias=False)
        nn.init.zeros_(self.alpha.weight)  # until it is trained or loaded, the model is CLIP and masks change nothing

    def forward(self, pictures: tuple[Tensor, Tensor] | Tensor) -> Tensor:
        """Embed patches.

        Args:
            pictures: images and alpha, of shapes (batch_size, 3, height, width) and (batch_size, 1, height, width); or
                patches, as `gather_patches` gives them.

        Returns:
            Shape (batch_size, width of the tower, height / patch_size, width / patch_size); of patches, the last two
            axes are one.
        """
        if isinstance(pictures, Tensor):
            weight, bias = fold_normalisation(self.rgb.weight, self.alpha.weight)
            return F.linear(pictures, weight, bias).transpose(1, 2)
        images, alpha = pictures
        return self.rgb(images) + self.alpha(alpha)  # type: ignore[no-any-return]


class AlphaClip(nn.Module):
    """CLIP whose vision tower sees a fourth channel, the mask, and that averages frames into a video."""

    def __init__(self, config: ModelConfig) -> None:
        """Build the model with random weights, from torch's random state; the alpha convolution is zero."""
        super().__init__()
        self.config = config
        self.clip = open_clip.CLIP(
            embed_dim=config.embed_dim,
            vision_cfg=open_clip.CLIPVisionCfg(**asdict(config.vision_cfg)),
            text_cfg=open_clip.CLIPTextCfg(**asdict(config.text_cfg)),
            quick_gelu=config.quick_gelu,
        )
        self.clip.visual.conv1 = AlphaConv(self.clip.visual.conv1)

    @property
    def logit_scale(self) -> nn.Parameter:
        """Natural logarithm of the factor on cosine similarities; a scalar."""
        scale: nn.Parameter = self.clip.logit_scale
        return scale

    def encode_frames(self, images: Tensor, alpha: Tensor) -> Tensor:
        """Embed frames: [CLS], projected, not normalised.

        Args:
            images: normalised, shape (batch_size, 3, image_size, image_size).
            alpha: normalised, shape (batch_size, 1, image_size, image_size).

        Returns:
            Shape (batch_size, embed_dim).
        """
        features: Tensor = self.clip.visual((images, alpha))
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
        """Embed texts: the end token's features, projected, of unit norm.

        A token attends only to itself and to those before it, so what follows the end token changes nothing: cut the
        texts after the longest one, which saves most of the work.

        Args:
            tokens: int64, shape (num_texts, num_tokens), at most `context_length` of them.

        Returns:
            Shape (num_texts, embed_dim).
        """
        return self.project_ends(self.end_tokens(tokens))

    def end_tokens(self, tokens: Tensor) -> Tensor:
        """What the blocks make of the end token of each text: shape (num_texts, width of the tower)."""
        clip, length = self.clip, tokens.shape[1]
        x = clip.token_embedding(tokens) + clip.positional_embedding[:length]
        x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])
        ends: Tensor = x[
            torch.arange(len(x), device=x.device), tokens.argmax(dim=-1)
        ]  # the end token has the highest id
        return ends

    def project_ends(self, ends: Tensor) -> Tensor:
        """End tokens to features of unit norm: shape (num_texts, embed_dim)."""
        features: Tensor = self.clip.ln_final(ends) @ self.clip.text_projection
        return F.normalize(features, dim=-1)

    @staticmethod
    def public_name(name: str) -> str:
        """How a parameter of this module is called elsewhere: open_clip's name, or `visual.conv1_alpha.weight`.

        >>> AlphaClip.public_name("clip.visual.conv1.rgb.weight")
        'visual.conv1.weight'
        """
        inside = name.removeprefix("clip.")
        return _PUBLIC_NAMES.get(inside, inside)

    def named_tensors(self) -> dict[str, Tensor]:
        """All weights, under open_clip's names plus `visual.conv1_alpha.weight`. They share memory with the model."""
        return {self.public_name(name): tensor for name, tensor in self.clip.state_dict().items()}
