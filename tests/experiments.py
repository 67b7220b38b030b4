"""A small store and a tiny model for experiments, and results made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.experiments.results import CellResult, MaskResult, Queries, Results
from tests.clips_on_disk import SMALL, run_preprocess, write_small_dataset
from tests.encoders_tiny import write_config

COUNTS = {"train": 4, "val": 2, "test": 3}


def write_small_store(folder: Path) -> Path:
    """A store of a few clips of 32 pixels, and `tiny.toml`, which trains a model for it."""
    run_preprocess(write_small_dataset(folder, COUNTS), folder / "store", SMALL)
    config = write_config(folder)
    (folder / "tiny.toml").write_text(
        f'[model]\nmodel = "{Path(config).name}"\npretrained = "none"\n\n'
        "[finetune]\nepochs = 2\nbatch_size = 4\nlr = 1e-3\nalpha_lr = 1e-3\n"
    )
    return folder / "store"


def results_by_hand(
    kind: str,
    hits: Mapping[str, float],
    *,
    num_videos: int = 200,
    splits: Sequence[str] = ("test",),
    scored: Sequence[str] = (),
    conditions: Mapping[str, Mapping[str, Any]] | None = None,
    masks: Mapping[str, float] | None = None,
    quick: bool = False,
) -> Results:
    """Three seeds, in which each condition finds so large a share of the videos; all else has rank 9.

    Args:
        kind: Of experiment.
        hits: Condition -> share of the videos that it finds, in each split.
        num_videos: In each split.
        splits: That are scored.
        scored: What is scored besides: `split/way`.
        conditions: What a plan says of them; by default they are masks of their own name.
        masks: Mask set -> overlap with the truth.
        quick: Whether it is a quick run.
    """
    names = tuple(map(str, range(num_videos)))
    queries = Queries(names, names, tuple(range(num_videos)))
    usual: dict[str, Mapping[str, Any]] = {
        name: {
            "title": f"the {name}",
            "masks": name,
            "alpha": "ones" if name == "ones" else "masks",
            "settings": {},
            "trained_as": None,
        }
        for name in hits
    }
    cells = []
    for seed in range(3):
        for name, share in hits.items():
            order = np.random.default_rng((seed, 5)).permutation(num_videos)
            ranks = np.where(order < share * num_videos, 1, 9)
            both = {"text_to_video": ranks, "video_to_text": ranks}
            training = {"watched_chosen": share, "watched_best": min(1.0, share + 0.02)}
            cells.append(CellResult(name, seed, dict.fromkeys((*splits, *scored), both), training, {}))
    overlaps = dict.fromkeys(hits, 0.5) if masks is None else masks
    return Results(
        about={
            "asked": {"quick": quick},
            "asked_by": ["fda", "experiment", kind, "OUT"],
            "plan": {
                "kind": kind,
                "conditions": conditions or usual,
                "seeds": [0, 1, 2],
                "splits": list(splits),
                "left_out": [],
                "preset": "demo",
                "settings": {},
            },
            "data": "numbers by hand",
            "num_videos": dict.fromkeys(splits, num_videos),
            "software": {"fda": "0"},
            "commands": [["fda", "eval", "a store", "--features", "x"]],
        },
        queries=dict.fromkeys(splits, queries),
        masks={
            name: MaskResult(name, dict.fromkeys(splits, (0.1, 0.2)), dict.fromkeys(splits, (one - 0.1, one + 0.1)))
            for name, one in overlaps.items()
        },
        cells=tuple(cells),
    )
