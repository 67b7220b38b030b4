"""Writing weights in the layouts that other code reads."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from encoders.errors import SettingError
from encoders.inputs import ALPHA_MEAN, ALPHA_STD
from encoders.model import AlphaClip
from encoders.options import WeightsLayout
from encoders.saving import save_pickled, save_tensors
from encoders.weights.record import WeightsHeader

SUFFIXES = (".safetensors", ".pt", ".pth")
"""Of files of weights that are written."""


def exported(model: AlphaClip, layout: WeightsLayout) -> dict[str, Tensor]:
    """The weights under a layout's names, float32 on the CPU; they share no memory with the model."""
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.named_tensors().items()}
    return _alpha_clip(tensors) if layout is WeightsLayout.ALPHA_CLIP else _without_alpha(model, tensors)


def _alpha_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        re.sub(r"attn\.in_proj_(weight|bias)$", r"attn.in_proj.\1", name.removeprefix("visual.")): tensor
        for name, tensor in tensors.items()
        if name.startswith("visual.")
    }


def _without_alpha(model: AlphaClip, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Move the alpha convolution's share for an alpha of all ones into what is added to each patch.

    An alpha of all ones adds the same to every patch of every frame, as the first layer's bias does, or the positions
    of the patches. A layer that looks over the edge of a picture sees no ones there.

    Raises:
        SettingError: there is no such place.
    """
    plain = {name: tensor for name, tensor in tensors.items() if name != model.alpha_weight}
    # (width, 1, kernel, kernel) -> (width,): what an alpha of 1, once it is normalised, adds to each output.
    neutral = (1 - ALPHA_MEAN) / ALPHA_STD * tensors[model.alpha_weight].double().sum(dim=(1, 2, 3))
    # Weights that are not zero may add up to zero, and still give something at an edge that is padded.
    if not neutral.any() and not tensors[model.alpha_weight].any():
        return plain
    bias = model.alpha_weight.replace("_alpha.weight", ".bias")
    positions = next((name for name in _POSITIONS if name in plain), None)
    if model.stem.padding == 0 and bias in plain:
        plain[bias] = (plain[bias].double() + neutral).float()
    elif model.stem.is_patches and positions is not None and model.stem.name in ("conv1", "trunk.patch_embed.proj"):
        moved = plain[positions].double()
        # Patches in a row. Shape of positions: (tokens, width), or (1, tokens, width) in timm.
        side = model.config.image_size // model.stem.stride
        moved[..., moved.shape[-2] - side * side :, :] += neutral  # what comes before belongs to tokens, not to patches
        plain[positions] = moved.float()
    else:
        raise SettingError(
            f"{model.config.name} cannot be written as a plain model: nothing in it can take over what its alpha "
            f"convolution, {model.alpha_weight}, gives where the alpha is all ones. The checkpoint has all weights"
        )
    return plain


_POSITIONS = ("visual.positional_embedding", "visual.trunk.pos_embed")


def left_out(model: AlphaClip, layout: WeightsLayout) -> tuple[str, ...]:
    """Names of the tensors that a layout has no place for: in Alpha-CLIP's, the text tower and the logit scale."""
    if layout is WeightsLayout.CLIP:
        return ()  # the alpha convolution is part of the positions
    return tuple(name for name in model.named_tensors() if not name.startswith("visual."))


def write_weights(path: Path, tensors: Mapping[str, Tensor], *, layout: WeightsLayout, header: WeightsHeader) -> None:
    """Write a state dict, whole or not at all: .safetensors, which record their activation, or what `torch.load` reads.

    Args:
        path: the file; its suffix says which of the two.
        tensors: result of `exported`.
        layout: the layout of `tensors`.
        header: what the file is to say beside the tensors. In what `torch.load` reads, it is an attribute that other
            code passes over.

    Raises:
        ValueError: Another suffix than `SUFFIXES`.
        ValueError: Alpha-CLIP's layout without QuickGELU, in a file that cannot say so.
        FileExistsError: `path` exists.
        FileNotFoundError: the folder of `path` does not exist.
    """
    if path.suffix not in SUFFIXES:
        raise SettingError(f"{path.name!r} must end in {' or '.join(SUFFIXES)}: that is what is written")
    is_safetensors = path.suffix == ".safetensors"
    if layout is WeightsLayout.ALPHA_CLIP and not header.quick_gelu and not is_safetensors:
        raise SettingError(
            f"{path.name} cannot say that the model runs without QuickGELU, and readers of Alpha-CLIP's layout take "
            "QuickGELU for granted: their features would be wrong. Write .safetensors, which say it "
            f"(--alpha-checkpoint reads them, Alpha-CLIP's own code does not), or both towers by "
            f"--layout {WeightsLayout.CLIP}"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} for {path.name} does not exist: make it first")
    if path.exists():
        raise FileExistsError(f"{path} already exists: give another name, or remove it first")
    if is_safetensors:
        save_tensors(path, tensors, header.to_metadata())
    else:
        save_pickled(path, _with_header(tensors, header))


def _with_header(tensors: Mapping[str, Tensor], header: WeightsHeader) -> OrderedDict[str, Tensor]:
    """A state dict as modules give it: torch keeps `_metadata` with it, and looks up nothing but its own keys there."""
    entries = OrderedDict(tensors)
    entries._metadata = header.to_metadata()  # type: ignore[attr-defined]
    return entries
