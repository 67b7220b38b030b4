"""What an experiment works on: a store that is given, or one of videos that are generated for it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from encoders.config import ModelConfig
from pipeline.command_lines.flags import flags_of, frame_flags
from pipeline.datasets.splitting import MAKE_SPLITS
from pipeline.errors import InputError
from pipeline.experiments.kind import VAL_SPLIT, Kind, Subject
from pipeline.experiments.masks import PAPER, TRUTH
from pipeline.experiments.options import MIN_CLIPS, ExperimentOptions
from pipeline.features.model import require_size
from pipeline.frames.options import TRAIN_SPLIT, PreprocessOptions
from pipeline.frames.run import preprocess
from pipeline.mask_imports.run import import_masks
from pipeline.run.events import Listener, ignore_events
from pipeline.synthetic.clips import TRUTH as TRUTH_FOLDER
from pipeline.synthetic.options import GenerateOptions
from pipeline.synthetic.run import generate
from pipeline.synthetic.suites import Size
from pipeline.synthetic.writing import MANIFEST_NAME
from pipeline.training.options import FinetuneOptions
from pipeline.training.presets import load_preset
from pipeline.training.run import model_source
from store.clips.mask_sets import mask_set_names
from store.json_values import JSON
from store.store import Store

GENERATED_PRESET, GIVEN_PRESET = "demo", "fda-clip"
DATA, STORE = "data", "store"
"""Folders of the experiment's folder."""


def subject_of(folder: Path, kind: Kind, options: ExperimentOptions) -> Subject:
    """What there is to work on, or will be: nothing is made here.

    Raises:
        InputError: The store that was given lacks a split, or its frames have another size than the model reads.
    """
    if options.store is None:
        splits_made = generated(kind, options).splits
        return Subject(
            store=str(folder / STORE),
            num_videos={one.name: one.num_clips for one in splits_made},
            is_generated=True,
            has_truth=True,
            trained=_trained(options, GENERATED_PRESET, [one.name for one in splits_made]),
        )
    store = Store.open(options.store)
    splits = store.manifest.splits
    for split in (TRAIN_SPLIT, options.test_split):
        if split not in splits:
            raise InputError(
                f"{store.place} has no split {split!r}, which an experiment needs: it has {', '.join(splits)}. "
                f"{MAKE_SPLITS}"
            )
    # Before anything is trained: no interval could be given in the end.
    if splits[options.test_split].num_videos < MIN_CLIPS:
        raise InputError(f"split {options.test_split!r} of {store.place} has one video: intervals are over videos")
    trained = _trained(options, GIVEN_PRESET, splits)
    chooses_by = load_preset(trained.preset).val_split
    if trained.val_split is None and chooses_by is not None:
        raise InputError(
            f"the preset {trained.preset} chooses its weights by the split {chooses_by!r}, and an experiment by "
            f"validation videos: {store.place} has no split {VAL_SPLIT!r}. {MAKE_SPLITS}"
        )
    config = ModelConfig.from_name_or_file(model_source(load_preset(trained.preset), trained).model)
    for split in (TRAIN_SPLIT, options.test_split):  # not after hours of making masks
        require_size(store, split, config, resizes=options.resize_frames)
    return Subject(
        store=options.store,
        num_videos={split: layout.num_videos for split, layout in splits.items()},
        is_generated=False,
        has_truth=TRUTH.name in mask_set_names(store),
        trained=trained,
    )


def make_data(folder: Path, kind: Kind, options: ExperimentOptions, listener: Listener = ignore_events) -> None:
    """Generate the videos and decode them, where no store was given; what is complete is kept."""
    if options.store is not None:
        return
    wanted, place = generated(kind, options), folder / STORE
    made = generate(folder / DATA, wanted, listener=listener)
    clips = replace(_clips(kind, options), mask_name=PAPER.name)
    preprocess(made.manifest, place, clips, listener=listener)
    # Last: each of the three keeps what is complete, so that a killed run goes on with the first that is not.
    import_masks(place, made.truth, TRUTH.name, listener=listener)


def data_commands(folder: Path, kind: Kind, options: ExperimentOptions) -> list[list[str]]:
    """The command lines that do what `make_data` does."""
    if options.store is not None:
        return []
    made = generated(kind, options)
    fields: dict[str, JSON] = {"suite": str(made.suite), "size": str(made.size), "seed": made.seed}
    fields |= {"num_train": made.num_train, "num_eval": made.num_eval}
    factors = [word for name, level in options.factors.items() for word in ("--factor", f"{name}={level}")]
    clips = [str(folder / DATA / MANIFEST_NAME), str(folder / STORE)]
    return [
        ["fda", "generate", str(folder / DATA), *flags_of(fields, {"seed": 0}), *factors],
        ["fda", "preprocess", *clips, "--masks", PAPER.name, *frame_flags(_clips(kind, options).frame_identity())],
        ["fda", "import-masks", clips[1], str(folder / DATA / TRUTH_FOLDER), "--masks", TRUTH.name],
    ]


def _clips(kind: Kind, options: ExperimentOptions) -> PreprocessOptions:
    """Clips as an experiment wants them, of the size that its model reads."""
    model = options.model or load_preset(options.preset or GENERATED_PRESET).model
    return replace(kind.clips, image_size=ModelConfig.from_name_or_file(model).image_size)


def _trained(options: ExperimentOptions, preset: str, splits: Collection[str]) -> FinetuneOptions:
    return FinetuneOptions(
        preset=options.preset or preset,
        settings={**({"epochs": 1} if options.quick else {}), **options.settings},
        model=options.model,
        pretrained=options.pretrained,
        alpha_checkpoint=options.alpha_checkpoint,
        activation=options.activation,
        resize_frames=options.resize_frames,
        val_split=VAL_SPLIT if VAL_SPLIT in splits else None,
        device=options.device,
    )


def generated(kind: Kind, options: ExperimentOptions) -> GenerateOptions:
    """The videos that are generated where no store is given."""
    size, few = (Size.TINY, kind.quick_clips) if options.quick else (options.size, (None, None))
    return GenerateOptions(
        suite=kind.suite,
        size=size,
        seed=options.seed,
        factors=options.factors,
        num_train=few[0] if options.num_train is None else options.num_train,
        num_eval=few[1] if options.num_eval is None else options.num_eval,
    )
