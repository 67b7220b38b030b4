"""Options as users of Python write them: texts for enumerations and paths, and what cannot be is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fda

LOOSE: Any = fda
"""For values of types that a type checker would refuse."""


def test_texts_are_the_members_that_they_name() -> None:
    assert LOOSE.PreprocessOptions(resize="clip").resize is fda.Resize.CLIP
    assert LOOSE.Sampling("fps", 2).mode is fda.SamplingMode.FPS
    assert LOOSE.DecodingOptions(check_videos="off").check_videos is fda.SourceCheck.OFF
    assert LOOSE.MaskOptions(when_empty="ones").when_empty is fda.WhenEmpty.ONES
    assert LOOSE.EncodeOptions("mine", alpha="ones").alpha is fda.AlphaSource.ONES
    assert LOOSE.FinetuneOptions(alpha="ones").alpha is fda.AlphaSource.ONES
    assert LOOSE.EvalOptions(ties="mean").ties is fda.Ties.MEAN
    assert LOOSE.SourceOptions(videos="clips").videos == Path("clips")
    assert LOOSE.ModelSource(checkpoint="trained").checkpoint == Path("trained")
    assert LOOSE.MaskOptions(threshold=10) == LOOSE.MaskOptions(threshold=10.0)
    assert repr(LOOSE.MaskOptions(threshold=10)) == repr(LOOSE.MaskOptions(threshold=10.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LOOSE.PreprocessOptions(resize="nope"), "resize must be one of swscale, clip, got 'nope'"),
        (lambda: LOOSE.PreprocessOptions(frame_codec="nope"), "frame_codec must be one of raw"),
        (lambda: LOOSE.DecodingOptions(check_videos="zzz"), "check_videos must be one of off, size, content"),
        (lambda: LOOSE.DecodingOptions(decoder_memory_mib=0), "decoder_memory_mib must be at least 64"),
        (lambda: LOOSE.MaskOptions(when_full="zzz"), "when_full must be one of"),
        (lambda: LOOSE.MaskOptions(threshold="high"), "threshold must be a number, got 'high'"),
        (lambda: LOOSE.EncodeOptions("mine", alpha="zzz"), "alpha must be one of masks, ones"),
        (lambda: LOOSE.EncodeOptions("mine", splits="test"), "splits must be several names"),
        (lambda: LOOSE.EncodeOptions("mine", frame_dtype="float8"), "frame_dtype must be float32, float16 or int8"),
        (lambda: LOOSE.EncodeOptions("mine", precision="fp8"), "precision must be auto, fp32 or bf16"),
        (lambda: LOOSE.FinetuneOptions(hold_out_share=2), "hold_out_share must lie between 0 and 1"),
        (lambda: LOOSE.EvalOptions(ties="zzz"), "ties must be one of"),
        (lambda: LOOSE.EvalOptions(top_frames=0), "top_frames must be at least 1"),
        (lambda: LOOSE.EvalOptions(dsl_temperature=0), "dsl_temperature must be above 0"),
        (lambda: LOOSE.EvalExtras(slices=("motoin",)), "no slices 'motoin'"),
        (lambda: LOOSE.RemoveOptions(masks="default"), "masks must be several names"),
        (lambda: LOOSE.RunOptions(workers="2"), "workers must be a whole number, got '2'"),
        (lambda: LOOSE.ClusterOptions("foo"), "no cluster 'foo'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make: Callable[[], object], message: str) -> None:
    with pytest.raises(fda.OptionError, match=message):
        make()
