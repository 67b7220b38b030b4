"""Embedding frames by a model of each family, against open_clip's own loop over the same frames and weights.

Both begin with stored bytes. The peer normalises them as open_clip's transforms do, and calls `encode_image`; fda also
reads a mask, through an alpha convolution that is not zero. One thread, and the time of the processor: a machine that
other work shares can still tell which of two is faster.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor

from encoders.config import ModelConfig
from encoders.encoding.encoder import Encoder
from encoders.model import AlphaClip
from encoders.torchvision_shim import import_open_clip
from tests.benchmarks.measure import Row, Table, paired_seconds, print_table
from tests.benchmarks.quoted import quote
from tests.encoders_tiny import alpha_weight_of
from tests.small_towers import plain_of

FAMILIES: dict[str, int] = {
    "ViT-B-32": 2,
    "ViT-L-14-CLIPA": 2,
    "coca_ViT-B-32": 2,
    "ViT-B-16-SigLIP2": 2,
    "PE-Core-B-16": 2,
    "EVA02-B-16": 2,
    "RN50": 0,
    "convnext_tiny": 0,
    "MobileCLIP2-S0": 0,
    "ViTamin-S": 0,
    "swin_base_patch4_window7_224": 0,
}
"""A model of each family -> how many of its blocks are kept, which are all alike; 0: all. Where fda differs is before
the blocks, so that with all of them a ratio is nearer to 1."""
_TEXT = {"context_length": 8, "width": 64, "heads": 1, "layers": 1}
"""No text is embedded."""
NUM_FRAMES = 4


def main(*, quick: bool = False) -> None:
    """Measure, and print the ratios."""
    logging.disable(logging.WARNING)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, num_blocks in FAMILIES.items():
            measure(name, num_blocks, 2 if quick else NUM_FRAMES, 1 if quick else 3)
    finally:
        torch.set_num_threads(threads)


def measure(name: str, num_blocks: int, num_frames: int, repeats: int) -> None:
    """Print the table of one model."""
    described = import_open_clip().get_model_config(name)
    described["text_cfg"] = _TEXT
    config = ModelConfig.from_architecture(name, described, name)
    model, plain = AlphaClip(config).eval(), plain_of(described)
    for one in (model.clip.visual, plain.visual):
        _cut(one, num_blocks)
    weights = {key: tensor for key, tensor in model.named_tensors().items() if key != model.alpha_weight}
    plain.load_state_dict(weights, strict=False)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (1, num_frames, config.image_size, config.image_size, 3), dtype=np.uint8)
    masks = rng.random(frames.shape[:4]) > 0.5
    encoder = Encoder(model, batch_frames=num_frames)
    found = torch.from_numpy(encoder.encode_clips(frames, masks).frame[0])
    cosine = torch.nn.functional.cosine_similarity(found, _bare(plain, frames[0], config), dim=-1).min()
    with torch.no_grad():
        alpha_weight_of(model).normal_(std=0.01)
    encoder = Encoder(model, batch_frames=num_frames)
    runs = {
        "open_clip's own loop": lambda: _bare(plain, frames[0], config),
        "fda": lambda: encoder.encode_clips(frames, masks),
    }
    peer = "open_clip's own loop"
    taken = paired_seconds(runs, repeats, dict.fromkeys(runs, peer), of_processor=True, is_warm=True)
    notes = {"fda": f"cosine at alpha zero {cosine:.7f}"}
    rows = tuple(Row(method, seconds, ratio, notes.get(method, "")) for method, (seconds, ratio) in taken.items())
    what = f"{num_blocks} blocks of {name}" if num_blocks else name
    print_table(Table(f"embedding {num_frames} frames, {what}, one thread, CPU time", peer, rows))
    quote(f"towers.{name.lower().replace('-', '_')}", taken["fda"][1], at_least=1.0)


def _cut(visual: Any, num_blocks: int) -> None:
    """Keep the first blocks of a transformer."""
    if num_blocks:
        trunk = getattr(visual, "trunk", None)
        owner, name = (visual.transformer, "resblocks") if trunk is None else (trunk, "blocks")
        setattr(owner, name, getattr(owner, name)[:num_blocks])


@torch.inference_mode()
def _bare(plain: Any, frames: Any, config: ModelConfig) -> Tensor:
    """As open_clip's transforms normalise (`ToTensor`, `Normalize`), a batch at once."""
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous().to(torch.float32).div_(255)
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.mean, config.std))
    features: Tensor = plain.encode_image(images.sub_(mean).div_(std))
    return features


if __name__ == "__main__":
    main()
