"""A comparison as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from pipeline.evaluation.comparing.compare import AgainstFirst, Comparison, DirectionCompared, ScoredSet
from pipeline.evaluation.comparing.rank_changes import RankChange
from pipeline.evaluation.names import DIRECTIONS
from pipeline.evaluation.statistics.intervals import Interval
from store.json_values import JSON


def comparison_dict(result: Comparison) -> dict[str, JSON]:
    """The machine-readable result."""
    bootstrap = result.options.bootstrap
    return {
        "split": result.split,
        "protocol": result.protocol.name,
        "ties": str(result.protocol.ties),
        "ties_of_several": None if result.protocol.ties_of_several is None else str(result.protocol.ties_of_several),
        "level": bootstrap.level,
        "num_resamples": bootstrap.num_resamples,
        "num_permutations": result.options.num_permutations,
        "seed": bootstrap.seed,
        "num_videos": result.num_videos,
        "num_videos_expected": result.num_videos_expected,
        "num_captions": result.num_captions,
        "num_captions_expected": result.num_captions_expected,
        "sets": [_set_json(one) for one in result.sets],
        "against_first": [_against_json(result.sets[0].name, other) for other in result.against_first],
    }


def _set_json(one: ScoredSet) -> dict[str, JSON]:
    return {
        "features": one.name,
        "num_videos_left_out": one.num_videos_left_out,
        "num_captions_left_out": one.num_captions_left_out,
        "caveats": list(one.caveats),
        **{
            direction: {
                **getattr(one.metrics, direction).to_dict(),
                "intervals": {metric: _ends(interval) for metric, interval in one.intervals[direction].items()},
            }
            for direction in DIRECTIONS
        },
        "made_by": dict(one.attributes),
    }


def _against_json(first: str, other: AgainstFirst) -> dict[str, JSON]:
    return {
        "features": other.name,
        "against": first,
        "inputs_differ": other.inputs_differ,
        "models_differ": other.models_differ,
        **{direction: _direction_json(other.directions[direction]) for direction in DIRECTIONS},
    }


def _direction_json(compared: DirectionCompared) -> dict[str, JSON]:
    moves = compared.changes
    return {
        "differences": {
            metric: {"value": found.value, "interval": _ends(found.interval), "p_value": found.p_value}
            for metric, found in compared.differences.items()
        },
        "num_better": moves.num_better,
        "num_worse": moves.num_worse,
        "num_same": moves.num_same,
        "risen": [_moved_json(one) for one in moves.risen],
        "fallen": [_moved_json(one) for one in moves.fallen],
    }


def _moved_json(one: RankChange) -> Mapping[str, JSON]:
    return asdict(one)


def _ends(interval: Interval) -> list[JSON]:
    return [interval.low, interval.high]
