"""`fda encode`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click

from cli.models import load, load_trained
from cli.options import (
    alpha_option,
    device_option,
    mask_option,
    model_options,
    partition_option,
    seed_option,
    shared_options,
    wait_option,
)
from cli.output import plural, print_json, print_table, say
from cli.progress import progress_listener
from cli.writing import writing
from pipeline.alpha import AlphaSource
from pipeline.encode import EncodeOptions, SplitEncoded, encode, feature_identity
from pipeline.partition import WHOLE, Partition
from pipeline.runs import RunClock, recorded_run
from store.arrays import JSON
from store.files import check_name
from store.store import Store


@click.command("encode")
@click.argument("store_place", metavar="STORE", type=click.Path(path_type=str))
@click.option("--features", required=True, metavar="NAME", help="Name of the feature set.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="What `fda finetune` made.")
@model_options
@click.option("--split", "splits", multiple=True, help="Encode this split; may be repeated. [default: all]")
@mask_option
@alpha_option
@seed_option
@device_option
@partition_option
@wait_option
@click.option("--overwrite", is_flag=True, help="Remove the features of these splits first, if there are any.")
@shared_options
def command(
    store_place: str,
    features: str,
    checkpoint: Path | None,
    model: str | None,
    pretrained: str | None,
    alpha_checkpoint: Path | None,
    splits: Sequence[str],
    mask_name: str,
    alpha: str,
    seed: int,
    device: str,
    partition: Partition,
    wait: bool,
    overwrite: bool,
    as_json: bool,
    progress: bool | None,
) -> None:
    """Embed the clips and captions of STORE, and cache the embeddings in it under a name.

    Killed and started again, it goes on where it was. Features of the same name are never mixed: where the weights, the
    masks or anything else that made them differ, the command refuses and says what differs.
    """
    clock = RunClock()
    if checkpoint and (model or pretrained or alpha_checkpoint):
        raise click.UsageError("--checkpoint holds the model and its weights: give it alone")
    if overwrite and partition != WHOLE:
        raise click.UsageError("--overwrite would remove what the other parts have made: `fda remove` it first")
    store = Store.open(store_place)
    options = EncodeOptions(
        features=features,
        splits=tuple(splits) or tuple(store.manifest.splits),
        mask_name=mask_name,
        alpha=AlphaSource(alpha),
        shuffle_seed=seed,
    )
    loaded = (
        load_trained(checkpoint, device=device)
        if checkpoint
        else load(model, pretrained, alpha_checkpoint, seed=seed, device=device)
    )
    say(f"weights: {loaded.report.summary()}")
    check_name("feature set", features)
    made_with = {
        "splits": options.splits,
        "partition": str(partition),
        **feature_identity(store, loaded, options, options.splits[0]),
    }
    with ExitStack() as stack:
        stages = [f"features/{features}/{split}" for split in options.splits]
        inputs = {key: value for key, value in made_with.items() if key != "partition"}
        folder = stack.enter_context(writing(store.folder, "encode", stages, partition, inputs, wait=wait))
        run = stack.enter_context(recorded_run(folder, "encode", clock, made_with))
        listener = stack.enter_context(progress_listener("encode", progress))
        encoded = encode(Store.open(folder), loaded, options, listener, overwrite=overwrite, partition=partition)
        run.result = summary = _summary(store, features, encoded, clock)
    if as_json:
        print_json(summary)
    else:
        _print(features, encoded, clock)


def _summary(store: Store, features: str, encoded: Sequence[SplitEncoded], clock: RunClock) -> dict[str, JSON]:
    num_encoded = sum(one.num_clips_encoded for one in encoded)
    return {
        "store": store.place,
        "features": features,
        "splits": [
            {**{key: value for key, value in asdict(one).items() if key != "tally"}, "num_videos": one.tally.num_videos}
            for one in encoded
        ],
        "seconds": round(clock.seconds, 3),
        "videos_per_second": round(num_encoded / clock.seconds, 3),
    }


def _print(features: str, encoded: Sequence[SplitEncoded], clock: RunClock) -> None:
    rows = [
        [
            one.split,
            f"{one.tally.num_videos - len(one.tally.failures):,} of {one.tally.num_videos:,}",
            f"{one.num_clips_encoded:,}",
            f"{one.num_captions:,}",
            f"{one.num_captions_encoded:,}",
            f"{one.num_captions_truncated:,}",
        ]
        for one in encoded
    ]
    print_table(
        f"features {features}",
        ["split", "videos with features", "encoded now", "captions", "encoded now", "of these cut"],
        rows,
    )
    num_encoded = sum(one.num_clips_encoded for one in encoded)
    say(f"{plural(num_encoded, 'video')} in {clock.seconds:.1f} s, loading the model included")
