"""Floating-point operations of a model, to tell how much of a device it uses."""

from __future__ import annotations

from encoders.config import ModelConfig, VisionTower


def frame_flops(config: ModelConfig) -> int:
    """Operations of the vision tower for one frame: two for each multiplication of its matrix products.

    Norms, activations and softmax are not counted, as is usual for a model's FLOP utilisation.

    >>> round(frame_flops(ModelConfig.from_name_or_file("ViT-B-32-quickgelu")) / 1e9, 2)
    8.89
    >>> round(frame_flops(ModelConfig.from_name_or_file("ViT-L-14-quickgelu")) / 1e9, 1)
    162.1
    """
    tower = config.vision_cfg
    assert isinstance(tower, VisionTower)
    num_patches = (tower.image_size // tower.patch_size) ** 2
    num_tokens, width = num_patches + 1, tower.width
    embedding = num_patches * 4 * tower.patch_size**2 * width  # four channels, the alpha among them
    projections = 4 * width * width + 2 * int(tower.mlp_ratio * width) * width
    attention = 2 * num_tokens * width
    blocks = tower.layers * num_tokens * (projections + attention)
    return 2 * (embedding + blocks + width * config.embed_dim)
