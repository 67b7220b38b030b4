"""The sizes of published splits, and what to know before numbers on them are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SplitSize:
    """The size of a split."""

    num_videos: int
    num_captions: int | None = None
    """None if nothing is published, or copies of the data set differ."""


@dataclass(frozen=True, slots=True)
class Published:
    """What is published of one data set, in one of its divisions into splits."""

    sizes: Mapping[str, SplitSize] = field(default_factory=dict)
    """Split -> size."""
    remarks: tuple[str, ...] = ()
    """What to know before numbers are compared."""


NOTHING = Published()

_NO_VALIDATION = (
    "train contains the official validation set, so no untouched one is left: hold one out of train, and never "
    "choose a checkpoint on test"
)

PUBLISHED: Mapping[tuple[str, str | None], Published] = {
    ("msvd", None): Published(
        {"train": SplitSize(1200, 48_774), "val": SplitSize(100, 4_290), "test": SplitSize(670, 27_763)}
    ),
    ("msrvtt", "1k-A"): Published({"train": SplitSize(9_000), "test": SplitSize(1_000, 1_000)}, (_NO_VALIDATION,)),
    ("msrvtt", "1k-A-7k"): Published({"train": SplitSize(7_010), "test": SplitSize(1_000, 1_000)}, (_NO_VALIDATION,)),
    ("msrvtt", "1k-B"): Published(
        {"train": SplitSize(6_656), "test": SplitSize(1_000)},
        (
            "296 of the 1,000 test videos are also in the test set of 1k-A, and train contains 453 more of it: a model "
            "trained here must not be scored on 1k-A, nor a model trained for 1k-A here",
        ),
    ),
    ("msrvtt", "full"): Published({"train": SplitSize(6_513), "val": SplitSize(497), "test": SplitSize(2_990)}),
    ("activitynet", None): Published(
        {"train": SplitSize(10_009), "test": SplitSize(4_917)},
        ("test is val_1, so no untouched validation set is left: hold one out of train",),
    ),
    ("didemo", None): Published({"train": SplitSize(8_392), "val": SplitSize(1_065), "test": SplitSize(1_004)}),
    ("lsmdc", None): Published({"test": SplitSize(1_000, 1_000)}),
    ("vatex", "lists"): Published(
        {"train": SplitSize(25_991), "val": SplitSize(1_500), "test": SplitSize(1_500)},
        ("val and test are parts of the official validation set",),
    ),
    ("vatex", "official"): Published(
        remarks=(
            "published retrieval results are by train_list.txt, val_list.txt and test_list.txt, not by these splits",
        )
    ),
}
"""By the layout, and the name of the splits where there are several. MSVD, MSR-VTT, ActivityNet and DiDeMo as in
the files of CLIP4Clip (github.com/ArrowLuo/CLIP4Clip), 1k-B as in collaborative-experts, all counted."""


def published_of(layout: str, protocol_split: str | None) -> Published:
    """What is published of the data set of a layout; `NOTHING` if it is not a known one."""
    return PUBLISHED.get((layout, protocol_split), NOTHING)
