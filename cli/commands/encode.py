"""`fda encode`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import click

from cli.options.models import load, model_source, say_trained_otherwise
from cli.options.shared import (
    alpha_option,
    device_option,
    mask_option,
    model_options,
    partition_option,
    seed_option,
    shared_options,
    wait_option,
)
from cli.options.workers import cluster_options
from cli.output.encode_plan import dry_run, print_dry_run, say_measured
from cli.output.printing import FAILED, plural, print_json, print_table, say
from cli.output.progress import progress_listener
from encoders.devices import peak_memory_mib
from encoders.encoding.encoder import Encoder
from encoders.encoding.memory import EncoderMemory
from encoders.options import Pooling, Precision
from pipeline.clips.options import AlphaSource
from pipeline.features.encode import SplitEncoded, SplitPlan, encode, feature_identity, made_with, plan_encode
from pipeline.features.encoders import EncoderHere, EncoderOfWorker
from pipeline.features.model import ReadyModel, training_of
from pipeline.features.options import EncodeOptions
from pipeline.features.precision import (
    LEAST_COSINE,
    LEAST_SPEEDUP,
    Measured,
    choose_precision,
    measure,
    memory_of,
    refusal,
)
from pipeline.run.partition import WHOLE, Partition
from pipeline.run.records import RunClock, recorded_run
from pipeline.run.software import MODEL_SOFTWARE
from pipeline.run.writing import writing
from pipeline.workers.executors import run_synchronously
from pipeline.workers.place import WorkerPlace
from pipeline.workers.preflight import Preflight
from store.features import FrameDtype, read_alpha_cosines
from store.json_values import JSON
from store.places.folder import check_name
from store.store import Store


@click.command("encode")
@click.argument("store_place", metavar="STORE", type=click.Path(path_type=str))
@click.option("--features", required=True, metavar="NAME", help="Name of the feature set.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="What `fda finetune` made.")
@model_options
@click.option("--split", "splits", multiple=True, help="Encode this split; may be repeated. [default: all]")
@mask_option
@alpha_option
@click.option(
    "--pooling",
    type=click.Choice([str(pooling) for pooling in Pooling]),
    help="How frames become a video. unit-mean: of features at unit norm, as CLIP4Clip does it.  "
    "[default: mean, or what the checkpoint was trained with]",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", *(str(precision) for precision in Precision)]),
    default="auto",
    show_default=True,
    help="auto: bf16 where the device is made for it, measured to be faster and as good; else fp32.",
)
@click.option(
    "--frame-dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Numbers that the features of frames are kept in; float16 takes half the room.",
)
@click.option(
    "--sensitivity",
    "sensitivity_every",
    type=click.IntRange(min=0),
    default=32,
    show_default=True,
    metavar="N",
    help="Encode every N-th video with an alpha of all ones too, to see what the alpha does; 0: none.",
)
@seed_option
@device_option
@click.option(
    "--batch-frames",
    type=click.IntRange(min=1),
    help="Frames at once; halved where memory runs out.  [default: 64 on a CPU, 192 on a GPU]",
)
@click.option("--compile", "compiled", is_flag=True, help="Compile the vision tower: minutes once, for some percent.")
@click.option("--workers", type=click.IntRange(min=1), help="Of --cluster: how many to start.")
@cluster_options
@partition_option
@wait_option
@click.option("--overwrite", is_flag=True, help="Remove the features of these splits first, if there are any.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Say what would be loaded and encoded, and end.")
@shared_options
def command(
    store_place: str,
    features: str,
    checkpoint: Path | None,
    model: str | None,
    pretrained: str | None,
    alpha_checkpoint: Path | None,
    activation: str | None,
    splits: Sequence[str],
    mask_name: str | None,
    alpha: str | None,
    pooling: str | None,
    precision: str,
    frame_dtype: FrameDtype,
    sensitivity_every: int,
    seed: int,
    device: str,
    batch_frames: int | None,
    compiled: bool,
    workers: int | None,
    place: WorkerPlace,
    partition: Partition,
    wait: bool,
    overwrite: bool,
    is_dry: bool,
    as_json: bool,
    progress: bool | None,
) -> None:
    """Embed the clips and captions of STORE, and cache the embeddings in it under a name.

    Killed and started again, it goes on where it was. Features of the same name are never mixed: where the weights, the
    masks or anything else that made them differ, the command refuses and says what differs. --dry-run shows what would
    be loaded, tensor by tensor.
    """
    clock = RunClock()
    source = model_source(checkpoint, model, pretrained, alpha_checkpoint, activation, seed=seed)
    if overwrite and partition != WHOLE:
        raise click.UsageError("--overwrite would remove what the other parts have made: `fda remove` it first")
    if workers is not None and place.jobs is None:
        raise click.UsageError("--workers is for --cluster: this process encodes alone, on all cores or on the GPU")
    check_name("feature set", features)
    store = Store.open(store_place)
    ready = load(source, device)
    trained = training_of(ready.loaded)
    options = EncodeOptions(
        features=features,
        splits=tuple(splits) or tuple(store.manifest.splits),
        mask_name=mask_name or trained.get("mask_name", "default"),
        alpha=AlphaSource(alpha or trained.get("alpha", "masks")),
        seed=seed,
        pooling=Pooling(pooling or str(ready.loaded.metadata.get("pooling", Pooling.MEAN))),
        frame_dtype=frame_dtype,
        sensitivity_every=sensitivity_every,
    )
    say_trained_otherwise(store, ready.loaded, options)
    chosen = choose_precision(precision, store, ready, options, overwrite=overwrite)
    recipe = EncoderOfWorker(
        source, ready.loaded.report.sha256, device, chosen, options.pooling, batch_frames, compiled
    )
    options = replace(options, precision=str(chosen))
    job = _Job(store, ready, options, recipe, recipe.of(ready.loaded.model), partition, overwrite)
    job = _if_it_pays(job, is_asked=precision != "auto")
    if is_dry:
        click.get_current_context().exit(_say_what_is_pending(job, as_json=as_json))
    place.check(workers, job.memory)
    summary, encoded = _run(job, place, workers or 0, clock, wait=wait, progress=progress)
    if as_json:
        print_json(summary)
    else:
        _print(summary, encoded, clock)


@dataclass(frozen=True, slots=True)
class _Job:
    """What is to be encoded, and with what."""

    store: Store
    ready: ReadyModel
    options: EncodeOptions
    recipe: EncoderOfWorker
    encoder: Encoder
    """What the recipe makes in this process."""
    partition: Partition
    overwrite: bool
    measured: Measured | None = None

    @property
    def memory(self) -> EncoderMemory:
        """What it takes at most."""
        return memory_of(self.store, self.ready, self.encoder, self.options)

    def plans(self, store: Store) -> tuple[SplitPlan, ...]:
        """What is pending to the store, which is this job's, maybe through a claim on it."""
        return plan_encode(store, self.ready.loaded, self.options, self.partition)


def _if_it_pays(job: _Job, *, is_asked: bool) -> _Job:
    """The job, in float32 where `auto` took another precision that is measured to be no faster, or not the same."""
    store, options = job.store, job.options
    if job.recipe.precision is Precision.FP32:
        return job
    is_there = not job.overwrite and any(made_with(store, options.features, split) for split in options.splits)
    is_given = is_asked or is_there or job.partition != WHOLE  # parts must agree, without asking each other
    measured = measure(store, job.ready, job.encoder, job.plans(store), options)
    say_measured(options.precision, measured)
    if is_given or measured is None or (measured.cosine >= LEAST_COSINE and measured.speedup >= LEAST_SPEEDUP):
        return replace(job, measured=measured)
    say(f"so it is fp32: bf16 is to be {LEAST_SPEEDUP}x as fast, at a cosine of {LEAST_COSINE}")
    recipe = replace(job.recipe, precision=Precision.FP32)
    encoder = recipe.of(job.ready.loaded.model)
    return replace(job, options=replace(options, precision=str(Precision.FP32)), recipe=recipe, encoder=encoder)


def _say_what_is_pending(job: _Job, *, as_json: bool) -> int:
    """What --dry-run does; the exit code."""
    plans = job.plans(job.store)
    splits = [plan.inputs.split for plan in plans]
    refusals = {split: refusal(job.store, job.ready, job.options, split) for split in splits}
    found = dry_run(job.store, job.ready, job.options, plans, job.memory, job.measured, refusals)
    if as_json:
        print_json(found)
    else:
        print_dry_run(found, job.ready, plans, refusals)
    return FAILED if any(refusals.values()) and not job.overwrite else 0


def _run(
    job: _Job, place: WorkerPlace, workers: int, clock: RunClock, *, wait: bool, progress: bool | None
) -> tuple[dict[str, JSON], Sequence[SplitEncoded]]:
    """Claim, encode and record."""
    store, ready, options, partition = job.store, job.ready, job.options, job.partition
    inputs = {"splits": options.splits, **feature_identity(store, ready.loaded, options, options.splits[0])}
    stages = [f"features/{options.features}/{split}" for split in options.splits]
    recorded = {**inputs, "partition": str(partition)}
    with (
        writing(store.folder, "encode", stages, partition, inputs, wait=wait) as folder,
        recorded_run(folder, "encode", clock, recorded) as run,
        ExitStack() as stack,
    ):
        claimed = Store.open(folder)
        listener = stack.enter_context(progress_listener("encode", progress))
        executor, num_workers = stack.enter_context(
            place.executor(
                workers,
                1 if job.overwrite else _num_pending(job.plans(claimed)),
                job.memory,
                partial(Preflight.of, folder, distributions=MODEL_SOFTWARE),
                alone=f"in this process, on {ready.device}",
                remedy="--batch-frames makes them smaller",
            )
        )
        encoded = encode(
            claimed,
            ready.loaded,
            options,
            EncoderHere(job.encoder) if executor is run_synchronously else job.recipe,
            listener,
            overwrite=job.overwrite,
            partition=partition,
            executor=executor,
        )
        stack.close()
        run.result = {
            **_summary(claimed, options, encoded, clock),
            "workers": num_workers,
            "device": str(ready.device),
            "precision": options.precision,
            "cosine_to_fp32": None if job.measured is None else round(job.measured.cosine, 6),
            "peak_memory_mib": peak_memory_mib(ready.device),
        }
        return run.result, encoded


def _num_pending(plans: Sequence[SplitPlan]) -> int:
    return sum(len(plan.clips.pending) + len(plan.captions.pending) for plan in plans)


def _summary(store: Store, options: EncodeOptions, encoded: Sequence[SplitEncoded], clock: RunClock) -> dict[str, JSON]:
    num_encoded = sum(one.num_clips_encoded for one in encoded)
    return {
        "store": store.place,
        "features": options.features,
        "splits": [
            {
                **{key: value for key, value in asdict(one).items() if key != "tally"},
                "num_videos": one.tally.num_videos,
                "alpha_cosine": _alpha_cosine(store, options, one),
            }
            for one in encoded
        ],
        "seconds": round(clock.seconds, 3),
        "videos_per_second": round(num_encoded / clock.seconds, 3),
    }


def _alpha_cosine(store: Store, options: EncodeOptions, encoded: SplitEncoded) -> float | None:
    """Mean cosine of videos to themselves with an alpha of all ones, of those that were measured."""
    cosines = read_alpha_cosines(store, options.features, encoded.split)
    return round(float(cosines.mean()), 4) if len(cosines) else None


def _print(summary: dict[str, JSON], encoded: Sequence[SplitEncoded], clock: RunClock) -> None:
    splits = summary["splits"]
    assert isinstance(splits, list)
    rows = [
        [
            one.split,
            f"{one.tally.num_videos - len(one.tally.failures):,} of {one.tally.num_videos:,}",
            f"{one.num_clips_encoded:,}",
            f"{one.num_captions:,}",
            f"{one.num_captions_encoded:,}",
            f"{one.num_captions_truncated:,}",
            "-" if split["alpha_cosine"] is None else f"{split['alpha_cosine']:.3f}",
        ]
        for one, split in zip(encoded, splits, strict=True)
    ]
    print_table(
        f"features {summary['features']}, {summary['precision']}",
        ["split", "videos with features", "encoded now", "captions", "encoded now", "of these cut", "cosine to ones"],
        rows,
    )
    num_encoded = sum(one.num_clips_encoded for one in encoded)
    num_frames = sum(one.num_frames_encoded for one in encoded)
    say(
        f"{plural(num_encoded, 'video')} ({num_frames / clock.seconds:.0f} frames/s) in {clock.seconds:.1f} s, loading "
        f"the model included; at most {summary['peak_memory_mib']:,} MiB on {summary['device']}"
    )
