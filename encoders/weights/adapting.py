"""Weights as open_clip reads them: differences between a file and a model that are none.

Source: open_clip 3.3, `factory.load_checkpoint`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from encoders.config import ModelConfig
from encoders.weights.files import WeightsFile

_OF_TEXT = ("positional_embedding", "text_projection", "token_embedding.", "transformer.", "ln_final.")
"""How names of CLIP's text tower begin, where it is no module of its own."""
_DECODER = "text_decoder."
"""CoCa's decoder of captions."""
_COMPUTED = ("attn_mask", "text.attn_mask")
"""What archives of `open_clip.trace_model` have beside weights: which tokens a token attends to."""


def adapted(file: WeightsFile, config: ModelConfig, targets: Mapping[str, Tensor]) -> WeightsFile:
    """Bring the tensors of a file under the names and into the shapes of a model, where the numbers are the same.

    - Text towers of old files go under `text.`, where the model has a module of its own for its text tower.
    - CoCa's decoder is left out: it writes captions, and is none of the two towers.
    - Masks of tokens, which are computed, are left out.
    - A logit scale or bias may be a scalar or a vector of one number.

    Args:
        file: as it was read.
        config: the model's.
        targets: the model's tensors by name.
    """
    tensors = dict(file.tensors)
    if "text.positional_embedding" in targets and "positional_embedding" in tensors:
        tensors = {("text." if name.startswith(_OF_TEXT) else "") + name: one for name, one in tensors.items()}
    unused = {name for name in tensors if name.startswith(_DECODER) and config.multimodal_cfg is not None}
    unused |= {name for name in _COMPUTED if name in tensors and name not in targets}
    for name in unused:
        del tensors[name]
    for name in ("logit_scale", "logit_bias"):
        if name in tensors and name in targets and tensors[name].numel() == 1:
            tensors[name] = tensors[name].reshape(targets[name].shape)
    return replace(file, tensors=tensors, ignored=file.ignored + tuple(sorted(unused)))
