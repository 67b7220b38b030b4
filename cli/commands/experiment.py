"""`fda experiment`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import fda
from cli.options.factors import factor_option
from cli.options.files import Place
from cli.options.names import complete_presets
from cli.options.settings import parsed_settings
from cli.options.shared import (
    add_options,
    device_option,
    model_options,
    on_this_machine,
    progress_option,
    seed_option,
    shared_options,
)
from cli.output.printing import print_json, show
from cli.output.progress import progress_listener
from cli.output.tables import print_table
from pipeline.experiments.options import MIN_CLIPS, MIN_SEEDS, PAPER_THRESHOLDS, ExperimentKind, ExperimentOptions
from pipeline.synthetic.suites import Size

if TYPE_CHECKING:
    from pipeline.experiments.run import ExperimentPreview, ExperimentResult


def _thresholds(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        return tuple(float(one) for one in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a list of numbers, such as 0,12.5,25", ctx, param) from error


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    return () if value is None else tuple(one.strip() for one in value.split(","))


_DEFAULTS = ExperimentOptions()
_OPTIONS = (
    click.option(
        "--store",
        type=Place(path_type=str),
        metavar="STORE",
        help="Use this store, with a split train and one to test on.  [default: generate data in OUT]",
    ),
    click.option(
        "--seeds",
        type=click.IntRange(min=MIN_SEEDS),
        default=MIN_SEEDS,
        show_default=True,
        help="Number of random seeds for each condition: --seed and the next ones.",
    ),
    seed_option,
    click.option("--quick", is_flag=True, help="A tiny data set, two seeds, an epoch: runs everything, shows nothing."),
    click.option(
        "--size",
        type=click.Choice([one.value for one in Size]),
        default=str(_DEFAULTS.size),
        show_default=True,
        help="Amount of data to generate.",
    ),
    factor_option,
    click.option(
        "--num-train",
        type=click.IntRange(min=MIN_CLIPS),
        help="Clips to generate for training.  [default: as --size says]",
    ),
    click.option(
        "--num-eval",
        type=click.IntRange(min=MIN_CLIPS),
        help="Clips to generate for each validation and test split.  [default: as --size says]",
    ),
    click.option(
        "--conditions",
        callback=_names,
        metavar="NAME,NAME,...",
        help="Run only these conditions, and those that they need; --plan lists all.  [default: all]",
    ),
    click.option(
        "--preset",
        shell_complete=complete_presets,
        help="How models are trained, see `fda finetune`.  [default: demo; with --store, fda-clip]",
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change a value of the preset, as in `fda finetune`.",
    ),
    model_options,
    click.option(
        "--resize-frames",
        is_flag=True,
        help="Resize frames and masks of STORE that have another size than the model reads, as `fda finetune` does.",
    ),
    click.option(
        "--test-split", default=ExperimentOptions().test_split, show_default=True, help="The split that is scored."
    ),
    click.option(
        "--thresholds",
        default=",".join(f"{one:g}" for one in PAPER_THRESHOLDS),
        show_default=True,
        callback=_thresholds,
        metavar="N,N,...",
        help="Thresholds of tau: grey levels by which a pixel must differ.",
    ),
    device_option,
    click.option("--plan", "is_plan", is_flag=True, help="Print what would be done and what it would cost, and end."),
    click.option("--yes", is_flag=True, help="Start even if the estimate is over an hour."),
)


def _experiment_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that make up `ExperimentOptions`, and hand them on as that one value."""

    @functools.wraps(function)
    def with_options(*, settings: Sequence[str], seeds: int, size: str, **others: Any) -> None:
        names = (
            *(
                "store",
                "seed",
                "quick",
                "factors",
                "num_train",
                "num_eval",
                "conditions",
                "preset",
                "model",
                "pretrained",
            ),
            *("alpha_checkpoint", "activation", "resize_frames", "test_split", "thresholds", "device", "yes"),
        )
        options = ExperimentOptions(
            seeds=seeds,
            size=Size(size),
            settings=parsed_settings(settings),
            **{name: others.pop(name) for name in names},
        )
        function(options=options, **others)

    return add_options(with_options, _OPTIONS)


@click.command("experiment")
@click.argument("kind", type=click.Choice([one.value for one in ExperimentKind]))
@click.argument("out", type=Place(file_okay=False, path_type=Path), callback=on_this_machine)
@_experiment_options
@progress_option
@shared_options
def command(kind: str, out: Path, options: ExperimentOptions, is_plan: bool, as_json: bool, progress: bool) -> None:
    """Answer a question by many trainings of one model, with intervals over videos and seeds, in the folder OUT.

    \b
    baseline   do FDA-CLIP's masks help, and does anything help more?
    tau        how much does the threshold of the masks matter?
    masks      which masks hold under which difficulty?
    static     what do masks cost where the caption names what does not move, and what repairs it?
    long       where does average pooling end in long videos, and what helps?

    If it is interrupted, run the same command again: it resumes. OUT then has report.md, results.json, results.csv,
    figures, and commands.sh, with which each number can be reproduced.
    """
    if is_plan:
        preview = fda.preview_experiment(kind, out, options)
        print_json(preview.to_dict()) if as_json else _print_plan(preview)
        return
    with progress_listener("experiment", progress) as listener:
        result = fda.experiment(kind, out, options, listener=listener)
    print_json(result.to_dict()) if as_json else _print(result)


def _print_plan(preview: ExperimentPreview) -> None:
    plan = preview.plan
    rows = [
        [
            one.label,
            one.trained_as or "-",
            str(one.alpha),
            one.masks,
            " ".join(f"{k}={v}" for k, v in one.settings.items()),
        ]
        for one in plan.conditions
    ]
    columns = ["condition", "reuses", "alpha", "masks", "settings"]
    print_table(f"{preview.kind}: seeds {', '.join(map(str, plan.seeds))}", columns, rows, texts=columns)
    if plan.left_out:
        show(f"left out: {', '.join(plan.left_out)}")
    show(f"trained with preset {plan.trained.preset} on {plan.store}; scored on {', '.join(plan.splits)}")
    show(str(preview.cost))


def _print(result: ExperimentResult) -> None:
    from pipeline.experiments.findings import QUICK  # which loads NumPy

    for table in result.findings.tables:
        title = f"{table.title}    {QUICK}" if result.results.is_quick else table.title
        print_table(title, list(table.columns), [list(row) for row in table.rows])
    show(result.question)
    show(result.answer)
    show(f"report: {(result.folder / 'report.md').resolve()}")
