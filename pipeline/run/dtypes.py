"""What features are kept in, as users say it."""

from __future__ import annotations

from pipeline.errors import OptionError
from store.feature_dtypes import FEATURE_DTYPES, FeatureDtype, FeatureDtypes


def chosen_dtypes(store_dtype: FeatureDtype, frame_dtype: FeatureDtype | None) -> FeatureDtypes:
    """Frames are kept as everything else, unless given otherwise.

    Raises:
        OptionError: There is no such type.
    """
    for name, dtype in (("store_dtype", store_dtype), ("frame_dtype", frame_dtype or store_dtype)):
        if dtype not in FEATURE_DTYPES:
            raise OptionError(f"{name} must be {', '.join(FEATURE_DTYPES[:-1])} or {FEATURE_DTYPES[-1]}, got {dtype!r}")
    return FeatureDtypes(store_dtype, frame_dtype or store_dtype)
