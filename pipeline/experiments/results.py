"""What an experiment has measured, as values and as `results.json`: all tables and figures are made from this."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.options import AlphaSource
from pipeline.errors import InputError
from pipeline.evaluation.names import DIRECTIONS
from pipeline.evaluation.statistics.crossed import LEVEL, Estimate, crossed_difference, crossed_share, mean_of
from pipeline.experiments.folder import FORMAT, read_json, write_text
from store.json_values import JSON


@dataclass(frozen=True, slots=True)
class Queries:
    """The queries of a split: its captions, and its videos that have captions."""

    caption_ids: tuple[str, ...]
    video_ids: tuple[str, ...]
    owner: tuple[int, ...]
    """For each caption, the index of its video."""

    def videos(self, direction: str) -> NDArray[np.int64]:
        """The video of each query of a direction."""
        return np.array(self.owner, np.int64) if direction == DIRECTIONS[0] else np.arange(len(self.video_ids))

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON."""
        return {"caption_ids": list(self.caption_ids), "video_ids": list(self.video_ids), "owner": list(self.owner)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Read the result of `to_dict`."""
        return cls(tuple(fields["caption_ids"]), tuple(fields["video_ids"]), tuple(fields["owner"]))


@dataclass(frozen=True, slots=True)
class CellResult:
    """What one condition gave with one seed."""

    condition: str
    seed: int
    ranks: Mapping[str, Mapping[str, NDArray[np.int64]]]
    """Split, or another name of what was scored -> direction -> the rank of each query; ties count as losses."""
    training: Mapping[str, Any] | None
    """How the training went; None for one that reuses a checkpoint."""
    more: Mapping[str, Any]
    """What else was measured: `alpha_cosine` by split, and what the experiment adds."""

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON."""
        return {
            "condition": self.condition,
            "seed": self.seed,
            "ranks": {name: {key: one.tolist() for key, one in both.items()} for name, both in self.ranks.items()},
            "training": self.training,
            "more": dict(self.more),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Read the result of `to_dict`."""
        ranks = {
            name: {key: np.array(one, np.int64) for key, one in both.items()} for name, both in fields["ranks"].items()
        }
        return cls(fields["condition"], fields["seed"], ranks, fields["training"], fields["more"])


@dataclass(frozen=True, slots=True)
class MaskResult:
    """What the masks of one set cover, video by video."""

    name: str
    coverage: Mapping[str, Sequence[float]]
    """Split -> share of the picture, 0..1, of each video."""
    overlap: Mapping[str, Sequence[float | None]]
    """Split -> intersection over union with the truth, 0..1, of each video; None where nothing moves; no split where no
    truth is known."""

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON."""
        return {
            "name": self.name,
            "coverage": {split: list(one) for split, one in self.coverage.items()},
            "overlap": {split: list(one) for split, one in self.overlap.items()},
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Read the result of `to_dict`."""
        return cls(fields["name"], fields["coverage"], fields["overlap"])


@dataclass(frozen=True)
class Results:
    """All that an experiment has measured."""

    about: Mapping[str, Any]
    """What was asked for, the plan, and what was run on: see `pipeline.experiments.run`."""
    queries: Mapping[str, Queries]
    masks: Mapping[str, MaskResult]
    cells: tuple[CellResult, ...]

    @property
    def kind(self) -> str:
        """Of experiment."""
        return str(self.about["plan"]["kind"])

    @property
    def is_quick(self) -> bool:
        """Whether the numbers only show that everything runs."""
        return bool(self.about["asked"]["quick"])

    @property
    def seeds(self) -> tuple[int, ...]:
        """Random seeds of the trainings."""
        return tuple(self.about["plan"]["seeds"])

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that were scored, the main one first."""
        return tuple(self.about["plan"]["splits"])

    @property
    def conditions(self) -> Mapping[str, Mapping[str, Any]]:
        """Name -> `title`, `masks`, `alpha` and more, as `Plan.to_dict` writes them."""
        conditions: Mapping[str, Mapping[str, Any]] = self.about["plan"]["conditions"]
        return conditions

    @property
    def masked(self) -> list[str]:
        """The conditions whose alpha channel is a mask."""
        return [name for name, one in self.conditions.items() if one["alpha"] == AlphaSource.MASKS]

    def cells_of(self, condition: str) -> list[CellResult]:
        """The cells of a condition, in the order of the seeds."""
        return sorted((one for one in self.cells if one.condition == condition), key=lambda one: one.seed)

    def ranks(self, condition: str, scored: str, direction: str) -> NDArray[np.int64]:
        """Shape (num_seeds, num_queries)."""
        # `cells_of` sorts by seed, so that row i is of the same seed in all conditions: differences are paired by it.
        return np.stack([cell.ranks[scored][direction] for cell in self.cells_of(condition)])

    def recall(self, condition: str, scored: str, direction: str = DIRECTIONS[0], k: int = 1) -> Estimate:
        """R@k, 0..1, over seeds and videos; `scored` is a split, or `split/...`."""
        hits = self.ranks(condition, scored, direction) <= k
        return crossed_share(hits, self._videos(scored, direction))

    def gain(
        self,
        condition: str,
        than: str,
        scored: str,
        direction: str = DIRECTIONS[0],
        *,
        among: int = 1,
    ) -> Estimate:
        """How much higher R@1 of a condition is than of another: paired by seed and by query.

        Args:
            condition: The one.
            than: The other.
            scored: A split, or `split/...`.
            direction: Of retrieval.
            among: So many conditions were compared, and this is the best of them: its interval is as wide as makes all
                of theirs hold together (Bonferroni).
        """
        first, other = (self.ranks(name, scored, direction) <= 1 for name in (than, condition))
        return crossed_difference(first, other, self._videos(scored, direction), level=_level(among))

    def mean_recall(self, condition: str, splits: Sequence[str], direction: str = DIRECTIONS[0]) -> Estimate:
        """R@1 over several splits together.

        Queries of one place in them count as one video: splits of one suite show the same scenes, clip by clip.
        """
        return crossed_share(self._hits(condition, splits, direction), self._places(splits, direction))

    def mean_gain(
        self, condition: str, than: str, splits: Sequence[str], direction: str = DIRECTIONS[0], *, among: int = 1
    ) -> Estimate:
        """How much higher that is than of another condition; `among` as for `gain`."""
        first, other = (self._hits(name, splits, direction) for name in (than, condition))
        return crossed_difference(first, other, self._places(splits, direction), level=_level(among))

    def _hits(self, condition: str, splits: Sequence[str], direction: str) -> NDArray[np.bool_]:
        return np.concatenate([self.ranks(condition, split, direction) <= 1 for split in splits], axis=1)

    def _places(self, splits: Sequence[str], direction: str) -> NDArray[np.int64]:
        return np.concatenate([self._videos(split, direction) for split in splits])

    def coverage(self, masks: str, split: str) -> Estimate | None:
        """Mean share of the picture that masks cover; None if there are none."""
        return _mean(self.masks[masks].coverage.get(split, ())) if masks in self.masks else None

    def overlap(self, masks: str, split: str) -> Estimate | None:
        """Mean overlap with the truth; None where no truth is known."""
        return _mean(self.masks[masks].overlap.get(split, ())) if masks in self.masks else None

    def _videos(self, scored: str, direction: str) -> NDArray[np.int64]:
        # `split/way` has the queries of its split.
        return self.queries[scored.partition("/")[0]].videos(direction)

    def write(self, path: Path) -> None:
        """Write all of it; the same numbers give the same bytes."""
        # A line for each cell: so two results can be compared with `diff`, and a reader in any language goes line by
        # line.
        parts = [
            f'"format": {FORMAT}',
            f'"about": {_compact(self.about)}',
            '"queries": {\n'
            + ",\n".join(f"{json.dumps(k)}: {_compact(q.to_dict())}" for k, q in self.queries.items())
            + "\n}",
            '"masks": [\n' + ",\n".join(_compact(one.to_dict()) for one in self.masks.values()) + "\n]",
            '"cells": [\n' + ",\n".join(_compact(one.to_dict()) for one in self.cells) + "\n]",
        ]
        write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the result of `write`.

        Raises:
            InputError: The file is damaged, or of another version.
        """
        found = read_json(path)
        try:
            if found["format"] != FORMAT:
                raise ValueError(f"its format is {found['format']}, this version reads {FORMAT}")
            masks = [MaskResult.from_dict(one) for one in found["masks"]]
            return cls(
                about=found["about"],
                queries={name: Queries.from_dict(one) for name, one in found["queries"].items()},
                masks={one.name: one for one in masks},
                cells=tuple(CellResult.from_dict(one) for one in found["cells"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} holds no results of an experiment ({type(error).__name__}: {error})") from error


def _level(among: int) -> float:
    # 95% for one, 99% for the best of five: each of five then fails in 1% of cases.
    return 1 - (1 - LEVEL) / max(1, among)


def _mean(values: Sequence[float | None]) -> Estimate | None:
    known = [one for one in values if one is not None]
    # One value has no spread.
    return mean_of(known) if len(known) > 1 else None


def _compact(value: Mapping[str, Any]) -> str:
    return json.dumps(value, allow_nan=False)
