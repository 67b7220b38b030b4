"""`fda eval`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from cli.options import Limit, shared_options
from cli.output import plural, print_json, print_table
from pipeline.evaluation.evaluate import Evaluation, evaluate
from pipeline.evaluation.metrics import RetrievalMetrics
from pipeline.evaluation.pooling import POOLINGS
from store.store import Store

if TYPE_CHECKING:
    from store.arrays import JSON

METRIC_COLUMNS = ("R@1", "R@5", "R@10", "MdR", "MnR")


@click.command("eval")
@click.argument("store_place", metavar="STORE", type=click.Path(path_type=str))
@click.option("--features", required=True, metavar="NAME", help="Which feature set.")
@click.option("--split", default="test", show_default=True, help="Which split.")
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
@shared_options
def command(
    store_place: str,
    features: str,
    split: str,
    max_missing: Callable[[int], float],
    pooling: str | None,
    as_json: bool,
    progress: bool | None,
) -> None:
    """Text-to-video and video-to-text retrieval on cached features: R@1, R@5, R@10, median and mean rank.

    Protocol `fda`: every caption is a query; a tie counts against the model; a video finds a text by its best caption;
    NaN is refused. R@k in percent.
    """
    store = Store.open(store_place)
    num_expected = store.layout(split).num_videos
    result = evaluate(store, features, split, max_missing(num_expected) / num_expected, pooling)
    if as_json:
        print_json(to_json(result))
        return
    rows = [
        ["text to video", *metric_cells(result.metrics.text_to_video)],
        ["video to text", *metric_cells(result.metrics.video_to_text)],
    ]
    print_table(f"{features} on {split}", ["", *METRIC_COLUMNS], rows)
    click.echo(
        f"{plural(result.num_captions, 'caption')} x {plural(result.num_videos, 'video')} "
        f"({result.num_videos} of {plural(result.num_videos_expected, 'video')} used); protocol {result.protocol}; "
        f"pooling {result.pooling}"
    )
    if result.alpha_cosine is not None:
        click.echo(f"mean cosine of videos to themselves with an alpha of all ones: {result.alpha_cosine:.3f}")
    for caveat in result.caveats:
        click.echo(f"not a fair number: {caveat}")


def metric_cells(metrics: RetrievalMetrics) -> list[str]:
    """The figures of one direction, in the order of `METRIC_COLUMNS`."""
    return [
        f"{metrics.r1:.1f}",
        f"{metrics.r5:.1f}",
        f"{metrics.r10:.1f}",
        f"{metrics.median_rank:.1f}",
        f"{metrics.mean_rank:.1f}",
    ]


def to_json(result: Evaluation) -> dict[str, JSON]:
    """The machine-readable result."""
    return {
        "features": result.features,
        "split": result.split,
        "protocol": result.protocol,
        "num_videos": result.num_videos,
        "num_videos_expected": result.num_videos_expected,
        "num_captions": result.num_captions,
        "num_captions_expected": result.num_captions_expected,
        "pooling": result.pooling,
        "alpha_cosine": result.alpha_cosine,
        "chosen_on_test": result.chosen_on_test,
        "caveats": list(result.caveats),
        "text_to_video": dict(result.metrics.text_to_video.to_dict()),
        "video_to_text": dict(result.metrics.video_to_text.to_dict()),
        "made_by": dict(result.attributes),
    }
