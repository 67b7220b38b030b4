"""From a configuration to open_clip's modules, and the first layer that sees the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from encoders.config import ModelConfig, TextTower, VisionTower
from encoders.described import DescribedTower
from encoders.errors import ModelError, first_line
from encoders.hub import quiet_hub
from encoders.torchvision_shim import INSTALL_TRANSFORMERS, import_open_clip, import_text_towers, import_timm

open_clip = import_open_clip()

_NO_WEIGHTS_OF_OTHERS = {"timm_model_pretrained": False, "hf_model_pretrained": False}
"""Nothing is downloaded when a model is built: its weights come from one file, which has both towers."""
_HUGE = ("giant", "gigantic", "enormous", "xlarge")
"""In the names of timm's models of more than a GiB."""


@dataclass(frozen=True, slots=True)
class Stem:
    """The convolution of a vision tower that sees the three colours."""

    name: str
    """Of the module, inside the tower: `conv1`, `trunk.patch_embed.proj`, `trunk.stem.0`."""
    kernel: int
    stride: int
    padding: int

    @property
    def is_patches(self) -> bool:
        """Whether each number of a picture goes into one output alone: patches side by side, nothing around them."""
        return self.kernel == self.stride and self.padding == 0


def build(config: ModelConfig) -> Any:
    """Make open_clip's model with random weights: its `CLIP`, or `CustomTextCLIP`, which is also CoCa's two towers.

    Raises:
        ModelError: open_clip or timm refuses the description.
    """
    vision, text = _settings(config.vision_cfg), _settings(config.text_cfg)
    is_custom = config.custom_text or "hf_model_name" in text
    make = open_clip.CustomTextCLIP if is_custom else open_clip.CLIP
    _require_described(config)
    try:
        return make(
            embed_dim=config.embed_dim,
            vision_cfg=open_clip.CLIPVisionCfg(**vision),
            text_cfg=open_clip.CLIPTextCfg(**text),
            quick_gelu=config.quick_gelu,
            init_logit_bias=config.init_logit_bias,
        )
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # Numbers that do not fit each other raise any of these, in open_clip or in timm.
        raise ModelError(f"open_clip cannot build model {config.name}: {first_line(error)}") from error


def _require_described(config: ModelConfig) -> None:
    """Check that the text tower of Hugging Face is described on this machine, or can be had from the hub.

    Raises:
        ModelError: it is not.
    """
    name = config.text_cfg.hf_name if isinstance(config.text_cfg, DescribedTower) else None
    if name is None:
        return
    try:
        with quiet_hub():
            import_text_towers().AutoConfig.from_pretrained(name, trust_remote_code=False)
    except ImportError as error:
        raise ModelError(
            f"the text tower {name!r} of model {config.name} needs the package transformers "
            f"({INSTALL_TRANSFORMERS}), which cannot be imported: {error}"
        ) from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(
            f"cannot read the description of the text tower {name!r} of model {config.name}: {first_line(error)}. "
            f"Without a network, put config.json of https://huggingface.co/{name} into a folder, and name that in the "
            "model's file as hf_model_name"
        ) from error


def _settings(tower: VisionTower | TextTower | DescribedTower) -> dict[str, Any]:
    """Arguments of open_clip's dataclass. Of CoCa's towers, only what is pooled is asked for."""
    if isinstance(tower, DescribedTower):
        known = tower.settings
        forced = {name: value for name, value in _NO_WEIGHTS_OF_OTHERS.items() if name in known}
        if tower.hf_name is not None:
            forced["hf_model_pretrained"] = False  # which is not what open_clip takes by default
        return {**known, **forced, "output_tokens": False}
    return {name: getattr(tower, name) for name in tower.__dataclass_fields__}


def find_stem(visual: nn.Module, where: str) -> Stem:
    """The first layer of a vision tower: the first convolution of three channels.

    FastViT's first block has two of them side by side, added up: the first is the larger one.

    Raises:
        ModelError: there is none, or it is not plain and square.
    """
    for name, module in visual.named_modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 3:
            sizes = (module.kernel_size, module.stride, module.padding)
            is_plain = type(module) is nn.Conv2d and module.groups == 1 and module.dilation == (1, 1)
            if not is_plain or any(isinstance(one, str) or one[0] != one[1] for one in sizes):
                raise ModelError(
                    f"{where}: its first convolution, {name}, is not plain and square: no alpha fits beside it"
                )
            kernel, stride, padding = (int(one[0]) for one in sizes)
            return Stem(name, kernel, stride, padding)
    raise ModelError(f"{where}: its vision tower has no convolution of three channels, beside which alpha would go")


def num_bytes(config: ModelConfig) -> int:
    """What a model takes at least in float32, found without building it: weights, text mask, one picture with alpha.

    >>> round(num_bytes(ModelConfig.from_name_or_file("ViT-B-32-quickgelu")) / 2**20)  # CLIP's 151 million, and alpha
    581
    """
    pictures = 4 * config.image_size**2
    vision, text = config.vision_cfg, config.text_cfg
    if isinstance(vision, VisionTower) and isinstance(text, TextTower):
        weights = vision.num_weights + text.num_weights + config.embed_dim * (vision.width + text.width) + 1
        return 4 * (weights + config.context_length**2 + pictures)
    return 4 * (_of_vision(vision) + _of_text(text) + config.context_length**2 + pictures)


def _of_vision(tower: VisionTower | DescribedTower) -> int:
    """Numbers in the weights of a tower: all of a plain one; the matrices of what is described, which are most."""
    if not isinstance(tower, DescribedTower):
        return tower.num_weights
    if tower.timm_name is not None:
        return _of_timm(tower.timm_name) if any(word in tower.timm_name for word in _HUGE) else 0
    sizes = open_clip.CLIPVisionCfg(**_settings(tower))
    if not isinstance(sizes.layers, int):
        return int(sum(sizes.layers) * sizes.width**2)
    patches = (sizes.image_size // sizes.patch_size) ** 2 + 3 * sizes.patch_size**2
    # A block: four square matrices of attention, and two of the MLP that are `mlp_ratio` times as large.
    return int(patches * sizes.width + sizes.layers * (4 + 2 * sizes.mlp_ratio) * sizes.width**2)


def _of_text(tower: TextTower | DescribedTower) -> int:
    """As `_of_vision`."""
    if not isinstance(tower, DescribedTower):
        return tower.num_weights
    if tower.hf_name is not None:
        return 0  # its sizes are in another file
    sizes = open_clip.CLIPTextCfg(**_settings(tower))
    return int(sizes.vocab_size * sizes.width + sizes.layers * (4 + 2 * sizes.mlp_ratio) * sizes.width**2)


def _of_timm(name: str) -> int:
    """Counted on torch's meta device, which has shapes and no memory; loading it takes seconds."""
    with torch.device("meta"):
        trunk = import_timm().create_model(name, pretrained=False)
    return sum(parameter.numel() for parameter in trunk.parameters())
