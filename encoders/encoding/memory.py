"""An estimate of the memory that encoding needs, from the sizes of the model and of the clips."""

from __future__ import annotations

from dataclasses import dataclass

from encoders.config import ModelConfig, TextTower, VisionTower
from encoders.encoding.precision import dtype_of
from encoders.options import Precision

BASE_MIB = 700
"""Python, torch and the buffers of its kernels, before any model."""
_TOKEN_COPIES = 8
"""Activations of the tower's width that exist at once, besides those of the MLP: the residual stream, its norm,
queries, keys, values, and the outputs of attention."""


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

    @property
    def weights_mib(self) -> int:
        """Of the model, of its copy in another precision, and of float32 MLPs with QuickGELU in one pass.

        The last are counted in any precision: the process that starts a run compares bf16 with float32 first. Workers
        on other machines do not, and are counted as if they did.
        """
        # Without these MLPs in the sum, a run in bf16 took 150 MiB more than estimated.
        num_bytes = 4 if self.precision is Precision.FP32 else 4 + 2
        return num_bytes * self.num_weights + 4 * self._num_mlp_weights * self.config.quick_gelu >> 20

    @property
    def _num_mlp_weights(self) -> int:
        towers = self.config.vision_cfg, self.config.text_cfg
        return sum(2 * tower.layers * tower.width * int(tower.width * tower.mlp_ratio) for tower in towers)

    @property
    def activations_mib(self) -> int:
        """Of one batch of frames, or of the texts that are encoded side by side: never of both."""
        vision, text = self.config.vision_cfg, self.config.text_cfg
        num_bytes = dtype_of(self.precision).itemsize
        num_tokens = (vision.image_size // vision.patch_size) ** 2 + 1
        patches = vision.image_size**2 * 4  # what the first layer multiplies, and the bytes it comes from
        frame = num_tokens * _per_token(vision) * num_bytes + patches * (num_bytes + 1)
        longest_text = text.context_length * _per_token(text) * num_bytes
        return int(max(self.batch_frames * frame, self.num_texts * longest_text)) >> 20

    @property
    def shards_mib(self) -> int:
        """Frames and masks, each in at most two places: where it was read, and a copy."""
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
