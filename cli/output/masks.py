"""What commands print of mask sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.run.words import percent, plural

if TYPE_CHECKING:
    from pipeline.masks.summary import SplitMasks


def masks_line(name: str, masks: SplitMasks) -> str:
    """How much the masks of a split cover, how many are empty or full, and whether the camera moves, in one line."""
    is_known_of_all = masks.num_camera_known == masks.num_videos_masked
    known = plural(masks.num_camera_known, "video")
    of = "the videos" if is_known_of_all else f"the {known} for which this is known"
    return (
        f"{masks.split}: masks {name!r} cover {percent(masks.mean_coverage)} of the picture on average; "
        f"{percent(masks.empty_share)} are empty, {percent(masks.full_share)} full; "
        f"the camera moves in {percent(masks.camera_motion_share)} of {of}"
    )
