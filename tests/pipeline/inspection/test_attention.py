"""Attention on pages: the model that made the features, found again, or a reason why there is none."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import fda
from encoders.encoding.encoder import Encoder
from pipeline.inspection.attention import Attention
from pipeline.inspection.clips import Strip, inspected_clips
from pipeline.inspection.facts import InspectedVideo
from pipeline.run.events import Reporter, ignore_events
from tests.clips_on_disk import SMALL, write_small_dataset
from tests.encoders_tiny import TINY, TINY_VISION, tiny_model, write_config

OPTIONS = fda.InspectOptions(features="mine", video_ids=("test_0",))


@dataclass(frozen=True)
class Made:
    place: Path
    model: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("attention")
    clips = write_small_dataset(folder, {"train": 1, "test": 2})
    place, model = folder / "store", write_config(folder)
    fda.preprocess(clips, place, SMALL, run=fda.RunOptions(workers=0))
    source = fda.ModelSource(model=model, pretrained="none")
    fda.encode(place, fda.EncodeOptions("mine", precision="fp32", splits=("test",)), source)
    return Made(place, model)


def shown_rows(path: Path) -> list[str]:
    return re.findall(r'class="label">(.*?) <span', path.read_text(encoding="utf-8"))


def test_the_model_of_the_features_is_found_by_itself(made: Made, tmp_path: Path) -> None:
    found = fda.inspect(made.place, OPTIONS, fda.InspectFiles(tmp_path / "a.html"))
    assert found.warnings == ()
    assert found.attention is not None
    assert found.attention.startswith("tiny, weights ")
    rows = ["frames", "masks &#39;default&#39;, outline", "masks &#39;default&#39;, overlay"]
    rows += ["attention with masks &#39;default&#39;", "attention with an alpha of all ones"]
    assert shown_rows(tmp_path / "a.html") == rows
    without = fda.InspectOptions(video_ids=("test_0",))
    found = fda.inspect(made.place, without, fda.InspectFiles(tmp_path / "b.html"))
    assert (found.attention, found.warnings) == (None, ())
    assert shown_rows(tmp_path / "b.html") == rows[:3]
    assert "No attention: it takes a model: give --features" in (tmp_path / "b.html").read_text()


def test_frames_of_another_size_are_resized_as_they_were_encoded(made: Made, tmp_path: Path) -> None:
    """The model reads twice the size of the stored frames."""
    config = replace(TINY, name="larger", vision_cfg=replace(TINY_VISION, image_size=2 * TINY_VISION.image_size))
    source = fda.ModelSource(model=write_config(tmp_path, config), pretrained="none")
    recipe = fda.EncodeOptions("larger", precision="fp32", splits=("test",), resize_frames=True)
    fda.encode(made.place, recipe, source)
    asked = fda.InspectOptions(video_ids=("test_0",), features="larger")
    found = fda.inspect(made.place, asked, fda.InspectFiles(tmp_path / "a.html"))
    assert found.warnings == ()
    assert shown_rows(tmp_path / "a.html")[3:] == [
        "attention with masks &#39;default&#39;",
        "attention with an alpha of all ones",
    ]


def test_both_rows_are_on_one_scale(made: Made) -> None:
    """With weights of the alpha channel that are not zero, masks change where the model looks."""
    encoder = Encoder(tiny_model())
    view, report = fda.open_store(made.place), Reporter(ignore_events)
    videos: Sequence[InspectedVideo] = fda.inspect(made.place, fda.InspectOptions(video_ids=("test_0",))).videos
    (clip,) = inspected_clips(view, videos, 12, Attention(encoder, "default", "tiny"), report)
    masked, ones = clip.strips[-2:]
    assert masked.meaning == ones.meaning
    assert any((one != other).any() for one, other in zip(masked.pictures, ones.pictures, strict=True))
    frames, masks = view.frames("test_0"), view.masks("test_0")
    maps = [encoder.attention(frames, alpha) for alpha in (masks, np.ones_like(masks))]
    assert f"{np.min(maps):.1%} (dark) to {np.max(maps):.1%} (bright)" in masked.meaning
    (plain,) = inspected_clips(view, videos, 12, Attention(None, None, ""), report)
    assert [strip.title for strip in plain.strips] == [strip.title for strip in clip.strips[:-2]]
    assert isinstance(plain.strips[0], Strip)


def test_weights_that_are_gone_cost_the_attention_alone(made: Made, tmp_path: Path) -> None:
    place = shutil.copytree(made.place, tmp_path / "store")
    shutil.rmtree(place / "runs")
    found = fda.inspect(place, OPTIONS, fda.InspectFiles(tmp_path / "a.html"))
    (warning,) = found.warnings
    assert (
        f"no attention: no run record of {place} says where the weights of features 'mine' (tiny, weights " in warning
    )
    assert warning.endswith("give --checkpoint, or --model and --pretrained")
    assert [its.rank.num_candidates for its in found.videos[0].captions if its.rank] == [2, 2]
    named = fda.ModelSource(model=made.model, pretrained="none")
    again = fda.inspect(place, OPTIONS, fda.InspectFiles(tmp_path / "b.html"), model=named)
    assert again.attention is not None


def test_another_model_is_refused(made: Made, tmp_path: Path) -> None:
    other = fda.ModelSource(model=made.model, pretrained="none", seed=7)
    with pytest.raises(fda.InputError, match="were made by tiny, weights .* not made by tiny, weights .*: leave the"):
        fda.inspect(made.place, OPTIONS, fda.InspectFiles(tmp_path / "a.html"), model=other)
    assert not (tmp_path / "a.html").exists()
    alone = fda.InspectOptions(video_ids=("test_0",))
    assert fda.inspect(made.place, alone, fda.InspectFiles(tmp_path / "a.html"), model=other).attention is not None


def test_a_split_without_features_is_shown_without_ranks(made: Made) -> None:
    found = fda.inspect(made.place, fda.InspectOptions(features="mine", video_ids=("train_0", "test_0")))
    assert found.warnings == ("no ranks for split 'train': it has no features 'mine'",)
    assert [len(one.ranked) for one in found.videos] == [0, 2]
    with pytest.raises(fda.NotInStoreError, match="--worst-rank: 'train' of .* these are in 'test'"):
        fda.inspect(made.place, fda.InspectOptions(features="mine", worst_rank=1, splits=("train",)))
