"""A plan as command lines: what a person types to make any cell by hand. They call what `carry_out.py` calls."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.command_lines.flags import flags_of, mask_flags
from pipeline.experiments.plan import CHECKPOINTS, Cell, Plan, weights_of
from store.json_values import JSON


def commands_of(plan: Plan, folder: Path) -> Iterator[list[str]]:
    """The words of each line, in an order in which they can be run.

    Args:
        plan: Of the experiment.
        folder: Of the experiment: checkpoints are in it.
    """
    for choice in plan.masks:
        if choice.options is not None:
            yield ["fda", "masks", plan.store, "--masks", choice.name, *mask_flags(choice.options.identity())]
    for cell in plan.cells:
        if cell.condition.mixed is not None:
            continue  # it has no features of its own
        if cell.condition.is_trained:
            yield _training(plan, cell, folder)
        yield _encoding(plan, cell, folder)
        for split in plan.splits:
            yield ["fda", "eval", plan.store, "--features", plan.features(cell), *_unless(split, "test", "--split")]


def _training(plan: Plan, cell: Cell, folder: Path) -> list[str]:
    options = plan.training(cell)
    fields: Mapping[str, JSON] = {
        "preset": options.preset,
        **weights_of(options),
        "mask_name": options.mask_name,
        "alpha": None if options.alpha is None else str(options.alpha),
        "val_split": options.val_split,
        "watch_split": options.watch_split,
        "resize_frames": options.resize_frames,
        "seed": options.seed,
        "device": options.device,
    }
    words = ["fda", "finetune", plan.store, str(folder / CHECKPOINTS / cell.checkpoint)]
    words += flags_of(fields, {"preset": "fda-clip", "seed": 0, "device": "auto"})
    return words + [word for key, value in options.settings.items() for word in ("--set", f"{key}={_value(value)}")]


def _encoding(plan: Plan, cell: Cell, folder: Path) -> list[str]:
    options = plan.encoding(cell)
    fields: Mapping[str, JSON] = {
        "features": options.features,
        "checkpoint": str(plan.model(cell, folder).checkpoint),
        "mask_name": options.mask_name,
        "alpha": None if options.alpha is None else str(options.alpha),
        "precision": options.precision,
        "seed": options.seed,
        "device": options.device,
    }
    words = ["fda", "encode", plan.store, *flags_of(fields, {"seed": 0, "device": "auto"})]
    return words + [word for split in options.splits for word in ("--split", split)]


def _unless(value: str, default: str, flag: str) -> list[str]:
    return [] if value == default else [flag, value]


def _value(value: object) -> str:
    """As `--set` reads it: texts as they are, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
