"""What `fda generate` makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pipeline.errors import OptionError
from pipeline.run.fields import convert_fields, local_path
from pipeline.synthetic.factors import Settings, value_of
from pipeline.synthetic.suites import AMOUNTS, Amount, Size, SplitSpec, Suite, splits_of
from store.json_values import JSON


class Codec(StrEnum):
    """How videos are encoded."""

    H264 = "h264"
    HEVC = "hevc"
    VP9 = "vp9"


class BackgroundMotion(StrEnum):
    """What is seen behind the objects, of a clip of one's own."""

    FROZEN = "frozen"
    """Its first frame, so that nothing but the objects moves, and the truth is exact."""
    MOVING = "moving"
    """Its frames. What moves in them is not in the truth."""


@dataclass(frozen=True, slots=True)
class GenerateOptions:
    """What a generated data set consists of. Equal options give equal bytes."""

    suite: Suite = Suite.DEMO
    size: Size = Size.SMALL
    seed: int = 0
    factors: Mapping[str, str | float] = field(default_factory=dict)
    """Factor -> level or number, for all clips; what a split of the suite sets itself is stronger. The others are as in
    `fda demo`."""
    num_train: int | None = None
    """Clips to train with. Default: what the size says."""
    num_eval: int | None = None
    """Clips of each validation and test split. Default: what the size says."""
    codec: Codec = Codec.H264
    background: Path | None = None
    """A folder of videos, one of which is the ground of each clip. Default: a drawn ground."""
    background_motion: BackgroundMotion = BackgroundMotion.FROZEN

    def __post_init__(self) -> None:
        convert_fields(self, suite=Suite, size=Size, codec=Codec, background=local_path)
        convert_fields(self, background_motion=BackgroundMotion)
        if not 0 <= self.seed < 2**63:
            raise OptionError(f"seed must be 0 or more, and below 2**63, got {self.seed}")
        for name in ("num_train", "num_eval"):
            if (getattr(self, name) or 1) < 1 or getattr(self, name) == 0:
                raise OptionError(f"{name} must be at least 1, got {getattr(self, name)}")
        object.__setattr__(self, "factors", {name: value_of(name, level) for name, level in self.factors.items()})
        if self.num_eval is not None and self.num_eval > len(self.amount.kinds):
            raise OptionError(
                f"num_eval must be at most {len(self.amount.kinds)}, one clip for each kind of object, so that no two "
                f"captions are equal, got {self.num_eval}"
            )
        if self.background_motion is BackgroundMotion.MOVING and self.background is None:
            raise OptionError("background_motion 'moving' needs videos to play: give a folder of them (--background)")

    @property
    def amount(self) -> Amount:
        """How many clips of which size."""
        usual = AMOUNTS[self.size]
        return Amount(
            num_train=usual.num_train if self.num_train is None else self.num_train,
            num_eval=usual.num_eval if self.num_eval is None else self.num_eval,
            width=usual.width,
            height=usual.height,
            num_colours=usual.num_colours,
            num_shapes=usual.num_shapes,
            fps=usual.fps,
        )

    @property
    def base(self) -> Settings:
        """The factors of a clip whose split sets none."""
        return Settings(**self.factors)  # type: ignore[arg-type]  # numbers, since __post_init__

    @property
    def splits(self) -> tuple[SplitSpec, ...]:
        """The splits of the suite."""
        return splits_of(self.suite, self.amount)

    def to_dict(self) -> dict[str, JSON]:
        """The options as JSON, but for the backgrounds: a folder may lie elsewhere on another machine."""
        return {
            "suite": str(self.suite),
            "size": str(self.size),
            "seed": self.seed,
            "factors": {name: float(level) for name, level in self.factors.items()},
            "num_train": self.amount.num_train,
            "num_eval": self.amount.num_eval,
            "codec": str(self.codec),
            "background_motion": str(self.background_motion),
        }
