"""An estimate of the memory that encoding needs, from the sizes of the model and of the clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from encoders.config import ModelConfig, TextTower, VisionTower
from encoders.encoding.precision import dtype_of
from encoders.model import AlphaClip
from encoders.options import Precision

BASE_MIB = 700
"""Python, torch and the buffers of its kernels, before any model."""
_TOKEN_COPIES = 8
"""Activations of the tower's width that exist at once, besides those of the MLP: the residual stream, its norm,
queries, keys, values, and the outputs of attention."""
_LARGEST_COPIES = 4
"""Of the largest output of a layer, in other towers: of CLIP's ViT it is the MLP's, a quarter of what `_TOKEN_COPIES`
and the MLP come to."""


@dataclass(frozen=True, slots=True)
class LargestOutputs:
    """Numbers in the largest output that any layer has, for one frame and for one text."""

    frame: int
    text: int
    num_fused: int = 0
    """Numbers in weights that encoding has a second time, with norms of batches as part of them."""

    @classmethod
    def of(cls, model: AlphaClip) -> LargestOutputs | None:
        """Measured by embedding one frame and one text; None for CLIP's towers, of which their sizes tell it."""
        config = model.config
        if isinstance(config.vision_cfg, VisionTower) and isinstance(config.text_cfg, TextTower):
            return None
        largest = 0

        def look(_module: nn.Module, _inputs: Any, output: object) -> None:
            nonlocal largest
            if isinstance(output, Tensor):
                largest = max(largest, output.numel())

        device, size, found = model.logit_scale.device, config.image_size, []
        hooks = [module.register_forward_hook(look) for module in model.modules()]
        try:
            with torch.inference_mode():
                for encode, inputs in (
                    (
                        model.encode_frames,
                        # A picture and its alpha.
                        [torch.zeros((1, channels, size, size), device=device) for channels in (3, 1)],
                    ),
                    (model.encode_texts, [torch.ones((1, config.context_length), dtype=torch.int64, device=device)]),
                ):
                    largest = 0
                    encode(*inputs)
                    found.append(largest)
        finally:
            for hook in hooks:
                hook.remove()
        visual: nn.Module = model.clip.visual
        has_norms = any(isinstance(module, nn.BatchNorm2d) for module in visual.modules())
        convolutions = [module for module in visual.modules() if isinstance(module, nn.Conv2d) and has_norms]
        frame, text = found
        return cls(frame, text, sum(module.weight.numel() for module in convolutions))


@dataclass(frozen=True, slots=True)
class EncoderMemory:
    """An upper estimate for one process that encodes, in MiB: the device's memory and main memory, in one sum."""

    config: ModelConfig
    precision: Precision
    batch_frames: int
    num_weights: int
    clip_frames: int
    """Of the longest clips."""
    shard_size: int
    """Clips."""
    num_shards_held: int
    """Shards in memory at once: read ahead, being encoded and being written."""
    num_texts: int
    """That are encoded side by side."""
    largest: LargestOutputs | None = None
    """Of a model whose towers are not CLIP's."""

    @property
    def weights_mib(self) -> int:
        """Of the model, of its copy in another precision, and of what encoding changes in float32.

        That is MLPs with QuickGELU and convolutions with norms of batches. They count in any precision: the process
        that starts a run compares bf16 with float32 first. Workers on other machines do not, and count as if they did.
        """
        # Without these MLPs in the sum, a run in bf16 took 150 MiB more than estimated.
        num_bytes = 4 if self.precision is Precision.FP32 else 4 + 2
        num_fused = 0 if self.largest is None else self.largest.num_fused
        return (num_bytes * self.num_weights + 4 * (self._num_mlp_weights * self.config.quick_gelu + num_fused)) >> 20

    @property
    def _num_mlp_weights(self) -> int:
        towers = self.config.vision_cfg, self.config.text_cfg
        if self.largest is not None:
            return self.num_weights  # at most
        return sum(
            # Both matrices of each MLP.
            2 * tower.layers * tower.width * int(tower.width * tower.mlp_ratio)
            for tower in towers
            if isinstance(tower, VisionTower | TextTower)
        )

    @property
    def activations_mib(self) -> int:
        """Of one batch of frames, or of the texts that are encoded side by side: never of both."""
        num_bytes = dtype_of(self.precision).itemsize
        frame, text = self._numbers_at_once
        pictures = self.config.image_size**2 * 4  # what the first layer multiplies, and the bytes it comes from
        of_frames = self.batch_frames * (frame * num_bytes + pictures * (num_bytes + 1))
        return int(max(of_frames, self.num_texts * text * num_bytes)) >> 20

    @property
    def _numbers_at_once(self) -> tuple[float, float]:
        """Activations of one frame and of one text."""
        vision, text = self.config.vision_cfg, self.config.text_cfg
        if isinstance(vision, VisionTower) and isinstance(text, TextTower):
            num_tokens = (vision.image_size // vision.patch_size) ** 2 + 1
            return num_tokens * _per_token(vision), text.context_length * _per_token(text)
        assert self.largest is not None
        return _LARGEST_COPIES * self.largest.frame, _LARGEST_COPIES * self.largest.text

    @property
    def shards_mib(self) -> int:
        """Frames and masks, each in at most two places: where it was read, and a copy."""
        # Bytes: three colours and the mask.
        clip = self.clip_frames * self.config.image_size**2 * 4
        return 2 * self.num_shards_held * self.shard_size * clip >> 20

    @property
    def total_mib(self) -> int:
        """Sum of all parts."""
        return BASE_MIB + self.weights_mib + self.activations_mib + self.shards_mib

    def num_fitting(self, num_workers: int, machine_mib: int) -> int:
        """How many of the wanted workers fit into a machine: at least one, because one has to be tried."""
        return max(1, min(num_workers, int(machine_mib * 0.9) // self.total_mib))


def _per_token(tower: VisionTower | TextTower) -> float:
    """Numbers that exist at once for a token."""
    return tower.width * (_TOKEN_COPIES + 2 * tower.mlp_ratio)
