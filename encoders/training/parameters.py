"""Which weights are trained, each at which rate, and how the rate changes over a run."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from encoders.errors import SettingError
from encoders.model import AlphaClip, is_alpha
from encoders.training.options import Loss, Schedule, TrainOptions

_EMBEDDINGS = re.compile(
    r"(conv\d|bn\d|class_embedding|positional_embedding|ln_pre|token_embedding|cls_emb\b|cls_token|reg_token|pos_embed"
    r"|patch_embed|rel_pos|norm_pre|stem|transformer\.(embeddings|shared|embed_tokens|rel_embeddings))"
)
"""How the names of parameters before the first block begin, in their tower."""
_BLOCK = re.compile(r"(?:^|\.)(?:resblocks|blocks|block|layers?|stages)\.?\d+(?:\.(?:blocks|layer)?\.?\d+)?(?=\.)")
"""Where the name of a parameter says in which block it is: `transformer.resblocks.3`, `blocks.3`, `stages.1.blocks.2`,
`layer4.0`, `encoder.layer.3`."""


def learning_rate_factor(step: int, num_steps: int, warmup: float, schedule: Schedule = Schedule.COSINE) -> float:
    """Return the part of the peak rate that a step uses: a linear rise, then half a cosine down to almost zero.

    >>> [round(learning_rate_factor(step, 6, warmup=1 / 3), 2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.85, 0.5, 0.15]
    >>> [round(learning_rate_factor(step, 6, 1 / 3, Schedule.CLIP4CLIP), 2) for step in range(6)]
    [0.0, 0.5, 0.75, 0.5, 0.25, 0.07]
    >>> [round(learning_rate_factor(step, 6, 1 / 3, Schedule.TRANSFORMERS), 2) for step in range(6)]
    [0.0, 0.5, 1.0, 0.85, 0.5, 0.15]

    Args:
        step: `[0, num_steps)`.
        num_steps: of the whole run.
        warmup: part of the steps that rise, 0..1.
        schedule: how the rise and the fall go together.
    """
    if schedule is Schedule.CLIP4CLIP:
        done = step / num_steps
        return done / warmup if done < warmup else (1 + math.cos(math.pi * done)) / 2
    is_transformers = schedule is Schedule.TRANSFORMERS
    num_warmup = int(num_steps * warmup) if is_transformers else round(num_steps * warmup)
    if step < num_warmup:
        return (step if is_transformers else step + 1) / num_warmup
    return (1 + math.cos(math.pi * (step - num_warmup) / (num_steps - num_warmup))) / 2


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that share a peak rate and a weight decay."""

    names: tuple[str, ...]
    parameters: Sequence[nn.Parameter]
    lr: float
    weight_decay: float


def parameter_groups(model: AlphaClip, options: TrainOptions) -> list[ParameterGroup]:
    """Group the parameters that are trained by rate and weight decay, in the order in which the model names them.

    Norms, biases, the class embedding and the logit scale (fewer than two axes) have no weight decay, unless
    `decay_vectors` is set. Parameters that
    are frozen, or whose rate is 0, are in no group: their gradient would only count in the norm that is clipped.

    Raises:
        ValueError: no parameter is trained.
    """
    members: dict[tuple[float, float], list[tuple[str, nn.Parameter]]] = {}
    places = _places(model)
    for name, parameter in model.named_parameters():
        place = places[name]
        rate = _rate(place, options)
        if rate > 0 and not _is_frozen(place, options):
            decay = options.weight_decay if options.decay_vectors or parameter.ndim >= 2 else 0.0
            members.setdefault((rate, decay), []).append((name, parameter))
    if not members:
        raise SettingError("nothing is trained: all weights are frozen, or have a rate of 0")
    return [
        ParameterGroup(tuple(name for name, _ in group), [parameter for _, parameter in group], lr, decay)
        for (lr, decay), group in members.items()
    ]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a parameter is in a model."""

    tower: str
    """`visual`, `text`, `logit_scale`, `logit_bias`, or `alpha` for the alpha convolution."""
    depth: int
    """0 before the blocks, n in the n-th block, `num_blocks` + 1 after them."""
    num_blocks: int
    """Of the tower."""


def _places(model: AlphaClip) -> dict[str, _Place]:
    """The place of each parameter, by its name in the model."""
    inside: dict[str, tuple[str, str]] = {}
    for name, _ in model.named_parameters():
        public = model.public_name(name)
        if is_alpha(public):
            inside[name] = ("alpha", "")
        elif public in ("logit_scale", "logit_bias"):
            inside[name] = (public, "")
        else:
            tower = "visual" if public.startswith("visual.") else "text"
            inside[name] = (tower, re.sub(r"^(visual\.|text\.)?(trunk\.)?", "", public))
    blocks: dict[str, list[str]] = {"visual": [], "text": []}
    for tower, rest in inside.values():
        block = _block_of(rest)
        if block is not None and block not in blocks[tower]:
            blocks[tower].append(block)
    places = {}
    for name, (tower, rest) in inside.items():
        known = blocks.get(tower, [])
        block = _block_of(rest)
        # Blocks count in the order in which the model names them.
        depth = len(known) + 1 if block is None else known.index(block) + 1
        if block is None and _EMBEDDINGS.match(rest):
            depth = 0
        places[name] = _Place(tower, depth, len(known))
    return places


def _block_of(name: str) -> str | None:
    """The part of a parameter's name that names its block; None outside of blocks.

    >>> [_block_of(name) for name in ("transformer.resblocks.3.ln_1.bias", "stages.1.blocks.2.norm.bias", "norm.bias")]
    ['transformer.resblocks.3', 'stages.1.blocks.2', None]
    """
    if _EMBEDDINGS.match(name):
        return None
    found = _BLOCK.search(name)
    return None if found is None else name[: found.end()]


def _is_frozen(place: _Place, options: TrainOptions) -> bool:
    match place.tower:
        case "alpha":
            return False
        case "logit_scale":
            return options.freeze_logit_scale
        case "logit_bias":  # the contrastive loss is the same for any
            return options.freeze_logit_scale or options.loss != Loss.SIGMOID
        case "text" if options.freeze_text:
            return True
    # -1 freezes nothing, 0 what is before the first block.
    return place.depth <= options.freeze_layers


def _rate(place: _Place, options: TrainOptions) -> float:
    if place.tower == "alpha":
        return options.alpha_lr
    lr = options.lr if place.tower == "visual" or options.text_lr is None else options.text_lr
    if place.tower in ("logit_scale", "logit_bias"):
        return lr
    # What comes after the blocks has the whole rate, the last block one factor, embeddings one more than the first
    # block.
    return lr * options.layer_decay ** (place.num_blocks + 1 - place.depth)
