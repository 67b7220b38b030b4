"""From a change to the mask of one frame: cleaning, then filling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.masks.cleaning import Cleaner
from pipeline.masks.comparison import Change
from pipeline.masks.filling import connected_to, fill_outlines
from pipeline.masks.options import Fill, MaskOptions
from pipeline.masks.soft import SoftCleaner
from store.clips.layout import MOVES

WEAK = 0.5
"""Of the threshold: a pixel that differs by more counts with `hysteresis`, if it is connected to one over it."""


class Shaper:
    """Makes the masks of pictures of one size."""

    def __init__(self, options: MaskOptions, height: int, width: int) -> None:
        size = (options.kernel_size, options.min_area, height, width)
        self._fill = options.filling
        self._soft = SoftCleaner(*size) if options.soft else None
        self._cleaner = Cleaner(*size)

    def shape(self, change: Change, mask: NDArray[np.uint8]) -> int:
        """Make a mask, or a soft one.

        Args:
            change: How much each pixel differs.
            mask: Shape (height, width), C order, all 0: gets 1 where something moves; a soft one 0..255, of which what
                is filled gets at least `MOVES`.

        Returns:
            Number of 8-connected components of the binary mask.
        """
        cleaner = self._soft or self._cleaner
        num_components = cleaner.clean(change.difference, change.threshold, mask)
        if not num_components or self._fill == Fill.NONE:
            return num_components
        if self._soft is None:
            return self._filled(change, mask)
        binary = (mask >= MOVES).astype(np.uint8)
        num_components = self._filled(change, binary)
        np.maximum(mask, MOVES * binary, out=mask)
        return num_components

    def _filled(self, change: Change, mask: NDArray[np.uint8]) -> int:
        """Fill a binary mask in place, and count its components."""
        num_components = 0
        if self._fill.has_hysteresis:
            weak = np.zeros_like(mask)
            self._cleaner.clean(change.difference, WEAK * change.threshold, weak)
            # The weak mask is cleaned as well: specks of noise beside a component do not become a part of it.
            mask[:], num_components = connected_to(weak, mask)
        return fill_outlines(mask) if self._fill.has_contours else num_components
