"""`fda status`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

import fda
from cli.options.files import Place
from cli.options.shared import progress_option, shared_options
from cli.output.masks import masks_line
from cli.output.printing import print_json, say, show
from cli.output.progress import SECONDS_BEFORE_A_BAR, progress_listener
from cli.output.tables import print_pairs, print_table
from pipeline.features.remarks import remarks_on
from pipeline.run.words import plural, setting
from store.json_values import flattened
from store.stages import is_masks_stage, masks_stage

if TYPE_CHECKING:
    from pipeline.run.records import PastRun
    from pipeline.upkeep.status import FeatureStatus, StageStatus

FEATURE_COLUMNS = ("", "state", "model", "weights", "precision", "pooling", "alpha", "cosine to ones")
FAILURE_COLUMNS = ("video", "split", "status", "reason")
PENDING_COLUMNS = ("video", "split", "why")
RUN_COLUMNS = ("run", "started", "seconds", "ended")
COLUMNS = ("", "shards done", "pending", "ok", "cut off", "failed", "KiB a video", "MiB")


@click.command("status")
@click.argument("store_place", metavar="STORE", type=Place(path_type=str))
@click.option("--failures", "list_failures", is_flag=True, help="List every video without a clip, with its reason.")
@progress_option
@shared_options
def command(store_place: str, list_failures: bool, progress: bool, as_json: bool) -> None:
    """What a store contains and what is pending: shards, videos, sizes, options, the latest runs.

    Reads commit records only, no frames; changes nothing. The column `cut off` counts files that are cut off but gave
    all their frames; files that did not have failed. A shard is pending if it was never made, has lost data, or is
    older than what it was made from: the command that made it rebuilds it.
    """
    with progress_listener("status", progress, after_seconds=SECONDS_BEFORE_A_BAR) as listener:
        result = fda.status(store_place, listener=listener)
    status, manifest = result.status, result.manifest
    for claim in result.claims:
        # On stderr, as warnings are: with --json too.
        say(f"claimed by {claim}")
    for sentence in status.damaged:
        say(f"warning: {sentence}")
    if as_json:
        print_json(result.to_dict())
        return
    for split in status.splits:
        title = (
            f"{split.split}: {plural(split.num_videos, 'video')} of {plural(split.num_frames, 'frame')}, "
            f"{plural(split.num_captions, 'caption')}"
        )
        print_table(title, COLUMNS, [_cells(stage) for stage in split.stages])
        for stage in split.stages:
            if is_masks_stage(stage.stage):
                show(_masks_line(split.split, stage))
        if split.features:
            print_table(
                f"{split.split}: features",
                FEATURE_COLUMNS,
                [_feature_cells(one) for one in split.features],
                texts=FEATURE_COLUMNS,
            )
        for one in split.features:
            for remark in remarks_on(one.made_with):
                show(f"{split.split}: features {one.name!r} are of {remark}")
    show(
        f"{status.num_bytes / 2**20:,.1f} MiB in all; frames stored as {manifest.frame_codec}, "
        f"{plural(manifest.shard_size, 'video')} a shard, "
        f"{'with' if manifest.neighbours else 'without'} neighbours"
    )
    print_pairs("made with", [(key, setting(value)) for key, value in flattened(manifest.options).items()])
    if status.runs:
        print_table("latest runs", RUN_COLUMNS, [_run_cells(run) for run in status.runs], texts=["ended"])
    if list_failures and status.pending:
        rows = [[one.video_id, one.split, one.reason or ""] for one in status.pending]
        print_table(f"{plural(len(rows), 'video')} pending", PENDING_COLUMNS, rows, texts=PENDING_COLUMNS)
    elif status.pending:
        show(f"{plural(len(status.pending), 'video')} pending: the machine stopped the decoding; --failures lists them")
    if list_failures and status.failures:
        rows = [[one.video_id, one.split, one.status, one.reason or ""] for one in status.failures]
        print_table(plural(len(rows), "failed video"), FAILURE_COLUMNS, rows, texts=FAILURE_COLUMNS)
    elif status.failures:
        show(f"{plural(len(status.failures), 'video')} failed: --failures lists them")


def _masks_line(split: str, stage: StageStatus) -> str:
    """What a mask set shows; and whether that is all of it."""
    name, num_pending = stage.stage.removeprefix(masks_stage("")), stage.num_shards - stage.num_done
    has_masks = stage.masks is not None and stage.masks.num_videos_masked
    line = masks_line(name, stage.masks) if stage.masks is not None and has_masks else f"{split}: masks {name!r}"
    pending = f"incomplete, {num_pending:,} of {plural(stage.num_shards, 'shard')} pending"
    return line if not num_pending else f"{line}{'; ' if has_masks else ' are '}{pending}"


def _feature_cells(features: FeatureStatus) -> list[str]:
    made_with = features.made_with
    model, masks = made_with.get("model"), made_with.get("masks")
    # `made_with` is JSON that anybody may have edited: what is not there is a question mark, not an error.
    model, masks = (value if isinstance(value, Mapping) else {} for value in (model, masks))
    pooled, pooling = made_with.get("pooled"), str(made_with.get("pooling", "?"))
    if isinstance(pooled, Mapping):
        pooling += f" of {pooled.get('from', '?')}"
    if "imported" in made_with:
        return [features.name, features.state, "imported", "-", "-", pooling, "-", "-"]
    alpha = made_with.get("alpha", "?")
    source = str(alpha.get("source")) if isinstance(alpha, Mapping) else str(alpha)
    return [
        features.name,
        features.state,
        str(model.get("name", "?")),
        str(model.get("weights_sha256", "?"))[:12],
        str(made_with.get("precision", "?")),
        pooling,
        f"{source} {masks.get('name', '?')}" if source != "ones" else source,
        "-" if features.alpha_cosine is None else f"{features.alpha_cosine:.3f}",
    ]


def _run_cells(run: PastRun) -> list[str]:
    ended = run.ended if run.is_done or run.is_interrupted else f"FAILED: {run.ended}"
    return [run.command, run.started, f"{run.seconds:,.1f}", ended.upper() if run.is_interrupted else ended]


def _cells(stage: StageStatus) -> list[str]:
    # A stage over captions has none.
    over_videos = bool(stage.outcomes)
    num_videos = sum(stage.outcomes.values())
    per_video = stage.bytes_per_video
    return [
        stage.stage,
        f"{stage.num_done:,}",
        f"{stage.num_shards - stage.num_done:,}",
        f"{stage.outcomes.get('ok', 0):,}" if over_videos else "-",
        f"{stage.num_truncated:,}" if over_videos else "-",
        f"{num_videos - stage.num_filled:,}" if over_videos else "-",
        "-" if per_video is None else f"{per_video / 1024:,.1f}",
        f"{stage.num_bytes / 2**20:,.1f}",
    ]
