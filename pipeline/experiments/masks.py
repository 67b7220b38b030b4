"""What experiments compare: mask sets, how they come into a store, what they cover; and the channel of all ones."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.clips.options import AlphaSource
from pipeline.experiments.plan import Condition, MaskChoice
from pipeline.experiments.results import MaskResult, Results
from pipeline.masks.options import Difference, Fill, MaskOptions
from pipeline.masks.overlap import mask_overlap
from pipeline.masks.run import make_masks
from pipeline.run.events import Listener, Phase, ignore_events
from store.clips.mask_sets import mask_set_names
from store.store import Store

PAPER = MaskChoice("paper", "FDA-CLIP's masks", MaskOptions())
TRUTH = MaskChoice("truth", "the truth (upper bound)", None)
AUTO = MaskChoice("auto", "background or registered, by the camera's motion", MaskOptions(difference=Difference.AUTO))
SOFT = MaskChoice("soft", "soft masks of the paper's differences", MaskOptions(soft=True))
KINDS = (
    MaskChoice("background", "difference to the median of the frames", MaskOptions(difference=Difference.BACKGROUND)),
    MaskChoice("registered", "the same after registration", MaskOptions(difference=Difference.REGISTERED)),
    AUTO,
    SOFT,
    MaskChoice("fill", "the paper's masks, outlines filled", MaskOptions(fill=Fill.BOTH)),
)
"""Every other kind of mask there is."""
ONES = Condition("ones", "alpha all ones", PAPER.name, AlphaSource.ONES)
"""What every experiment compares masks with: the same model, and a channel that says nothing."""
_REFERENCES = {PAPER.name: "the paper's masks", ONES.name: "all ones"}


def references(results: Results) -> dict[str, str]:
    """What tables compare every condition with, of what was run: its name -> what it is called there."""
    return {name: words for name, words in _REFERENCES.items() if name in results.conditions}


def ensure_masks(store: str, masks: MaskChoice, listener: Listener = ignore_events) -> None:
    """Make a mask set, unless it is complete; the truth is there already.

    Raises:
        StoreMismatchError: There is one of that name, made with other options.
    """
    if masks.options is not None:
        make_masks(store, masks.name, masks.options, listener=listener)


def measure_masks(store: str, name: str, splits: Sequence[str], listener: Listener = ignore_events) -> MaskResult:
    """How much the masks of each video cover, and how far they overlap with the truth, where it is known."""
    has_truth = TRUTH.name in mask_set_names(Store.open(store))
    # `mask_overlap` takes a reference in any case.
    against = TRUTH.name if has_truth else name  # compared with itself, a set still says what it covers
    phase = Phase("splits measured", len(splits), listener)
    found = {split: mask_overlap(store, name, against, split).videos for split in phase.each(splits)}
    return MaskResult(
        name,
        {split: [round(one.coverage, 6) for one in videos] for split, videos in found.items()},
        {split: [_rounded(one.iou) for one in videos] for split, videos in found.items()} if has_truth else {},
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
