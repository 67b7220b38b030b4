"""What `pool_features` trains, and what it writes. This loads neither torch nor NumPy."""

from __future__ import annotations

from dataclasses import dataclass, field

from encoders.temporal.options import TemporalOptions
from pipeline.errors import OptionError
from pipeline.run.fields import check_kinds, check_yes, convert_fields
from pipeline.training.options import check_hold_out, is_test_split
from store.names import check_name


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """Which feature set is pooled again, into which."""

    features: str
    """Name of the feature set whose frames are read."""
    to: str
    """Name of the feature set that is written."""
    splits: tuple[str, ...] = ()
    """Splits to write. Default: all that have the features that are read."""
    train_split: str = "train"
    """Split to train on."""
    val_split: str | None = None
    """Split by which the best epoch is chosen. Default: `val`; if there is none, a part of the training videos."""
    hold_out_share: float = 0.1
    """Part of the training videos, in (0, 1), that is held out where there is no split to validate on."""
    captions: str = "all"
    """Pairs of an epoch: `all`, or `one` caption of each video at random."""
    temporal: TemporalOptions = field(default_factory=TemporalOptions)
    """The transformer, and how it is trained."""
    seed: int = 0
    """Random seed of weights, batches and held-out videos."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`, ..."""
    overwrite: bool = False
    """Whether to remove the checkpoint and the written feature set first."""
    yes: bool = False
    """With `overwrite`: also where there are some."""

    def __post_init__(self) -> None:
        convert_fields(self, splits=tuple)
        check_kinds(temporal=(self.temporal, TemporalOptions))
        check_name("feature set", self.features)
        check_name("feature set", self.to)
        if self.to == self.features:
            raise OptionError(f"features {self.to!r} would be read and written: give --to another name")
        if self.captions not in ("all", "one"):
            raise OptionError(f"captions must be all or one, got {self.captions!r}")
        check_hold_out(self.hold_out_share)
        check_yes(overwrite=self.overwrite, yes=self.yes)
        if self.train_split == self.val_split:
            raise OptionError(f"split {self.train_split!r} cannot be both trained and validated on")
        for split in filter(None, (self.train_split, self.val_split)):
            if is_test_split(split):
                raise OptionError(
                    f"split {split!r} is for testing: training or choosing on it would bias the scores upwards"
                )
