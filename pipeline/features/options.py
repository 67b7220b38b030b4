"""What decides the features of a store."""

from __future__ import annotations

from dataclasses import dataclass

from encoders.options import Pooling
from pipeline.clips.options import AlphaSource
from store.features import FrameDtype


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """Which clips go through the model, and with which alpha channel."""

    features: str
    """Name of the feature set."""
    splits: tuple[str, ...]
    mask_name: str = "default"
    alpha: AlphaSource = AlphaSource.MASKS
    seed: int = 0
    """Of what `alpha` draws: which other clip's masks a clip gets, or where a rectangle lies."""
    pooling: Pooling = Pooling.MEAN
    precision: str = "fp32"
    """Of the model's computation."""
    frame_dtype: FrameDtype = "float32"
    """Numbers that the features of frames are kept in."""
    sensitivity_every: int = 32
    """Of every so many videos, one is encoded with an alpha of all ones too, to see what the alpha does; 0: none."""

    @property
    def measures_sensitivity(self) -> bool:
        """Whether there is anything to compare: all ones are what is compared with."""
        return self.sensitivity_every > 0 and self.alpha is not AlphaSource.ONES
