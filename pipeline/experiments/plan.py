"""What an experiment does, as data: conditions x seeds, each a training, an encoding and a score.

Nothing here reads or writes. `commands.py` writes a plan as command lines, `carry_out.py` calls the same functions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from encoders.options import ModelSource
from pipeline.clips.options import AlphaSource
from pipeline.errors import OptionError
from pipeline.experiments.options import ExperimentKind, ExperimentOptions
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
    def needs(self) -> tuple[str, ...]:
        """Conditions without which this one cannot be."""
        return (*(() if self.trained_as is None else (self.trained_as,)), *(self.mixed or ()))

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
    trained: FinetuneOptions
    """How each checkpoint is trained, but for what its condition changes."""
    left_out: tuple[str, ...] = ()
    """Conditions of the experiment that were not asked for."""

    def __post_init__(self) -> None:
        names = [one.name for one in self.conditions]
        assert len(set(names)) == len(names), names
        known = {one.name for one in self.masks}
        for one in self.conditions:
            assert one.masks in known, one
            for other in one.needs:
                # Cells are made in this order, and one that reuses a checkpoint finds it made.
                assert other in names[: names.index(one.name)], one

    def only(self, names: Collection[str]) -> Plan:
        """The plan with some of its conditions, those that they need, and the masks of all of these.

        Raises:
            OptionError: There is no condition of a name.
        """
        known = [one.name for one in self.conditions]
        if unknown := [name for name in names if name not in known]:
            raise OptionError(f"the experiment {str(self.kind)!r} has no condition {unknown[0]!r}: {', '.join(known)}")
        wanted = set(names)
        for one in reversed(self.conditions):  # what one needs comes before it
            if one.name in wanted:
                wanted |= {*one.needs}
        conditions = tuple(one for one in self.conditions if one.name in wanted)
        masks = {one.masks for one in conditions}
        return replace(
            self,
            conditions=conditions,
            masks=tuple(one for one in self.masks if one.name in masks),
            left_out=tuple(name for name in known if name not in wanted),
        )

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
        return replace(
            self.trained,
            settings={**self.trained.settings, **one.settings},
            # A plain model has no alpha channel to load these weights into.
            alpha_checkpoint=None if one.is_plain else self.trained.alpha_checkpoint,
            mask_name=one.masks,
            alpha=one.alpha,
            watch_split=self.watched,
            seed=cell.seed,
        )

    def encoding(self, cell: Cell) -> EncodeOptions:
        """How the feature set of a cell is made."""
        return EncodeOptions(
            features=self.features(cell),
            splits=(*self.splits, *self.more_splits),
            mask_name=cell.condition.masks,
            alpha=cell.condition.alpha,
            precision="fp32",  # `auto` is measured again each time, and a cell must not depend on that
            seed=cell.seed,
            device=self.trained.device,
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
            "left_out": list(self.left_out),
            "preset": self.trained.preset,
            "settings": _plain(self.trained.settings),
            **weights_of(self.trained),
        }


def weights_of(trained: FinetuneOptions | ExperimentOptions) -> dict[str, JSON]:
    """The model and weights that training begins with, as JSON: what the preset says is None."""
    file = trained.alpha_checkpoint
    return {
        "model": trained.model,
        "pretrained": trained.pretrained,
        "alpha_checkpoint": None if file is None else str(file),
        "activation": None if trained.activation is None else str(trained.activation),
    }


def _plain(settings: Mapping[str, object]) -> dict[str, JSON]:
    return {
        key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in settings.items()
    }
