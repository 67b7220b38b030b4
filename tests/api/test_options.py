"""Options as users of Python write them: texts for enumerations and paths, and what cannot be is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

import fda

LOOSE: Any = fda
"""For values that are accepted at run time, or refused there, and that a type checker refuses."""


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
        (lambda: LOOSE.Sampling("uniform", fps=2), "fps belongs to sampling 'fps', not to 'uniform'"),
        (lambda: LOOSE.Sampling("prompt-switch", keep="head"), "keep belongs to sampling 'fps' and 'clip4clip'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make: Callable[[], object], message: str) -> None:
    with pytest.raises(fda.OptionError, match=message):
        make()


def test_a_checkpoint_is_given_alone() -> None:
    """Its model and weights would be used, and what else is named would be ignored in silence."""
    for others in ({"model": "ViT-B-32"}, {"pretrained": "openai"}, {"alpha_checkpoint": "a.pth"}):
        with pytest.raises(fda.EncoderError, match="give it alone"):
            LOOSE.ModelSource(checkpoint="trained", **others)


@pytest.mark.parametrize("place", ["s3://bucket/trained", Path("s3://bucket/trained"), ""])
@pytest.mark.parametrize(
    "run",
    [
        lambda place: fda.finetune("store", place),
        lambda place: fda.pool_features("store", place, fda.PoolOptions("mine", "pooled")),
        lambda place: fda.experiment("tau", place),
        lambda place: fda.preview_experiment("tau", place),
        lambda place: fda.generate(place),
        lambda place: fda.demo(place),
        lambda place: fda.weights(fda.ModelSource(), layout=fda.WeightsLayout.CLIP, output=place),
    ],
    ids=["finetune", "pool", "experiment", "preview_experiment", "generate", "demo", "weights"],
)
def test_what_is_no_store_wants_a_local_folder(
    run: Callable[[str | Path], object], place: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a folder called `s3:`, and not the working folder."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fda.OptionError, match="give a local folder|it is empty: give a place"):
        run(place)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["s3://bucket/x", Path("s3://bucket/x"), ""])
def test_each_option_that_is_a_path_wants_one_of_this_machine(place: str | Path) -> None:
    checked = []
    for name in fda.__all__:
        kind: Any = getattr(fda, name)
        if not (name.endswith(("Options", "Files")) and is_dataclass(kind)):
            continue
        for field in fields(kind):
            if field.type == "Path | None":
                checked.append(f"{name}.{field.name}")
                with pytest.raises(fda.OptionError, match=rf"^{field.name}: .*(only a STORE can be at|it is empty)"):
                    getattr(LOOSE, name)(**{field.name: place})
    assert {"SearchFiles.page", "InspectFiles.sheet", "GenerateOptions.background"} < set(checked)


def test_a_model_without_attention_is_refused() -> None:
    with pytest.raises(fda.OptionError, match="is for attention, which --no-attention leaves out"):
        fda.inspect("store", fda.InspectOptions(attention=False), model=fda.ModelSource(model="ViT-B-32"))
