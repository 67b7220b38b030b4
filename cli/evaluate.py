"""`fda eval`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from cli.diagnostics import print_diagnostics
from cli.interval_options import interval_options, protocol_words
from cli.options import Limit, shared_options
from cli.output import listed, plural, print_json, print_table, say, show
from cli.progress import progress_listener
from cli.slice_figure import check_figure, draw_slices
from cli.slices import print_slices
from pipeline.evaluation.diagnostics import Diagnostics, diagnose
from pipeline.evaluation.evaluate import EvalOptions, Evaluation, evaluate
from pipeline.evaluation.intervals import BootstrapOptions, Interval, intervals
from pipeline.evaluation.metrics import RetrievalMetrics, Ties
from pipeline.evaluation.per_query import check_writable, per_query_table, write_per_query
from pipeline.evaluation.pooling import POOLINGS
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.scores import Put
from pipeline.evaluation.slice_scores import SliceScores, score_slices
from pipeline.evaluation.slices import FAMILIES, SliceFamily, slice_queries
from pipeline.events import Listener
from store.features import num_videos_expected
from store.store import Store

if TYPE_CHECKING:
    from store.arrays import JSON

METRIC_COLUMNS = ("R@1", "R@5", "R@10", "MdR", "MnR")
"""What `metric_cells` gives."""
FULL_COLUMNS = ("R@1", "R@5", "R@10", "R@50", "MdR", "MnR")
_FIELDS = ("r1", "r5", "r10", "r50", "median_rank", "mean_rank")
SECONDS_BEFORE_A_BAR = 2.0

IntervalTable = Mapping[str, Mapping[str, Interval]]


@dataclass(frozen=True)
class Report:
    """All that one `fda eval` has found."""

    result: Evaluation
    options: EvalOptions
    bootstrap: BootstrapOptions
    intervals: IntervalTable | None
    slices: SliceScores | None
    diagnostics: Diagnostics | None


@click.command("eval")
@click.argument("store_place", metavar="STORE", type=click.Path(path_type=str))
@click.option("--features", required=True, metavar="NAME", help="Which feature set.")
@click.option("--split", default="test", show_default=True, help="Which split.")
@click.option(
    "--protocol",
    type=click.Choice(list(PROTOCOLS)),
    default="fda",
    show_default=True,
    help=" ".join(f"{one.name}: {one.summary}." for one in PROTOCOLS.values()) + " --json has all of them.",
)
@click.option(
    "--ties",
    type=click.Choice([str(ties) for ties in Ties]),
    help="Which rank a query has among candidates that score the same: the last, the mean, the first, or each of "
    "them.  [default: the protocol's own]",
)
@click.option(
    "--max-missing",
    type=Limit(),
    default="10%",
    show_default=True,
    help="Refuse to score where more videos of the split than this have no features.",
)
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
    if pooling is not None and top_frames is not None:
        raise click.UsageError("frames are either pooled into videos (--pooling) or scored one by one (--top-frames)")
    if overwrite and per_query is None and figure is None:
        raise click.UsageError("--overwrite is for the files of --per-query and --figure")
    if qb_norm and top_frames is not None:
        raise click.UsageError("QB-Norm takes a bank of pooled videos: leave --top-frames out")
    if qb_norm and bank_split == split:
        raise click.UsageError(
            f"the bank of QB-Norm must not be of the split that is scored ({split}): see --bank-split"
        )
    if per_query is not None:
        check_writable(per_query, overwrite=overwrite)
    if figure is not None:
        check_figure(figure)
        check_writable(figure, overwrite=overwrite)
    store = Store.open(store_place)
    num_expected = num_videos_expected(store, split)
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
        print_json({**_report_json(report), "options": _about(store, report)})
    else:
        _print(report)
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


def _print(report: Report) -> None:
    result = report.result
    rows = [row for direction in ("text_to_video", "video_to_text") for row in _direction_rows(report, direction)]
    print_table(f"{result.features} on {result.split}", ["", *FULL_COLUMNS], rows)
    show(
        f"{plural(result.num_captions, 'caption')} x {plural(result.num_videos, 'video')} "
        f"({result.num_videos} of {plural(result.num_videos_expected, 'video')} used); "
        f"{protocol_words(report.options.counted)}; "
        f"pooling {result.pooling}"
    )
    for sentence in _remarks(result):
        show(sentence)
    if report.slices is not None:
        print_slices(report.slices)
    if report.diagnostics is not None:
        print_diagnostics(report.diagnostics)


def _direction_rows(report: Report, direction: str) -> list[list[str]]:
    name = direction.replace("_", " ")
    rows = [[name, *_full_cells(getattr(report.result.metrics, direction))]]
    if report.intervals is not None:
        found = report.intervals[direction]
        level = next(iter(found.values())).level
        rows.append(
            [f"  {100 * level:g}% interval", *(f"{found[key].low:.1f}-{found[key].high:.1f}" for key in _FIELDS)]
        )
    for key, processed in report.result.processed.items():
        rows.append([f"{name}, {_label(key, report)}", *_full_cells(getattr(processed, direction))])
    return rows


def _label(processing: str, report: Report) -> str:
    bank = report.result.bank
    if processing == "dsl":
        return "DSL (transductive)"
    assert bank is not None
    return f"QB-Norm (bank: {bank.split}, {bank.num_videos:,} of {bank.num_videos_expected:,} videos)"


def _remarks(result: Evaluation) -> list[str]:
    """What is to be known of the numbers, each in a sentence."""
    features, said = result.ranking.features, []
    num_absent = result.num_videos_expected - result.num_videos - len(features.missing_video_ids)
    if num_absent:
        said.append(f"{plural(num_absent, 'video')} of the published split never came into the store")
    if features.missing_video_ids:
        said.append(f"without features: {listed(features.missing_video_ids)}")
    if num_cut := int((features.num_dropped > 0).sum()):
        said.append(f"{plural(num_cut, 'caption')} longer than the model reads: scored as far as it read")
    if num_unknown := int((features.num_dropped < 0).sum()):
        said.append(f"whether the model read all of them is not known of {plural(num_unknown, 'caption')}")
    tied = num_tied(result)
    if any(tied.values()):
        said.append(
            f"queries whose own item ties with another: {tied['text_to_video']:,} text to video, "
            f"{tied['video_to_text']:,} video to text"
        )
    gain = result.metrics.video_to_text.ndcg
    if gain is not None:
        said.append(f"nDCG of video to text, over all captions of a video: {gain:.1f}")
    if result.alpha_cosine is not None:
        measured = int(np.isfinite(features.alpha_cosine).sum())
        said.append(
            f"mean cosine of videos to themselves with an alpha of all ones: {result.alpha_cosine:.3f} (of "
            f"{plural(measured, 'video')})"
        )
    return said + [f"not a fair number: {caveat}" for caveat in result.caveats]


def num_tied(result: Evaluation) -> dict[str, int]:
    """Direction -> queries whose own item scores as high as another."""
    ranking = result.ranking
    return {
        "text_to_video": int((ranking.to_video.level > 1).sum()),
        "video_to_text": int((ranking.to_text.best.level > 1).sum()),
    }


def metric_cells(metrics: RetrievalMetrics) -> list[str]:
    """The figures of one direction, in the order of `METRIC_COLUMNS`."""
    cells = _full_cells(metrics)
    return [*cells[:3], *cells[4:]]


def _full_cells(metrics: RetrievalMetrics) -> list[str]:
    return [f"{getattr(metrics, field):.1f}" for field in _FIELDS]


def to_json(result: Evaluation) -> dict[str, JSON]:
    """The machine-readable result, under every protocol that can be applied."""
    features = result.ranking.features
    return {
        "features": result.features,
        "split": result.split,
        "protocol": result.protocol,
        "num_videos": result.num_videos,
        "num_videos_expected": result.num_videos_expected,
        "missing_video_ids": list(features.missing_video_ids),
        "num_captions": result.num_captions,
        "num_captions_expected": result.num_captions_expected,
        "num_captions_cut": int((features.num_dropped > 0).sum()),
        "num_captions_equal_to_another": _num_repeated(features.text),
        "num_queries_tied": dict(num_tied(result)),
        "pooling": result.pooling,
        "alpha_cosine": result.alpha_cosine,
        "chosen_on_test": result.chosen_on_test,
        "caveats": list(result.caveats),
        "text_to_video": dict(result.metrics.text_to_video.to_dict()),
        "video_to_text": dict(result.metrics.video_to_text.to_dict()),
        "protocols": {
            name: {
                "text_to_video": dict(one.text_to_video.to_dict()),
                "video_to_text": dict(one.video_to_text.to_dict()),
            }
            for name, one in result.results.items()
        },
        "inapplicable": dict(result.inapplicable),
        "made_by": dict(result.attributes),
    }


def _num_repeated(text: np.ndarray) -> int:
    """Captions whose embedding is another caption's as well: whatever is said of one can be said of the other."""
    _, counts = np.unique(text, axis=0, return_counts=True)
    return int(counts[counts > 1].sum())


def _report_json(report: Report) -> dict[str, JSON]:
    found = to_json(report.result)
    found["post_processed"] = {
        key: {
            "text_to_video": dict(one.text_to_video.to_dict()),
            "video_to_text": dict(one.video_to_text.to_dict()),
        }
        for key, one in report.result.processed.items()
    }
    found["bank"] = None if report.result.bank is None else asdict(report.result.bank)
    if report.intervals is not None:
        found["intervals"] = {
            direction: {key: {"low": one.low, "high": one.high, "level": one.level} for key, one in by_metric.items()}
            for direction, by_metric in report.intervals.items()
        }
    if report.slices is not None:
        found["slices"] = report.slices.to_dict()
    if report.diagnostics is not None:
        found["diagnostics"] = report.diagnostics.to_dict()
    return found
