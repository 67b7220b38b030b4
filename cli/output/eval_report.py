"""What `fda eval` prints: tables for people, one JSON for programs."""

from __future__ import annotations

import numpy as np

from cli.output.diagnostics import print_diagnostics
from cli.output.printing import show
from cli.output.slices import print_slices
from cli.output.tables import print_table
from pipeline.evaluation.evaluate import Evaluation
from pipeline.evaluation.metrics import RetrievalMetrics
from pipeline.evaluation.names import METRICS
from pipeline.evaluation.run import EvalReport, num_tied
from pipeline.features.remarks import remarks_on
from pipeline.run.words import listed, plural

FULL_COLUMNS = ("R@1", "R@5", "R@10", "R@50", "MdR", "MnR")


def print_report(report: EvalReport) -> None:
    """Print it for people."""
    result = report.result
    rows = [row for direction in ("text_to_video", "video_to_text") for row in _direction_rows(report, direction)]
    print_table(f"{result.features} on {result.split}", ["", *FULL_COLUMNS], rows)
    show(
        f"{plural(result.num_captions, 'caption')} x {plural(result.num_videos, 'video')} "
        f"({result.num_videos} of {plural(result.num_videos_expected, 'video')} used); "
        f"{report.options.counted}; "
        f"pooling {result.pooling}"
    )
    if report.options.counted.shows_r100:
        recalls = result.metrics.text_to_video.r100, result.metrics.video_to_text.r100
        show(f"R@100: {recalls[0]:.1f} text to video, {recalls[1]:.1f} video to text")
    for sentence in _remarks(result):
        show(sentence)
    if report.slices is not None:
        print_slices(report.slices)
    if report.diagnostics is not None:
        print_diagnostics(report.diagnostics)
    if report.near_duplicates is not None:
        _print_near_duplicates(report)


def _print_near_duplicates(report: EvalReport) -> None:
    found = report.near_duplicates or ()
    num_videos = len({one.video_id for one in found})
    if found:
        rows = [[one.video_id, one.other_id, one.other_split, f"{one.cosine:.4f}"] for one in found]
        print_table("near-duplicates in other splits", ["video", "nearest", "split", "cosine"], rows)
    show(
        f"{num_videos:,} of {plural(report.result.num_videos, 'video')} nearly the same as one of another split, "
        "by their features: look at them before you trust a model that was trained there"
    )


def _direction_rows(report: EvalReport, direction: str) -> list[list[str]]:
    name = direction.replace("_", " ")
    rows = [[name, *_full_cells(getattr(report.result.metrics, direction))]]
    if report.intervals is not None:
        found = report.intervals[direction]
        level = next(iter(found.values())).level
        rows.append(
            [f"  {100 * level:g}% interval", *(f"{found[key].low:.1f}-{found[key].high:.1f}" for key in METRICS)]
        )
    for key, processed in report.result.processed.items():
        rows.append([f"{name}, {_label(key, report)}", *_full_cells(getattr(processed, direction))])
    return rows


def _label(processing: str, report: EvalReport) -> str:
    bank = report.result.bank
    if processing == "dsl":
        return "DSL (transductive)"
    assert bank is not None
    return f"QB-Norm (bank: {bank.split}, {bank.num_videos:,} of {plural(bank.num_videos_expected, 'video')})"


def _remarks(result: Evaluation) -> list[str]:
    """Remarks on the numbers, each in a sentence."""
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
    said += [f"features of {remark}" for remark in remarks_on(result.attributes)]
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


def _full_cells(metrics: RetrievalMetrics) -> list[str]:
    return [f"{getattr(metrics, field):.1f}" for field in METRICS]
