"""Cuts are found, and what only looks like one is not; no mask goes across a cut."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.masks.clips import clip_masks
from pipeline.masks.content_cuts import check_cuts
from pipeline.masks.options import Cuts, Difference, MaskOptions
from pipeline.masks.shots import shots_of
from tests.filming import SIZE, filmed, ground


def scene(seed: int, num_frames: int, colour: tuple[int, int, int] = (255, 255, 255)) -> NDArray[np.uint8]:
    """A disc that runs over another ground, in another light."""
    frames, discs = filmed(step=14, num_frames=num_frames)
    view = (ground(seed)[90 : 90 + SIZE, 60 : 60 + SIZE] * (np.array(colour) / 255)).astype(np.uint8)
    return np.where(discs[..., None], frames, view[None])


THREE = np.concatenate([scene(1, 4), scene(2, 1, (90, 160, 255)), scene(3, 3, (255, 120, 60))])


def starts(frames: NDArray[np.uint8], cuts: Cuts = Cuts.DIFFERENCE) -> list[int]:
    return [shot.start for shot in shots_of(frames, cuts)]


def test_cuts_are_found() -> None:
    assert starts(THREE) == [0, 4, 5]
    assert [len(shot) for shot in shots_of(THREE, Cuts.DIFFERENCE)] == [4, 1, 3]
    assert starts(THREE, Cuts.IGNORE) == [0]
    assert starts(THREE[:1]) == [0]


@pytest.mark.parametrize(
    "camera", [{"step": 40}, {"pan": 25.0}, {"zoom": 1.15}, {"turn": 8.0}, {"noise": 15.0}, {"pan": 12.0, "step": 30}]
)
def test_fast_motion_is_no_cut(camera: dict[str, float]) -> None:
    assert starts(filmed(num_frames=4, **camera)[0]) == [0]  # type: ignore[arg-type]


def test_flashes_black_frames_and_other_light_are_no_cuts() -> None:
    frames = scene(1, 6)
    frames[2] = 255
    frames[4] = 0
    assert starts(frames) == [0]
    lit = scene(1, 6)
    lit[2:4] = lit[2:4] // 2
    assert starts(lit) == [0]
    assert starts(np.zeros((3, 32, 32, 3), np.uint8)) == [0]


def test_a_cut_behind_a_black_frame_is_found() -> None:
    black = np.zeros_like(THREE[:1])
    assert starts(np.concatenate([THREE[:3], black, THREE[5:]])) == [0, 4]


@pytest.mark.parametrize(
    "difference", [Difference.SAMPLED, Difference.BACKGROUND, Difference.REGISTERED, Difference.AUTO]
)
def test_no_mask_goes_across_a_cut(difference: Difference) -> None:
    options = MaskOptions(difference=difference, cuts=Cuts.DIFFERENCE)
    masks = clip_masks(THREE, options).masks
    for start, stop in ((0, 4), (4, 5), (5, 8)):
        alone = clip_masks(THREE[start:stop], replace(options, cuts=Cuts.IGNORE)).masks
        if difference != Difference.AUTO:  # which picks one kind for all of a clip
            np.testing.assert_array_equal(masks[start:stop], alone)
    assert not masks[4].any()
    assert all(0 < mask.mean() < 0.2 for number, mask in enumerate(masks) if number != 4)
    across = clip_masks(THREE, replace(options, cuts=Cuts.IGNORE)).masks
    assert across[4].any()


def test_a_frame_before_a_cut_has_the_mask_before_it() -> None:
    masks = clip_masks(THREE, MaskOptions(cuts=Cuts.DIFFERENCE)).masks
    np.testing.assert_array_equal(masks[3], masks[2])
    np.testing.assert_array_equal(masks[7], masks[6])


def test_cuts_by_scenedetect() -> None:
    pytest.importorskip("scenedetect")
    assert starts(THREE, Cuts.CONTENT) == [0, 4, 5]
    assert starts(scene(1, 3), Cuts.CONTENT) == [0]


def test_scenedetect_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    message = r"needs scenedetect .* pip install -e '\.\[scenedetect\]' .*, or use cuts 'difference'"
    with pytest.raises(InputError, match=message):
        check_cuts(MaskOptions(cuts=Cuts.CONTENT))
    with pytest.raises(InputError, match=message):
        shots_of(THREE, Cuts.CONTENT)
    check_cuts(MaskOptions(cuts=Cuts.DIFFERENCE))
