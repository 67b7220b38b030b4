"""Where a vision tower looks: the attention by which it reads the features of a frame off its patches.

That is a class token's in the last block (CLIP's ViT, EVA), or that of the query of a layer that pools patches (SigLIP,
PE-Core, CoCa, CLIP's ResNets). A tower that averages its patches has none: each counts alike.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn

from encoders.errors import ModelError
from encoders.model import AlphaClip
from encoders.torchvision_shim import import_open_clip, import_timm

open_clip = import_open_clip()

_QueryAndKeys = Callable[..., tuple[Tensor, Tensor]]
"""Of a layer and what it is given: its query, shape (batch_size, num_heads, head_width), and its keys, shape
(batch_size, num_heads, num_tokens, head_width)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The layer by which a tower reads its patches; they are the last of the tokens that it is given."""

    layer: str
    """Its name in the vision tower."""
    query_and_keys: _QueryAndKeys
    num_patches: int


def find_reading(model: AlphaClip) -> Reading:
    """How a model's vision tower reads its patches.

    Raises:
        ModelError: it has no attention to show; it says why.
    """
    visual = model.clip.visual
    if isinstance(visual, open_clip.modified_resnet.ModifiedResNet):
        # A position for each place of the last feature map, and one for their average before them.
        return Reading("attnpool", _of_resnet, len(visual.attnpool.positional_embedding) - 1)
    found = _in_open_clip(visual) if isinstance(visual, open_clip.transformer.VisionTransformer) else _in_timm(visual)
    if isinstance(found, Reading):
        return found
    raise ModelError(
        f"{model.config.name} has no attention to show: {found}. It would be how much each patch counts for the class "
        "token of a ViT, or for the query of a layer that pools"
    )


def _in_open_clip(visual: Any) -> Reading | str:
    num_patches = visual.grid_size[0] * visual.grid_size[1]
    if visual.attn_pool is not None:
        # Features come from `attn_pool_contrastive` where there are two poolers: it reads patches if they stand side by
        # side (`parallel`), and the results of the other one in a `cascade`.
        if visual.attn_pool_type == "cascade":
            return "its last layer pools what another layer has pooled, not patches"
        pooler = "attn_pool" if visual.attn_pool_contrastive is None else "attn_pool_contrastive"
        # One pooler has many queries: features are the result of the first (`tok`), or an average.
        if pooler == "attn_pool" and visual.pool_type != "tok":
            return "it averages many queries"
        return Reading(f"{pooler}.attn", _of_torch, num_patches)
    if visual.pool_type != "tok":
        return _AVERAGES
    last = f"transformer.resblocks.{len(visual.transformer.resblocks) - 1}"
    if not isinstance(visual.transformer.resblocks[-1], open_clip.transformer.ResidualAttentionBlock):
        return "its blocks are not CLIP's"
    return Reading(f"{last}.attn", _of_torch, num_patches)


def _in_timm(visual: Any) -> Reading | str:
    trunk, timm = visual.trunk, import_timm()
    # Its scores are products of queries and keys, plus a number for each pair of places.
    if isinstance(trunk, timm.models.vision_transformer_relpos.VisionTransformerRelPos):
        return "its blocks weigh patches by their relative positions too, which is not read here"
    if not isinstance(trunk, timm.models.vision_transformer.VisionTransformer | timm.models.eva.Eva):
        return f"it averages what its last layers ({type(trunk).__name__}) give, so that each place counts alike"
    num_patches = trunk.patch_embed.num_patches
    if trunk.attn_pool is not None:
        pooler = trunk.attn_pool
        if not isinstance(pooler, timm.layers.AttentionPoolLatent) or pooler.latent_len != 1:
            return "it averages many queries"
        return Reading("trunk.attn_pool", _of_latent, num_patches)
    if trunk.global_pool != "token":
        return _AVERAGES
    last = len(trunk.blocks) - 1
    attn = trunk.blocks[last].attn
    if isinstance(attn, timm.models.eva.EvaAttention):
        return Reading(f"trunk.blocks.{last}.attn", _of_eva, num_patches)
    if isinstance(attn, timm.layers.Attention):
        return Reading(f"trunk.blocks.{last}.attn", _of_timm, num_patches)
    return f"its blocks attend by {type(attn).__name__}"


_AVERAGES = "it averages its patches, so that each counts alike"


@dataclass
class Watch(AbstractContextManager["Watch"]):
    """Sees the attention of a tower while it embeds frames."""

    visual: nn.Module
    """The tower that embeds."""
    reading: Reading
    _seen: list[Tensor] = field(default_factory=list)

    def __enter__(self) -> Watch:
        layer = self.visual.get_submodule(self.reading.layer)
        # torch's fused attention never has its weights in memory. So the layer's input is taken, and they are computed
        # again, for one query.
        self._hook = layer.register_forward_pre_hook(self._look, with_kwargs=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hook.remove()

    def _look(self, layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        # (batch, heads, head_width) and (batch, heads, tokens, head_width)
        query, keys = self.reading.query_and_keys(layer, *inputs, **named)
        # (batch, heads, tokens), in float32: a score in bfloat16 has two to three digits.
        scores = torch.einsum("bhd,bhld->bhl", query.float(), keys.float()) / query.shape[-1] ** 0.5
        # (batch, heads, tokens) -> (batch, tokens) -> (batch, num_patches). Softmax over all tokens, and then only
        # patches: what goes to other tokens is missing from the sum.
        self._seen.append(scores.softmax(dim=-1).mean(dim=1)[:, -self.reading.num_patches :])

    @property
    def maps(self) -> Tensor:
        """The attention to each patch of the frames embedded last: float32, shape (batch_size, grid, grid), 0..1."""
        weights = self._seen[-1]
        # Frames are square, and so is the grid of their patches.
        grid = round(self.reading.num_patches**0.5)
        return weights.reshape(len(weights), grid, grid)


def _heads(x: Tensor, num_heads: int) -> Tensor:
    """Shape (..., num_tokens, width) to (..., num_heads, num_tokens, head_width)."""
    # (..., tokens, heads * head_width) -> (..., tokens, heads, head_width) -> (..., heads, tokens, head_width)
    return x.view(*x.shape[:-1], num_heads, -1).transpose(-2, -3)


def _of_torch(attn: Any, query: Tensor, key: Tensor, *_: Tensor, **__: object) -> tuple[Tensor, Tensor]:
    """The first query of `torch.nn.MultiheadAttention`, batch first."""
    if attn.in_proj_weight is not None:
        # Shape (3 * width, width): queries, keys, values. Where keys have another width than queries, torch has three
        # matrices.
        of_query, of_key, _ = attn.in_proj_weight.chunk(3)
    else:
        of_query, of_key = attn.q_proj_weight, attn.k_proj_weight
    # One vector of 3 * width in either case.
    biases = (None, None) if attn.in_proj_bias is None else attn.in_proj_bias.chunk(3)[:2]
    # (batch, tokens, width): of the queries, only the first, which is the class token's or the pooler's.
    queries, keys = F.linear(query[:, :1], of_query, biases[0]), F.linear(key, of_key, biases[1])
    return _heads(queries, attn.num_heads)[:, :, 0], _heads(keys, attn.num_heads)


def _of_timm(attn: Any, x: Tensor, **_: object) -> tuple[Tensor, Tensor]:
    """The first token of timm's `Attention`."""
    query, key, _value = attn.qkv(x).chunk(3, dim=-1)
    # (batch, 1, width) -> (batch, heads, 1, head_width) -> (batch, heads, head_width)
    return attn.q_norm(_heads(query[:, :1], attn.num_heads))[:, :, 0], attn.k_norm(_heads(key, attn.num_heads))


def _of_eva(attn: Any, x: Tensor, rope: Tensor | None = None, **_: object) -> tuple[Tensor, Tensor]:
    """The first token of timm's `EvaAttention`: tokens before the patches are not turned."""
    if attn.qkv is None:
        query, key = attn.q_proj(x[:, :1]), attn.k_proj(x)
    else:
        query, key, _value = attn.qkv(x).chunk(3, dim=-1)
        # `qkv` has no bias here: timm adds one of queries and of values, and none of keys.
        query = query[:, :1] if attn.q_bias is None else query[:, :1] + attn.q_bias
    query, key = attn.q_norm(_heads(query, attn.num_heads)), attn.k_norm(_heads(key, attn.num_heads))
    if rope is not None:
        # Keys of patches are turned by an angle that depends on their place (rotary embedding). The query is a token
        # before the patches, so it is not.
        before, patches = key.split([attn.num_prefix_tokens, key.shape[2] - attn.num_prefix_tokens], dim=2)
        turned = import_timm().layers.apply_rot_embed_cat(patches, rope, half=attn.rotate_half)
        key = torch.cat([before, turned], dim=2)
    return query[:, :, 0], key


def _of_latent(pool: Any, x: Tensor, **_: object) -> tuple[Tensor, Tensor]:
    """The query of timm's `AttentionPoolLatent`."""
    # `_look` sees the input of the layer, which adds this itself.
    if pool.pos_embed is not None:
        x = x + pool.pos_embed
    # (1, 1, width) -> (batch, 1, width)
    query = pool.q(pool.latent.expand(len(x), -1, -1))
    key, _value = pool.kv(x).chunk(2, dim=-1)
    return pool.q_norm(_heads(query, pool.num_heads))[:, :, 0], pool.k_norm(_heads(key, pool.num_heads))


def _of_resnet(pool: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """The average of all places, as open_clip's `AttentionPool2d` puts it before them."""
    # (batch, width, rows, columns) -> (batch, places, width)
    tokens = x.flatten(2).transpose(1, 2)
    tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + pool.positional_embedding
    query, key = pool.q_proj(tokens[:, :1]), pool.k_proj(tokens)
    return _heads(query, pool.num_heads)[:, :, 0], _heads(key, pool.num_heads)
