"""`fda eval`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options.retrieval import interval_options, protocol_options
from cli.options.shared import shared_options
from cli.output.eval_report import IntervalTable, Report, print_report, protocol_words, report_json
from cli.output.printing import plural, print_json, say
from cli.output.progress import progress_listener
from cli.output.slice_figure import check_figure, draw_slices
from pipeline.evaluation.diagnostics import Diagnostics, diagnose
from pipeline.evaluation.evaluate import Evaluation, evaluate
from pipeline.evaluation.names import FAMILIES, POOLINGS
from pipeline.evaluation.options import BootstrapOptions, EvalOptions
from pipeline.evaluation.per_query import check_writable, per_query_table, write_per_query
from pipeline.evaluation.protocols import Ties
from pipeline.evaluation.scores.dot import Put
from pipeline.evaluation.slices.families import SliceFamily, slice_queries
from pipeline.evaluation.slices.scoring import score_slices
from pipeline.evaluation.statistics.intervals import intervals
from pipeline.run.events import Listener
from store.features import num_videos_expected
from store.store import Store

if TYPE_CHECKING:
    from store.json_values import JSON

SECONDS_BEFORE_A_BAR = 2.0


@click.command("eval")
@click.argument("store_place", metavar="STORE", type=click.Path(path_type=str))
@click.option("--features", required=True, metavar="NAME", help="Which feature set.")
@click.option("--split", default="test", show_default=True, help="Which split.")
@protocol_options
@click.option(
    "--pooling",
    type=click.Choice(list(POOLINGS)),
    help="Pool the cached features of frames anew, without encoding.  [default: the features of videos as cached]",
)
@click.option(
    "--top-frames",
    type=click.IntRange(min=1),
    metavar="K",
    help="Score a text by its K best frames of each video, instead of by the video.",
)
@click.option("--dsl", is_flag=True, help="Add rows with a dual softmax over all queries of the split (transductive).")
@click.option(
    "--dsl-temperature",
    type=click.FloatRange(min=0, min_open=True),
    default=0.01,
    show_default=True,
    help="Of --dsl, for cosines.",
)
@click.option("--qb-norm", is_flag=True, help="Add rows with querybank normalisation; the bank is --bank-split.")
@click.option("--bank-split", default="train", show_default=True, help="Whose captions and videos are the bank.")
@click.option("--intervals/--no-intervals", "with_intervals", default=True, help="How far numbers are to be trusted.")
@interval_options
@click.option(
    "--slice",
    "slices",
    multiple=True,
    type=click.Choice(["all", *FAMILIES]),
    help="Score parts of the queries by themselves, by what videos show and captions say; may be repeated.",
)
@click.option("--figure", type=click.Path(dir_okay=False, path_type=Path), help="Draw the slices: .png, .svg or .pdf.")
@click.option("--diagnostics", "with_diagnostics", is_flag=True, help="Hubs, modality gap, rank histogram, confusions.")
@click.option(
    "--per-query",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.parquet",
    help="Write the rank of every query, with what was found in its place.",
)
@click.option("--overwrite", is_flag=True, help="Replace the files of --per-query and --figure.")
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="Where to score: cpu, cuda, cuda:1, or auto (a GPU if there is one).",
)
@shared_options
def command(
    store_place: str,
    features: str,
    split: str,
    protocol: str,
    ties: str | None,
    max_missing: Callable[[int], float],
    pooling: str | None,
    top_frames: int | None,
    dsl: bool,
    dsl_temperature: float,
    qb_norm: bool,
    bank_split: str,
    with_intervals: bool,
    level: float,
    resamples: int,
    seed: int,
    slices: Sequence[str],
    figure: Path | None,
    with_diagnostics: bool,
    per_query: Path | None,
    overwrite: bool,
    device: str,
    as_json: bool,
    progress: bool | None,
) -> None:
    """Text-to-video and video-to-text retrieval on cached features: R@1, R@5, R@10, R@50, median and mean rank.

    Protocol `fda`: every caption is a query; a tie counts against the model; a video finds a text by its best caption;
    NaN is refused. R@k in percent. docs/evaluation.md has every formula.
    """
    if overwrite and per_query is None and figure is None:
        raise click.UsageError("--overwrite is for the files of --per-query and --figure")
    if per_query is not None:
        check_writable(per_query, overwrite=overwrite)
    if figure is not None:
        check_figure(figure)
        check_writable(figure, overwrite=overwrite)
    store = Store.open(store_place)
    num_expected = num_videos_expected(store, split)
    try:
        options = EvalOptions(
            split=split,
            max_missing=max_missing(num_expected) / num_expected,
            pooling=pooling,
            top_frames=top_frames,
            protocol=protocol,
            ties=None if ties is None else Ties(ties),
            dsl_temperature=dsl_temperature if dsl else None,
            bank_split=bank_split if qb_norm else None,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    bootstrap = BootstrapOptions(level, resamples, seed)
    is_all = "all" in slices or (figure is not None and not slices)
    wanted = FAMILIES if is_all else tuple(dict.fromkeys(slices))
    with progress_listener("eval", progress, after_seconds=SECONDS_BEFORE_A_BAR) as listener:
        result = evaluate(store, features, options, put=_put(device), listener=listener)
        families = _families(store, result, wanted)
        report = Report(
            result=result,
            options=options,
            bootstrap=bootstrap,
            intervals=_intervals(result, options, bootstrap) if with_intervals else None,
            slices=score_slices(result.ranking, families, options.counted) if families else None,
            diagnostics=_diagnostics(store, result, listener) if with_diagnostics else None,
        )
    if as_json:
        print_json({**report_json(report), "options": _about(store, report)})
    else:
        print_report(report)
    if per_query is not None:
        table = per_query_table(store, result.ranking, result.scores, split, families)
        about = {**_about(store, report), "slices": {one.name: one.to_dict() for one in families}}
        write_per_query(table, per_query, about, overwrite=overwrite)
        say(f"{plural(table.num_rows, 'query')}: {per_query}")
    if figure is not None and report.slices is not None:
        draw_slices(report.slices, figure, f"{features} on {split}, {protocol_words(options.counted)}")
        say(f"figure: {figure}")


def _about(store: Store, report: Report) -> dict[str, JSON]:
    """All that decides the numbers: enough to get them again."""
    return {
        "features": report.result.features,
        "dataset": dict(store.manifest.dataset),
        **asdict(report.options),
        "ties": str(report.options.counted.ties),
        "bootstrap": None if report.intervals is None else asdict(report.bootstrap),
    }


def _put(device: str) -> Put:
    if device == "cpu":
        return lambda array: array
    from encoders.similarity import place  # torch, which this command does without else

    found = place(device)
    say(f"scored on {found.device}")
    return found.put


def _families(store: Store, result: Evaluation, wanted: Sequence[str]) -> tuple[SliceFamily, ...]:
    """The families that were asked for by name, of those that the store can tell."""
    if not wanted:
        return ()
    families = slice_queries(store, result.ranking, result.split)
    there = {one.name for one in families}
    for name in wanted:
        if name not in there:
            say(f"no slices by {name}: the store does not tell it")
    return tuple(one for one in families if one.name in wanted)


def _intervals(result: Evaluation, options: EvalOptions, bootstrap: BootstrapOptions) -> IntervalTable | None:
    if len(result.ranking.to_text.videos) < 2:
        say("no intervals: they are over videos, and only one has captions")
        return None
    return intervals(result.ranking, options.counted, bootstrap)


def _diagnostics(store: Store, result: Evaluation, listener: Listener) -> Diagnostics:
    return diagnose(store, result.ranking, result.scores, result.split, listener=listener)
