"""What the tests of `encoders` share: a model that is made in milliseconds, and Alpha-CLIP's formula in plain torch."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from encoders.config import CLIP_MEAN, CLIP_STD, Colours, ModelConfig, TextTower, VisionTower
from encoders.described import CLIP_VOCAB_SIZE
from encoders.inputs import Alpha, normalise_alpha, normalise_frames, writable
from encoders.model import AlphaClip, AlphaConv

ALPHA_WEIGHT = "visual.conv1_alpha.weight"
"""The one tensor that CLIP does not have."""
VISION_HEADS, TEXT_HEADS = 2, 2
TINY_VISION = VisionTower(image_size=32, patch_size=16, width=32, layers=2, head_width=16)
TINY_TEXT = TextTower(context_length=10, vocab_size=CLIP_VOCAB_SIZE, width=8, heads=TEXT_HEADS, layers=1)
TINY = ModelConfig(
    name="tiny",
    embed_dim=16,
    vision_cfg=TINY_VISION,
    text_cfg=TINY_TEXT,
    quick_gelu=True,
)


def write_config(folder: Path, config: ModelConfig = TINY) -> str:
    path = folder / f"{config.name}.json"
    path.write_text(json.dumps(config.architecture))
    return str(path)


def tiny_model(seed: int = 0) -> AlphaClip:
    """A model of which every tensor is random, the alpha convolution too."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AlphaClip(TINY).eval()
        randomise(model.named_tensors())
    return model


def randomise(tensors: Mapping[str, Tensor]) -> None:
    """Make every tensor matter: norms off one, biases and the alpha convolution off zero."""
    for name, tensor in tensors.items():
        if name == ALPHA_WEIGHT or tensor.ndim == 1:
            tensor.add_(torch.randn_like(tensor) * 0.1)


def alpha_weight_of(model: AlphaClip) -> Tensor:
    """Of what sees the pictures and their alpha."""
    (layer,) = (one for one in model.modules() if isinstance(one, AlphaConv))
    return layer.alpha.weight


def random_clips(
    num_clips: int, num_frames: int, size: int = 32, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (num_clips, num_frames, size, size, 3), dtype=np.uint8)
    return frames, rng.random((num_clips, num_frames, size, size)) > 0.5


TENSORS = tiny_model(seed=7).named_tensors()
PLAIN = {name: tensor.clone() for name, tensor in TENSORS.items() if name != ALPHA_WEIGHT}
"""A plain CLIP: without the alpha convolution."""


def assert_same(model: AlphaClip, expected: Mapping[str, Tensor]) -> None:
    found = model.named_tensors()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def assert_close(
    found: Tensor, expected: Tensor, *, rtol: float = 1.3e-6, atol: float = 1e-5, message: str = ""
) -> None:
    """As torch's own, which imports sympy and all of `torch.distributed.tensor` first."""
    both = found.detach().numpy(), expected.detach().numpy()
    np.testing.assert_allclose(*both, rtol=rtol, atol=atol, err_msg=message, equal_nan=False, strict=True)


def saved(path: Path, entries: object) -> Path:
    torch.save(entries, path)
    return path


def alpha_clip_layout(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """A vision tower under the names of Alpha-CLIP's released files."""
    return {
        prefix + name.removeprefix("visual.").replace("attn.in_proj_", "attn.in_proj."): tensor.clone()
        for name, tensor in tensors.items()
        if name.startswith("visual.")
    }


def vision_inputs(
    frames: NDArray[np.uint8],
    alpha: Alpha,
    device: torch.device,
    mean: Colours = CLIP_MEAN,
    std: Colours = CLIP_STD,
) -> tuple[Tensor, Tensor]:
    """Normalise frames and masks on the device that will use them.

    Args:
        frames: shape (batch_size, height, width, 3), RGB.
        alpha: shape (batch_size, height, width).
        device: where the model is.
        mean: of R, G and B, where a pixel is 0..1.
        std: likewise.

    Returns:
        Images of shape (batch_size, 3, height, width) and alpha of shape (batch_size, 1, height, width), float32.
    """
    pictures, masks = (torch.from_numpy(writable(part)).to(device) for part in (frames, alpha))
    return normalise_frames(pictures, mean, std), normalise_alpha(masks)


def reference_inputs(frames: NDArray[np.uint8], alpha: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """CLIP's and Alpha-CLIP's normalisation, as their transforms state it. Shapes: (n, h, w, 3) and (n, h, w)."""
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).to(torch.float64) / 255
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    masks = (torch.from_numpy(alpha).to(torch.float64)[:, None] - 0.5) / 0.26
    return ((images - mean) / std).float(), masks.float()


def reference_image_features(tower: Mapping[str, Tensor], images: Tensor, alpha: Tensor, heads: int) -> Tensor:
    """Alpha-CLIP's vision tower written out from its formula, over a state dict in its layout."""
    patch = tower["conv1.weight"].shape[-1]
    x = F.conv2d(images, tower["conv1.weight"], stride=patch)
    x = x + F.conv2d(alpha, tower["conv1_alpha.weight"], stride=patch)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([tower["class_embedding"].expand(len(x), 1, -1), x], dim=1) + tower["positional_embedding"]
    x = _norm(tower, "ln_pre", x)
    x = _blocks(tower, "transformer.", x, heads, causal=False)
    return _norm(tower, "ln_post", x[:, 0]) @ tower["proj"]


def reference_text_features(tensors: Mapping[str, Tensor], tokens: Tensor, heads: int) -> Tensor:
    """CLIP's text tower, of unit norm; the names are Alpha-CLIP's."""
    x = tensors["token_embedding.weight"][tokens] + tensors["positional_embedding"]
    x = _norm(tensors, "ln_final", _blocks(tensors, "transformer.", x, heads, causal=True))
    x = x[torch.arange(len(x)), tokens.argmax(dim=-1)] @ tensors["text_projection"]
    return F.normalize(x, dim=-1)


def _blocks(tensors: Mapping[str, Tensor], prefix: str, x: Tensor, heads: int, *, causal: bool) -> Tensor:
    depth = 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith(f"{prefix}resblocks."))
    for index in range(depth):
        block = f"{prefix}resblocks.{index}."
        x = x + _attention(tensors, f"{block}attn.", _norm(tensors, f"{block}ln_1", x), heads, causal=causal)
        hidden = _linear(tensors, f"{block}mlp.c_fc", _norm(tensors, f"{block}ln_2", x))
        x = x + _linear(tensors, f"{block}mlp.c_proj", hidden * torch.sigmoid(1.702 * hidden))
    return x


def _attention(tensors: Mapping[str, Tensor], name: str, x: Tensor, heads: int, *, causal: bool) -> Tensor:
    batch, length, width = x.shape
    joint = _linear(tensors, f"{name}in_proj", x).view(batch, length, 3, heads, width // heads)
    query, key, value = joint.permute(2, 0, 3, 1, 4)
    scores = query @ key.transpose(-1, -2) / (width // heads) ** 0.5
    if causal:
        scores = scores + torch.full((length, length), -torch.inf).triu(1)
    return _linear(tensors, f"{name}out_proj", (scores.softmax(-1) @ value).transpose(1, 2).reshape(x.shape))


def _linear(tensors: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]


def _norm(tensors: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"])
