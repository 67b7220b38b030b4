"""Whether weights fit a model, and which model they fit if not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from encoders.config import ModelConfig, TextTower, VisionTower, supported_models
from encoders.errors import WeightsFormatError, WeightsMismatchError
from encoders.model import is_alpha
from encoders.options import Activation
from encoders.torchvision_shim import import_open_clip
from encoders.weights.files import WeightsFile

open_clip = import_open_clip()

FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
"""What weights may be stored as. Others (8 bits, packed) need scales, which no layout here has."""
LOGIT_BIAS = "logit_bias"
"""Of the sigmoid loss: weights that were trained with another loss have none."""
_NUM_LISTED = 5


def check_activation(config: ModelConfig, file: WeightsFile, declared: Activation | None) -> None:
    """Refuse weights that were trained with another activation: they would load, and silently give wrong features.

    Args:
        config: the model's.
        file: the weights.
        declared: the activation that the user gives, for files that do not say it.

    Raises:
        WeightsMismatchError: another activation (the message names the model to use), or neither file nor user says it.
    """
    quick_gelu = file.quick_gelu
    is_plain = isinstance(config.vision_cfg, VisionTower) and isinstance(config.text_cfg, TextTower)
    if quick_gelu is None and declared is None and not is_plain and sibling_name(config) is None:
        return  # nobody publishes weights of such towers with another activation than the model's
    if quick_gelu is None and declared is None:
        raise WeightsMismatchError(
            f"{file.path} contains {file.kind.value} weights, and nothing says whether they were trained with "
            f"QuickGELU, which {config.name} runs {'with' if config.quick_gelu else 'without'}; with the wrong one "
            "they load and give wrong features. Say what their authors say: --activation quickgelu (OpenAI's weights "
            "in this layout, and those trained from them) or --activation gelu (most others)"
        )
    if declared is not None and quick_gelu is not None and quick_gelu != (declared is Activation.QUICK_GELU):
        raise WeightsMismatchError(
            f"--activation {declared} contradicts {file.path}: {file.kind.value} weights, trained "
            f"{'with' if quick_gelu else 'without'} QuickGELU"
        )
    if quick_gelu is None:
        quick_gelu = declared is Activation.QUICK_GELU
    if quick_gelu != config.quick_gelu:
        other = sibling_name(config)
        use = f"use {other}" if other else f'set "quick_gelu": {json.dumps(quick_gelu)} in the model\'s file'
        trained, runs = ("with", "without") if quick_gelu else ("without", "with")
        raise WeightsMismatchError(
            f"{file.path} contains {file.kind.value} weights, trained {trained} QuickGELU, but {config.name} runs "
            f"{runs} it: {use}"
        )


def sibling_name(config: ModelConfig) -> str | None:
    """Name open_clip's model that is the same but for the activation, if there is one.

    >>> sibling_name(ModelConfig.from_name_or_file("ViT-B-16"))
    'ViT-B-16-quickgelu'
    """
    suffix = "-quickgelu"
    other = config.name.removesuffix(suffix) if config.name.endswith(suffix) else config.name + suffix
    return other if other in open_clip.list_models() else None


def check_fit(config: ModelConfig, file: WeightsFile, targets: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Check that a file gives all tensors of the model (of its vision tower, for a file without text).

    They must have the model's shapes, and be floats of 16 bits or more where the model has floats.

    Args:
        config: the model's.
        file: the weights.
        targets: the model's tensors by name.

    Returns:
        Names that the file lacks and may lack: of the alpha convolution, and the logit bias.

    Raises:
        WeightsMismatchError: the file does not fit; the message lists some names, and the models that would fit.
    """
    wanted = {name for name in targets if not file.is_visual_only or name.startswith("visual.")}
    lacking = wanted - set(file.tensors)
    problems = [
        *_listed("missing", {name for name in lacking if not is_alpha(name) and name != LOGIT_BIAS}),
        *_listed("unexpected", set(file.tensors) - wanted),
        *_listed("of another shape", _other_shapes(file.tensors, targets)),
        *_listed("not floating point of 16 bits or more", _no_floats(file.tensors, targets)),
    ]
    if problems:
        raise WeightsMismatchError(
            f"{file.path} ({file.kind.value}) does not fit {config.name}: {'; '.join(problems)}.{_advice(config, file)}"
        )
    return tuple(sorted(lacking))


def check_finite(file: WeightsFile, targets: Mapping[str, Tensor]) -> None:
    """Check the tensors that a file gave a model: one NaN makes all features NaN.

    Args:
        file: the weights.
        targets: the model's tensors by name, filled in: values too large for float32 are infinite there.

    Raises:
        WeightsFormatError: there are NaN or infinite values; the message says in which tensors, and how many.
    """
    bad = [name for name in file.tensors if not _is_finite(targets[name])]
    if bad:
        counts = {name: int((~torch.isfinite(targets[name])).sum()) for name in bad[:_NUM_LISTED]}
        found = ", ".join(f"{count:,} of {targets[name].numel():,} in {name}" for name, count in counts.items())
        more = f", and more in {len(bad) - len(counts):,} other tensors" if len(bad) > len(counts) else ""
        raise WeightsFormatError(
            f"{file.path} contains NaN or infinite values: {found}{more}. Training diverged before it was saved, or "
            "the file is damaged: take an earlier one, or get it again"
        )


def _is_finite(tensor: Tensor) -> bool:
    # A sum is finite only if all its terms are, and takes a tenth of the time. But finite terms may sum to infinity.
    return bool(tensor.sum().isfinite()) or bool(torch.isfinite(tensor).all())


def _no_floats(tensors: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{name} is {str(tensor.dtype).removeprefix('torch.')}"
        for name, tensor in tensors.items()
        if name in targets and targets[name].is_floating_point() and tensor.dtype not in FLOATS
    ]


def _other_shapes(tensors: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{name} is {tuple(tensor.shape)} and should be {tuple(targets[name].shape)}"
        for name, tensor in tensors.items()
        if name in targets and tensor.shape != targets[name].shape
    ]


def _listed(what: str, names: set[str] | Sequence[str]) -> list[str]:
    if not names:
        return []
    first = sorted(names)[:_NUM_LISTED]
    more = ", ..." if len(names) > len(first) else ""
    return [f"{len(names)} {what}: {', '.join(first)}{more}"]


def _advice(config: ModelConfig, file: WeightsFile) -> str:
    fitting = [
        model.name
        for model in supported_models()
        if file.quick_gelu in (None, model.quick_gelu) and _has_sizes(file, model)
    ]
    if not fitting or config.name in fitting:
        return ""
    return f" By its shapes it is {' or '.join(fitting)}: use that model name (positions are not resized)"


def _has_sizes(file: WeightsFile, config: ModelConfig) -> bool:
    """Whether the tensors that tell models apart have this model's shapes, and the towers its depth."""
    vision, text = config.vision_cfg, config.text_cfg
    if not isinstance(vision, VisionTower) or not isinstance(text, TextTower):
        return False  # its shapes are not known without building it
    num_positions = (vision.image_size // vision.patch_size) ** 2 + 1
    shapes: dict[str, tuple[int, ...] | None] = {
        "visual.conv1.weight": (vision.width, 3, vision.patch_size, vision.patch_size),
        "visual.positional_embedding": (num_positions, vision.width),
        "visual.proj": (vision.width, config.embed_dim),
        f"visual.transformer.resblocks.{vision.layers - 1}.mlp.c_fc.weight": (
            int(vision.width * vision.mlp_ratio),
            vision.width,
        ),
        # No tensor: a block more would be a deeper model.
        f"visual.transformer.resblocks.{vision.layers}.mlp.c_fc.weight": None,
        "positional_embedding": (text.context_length, text.width),
        "text_projection": (text.width, config.embed_dim),
        f"transformer.resblocks.{text.layers - 1}.ln_1.weight": (text.width,),
        f"transformer.resblocks.{text.layers}.ln_1.weight": None,
    }
    found = {name: tuple(tensor.shape) for name, tensor in file.tensors.items()}
    return all(
        found.get(name) == shape
        for name, shape in shapes.items()
        if name.startswith("visual.") or not file.is_visual_only
    )
