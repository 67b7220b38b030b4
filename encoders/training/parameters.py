"""Which weights are trained, each at which rate, and how the rate changes over a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from encoders.errors import SettingError
from encoders.model import ALPHA_WEIGHT, AlphaClip
from encoders.training.options import Schedule, TrainOptions

_EMBEDDINGS = ("conv1.", "class_embedding", "positional_embedding", "ln_pre.", "token_embedding.")
"""How the names of parameters before the first block begin, in their tower."""


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
    for name, parameter in model.named_parameters():
        place = _place(model, name)
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
    """`visual`, `text`, `logit_scale`, or `alpha` for the alpha convolution."""
    depth: int
    """0 before the blocks, n in the n-th block, `num_blocks` + 1 after them."""
    num_blocks: int
    """Of the tower."""


def _place(model: AlphaClip, name: str) -> _Place:
    name = model.public_name(name)
    if name == ALPHA_WEIGHT:
        return _Place("alpha", 0, 0)
    if name == "logit_scale":
        return _Place("logit_scale", 0, 0)
    config = model.config
    tower = "visual" if name.startswith("visual.") else "text"
    num_blocks = (config.vision_cfg if tower == "visual" else config.text_cfg).layers
    inside = name.removeprefix("visual.")
    if inside.startswith("transformer.resblocks."):
        return _Place(tower, int(inside.split(".")[2]) + 1, num_blocks)
    return _Place(tower, 0 if inside.startswith(_EMBEDDINGS) else num_blocks + 1, num_blocks)


def _is_frozen(place: _Place, options: TrainOptions) -> bool:
    match place.tower:
        case "alpha":
            return False
        case "logit_scale":
            return options.freeze_logit_scale
        case "text" if options.freeze_text:
            return True
    return place.depth <= options.freeze_layers


def _rate(place: _Place, options: TrainOptions) -> float:
    if place.tower == "alpha":
        return options.alpha_lr
    lr = options.lr if place.tower == "visual" or options.text_lr is None else options.text_lr
    if place.tower == "logit_scale":
        return lr
    return lr * options.layer_decay ** (place.num_blocks + 1 - place.depth)
