"""What feature sets are kept in: what a command's help and its checks need, without loading Zarr."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from store.json_values import JSON

FeatureDtype = Literal["float32", "float16", "int8"]
"""float16 takes half of the bytes, at a relative error of 2**-11. int8 takes a quarter, with a scale for each vector:
its numbers are off by at most 1/254 of the largest. All are read as float32."""

FEATURE_DTYPES: tuple[FeatureDtype, ...] = get_args(FeatureDtype)


@dataclass(frozen=True, slots=True)
class FeatureDtypes:
    """What the arrays of a feature set are kept in."""

    vectors: FeatureDtype = "float32"
    """Of videos and of captions."""
    frames: FeatureDtype = "float32"
    """Of frames, which take most of the space."""

    @property
    def identity(self) -> dict[str, JSON]:
        """What sets apart two feature sets: written into them."""
        both: dict[str, JSON] = {"frame_dtype": self.frames, "store_dtype": self.vectors}
        return both if self.vectors != "float32" else {"frame_dtype": self.frames}


FLOAT32 = FeatureDtypes()
