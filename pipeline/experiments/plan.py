"""What an experiment does, as data: conditions x seeds, each a training, an encoding and a score.

Nothing here reads or writes. `commands.py` writes a plan as command lines, `carry_out.py` calls the same functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from encoders.options import ModelSource
from pipeline.clips.options import AlphaSource
from pipeline.experiments.options import ExperimentKind
from pipeline.features.options import EncodeOptions
from pipeline.masks.options import MaskOptions
from pipeline.training.options import FinetuneOptions
from store.json_values import JSON

CHECKPOINTS = "checkpoints"
"""Folder of the experiment's folder."""


@dataclass(frozen=True, slots=True)
class MaskChoice:
    """A mask set that conditions refer to."""

    name: str
    """Of the mask set in the store."""
    title: str
    options: MaskOptions | None
    """What makes it; None: it is the truth, which the generated data come with."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One way to train, encode and score, whatever the seed."""

    name: str
    """Letters, digits and dashes: part of the names of files and feature sets."""
    title: str
    """For tables."""
    masks: str
    """Of `Plan.masks`: the mask set that is encoded with, and trained with unless `trained_as` is given."""
    alpha: AlphaSource = AlphaSource.MASKS
    settings: Mapping[str, object] = field(default_factory=dict)
    """What differs from the preset."""
    trained_as: str | None = None
    """Another condition, whose checkpoint encodes. None: this one trains its own."""
    is_plain: bool = False
    """Whether it begins without the Alpha-CLIP file."""
    mixed: tuple[str, str] | None = None
    """Two conditions of one checkpoint, whose cached features are mixed: nothing is trained or encoded."""

    @property
    def label(self) -> str:
        """Its name and title, so that files, figures and tables can be matched."""
        return f"{self.name}: {self.title}"

    @property
    def is_trained(self) -> bool:
        """Whether it trains a checkpoint of its own."""
        return self.trained_as is None and self.mixed is None


@dataclass(frozen=True, slots=True)
class Cell:
    """One condition with one seed."""

    condition: Condition
    seed: int

    @property
    def name(self) -> str:
        """Of the files of this cell."""
        return f"{self.condition.name}.s{self.seed}"

    @property
    def checkpoint(self) -> str:
        """The folder, below `CHECKPOINTS`, of the checkpoint that encodes."""
        return f"{self.condition.trained_as or self.condition.name}.s{self.seed}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All that an experiment does."""

    kind: ExperimentKind
    store: str
    masks: tuple[MaskChoice, ...]
    conditions: tuple[Condition, ...]
    """One that reuses a checkpoint comes after the one that trains it."""
    seeds: tuple[int, ...]
    splits: tuple[str, ...]
    """Those that are scored, the main one first."""
    more_splits: tuple[str, ...]
    """Those that are encoded as well: to choose something on."""
    watched: str | None
    """The split whose R@1s are recorded while models are trained; none of it chooses anything."""
    val_split: str | None
    """By which checkpoints are chosen; None: by training videos that are held out."""
    preset: str
    settings: Mapping[str, object]
    alpha_checkpoint: Path | None
    device: str

    def __post_init__(self) -> None:
        names = [one.name for one in self.conditions]
        assert len(set(names)) == len(names), names
        known = {one.name for one in self.masks}
        for one in self.conditions:
            assert one.masks in known, one
            for other in (one.trained_as, *(one.mixed or ())):
                assert other is None or other in names[: names.index(one.name)], one

    @property
    def cells(self) -> Iterator[Cell]:
        """All cells, seed by seed: a run that is stopped early has whole seeds."""
        return (Cell(one, seed) for seed in self.seeds for one in self.conditions)

    @property
    def num_trainings(self) -> int:
        """Checkpoints that are trained."""
        return len(self.seeds) * sum(one.is_trained for one in self.conditions)

    def condition(self, name: str) -> Condition:
        """A condition by its name."""
        return next(one for one in self.conditions if one.name == name)

    def features(self, cell: Cell) -> str:
        """The name of a cell's feature set."""
        return f"{self.kind}.{cell.name}"

    def training(self, cell: Cell) -> FinetuneOptions:
        """How the checkpoint of a cell whose condition trains its own is made."""
        one = cell.condition
        return FinetuneOptions(
            preset=self.preset,
            settings={**self.settings, **one.settings},
            alpha_checkpoint=None if one.is_plain else self.alpha_checkpoint,
            mask_name=one.masks,
            alpha=one.alpha,
            val_split=self.val_split,
            watch_split=self.watched,
            seed=cell.seed,
            device=self.device,
        )

    def encoding(self, cell: Cell) -> EncodeOptions:
        """How the feature set of a cell is made."""
        return EncodeOptions(
            features=self.features(cell),
            splits=(*self.splits, *self.more_splits),
            mask_name=cell.condition.masks,
            alpha=cell.condition.alpha,
            precision="fp32",  # `auto` is measured anew each time, and a cell must not depend on that
            seed=cell.seed,
            device=self.device,
        )

    def model(self, cell: Cell, folder: Path) -> ModelSource:
        """The checkpoint of a cell, in the experiment's folder."""
        return ModelSource(checkpoint=folder / CHECKPOINTS / cell.checkpoint)

    def to_dict(self) -> dict[str, JSON]:
        """What decides the numbers, as JSON."""
        return {
            "kind": str(self.kind),
            "masks": {one.name: None if one.options is None else one.options.identity() for one in self.masks},
            "conditions": {
                one.name: {
                    "title": one.label,
                    "masks": one.masks,
                    "alpha": str(one.alpha),
                    "settings": _plain(one.settings),
                    "trained_as": one.trained_as,
                    "mixed": None if one.mixed is None else list(one.mixed),
                }
                for one in self.conditions
            },
            "seeds": list(self.seeds),
            "splits": list(self.splits),
            "preset": self.preset,
            "settings": _plain(self.settings),
            "alpha_checkpoint": None if self.alpha_checkpoint is None else str(self.alpha_checkpoint),
        }


def _plain(settings: Mapping[str, object]) -> dict[str, JSON]:
    return {
        key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in settings.items()
    }
