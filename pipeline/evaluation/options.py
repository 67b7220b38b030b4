"""What is scored, and how it is counted."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.evaluation.metrics import Ties
from pipeline.evaluation.protocols import PROTOCOLS, Protocol


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """What is scored, and how it is counted."""

    split: str = "test"
    max_missing: float = 0.1
    """Share of the split's videos, in [0, 1], that may lack features."""
    pooling: str | None = None
    """Of the frames' features into others of the videos; None: the latter are those that are cached."""
    top_frames: int | None = None
    """Score each text by its so many best frames of a video instead of by the video."""
    protocol: str = "fda"
    """Which of `PROTOCOLS` is asked for."""
    ties: Ties | None = None
    """Another rule for ties than each protocol's own."""
    dsl_temperature: float | None = None
    """Of a dual softmax; None: there is none."""
    bank_split: str | None = None
    """Whose captions and videos are the banks of QB-Norm; None: there is none."""

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"there is no protocol {self.protocol!r}: there are {', '.join(PROTOCOLS)}")
        if self.pooling is not None and self.top_frames is not None:
            raise ValueError("frames are either pooled into videos (--pooling) or scored one by one (--top-frames)")
        if self.bank_split is not None and self.top_frames is not None:
            raise ValueError("QB-Norm takes a bank of pooled videos: leave --top-frames out")
        if self.bank_split == self.split:
            raise ValueError(
                f"the bank of QB-Norm must not be of the split that is scored ({self.split!r}): name the training split"
            )

    @property
    def counted(self) -> Protocol:
        """The protocol that is asked for, with its rule for ties."""
        return PROTOCOLS[self.protocol].with_ties(self.ties)
