"""`fda encode`, as one function: load the model, choose a precision, claim the store, encode, record the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from os import PathLike

from encoders.devices import peak_memory_mib
from encoders.encoding.encoder import Encoder
from encoders.encoding.memory import EncoderMemory
from encoders.options import ModelSource, Pooling, Precision
from encoders.weights.loading import WeightsReport
from pipeline.clips.options import AlphaSource
from pipeline.errors import OptionError
from pipeline.features.encode import (
    SplitEncoded,
    SplitPlan,
    encode_splits,
    feature_identity,
    num_shards_of,
    overwritten_files,
    plan_encode,
)
from pipeline.features.encoders import EncoderHere, EncoderOfWorker
from pipeline.features.model import (
    ReadyModel,
    check_before_loading,
    load_ready,
    size_for,
    training_of,
    training_words,
    warn_of_inputs,
    was_trained_on_resized,
)
from pipeline.features.options import EncodeOptions, FeatureRecipe
from pipeline.features.precision import Measured, choose_precision, is_worth_it, measure, memory_of, refusal
from pipeline.features.rounding import RoundingEffect, measure_rounding
from pipeline.run.events import Listener, Reporter, ignore_events
from pipeline.run.fields import check_kinds
from pipeline.run.options import HERE, RunOptions
from pipeline.run.overwriting import announce, confirm
from pipeline.run.records import RunClock
from pipeline.run.software import MODEL_SOFTWARE
from pipeline.run.writing import Job, claim_on, recorded
from pipeline.workers.place import Workload, check_place, workers_for
from pipeline.workers.preflight import Preflight
from store.features import read_alpha_cosines
from store.json_values import JSON
from store.store import Store


@dataclass(frozen=True, slots=True)
class EncodeResult:
    """How a run of `encode` ended."""

    store: str
    features: str
    """Name of the feature set."""
    splits: tuple[SplitEncoded, ...]
    alpha_cosines: Mapping[str, float | None]
    """Split -> mean cosine of videos to themselves with an alpha of all ones; None if it was not measured."""
    num_workers: int
    """0 if the work was done in this process."""
    device: str
    precision: str
    cosine_to_fp32: float | None
    """Lowest cosine between features in this precision and in float32; None if it was not measured."""
    rounding: RoundingEffect | None
    """What storing them in fewer bytes does; None if they are stored as float32, or nothing was pending."""
    peak_memory_mib: int
    seconds: float
    """Loading the model included."""
    warnings: tuple[str, ...]

    @property
    def num_videos_encoded(self) -> int:
        """By this run, over all splits."""
        return sum(split.num_clips_encoded for split in self.splits)

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        return {
            "store": self.store,
            "features": self.features,
            "splits": [
                {
                    **{key: value for key, value in asdict(split).items() if key != "tally"},
                    "num_videos": split.tally.num_videos,
                    "alpha_cosine": self.alpha_cosines[split.split],
                }
                for split in self.splits
            ],
            "seconds": round(self.seconds, 3),
            "videos_per_second": round(self.num_videos_encoded / self.seconds, 3),
            "workers": self.num_workers,
            "device": self.device,
            "precision": self.precision,
            "cosine_to_fp32": None if self.cosine_to_fp32 is None else round(self.cosine_to_fp32, 6),
            "rounding": None if self.rounding is None else self.rounding.to_dict(),
            "peak_memory_mib": self.peak_memory_mib,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class EncodePreview:
    """What a run of `encode` would load and do."""

    store: str
    recipe: FeatureRecipe
    model: str
    activation: str
    weights: WeightsReport
    device: str
    measured: Measured | None
    """The precision against float32; None if that is float32, or nothing is pending."""
    memory_mib: int
    """At most."""
    plans: tuple[SplitPlan, ...]
    refusals: Mapping[str, str | None]
    """Split -> how features of this name that are there differ, for which the run would be refused; None if not."""

    @property
    def is_refused(self) -> bool:
        """Whether a run without `overwrite` would be refused."""
        return any(self.refusals.values())

    def to_dict(self) -> dict[str, JSON]:
        """The preview as JSON."""
        recipe, weights, measured = self.recipe, self.weights, self.measured
        return {
            "store": self.store,
            "features": recipe.features,
            "model": self.model,
            "activation": self.activation,
            "weights": {
                "source": weights.source,
                "kind": weights.kind,
                "sha256": weights.sha256,
                "num_matched": weights.matched,
                "missing": list(weights.missing),
                "unexpected": list(weights.unexpected),
            },
            "device": self.device,
            "precision": recipe.precision,
            "cosine_to_fp32": None if measured is None else round(measured.cosine, 6),
            "speedup_to_fp32": None if measured is None else round(measured.speedup, 2),
            "pooling": str(recipe.pooling),
            "alpha": str(recipe.alpha),
            "masks": recipe.mask_name,
            "store_dtype": recipe.dtypes.vectors,
            "frame_dtype": recipe.dtypes.frames,
            "max_words": recipe.max_words,
            "truncate_dim": recipe.truncate_dim,
            "resized_to": None if recipe.size is None else recipe.size.side,
            "memory_mib": self.memory_mib,
            "splits": [
                {
                    "split": plan.inputs.split,
                    "num_shards_pending": len(plan.clips.pending),
                    "num_videos_pending": plan.clips.num_videos_pending,
                    "num_captions_pending": plan.num_captions_pending,
                    "refused": self.refusals[plan.inputs.split],
                }
                for plan in self.plans
            ],
        }


def encode(
    store: str | PathLike[str],
    options: EncodeOptions,
    model: ModelSource,
    *,
    run: RunOptions = HERE,
    listener: Listener = ignore_events,
) -> EncodeResult:
    """Embed the clips and captions of a store, and cache the embeddings in it under a name.

    Killed and called again, it continues where it was. Features of one name are never mixed: if the weights, the masks
    or anything else that made them differ, it refuses and names what differs.

    Args:
        store: A folder, or `s3://bucket/prefix`.
        options: What to encode.
        model: What to encode with.
        run: Where the work is done. Default: in this process, on all cores or on the GPU.
        listener: Hears how far the run is.

    Raises:
        StoreMismatchError: Features of this name were made from other inputs; the message names both values.
        ShardIncompleteError: Frames or masks are not complete.
        NotInStoreError: There is no such split or mask set.
        WeightsError: The weights are missing, damaged, or not this model's.
        StoreBusyError: Another run writes the same.
        UnconfirmedError: `run.overwrite` would remove the features that are there, and `run.yes` is not set.
        OptionError: The options do not fit together.
        InputError: The model takes frames of another size.
    """
    clock, report = RunClock(), Reporter(listener)
    check_kinds(options=(options, EncodeOptions), model=(model, ModelSource), run=(run, RunOptions))
    check_place(run)  # before a model is loaded
    opened = Store.open(store)
    if run.overwrite:  # likewise: that takes a while, and the claim is taken after it
        splits = options.splits or tuple(opened.manifest.splits)
        confirm(overwritten_files(opened, options.features, splits), opened.place, yes=run.yes)
    encoding = _prepared(opened, options, model, run, report)
    check_place(run, encoding.memory)
    return encoding.carry_out(clock, report)


def preview_encoding(
    store: str | PathLike[str],
    options: EncodeOptions,
    model: ModelSource,
    *,
    run: RunOptions = HERE,
    listener: Listener = ignore_events,
) -> EncodePreview:
    """What `encode` would load and do: the same checks and measurements, and nothing is written.

    Arguments and errors are those of `encode`, but for features that were made otherwise: these are in the preview.
    """
    check_kinds(options=(options, EncodeOptions), model=(model, ModelSource), run=(run, RunOptions))
    check_place(run)
    return _prepared(Store.open(store), options, model, run, Reporter(listener)).preview()


def _prepared(store: Store, options: EncodeOptions, model: ModelSource, run: RunOptions, report: Reporter) -> _Encoding:
    """Load the model and settle every choice that the options leave open."""
    if run.workers is not None and run.cluster is None:
        raise OptionError("--workers is for --cluster: this process encodes alone, on all cores or on the GPU")
    splits = options.splits or tuple(store.manifest.splits)
    resizes, truncate_dim = options.resize_frames, options.truncate_dim
    # What can be refused without weights is refused before they are downloaded.
    check_before_loading(store, model, splits, options.mask_name, resizes=resizes, truncate_dim=truncate_dim)
    ready = load_ready(model, options.device, report)
    # What the user leaves open is as in the training of the checkpoint, which only its file knows.
    trained, config = training_of(ready.loaded), ready.loaded.config
    max_words = config.text_length(options.max_words or training_words(ready.loaded))
    recipe = FeatureRecipe(
        features=options.features,
        splits=splits,
        mask_name=options.mask_name or trained.get("mask_name", "default"),
        alpha=options.alpha or AlphaSource(trained.get("alpha", "masks")),
        seed=options.seed,
        pooling=options.pooling or Pooling(str(ready.loaded.metadata.get("pooling", Pooling.MEAN))),
        dtypes=options.dtypes,
        # The whole context by whichever way is one identity.
        max_words=None if max_words == config.context_length else max_words,
        truncate_dim=config.kept_dim(truncate_dim),
        # One size for all splits, so that a set has one identity; clips that have it already are not touched.
        size=size_for(store, splits, config) if resizes or was_trained_on_resized(ready.loaded) else None,
        sensitivity_every=options.sensitivity_every,
    )
    warn_of_inputs(store, ready.loaded, recipe, report)
    chosen = choose_precision(options.precision, store, ready, recipe, run, report)
    of_worker = EncoderOfWorker(
        source=model,
        sha256=ready.loaded.report.sha256,
        device=options.device,
        precision=chosen.precision,
        pooling=recipe.pooling,
        batch_frames=options.batch_frames,
        max_words=recipe.max_words,
        truncate_dim=recipe.truncate_dim,
        compiled=options.compiled,
    )
    encoding = _Encoding.of(store, ready, replace(recipe, precision=str(chosen.precision)), of_worker, run)
    return encoding.in_a_precision_that_pays(report, is_settled=chosen.is_settled)


@dataclass(frozen=True, slots=True)
class _Encoding:
    """What is to be encoded, and with what."""

    store: Store
    ready: ReadyModel
    recipe: FeatureRecipe
    of_worker: EncoderOfWorker
    run: RunOptions
    encoder: Encoder
    """What `of_worker` makes in this process."""
    measured: Measured | None = None

    @classmethod
    def of(
        cls, store: Store, ready: ReadyModel, recipe: FeatureRecipe, of_worker: EncoderOfWorker, run: RunOptions
    ) -> _Encoding:
        """Make the encoder of this process."""
        return cls(store, ready, recipe, of_worker, run, of_worker.of(ready.loaded.model))

    @property
    def memory(self) -> EncoderMemory:
        """What it takes at most."""
        return memory_of(self.store, self.ready, self.encoder, self.recipe)

    def plans(self, store: Store, listener: Listener = ignore_events) -> tuple[SplitPlan, ...]:
        """What is pending in the store, which is this one's, maybe through a claim on it."""
        return plan_encode(store, self.ready.loaded, self.recipe, self.run.partition, listener)

    def in_a_precision_that_pays(self, report: Reporter, *, is_settled: bool) -> _Encoding:
        """The same in float32, if `auto` took another precision that is measured to be no faster, or not as good."""
        store, recipe = self.store, self.recipe
        if self.of_worker.precision is Precision.FP32:
            return self
        measured = measure(store, self.ready, self.encoder, self.plans(store, report.listener), recipe)
        if measured is not None:
            report.say(f"{recipe.precision}: {measured}")
        if is_settled or measured is None or is_worth_it(measured, report):
            return replace(self, measured=measured)
        of_worker = replace(self.of_worker, precision=Precision.FP32)
        return _Encoding.of(store, self.ready, replace(recipe, precision=str(Precision.FP32)), of_worker, self.run)

    def preview(self) -> EncodePreview:
        plans = self.plans(self.store)
        config = self.ready.loaded.config
        return EncodePreview(
            store=self.store.place,
            recipe=self.recipe,
            model=config.name,
            activation=str(config.activation),
            weights=self.ready.loaded.report,
            device=str(self.ready.device),
            measured=self.measured,
            memory_mib=self.memory.total_mib,
            plans=plans,
            refusals={
                plan.inputs.split: refusal(self.store, self.ready, self.recipe, plan.inputs.split) for plan in plans
            },
        )

    def carry_out(self, clock: RunClock, report: Reporter) -> EncodeResult:
        """Claim, encode and record."""
        recipe, run = self.recipe, self.run
        inputs = {
            "splits": recipe.splits,
            **feature_identity(self.store, self.ready.loaded, recipe, recipe.splits[0]),
        }
        stages = [f"features/{recipe.features}/{split}" for split in recipe.splits]
        recorded_inputs = {**inputs, "source": self.ready.source.to_dict(), "partition": str(run.partition)}
        job = Job("encode", stages, inputs, recorded_inputs)
        with claim_on(self.store.folder, job, run, report) as folder, recorded(folder, job, clock) as record:
            # Through the claim: what this one writes fails if the claim is lost.
            store = Store.open(folder)
            encoded, num_workers, rounding = self._encoded(store, report)
            cosines = {one.split: _alpha_cosine(store, recipe.features, one.split) for one in encoded}
            result = EncodeResult(
                store=store.place,
                features=recipe.features,
                splits=encoded,
                alpha_cosines=cosines,
                num_workers=num_workers,
                device=str(self.ready.device),
                precision=recipe.precision,
                cosine_to_fp32=None if self.measured is None else self.measured.cosine,
                rounding=rounding,
                peak_memory_mib=peak_memory_mib(self.ready.device),
                seconds=clock.seconds,
                warnings=report.warnings,
            )
            record.result = result.to_dict()
        return result

    def _encoded(self, store: Store, report: Reporter) -> tuple[tuple[SplitEncoded, ...], int, RoundingEffect | None]:
        """Encode what is pending; also returns the number of workers, and what is lost in storing."""
        run = self.run
        if run.overwrite:
            files = overwritten_files(store, self.recipe.features, self.recipe.splits)
            announce(files, store.place, report, yes=run.yes)
        plans = () if run.overwrite else self.plans(store, report.listener)
        # With --overwrite all of them: what is there is removed only below, once there are workers.
        num_shards = num_shards_of(store, self.recipe, run.partition) if run.overwrite else 0
        num_pending = num_shards + sum(plan.num_shards_pending for plan in plans)
        rounding = measure_rounding(store, self.encoder, self.recipe, run.partition) if num_pending else None
        if rounding is not None:
            report.say(str(rounding))
        work = Workload(
            num_shards=num_pending,
            memory=self.memory,
            preflight=partial(Preflight.of, store.folder, distributions=MODEL_SOFTWARE),
            alone=f"in this process, on {self.ready.device}",
            remedy="--batch-frames makes them smaller",
        )
        with workers_for(run, work, report, default=0) as workers:
            # Workers load the model themselves, each once; this process has it already.
            encoders = self.of_worker if workers.number else EncoderHere(self.encoder)
            encoded = encode_splits(
                store, self.ready.loaded, self.recipe, encoders, report.listener, run=run, executor=workers.executor
            )
        return encoded, workers.number, rounding


def _alpha_cosine(store: Store, features: str, split: str) -> float | None:
    """Mean cosine of videos to themselves with an alpha of all ones, of those that were measured."""
    cosines = read_alpha_cosines(store, features, split)
    return round(float(cosines.mean()), 4) if len(cosines) else None
