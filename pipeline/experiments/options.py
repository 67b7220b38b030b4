"""What an experiment is asked for, as values. This module loads no torch, so that `--help` is quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from encoders.options import Activation
from pipeline.errors import OptionError
from pipeline.run.fields import convert_fields, local_path
from pipeline.synthetic.suites import Size

MIN_SEEDS = 3
QUICK_SEEDS = 2
MIN_CLIPS = 2
"""Of a split: intervals are over videos."""
PAPER_THRESHOLDS = (0.0, 12.5, 25.0, 50.0, 100.0)
"""Of Figure 2 of FDA-CLIP, grey levels."""


class ExperimentKind(StrEnum):
    """Which question."""

    BASELINE = "baseline"
    """Do the paper's masks help, and against what?"""
    TAU = "tau"
    """How much does their threshold matter?"""
    MASKS = "masks"
    """Which masks hold under which difficulty?"""
    STATIC = "static"
    """What do masks cost where the caption names what does not move?"""
    LONG = "long"
    """Where does average pooling end, and what helps?"""


@dataclass(frozen=True, slots=True)
class ExperimentOptions:
    """On what an experiment works, how often, and how its models are trained."""

    store: str | None = None
    """A store with a split `train` and one to test on. Default: data are generated in the experiment's own folder."""
    seeds: int = MIN_SEEDS
    """How many trainings each condition has: with the random seeds `seed`, `seed + 1`, ..."""
    seed: int = 0
    """The first random seed of the trainings, and the one of the generated data."""
    quick: bool = False
    """Run everything on a tiny data set with two seeds and an epoch: shows that it works, and says nothing else."""
    size: Size = Size.SMALL
    """Of the generated data."""
    factors: Mapping[str, str | float] = field(default_factory=dict)
    """Factor -> level of all generated clips, as in `GenerateOptions`: how hard they are."""
    num_train: int | None = None
    """Clips that are generated to train with. Default: as `size` says."""
    num_eval: int | None = None
    """Clips of each other split that is generated. Default: as `size` says."""
    conditions: tuple[str, ...] = ()
    """Names of the conditions that are wanted; those that one of them needs are added. Default: all."""
    preset: str | None = None
    """How models are trained: see `FinetuneOptions`. Default: `demo` on generated data, else `fda-clip`."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Values of the preset's [finetune] and [batches] to change, by name."""
    model: str | None = None
    """Default: the preset's. This and the next: see `ModelSource`."""
    pretrained: str | None = None
    alpha_checkpoint: Path | None = None
    """An Alpha-CLIP file to begin with; conditions without an alpha channel begin without it."""
    activation: Activation | None = None
    resize_frames: bool = False
    """Resize frames of a store, and their masks, that have another size than the model reads: see `FinetuneOptions`."""
    test_split: str = "test"
    """The split that is scored. An experiment that generates data scores all of them that are made to be."""
    thresholds: tuple[float, ...] = PAPER_THRESHOLDS
    """Of the experiment `tau`, grey levels."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`, ..."""
    yes: bool = False
    """Begin although it is estimated to take longer than `MINUTES_UNASKED`. Default: `UnconfirmedError`."""

    def __post_init__(self) -> None:
        convert_fields(self, size=Size, alpha_checkpoint=local_path, activation=Activation)
        convert_fields(self, thresholds=tuple, conditions=tuple)
        object.__setattr__(self, "thresholds", tuple(sorted({float(one) for one in self.thresholds})))
        if not self.thresholds or not all(0 <= one <= 255 for one in self.thresholds):
            raise OptionError(f"thresholds must be grey levels in 0..255, at least one, got {self.thresholds}")
        if self.store is not None and (self.factors or self.num_train is not None or self.num_eval is not None):
            raise OptionError("factors, num_train and num_eval are of generated data: leave them out, or the store")
        for name in ("num_train", "num_eval"):
            if (number := getattr(self, name)) is not None and number < MIN_CLIPS:
                raise OptionError(f"{name} must be at least {MIN_CLIPS}, got {number}")
        if self.store is None and self.resize_frames:
            raise OptionError("generated frames have the size that the model reads: leave resize_frames out")
        if self.size is not Size.SMALL and (self.quick or self.store is not None):
            raise OptionError(f"size is of generated data, and a quick run's is {Size.TINY}: leave it out")
        if not isinstance(self.seeds, int):
            raise OptionError(f"seeds must be how many there are, from seed on, got {self.seeds!r}")
        if self.quick and self.seeds != MIN_SEEDS:
            raise OptionError(f"a quick experiment has {QUICK_SEEDS} seeds: leave their number out, or quick")
        if self.seeds < MIN_SEEDS:
            raise OptionError(
                f"an experiment needs at least {MIN_SEEDS} seeds, or nothing tells a difference from the luck of one "
                f"training, got {self.seeds}"
            )
        if self.seed < 0:
            raise OptionError(f"seed must not be negative, got {self.seed}")

    @property
    def random_seeds(self) -> tuple[int, ...]:
        """Those of the trainings, one after the other."""
        return tuple(range(self.seed, self.seed + (QUICK_SEEDS if self.quick else self.seeds)))
