"""`fda eval`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import fda
from cli.options.files import NewFile, Place
from cli.options.names import complete_features, complete_splits
from cli.options.retrieval import interval_options, protocol_options
from cli.options.shared import add_options, device_option, progress_option, shared_options
from cli.output.printing import print_json, say
from cli.output.progress import SECONDS_BEFORE_A_BAR, progress_listener
from pipeline.evaluation.names import FAMILIES, FIGURE_SUFFIXES, FRAME_POOLINGS, POOLINGS
from pipeline.evaluation.options import BootstrapOptions, EvalExtras, EvalOptions
from pipeline.evaluation.protocols import Ties
from pipeline.run.limits import Limit
from pipeline.run.words import plural

if TYPE_CHECKING:
    from pipeline.evaluation.run import EvalReport

_DEFAULTS = EvalOptions()

_SCORING = (
    click.option(
        "--features",
        required=True,
        metavar="NAME",
        shell_complete=complete_features,
        help="Name of the feature set.",
    ),
    click.option(
        "--split", default=_DEFAULTS.split, show_default=True, shell_complete=complete_splits, help="Split to score."
    ),
    click.option(
        "--pooling",
        type=click.Choice([*POOLINGS, *FRAME_POOLINGS]),
        help="Pool the cached features of frames again, or score each text by frames, without encoding.  "
        "[default: cached features of videos]",
    ),
    click.option(
        "--temperature",
        type=click.FloatRange(min=0, min_open=True),
        metavar="T",
        help="Temperature of --pooling attention.  [default: chosen on --choose-split]",
    ),
    click.option(
        "--shot-distance",
        type=click.FloatRange(-2, 2),
        metavar="D",
        help="Distance of neighbouring frames (1 - cosine) at which --pooling best-shot begins a shot.  "
        "[default: chosen on --choose-split]",
    ),
    click.option(
        "--top-frames",
        type=click.IntRange(min=1),
        metavar="K",
        help="Score a text by its K best frames of each video, instead of by the video's feature.",
    ),
    click.option(
        "--choose-split",
        default=_DEFAULTS.choose_split,
        show_default=True,
        shell_complete=complete_splits,
        help="Split by whose R@1 the value of --pooling attention, best-shot or best-frames is chosen.",
    ),
    click.option(
        "--dsl", is_flag=True, help="Add rows with a dual softmax over all queries of the split (transductive)."
    ),
    click.option(
        "--dsl-temperature",
        type=click.FloatRange(min=0, min_open=True),
        default=0.01,
        show_default=True,
        help="Temperature of --dsl, for cosines.",
    ),
    click.option("--qb-norm", is_flag=True, help="Add rows with querybank normalisation; the bank is --bank-split."),
    click.option(
        "--bank-split",
        default="train",
        show_default=True,
        help="Split whose captions and videos are the bank of --qb-norm.",
    ),
)
_EXTRAS = (
    click.option("--intervals/--no-intervals", "with_intervals", default=True, help="Compute confidence intervals."),
    click.option(
        "--slice",
        "slices",
        multiple=True,
        type=click.Choice(["all", *FAMILIES]),
        help="Score groups of queries by motion, masks, caption words, duration, ...; may be repeated.",
    ),
    click.option(
        "--diagnostics",
        "with_diagnostics",
        is_flag=True,
        help="Report hubs, modality gap, rank histogram and confusions.",
    ),
    click.option(
        "--near-duplicates",
        is_flag=True,
        help="List videos that are nearly the same as a video of another split, by their features.",
    ),
    device_option,
)
_FILES = (
    click.option(
        "--figure",
        type=NewFile(*FIGURE_SUFFIXES),
        metavar="FILE.png",
        help="Draw the slices into a .png, .svg or .pdf file.",
    ),
    click.option(
        "--per-query",
        type=NewFile(".parquet"),
        metavar="FILE.parquet",
        help="Write the rank of every query, and what was retrieved instead.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace the files of --per-query and --figure."),
)


@dataclass(frozen=True, slots=True)
class _Files:
    """Files that the command writes beside its tables."""

    figure: Path | None
    per_query: Path | None
    overwrite: bool

    def check(self, store_place: str) -> None:
        """Refuse files that cannot be written, before anything is scored."""
        from pipeline.run.files import check_writable  # pyarrow

        if self.overwrite and self.per_query is None and self.figure is None:
            raise click.UsageError("--overwrite is for the files of --per-query and --figure")
        if self.per_query is not None:
            check_writable(self.per_query, store_place, overwrite=self.overwrite)
        if self.figure is not None:
            check_writable(self.figure, store_place, overwrite=self.overwrite)


def _eval_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add all flags, and hand them on as three values, `options`, `extras` and `files`."""

    @functools.wraps(function)
    def with_options(
        *,
        split: str,
        max_missing: Limit,
        ties: str | None,
        dsl: bool,
        dsl_temperature: float,
        qb_norm: bool,
        bank_split: str,
        **others: Any,
    ) -> None:
        names = ("protocol", "pooling", "temperature", "shot_distance", "top_frames", "choose_split")
        fields = {name: others.pop(name) for name in names}
        fields["ties"] = None if ties is None else Ties(ties)
        fields["dsl_temperature"] = dsl_temperature if dsl else None
        fields["bank_split"] = bank_split if qb_norm else None
        options = EvalOptions(split=split, max_missing=max_missing, **fields)
        files = _Files(others.pop("figure"), others.pop("per_query"), others.pop("overwrite"))
        bootstrap = BootstrapOptions(others.pop("level"), others.pop("resamples"), others.pop("seed"))
        slices: Sequence[str] = others.pop("slices")
        extras = EvalExtras(
            intervals=bootstrap if others.pop("with_intervals") else None,
            slices=("all",) if files.figure is not None and not slices else tuple(slices),
            diagnostics=others.pop("with_diagnostics"),
            near_duplicates=others.pop("near_duplicates"),
            device=others.pop("device"),
        )
        function(options=options, extras=extras, files=files, **others)

    return add_options(with_options, (*_SCORING, protocol_options, interval_options, *_EXTRAS, *_FILES))


@click.command("eval")
@click.argument("store_place", metavar="STORE", type=Place(path_type=str))
@_eval_options
@progress_option
@shared_options
def command(
    store_place: str,
    features: str,
    options: EvalOptions,
    extras: EvalExtras,
    files: _Files,
    as_json: bool,
    progress: bool,
) -> None:
    """Text-to-video and video-to-text retrieval on cached features: R@1, R@5, R@10, R@50, median and mean rank.

    Protocol `fda`: every caption is a query; from video to text, each video counts by the best of its captions; a tie
    counts against the model; NaN is refused. R@k in percent. docs/evaluation.md has every formula.
    """
    from cli.output.eval_report import print_report  # NumPy, which --help does without

    files.check(store_place)
    with progress_listener("eval", progress, after_seconds=SECONDS_BEFORE_A_BAR) as listener:
        report = fda.evaluate(store_place, features, options, extras=extras, listener=listener)
    print_json(report.to_dict()) if as_json else print_report(report)
    _write(report, files)


def _write(report: EvalReport, files: _Files) -> None:
    if files.per_query is not None:
        table = report.write_per_query(files.per_query, overwrite=files.overwrite)
        say(f"{plural(table.num_rows, 'query')}: {files.per_query}")
    if files.figure is not None and report.slices is not None:
        try:
            report.write_figure(files.figure, overwrite=files.overwrite)
        except fda.NothingToDrawError as error:
            say(f"warning: no figure: {error}")
        else:
            say(f"figure: {files.figure}")
