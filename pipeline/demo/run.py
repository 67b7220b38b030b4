"""`fda demo`, as one function: make a motion data set, run everything on it with masks and without, and score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from encoders.options import ModelSource
from pipeline.clips.options import AlphaSource
from pipeline.demo.options import DemoOptions
from pipeline.demo.page import write_demo_page
from pipeline.demo.result import MASKS, OBJECTS, ONES, SHUFFLED, DemoClip, DemoResult
from pipeline.errors import InputError
from pipeline.evaluation.metrics import ranks_of
from pipeline.evaluation.options import EvalExtras, EvalOptions
from pipeline.evaluation.protocols import Ties
from pipeline.evaluation.run import EvalReport, evaluate
from pipeline.features.options import EncodeOptions
from pipeline.features.run import EncodeResult, encode
from pipeline.frames.run import preprocess
from pipeline.masks.options import Difference, MaskOptions
from pipeline.masks.run import make_masks
from pipeline.run.events import Listener, Reporter, ignore_events
from pipeline.run.fields import local_path
from pipeline.run.limits import NONE
from pipeline.run.records import RunClock
from pipeline.synthetic.options import GenerateOptions
from pipeline.synthetic.run import generate
from pipeline.synthetic.writing import written_options
from pipeline.training.options import FinetuneOptions
from pipeline.training.run import FinetuneResult, finetune
from store.clips.reader import ClipReader
from store.store import Store

PAGE_NAME = "demo.html"
"""The page that is written beside the data, the store and the checkpoints."""
QUICK_TRAIN, QUICK_EVAL = 12, 4
"""Clips of a quick demo: to train with, and of each other split."""
NUM_CLIPS_SHOWN = 8


def demo(
    folder: str | PathLike[str], options: DemoOptions | None = None, *, listener: Listener = ignore_events
) -> DemoResult:
    """Make a small motion data set in a folder, and run all commands on it, with masks and without.

    In every clip four objects stand on a still ground and one of them moves; the caption names it. A single frame does
    not tell which one moves, so without masks no per-frame encoder can know. Two controls: the masks of other clips,
    and a split whose captions name an object that rests. A page shows all of it. Called again, it continues where it
    was.

    Args:
        folder: A local folder for the videos, the store and the checkpoints.
        options: How large it is.
        listener: Hears how far it is.

    Raises:
        InputError: The folder has files of the names of the demo's, which it did not write.
    """
    options, place, clock, report = options or DemoOptions(), local_path(folder), RunClock(), Reporter(listener)
    # A page beside no generated data is somebody's own, and would be replaced at the end.
    if (place / PAGE_NAME).exists() and written_options(place / "data") is None:
        raise InputError(f"{place} contains {PAGE_NAME!r}, which fda did not write: give another folder")
    num_train, num_eval = (QUICK_TRAIN, QUICK_EVAL) if options.quick else (None, None)
    wanted = GenerateOptions(seed=options.seed, num_train=num_train, num_eval=num_eval)
    report.say(f"making videos in {place / 'data'}")
    # Options may differ from those of an earlier demo here, and only generated files are removed.
    generated = generate(place / "data", wanted, overwrite=True, listener=listener)
    store_place = place / "store"
    report.say("decoding them once: frames and motion masks")
    warnings = list(preprocess(generated.manifest, store_place, listener=listener).warnings)
    whole_objects = MaskOptions(difference=Difference.AUTO)
    warnings += make_masks(store_place, OBJECTS, whole_objects, listener=listener).warnings
    histories = {}
    for name, way in _WAYS.items():
        report.say(f"{'encoding' if way.trained else 'training and encoding'} with {way.words}")
        if way.trained is None:
            trained = _trained(place, name, way, options, listener)
            histories[name] = trained.history
            warnings += trained.warnings
        warnings += _encoded(place, name, way, listener).warnings
    moving, still = ({name: _scored(store_place, name, split) for name in _WAYS} for split in ("test", "still"))
    store = Store.open(store_place)
    num_test_clips = store.layout("test").num_videos
    result = DemoResult(
        is_quick=options.quick,
        moving=moving,
        still=still,
        histories=histories,
        chance_r1=100 / num_test_clips,
        bound_r1=next(one.single_frame_bound_r1 or 0.0 for one in generated.splits if one.split == "test"),
        num_test_clips=num_test_clips,
        clips=tuple(_clips(store, moving)),
        page=(place / PAGE_NAME).resolve(),
        seconds=clock.seconds,
        warnings=tuple(warnings),
    )
    write_demo_page(store_place, result, listener)
    # Again, now that the page is part of it.
    return replace(result, seconds=clock.seconds)


@dataclass(frozen=True, slots=True)
class _Way:
    """How a feature set of the demo is made."""

    words: str
    """For whoever watches."""
    alpha: AlphaSource
    masks: str = "default"
    """Name of the mask set."""
    trained: str | None = None
    """Whose checkpoint it takes; None: its own."""


_WAYS: Mapping[str, _Way] = {
    MASKS: _Way("the paper's masks", AlphaSource.MASKS),
    OBJECTS: _Way("masks of whole objects", AlphaSource.MASKS, masks=OBJECTS),
    ONES: _Way("an alpha channel of all ones", AlphaSource.ONES),
    SHUFFLED: _Way("the masks of other clips, as a control", AlphaSource.SHUFFLED, trained=MASKS),
}


def _trained(place: Path, name: str, way: _Way, options: DemoOptions, listener: Listener) -> FinetuneResult:
    settings = {"epochs": 1} if options.quick else {}
    how = FinetuneOptions(preset="demo", settings=settings, alpha=way.alpha, mask_name=way.masks, seed=options.seed)
    return finetune(place / "store", place / "checkpoints" / name, how, listener=listener)


def _encoded(place: Path, name: str, way: _Way, listener: Listener) -> EncodeResult:
    options = EncodeOptions(
        features=name,
        splits=("test", "still"),
        alpha=way.alpha,
        mask_name=way.masks,
        precision="fp32",  # a tiny model gains nothing from bf16, and the numbers are the same everywhere
    )
    checkpoint = place / "checkpoints" / (way.trained or name)
    return encode(place / "store", options, ModelSource(checkpoint=checkpoint), listener=listener)


def _scored(store: Path, features: str, split: str) -> EvalReport:
    return evaluate(store, features, EvalOptions(split=split, max_missing=NONE), extras=EvalExtras(intervals=None))


def _clips(store: Store, moving: Mapping[str, EvalReport]) -> list[DemoClip]:
    """The first test clips. Each has one caption, so that caption row and video row agree."""
    reader = ClipReader(store, "test", "default")
    captions = store.catalog.split_captions("test")["text"].to_pylist()
    ranks = {name: ranks_of(moving[name].result.ranking.to_video, Ties.PESSIMISTIC) for name in (MASKS, ONES)}
    rows = list(range(min(NUM_CLIPS_SHOWN, len(captions))))
    batch = reader.read(rows)
    return [
        DemoClip(
            video_id=batch.video_ids[row],
            caption=captions[row],
            frames=batch.frames[row],
            masks=batch.masks[row],
            rank_with_masks=int(ranks[MASKS][row]),
            rank_without=int(ranks[ONES][row]),
        )
        for row in rows
    ]
