"""Options of `evaluate` and `compare`. This loads no NumPy, so that `--help` can show the defaults at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.errors import OptionError
from pipeline.evaluation.names import FAMILIES, FRAME_POOLINGS, POOLINGS
from pipeline.evaluation.protocols import PROTOCOLS, Protocol, Ties
from pipeline.run.fields import convert_fields
from pipeline.run.limits import Limit

TENTH = Limit(share=0.1)


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """What is scored, and how ranks are counted."""

    split: str = "test"
    max_missing: Limit = TENTH
    """How many of the split's videos may lack features. Also as a number, a share or a text: 5, 0.1, `10%`."""
    pooling: str | None = None
    """One of `POOLINGS`: pool the cached features of frames again. One of `FRAME_POOLINGS`: score each text by frames.
    None: use the cached features of videos."""
    temperature: float | None = None
    """Of `attention`; None: the one with the best R@1 on `choose_split`."""
    shot_distance: float | None = None
    """Of `best-shot`: 1 minus the cosine of two frames, above which a new shot begins; None: as for `temperature`."""
    top_frames: int | None = None
    """Score each text by this many best frames of a video instead of by the video; with `best-frames` and None, as many
    as have the best R@1 on `choose_split`."""
    choose_split: str = "val"
    """Split on which the value of a frame pooling is chosen."""
    protocol: str = "fda"
    """One of `PROTOCOLS`."""
    ties: Ties | None = None
    """Another rule for ties than each protocol's own."""
    dsl_temperature: float | None = None
    """Add results with a dual softmax of this temperature; None: none."""
    bank_split: str | None = None
    """Add results with QB-Norm, whose banks are the captions and videos of this split; None: none."""

    def __post_init__(self) -> None:
        convert_fields(self, ties=Ties, max_missing=Limit.of)
        require_protocol(self.protocol)
        if self.top_frames is not None and self.top_frames < 1:
            raise OptionError(f"top_frames must be at least 1, got {self.top_frames}")
        if self.dsl_temperature is not None and not self.dsl_temperature > 0:
            raise OptionError(f"dsl_temperature must be above 0, got {self.dsl_temperature}")
        self._check_pooling()
        if self.bank_split == self.split:
            raise OptionError(
                f"the bank of QB-Norm must not be of the split that is scored ({self.split!r}): name the training split"
            )

    def _check_pooling(self) -> None:
        known = (*POOLINGS, *FRAME_POOLINGS)
        if self.pooling is not None and self.pooling not in known:
            raise OptionError(f"pooling must be {', '.join(known[:-1])} or {known[-1]}, got {self.pooling!r}")
        # --top-frames alone means best-frames, and with it gives its value.
        if self.pooling not in (None, "best-frames") and self.top_frames is not None:
            raise OptionError("frames are either pooled into videos (--pooling) or scored one by one (--top-frames)")
        for name, value, its in (
            ("temperature", self.temperature, "attention"),
            ("shot_distance", self.shot_distance, "best-shot"),
        ):
            if value is not None and self.pooling != its:
                raise OptionError(f"{name} is for --pooling {its}")
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise OptionError(f"temperature must be above 0, got {self.temperature}")
        if self.shot_distance is not None and not -2 <= self.shot_distance <= 2:
            raise OptionError(
                f"shot_distance must be in -2..2 (1 minus a cosine; below 0, each frame is a shot), got "
                f"{self.shot_distance}"
            )
        if self.bank_split is not None and self.frame_pooling is not None:
            raise OptionError("QB-Norm takes a bank of pooled videos: leave --top-frames and --pooling by frames out")
        if self.chooses and self.choose_split == self.split:
            raise OptionError(
                f"the value of --pooling {self.pooling} must not be chosen on the split that is scored "
                f"({self.split!r}): name another --choose-split, or give the value"
            )

    @property
    def video_pooling(self) -> str | None:
        """How frames are pooled into videos again; None: they are not."""
        return self.pooling if self.pooling in POOLINGS else None

    @property
    def frame_pooling(self) -> str | None:
        """Which rule scores a text by frames; None: none does."""
        if self.pooling in FRAME_POOLINGS:
            return self.pooling
        return None if self.top_frames is None else "best-frames"

    @property
    def frame_value(self) -> float | None:
        """The value of that rule; None: to be chosen."""
        values = {
            "attention": self.temperature,
            "best-shot": self.shot_distance,
            "best-frames": None if self.top_frames is None else float(self.top_frames),
        }
        return values.get(self.frame_pooling or "")

    @property
    def chooses(self) -> bool:
        """Whether a value is chosen on `choose_split`."""
        return self.frame_pooling is not None and self.frame_value is None

    @property
    def counted(self) -> Protocol:
        """The chosen protocol, with the chosen rule for ties."""
        return PROTOCOLS[self.protocol].with_ties(self.ties)


@dataclass(frozen=True, slots=True)
class BootstrapOptions:
    """How confidence intervals are computed."""

    level: float = 0.95
    """Confidence, in (0, 1)."""
    num_resamples: int = 2_000
    """Another seed then moves an end of a 95% interval by about 1.5% of its width (docs/evaluation.md)."""
    seed: int = 0
    """Random seed. The same one draws the same videos, whatever metric is computed."""

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise OptionError(f"the level of an interval must lie between 0 and 1 (0.95 is usual), got {self.level}")
        if self.num_resamples < 100:
            raise OptionError(f"an interval needs at least 100 resamples, got {self.num_resamples}")


@dataclass(frozen=True, slots=True)
class EvalExtras:
    """What an evaluation reports beside the metrics."""

    intervals: BootstrapOptions | None = field(default_factory=BootstrapOptions)
    """How confidence intervals are taken; None: none."""
    slices: tuple[str, ...] = ()
    """Families of slices to score: some of `FAMILIES`, or `all`."""
    diagnostics: bool = False
    """Hubs, modality gap, rank histogram, confusions."""
    near_duplicates: bool = False
    """Videos that are nearly the same as a video of another split, by their features."""
    device: str = "auto"
    """Where scores are computed: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`, ..."""

    def __post_init__(self) -> None:
        convert_fields(self, slices=tuple)
        for name in self.slices:
            if name != "all" and name not in FAMILIES:
                raise OptionError(f"no slices {name!r}: use some of all, {', '.join(FAMILIES)}")


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """How feature sets are compared."""

    split: str = "test"
    max_missing: Limit = TENTH
    """How many of the split's videos may lack features in at least one set; as in `EvalOptions`."""
    protocol: str = "fda"
    """One of `PROTOCOLS`."""
    ties: Ties | None = None
    """Another rule for ties than the protocol's own."""
    bootstrap: BootstrapOptions = field(default_factory=BootstrapOptions)
    """Its random seed is that of the permutations, too."""
    num_permutations: int = 10_000
    """A p-value near 0.05 is then known to 0.002 (standard deviation)."""
    num_moved: int = 5
    """Queries to name that rose most, and as many that fell most, in each direction of retrieval."""

    def __post_init__(self) -> None:
        convert_fields(self, ties=Ties, max_missing=Limit.of)
        require_protocol(self.protocol)
        if self.num_permutations < 100:
            raise OptionError(f"a p-value needs at least 100 permutations, got {self.num_permutations}")
        if self.num_moved < 0:
            raise OptionError(f"the number of queries to name must not be negative, got {self.num_moved}")

    @property
    def counted(self) -> Protocol:
        """The chosen protocol, with the chosen rule for ties."""
        return PROTOCOLS[self.protocol].with_ties(self.ties)


def check_names(names: Sequence[str]) -> None:
    """Refuse names that give nothing to compare.

    Raises:
        ValueError: There are fewer than two, or one is given twice.
    """
    if isinstance(names, str):
        raise OptionError(f"give the names of feature sets in a list, got the text {names!r}")
    if len(names) < 2:
        raise OptionError(f"give the names of two feature sets or more, got {len(names)}: {', '.join(names)}")
    twice = [name for index, name in enumerate(names) if name in names[:index]]
    if twice:
        raise OptionError(f"feature set {twice[0]!r} is given twice: a set does not differ from itself")


def require_protocol(name: str) -> None:
    """Refuse a name that is not one of `PROTOCOLS`."""
    if name not in PROTOCOLS:
        raise OptionError(f"there is no protocol {name!r}: there are {', '.join(PROTOCOLS)}")
