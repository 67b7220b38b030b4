"""What `pipeline.evaluation.diagnostics` found, printed."""

from __future__ import annotations

from cli.output.printing import show
from cli.output.tables import print_pairs, print_table
from pipeline.evaluation.diagnostics import Confusion, Diagnostics, RankHistogram
from pipeline.run.words import plural


def print_diagnostics(found: Diagnostics) -> None:
    """Print hubs, the modality gap, histograms of ranks and the worst confusions."""
    gap, hubness = found.modality_gap, found.hubness
    other = "-" if gap.other_cosine is None else f"{gap.other_cosine:.3f}"
    print_pairs(
        "diagnostics",
        [
            ("distance between the mean text and the mean video", f"{gap.distance:.3f}"),
            ("mean cosine of a caption and its video", f"{gap.matched_cosine:.3f}"),
            ("mean cosine of a caption and another video", other),
            (f"skewness of how often videos are in the first {hubness.k}", f"{hubness.skewness:.2f}"),
            (f"videos in the first {hubness.k} of no caption", f"{hubness.anti_hub_share:.1%}"),
        ],
    )
    hubs = [[hub.video_id, f"{hub.num_found:,}", f"{hub.num_own:,}"] for hub in hubness.hubs]
    print_table("the largest hubs", ["video", f"in first {hubness.k} of", "own captions"], hubs)
    for direction, histogram in (("text to video", found.text_to_video), ("video to text", found.video_to_text)):
        print_table(f"ranks, {direction}", ["rank", "queries", "share", "up to here"], _ranks(histogram))
    if found.confusions:
        show(f"the worst {len(found.confusions)} of {plural(found.num_missed, 'caption')} whose video is not first")
        for confusion in found.confusions:
            show(_line(confusion))


def _ranks(histogram: RankHistogram) -> list[list[str]]:
    total, so_far, rows = sum(histogram.counts), 0, []
    for first, last, count in zip(histogram.first, histogram.last, histogram.counts, strict=True):
        so_far += count
        name = f"{first:,}" if first == last else f"{first:,} to {last:,}"
        rows.append([name, f"{count:,}", f"{count / total:.1%}", f"{so_far / total:.1%}"])
    return rows


def _line(one: Confusion) -> str:
    instead = ", ".join(
        f"{video.video_id} {video.score:.3f}{' (its own)' if video.is_own else ''}" for video in one.retrieved
    )
    return f"  rank {one.rank:,}  {one.text!r}  {one.video_id} {one.own_score:.3f}; first: {instead}"
