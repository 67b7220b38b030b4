"""How large the demo is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """How large the demo is."""

    quick: bool = False
    """A tiny data set and one epoch: runs everything, and shows nothing."""
    seed: int = 0
    """Random seed of the data set and of the training."""
