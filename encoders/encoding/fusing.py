"""Norms of batches as part of the convolutions before them, for models that only encode.

Once a model no longer trains, what such a norm does to a channel is a factor and a summand. MobileCLIP has several
convolutions side by side, which are then one: it takes two thirds of the time.

Source: timm, `reparameterize_model`; MobileOne (Vasu et al., 2023), section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from encoders.model import AlphaClip, AlphaConv
from encoders.torchvision_shim import import_open_clip, import_timm

open_clip = import_open_clip()


def fused_modules(model: AlphaClip) -> Iterator[nn.Module]:
    """Modules of timm in which `fuse_norms` changes what it finds: a copy needs weights of its own there."""
    return (module for module in model.modules() if hasattr(module, "reparameterize"))


def fuse_norms(model: AlphaClip) -> None:
    """Make the norms of batches of a vision tower part of the convolutions before them.

    Args:
        model: that only encodes, in float32. Weights in `fused_modules` must be its own.
    """
    visual: Any = model.clip.visual
    with torch.no_grad():
        if isinstance(visual, open_clip.modified_resnet.ModifiedResNet):
            for module in list(visual.modules()):
                # The names in open_clip's ResNet; "0" and "1" are those of the layers beside a block that goes down in
                # size.
                _fuse_pairs(module, [("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("0", "1")])
            return
        if not hasattr(visual, "trunk"):  # open_clip's own, which has no such norms
            return
        timm = import_timm()
        for module in list(visual.modules()):
            if isinstance(module, timm.models.fastvit.MobileOneBlock) and any(
                isinstance(one, AlphaConv) for one in module.modules()
            ):
                _fuse_first(module)
        timm.utils.reparameterize_model(visual, inplace=True)


def _fuse_pairs(module: nn.Module, pairs: list[tuple[str, str]]) -> None:
    """Fuse what a module has under two names, where those are a convolution and its norm."""
    for name_of_conv, name_of_norm in pairs:
        conv, norm = getattr(module, name_of_conv, None), getattr(module, name_of_norm, None)
        if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
            setattr(module, name_of_conv, fuse_conv_bn_eval(conv, norm))
            setattr(module, name_of_norm, nn.Identity())


def _fuse_first(block: Any) -> None:
    """Fuse FastViT's first block, whose branches all see the picture and one of them its alpha."""
    # timm fuses plain convolutions only: alpha is taken out first, and put back with its share of the norm.
    branch = next(one for one in block.conv_kxk if isinstance(one.conv, AlphaConv))
    first, norm = branch.conv, branch.bn
    branch.conv = first.rgb
    block.reparameterize()
    block.reparam_conv = AlphaConv(block.reparam_conv, first.mean, first.std)
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    # (width, 1, kernel, kernel) times (width,): what the norm multiplies a channel with. Its summand is in the bias.
    block.reparam_conv.alpha.weight.copy_(first.alpha.weight * factor[:, None, None, None])
