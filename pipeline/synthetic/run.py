"""`fda generate`, as one function: real, encoded videos of a generated world, with the truth of what moves."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path

from pipeline.errors import InputError
from pipeline.run.events import Listener, Reporter, ignore_events
from pipeline.run.fields import check_kinds, local_path
from pipeline.run.records import RunClock
from pipeline.run.words import setting
from pipeline.synthetic.bounds import best_bound, orderless_bound, single_frame_bound
from pipeline.synthetic.clips import TRUTH
from pipeline.synthetic.costs import GenerationCost, cost_of
from pipeline.synthetic.options import GenerateOptions
from pipeline.synthetic.planning import ClipPlan, plan_clips
from pipeline.synthetic.suites import SplitSpec
from pipeline.synthetic.writing import MANIFEST_NAME, Recipe, check_own, remove_dataset, write_dataset, written_options
from pipeline.workers.place import workers_by_default
from store.json_values import JSON


@dataclass(frozen=True, slots=True)
class SplitGenerated:
    """One split of a generated data set."""

    split: str
    num_clips: int
    single_frame_bound_r1: float | None
    """Text-to-video R@1 in percent of an ideal model that sees single frames: every object, and not which one moves.
    None for a split to train with."""
    orderless_bound_r1: float | None
    """The same of one that sees what moves, and not in which order."""
    best_r1: float | None
    """The same of one that sees everything. Below 100 where a caption is true of several clips ("is resting")."""

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class GenerateResult:
    """A generated data set."""

    manifest: str
    """Path of `clips.jsonl`, a source for `fda preprocess`."""
    truth: str
    """The folder of ground truth, for `fda import-masks`."""
    splits: tuple[SplitGenerated, ...]
    cost: GenerationCost
    num_written: int
    """Clips that this run has written."""
    seconds: float

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        return {
            "manifest": self.manifest,
            "truth": self.truth,
            "splits": [one.to_dict() for one in self.splits],
            "cost": self.cost.to_dict(),
            "num_written": self.num_written,
            "seconds": round(self.seconds, 3),
        }


def preview_generation(options: GenerateOptions | None = None, *, listener: Listener = ignore_events) -> GenerationCost:
    """What `generate` would take; nothing is written.

    Args:
        options: What to make. Default: the data set of `fda demo`.
        listener: Hears how far the plan is.

    Raises:
        OptionError: The factors contradict each other or the suite.
    """
    options = options or GenerateOptions()
    check_kinds(options=(options, GenerateOptions))
    return cost_of(options, plan_clips(options, listener))


def generate(
    folder: str | PathLike[str],
    options: GenerateOptions | None = None,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    listener: Listener = ignore_events,
) -> GenerateResult:
    """Make a data set of generated videos with ground truth in a folder.

    Killed and called again, it continues where it was. Equal options give equal bytes, whoever writes them.

    Args:
        folder: A local folder; made if missing.
        options: What to make. Default: the data set of `fda demo`.
        workers: Processes that render and encode; 0 and 1 work in this process. Default: the number of cores, or this
            process where it takes a few seconds.
        overwrite: Whether to remove a generated data set of other options that is there.
        listener: Hears how far it is.

    Raises:
        InputError: The folder has other files, or a data set of other options.
        OptionError: The factors contradict each other or the suite.
    """
    options, clock, report = options or GenerateOptions(), RunClock(), Reporter(listener)
    check_kinds(options=(options, GenerateOptions))
    place = local_path(folder)
    clips = plan_clips(options, listener)
    cost = cost_of(options, clips)
    recipe = Recipe.of(options)
    check_own(place)
    # After the plan: a data set is not removed for options that contradict each other.
    _check_same(place, recipe, overwrite=overwrite)
    report.say(f"suite {options.suite}, {options.size}: {cost}")
    if workers is None:
        workers = workers_by_default(len(clips), cost.estimated_core_hours * 3600)
    num_written = write_dataset(place, recipe, clips, workers, listener)
    return GenerateResult(
        manifest=str(place / MANIFEST_NAME),
        truth=str(place / TRUTH),
        splits=tuple(_split(clips, spec) for spec in options.splits),
        cost=cost,
        num_written=num_written,
        seconds=clock.seconds,
    )


def _split(clips: tuple[ClipPlan, ...], spec: SplitSpec) -> SplitGenerated:
    own = [clip for clip in clips if clip.split == spec.name]
    if not spec.is_distinct:
        return SplitGenerated(spec.name, len(own), None, None, None)
    return SplitGenerated(spec.name, len(own), single_frame_bound(own), orderless_bound(own), best_bound(own))


def _check_same(folder: Path, recipe: Recipe, *, overwrite: bool) -> None:
    """Refuse a folder with a data set of other options, or remove it."""
    written, wanted = written_options(folder), recipe.identity()
    if written is None or written == wanted:
        return
    if overwrite:
        remove_dataset(folder)
        return
    other = next((name for name in wanted if written.get(name) != wanted[name]), "options")
    raise InputError(
        f"{folder} has a data set of other options: {other} is {setting(written.get(other))} there, and "
        f"{setting(wanted.get(other))} was asked for: give another folder, or --overwrite to remove it first"
    )
