"""What an interrupted command says: what is kept, and the line that resumes from there."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Any

import click

from store.stages import FRAMES_STAGE, features_stage, masks_stage

_COMMITTED = "the shards that are committed in {store_place} are kept"
_STAGES = {
    "preprocess": FRAMES_STAGE,
    "masks": masks_stage("{name}"),
    "import-masks": masks_stage("{name}"),
    "encode": features_stage("{features}", "video"),
    "import-features": features_stage("{features}", "video"),
}
"""Command -> the stage whose videos it counts; the names are those of its parameters."""
_UNCHANGED, _STORE_UNCHANGED = "nothing was changed", "the store is as it was"
_EXPORTED = "nothing is kept, and what was at {out} is as it was"
_KEPT = {
    "preprocess": _COMMITTED,
    "masks": _COMMITTED,
    "import-masks": _COMMITTED,
    "encode": _COMMITTED,
    "import-features": _COMMITTED,
    "pool": "{checkpoint} keeps the last epoch that ended, and {store_place} the shards that are committed",
    "finetune": "{checkpoint} keeps the last saved state of the training, and the best weights so far",
    "finalise": "nothing is lost",
    "remove": "what is removed stays removed, and a set that is half removed is not used",
    "export": _EXPORTED,
    "experiment": "what is done in {out} is kept, and the last state of a training",
    "demo": "what is complete in {folder} is kept",
    "generate": "the videos that are complete in {folder} are kept",
    **dict.fromkeys(("eval", "compare", "inspect", "search", "serve", "report", "status", "verify"), _STORE_UNCHANGED),
    **dict.fromkeys(("weights", "doctor", "completion"), _UNCHANGED),
}
"""Command -> what an interrupt leaves; the names are those of its parameters."""
_WITHOUT_TRACE = (_UNCHANGED, _STORE_UNCHANGED, _EXPORTED)
"""After these the same line begins again, with all its flags."""
_REPAIRED = "every file is as it was, or repaired"
_ALL = "1/1"
"""The partition of a run that is not done in parts."""
_STARTING_OVER = ("--overwrite", "--yes")
"""Without these flags, the same line resumes; with them it would remove what was made."""


def how_to_go_on(group: click.Group, arguments: Sequence[str]) -> str:
    """What to say, of the arguments that `fda` was called with; never an error."""
    try:
        return _sentence(group, list(arguments))
    except Exception:
        return f"interrupted: run the same command again\n  {_line(arguments)}"


def _sentence(group: click.Group, arguments: list[str]) -> str:
    name, *others = arguments
    params = _params(group, name, others)
    template = _KEPT[name]
    kept = template.format_map({key: str(params[key]) for key in params})
    if name == "verify" and params.get("is_repair"):
        kept = _REPAIRED
    partition = params.get("partition")
    part = "" if str(partition) in ("None", _ALL) else f" with part {partition}"
    if template not in _WITHOUT_TRACE and _is_nothing_there(template, params):
        kept = "nothing is written yet"
    elif name in _STAGES:
        stage = _STAGES[name].format_map({key: str(params[key]) for key in params})
        kept = _videos_kept(str(params["store_place"]), stage, params.get("splits") or ()) or kept
    if template in _WITHOUT_TRACE and kept != _REPAIRED:
        return f"interrupted: {kept}; to run it again{part}:\n  {_line(arguments)}"
    dropped = [word for word in arguments if word in _STARTING_OVER] if params.get("overwrite") else []
    without = f", without {dropped[0]}, which would start over" if dropped else ""
    line = _line([word for word in arguments if word not in dropped])
    return f"interrupted: {kept}; to resume{part}{without}:\n  {line}"


def _videos_kept(place: str, stage: str, splits: Collection[str]) -> str | None:
    """In words, such as `94 of 318 videos are kept in store`; None where it cannot be known at once.

    An object store is not asked: it may not answer, and an interrupt does not wait. Nor does it load what the run has
    not come to load.
    """
    if "://" in place or "store.store" not in sys.modules:
        return None
    from store.errors import StoreError
    from store.kept import videos_kept
    from store.store import Store

    try:
        kept = videos_kept(Store.open(place), stage, splits)
    except StoreError:
        return None
    number, verb = f"{kept.num_videos:,}" if kept.num_videos else "none", "is" if kept.num_videos <= 1 else "are"
    return f"{number} of {kept.num_expected:,} videos {verb} kept in {place}"


def _is_nothing_there(template: str, params: Mapping[str, Any]) -> bool:
    """Whether the first place that a sentence names, where a command writes first, is not there, or is no store yet.

    An object store is not asked: it may not answer, and an interrupt does not wait.
    """
    places = [str(params[field]) for _, field, *_ in Formatter().parse(template) if field]
    if not places or "://" in places[0]:
        return False
    return not (Path(places[0]) / ("store.json" if template is _COMMITTED else "")).exists()


def _params(group: click.Group, name: str, arguments: list[str]) -> Mapping[str, Any]:
    """The values of a line, as its command takes them."""
    command = group.get_command(click.Context(group), name)
    assert command is not None
    # Errors of values and callbacks are passed over: whatever can be read of the line is.
    return command.make_context(name, arguments, resilient_parsing=True).params


def _line(arguments: Sequence[str]) -> str:
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # The launcher's own arguments are not known here.
        return f"torchrun ... -m cli.main {shlex.join(arguments)}"
    return f"fda {shlex.join(arguments)}"
