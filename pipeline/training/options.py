"""How to train on a store, as values. This module loads neither torch nor NumPy, so that `--help` is quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from encoders.options import Activation
from encoders.training.options import TrainOptions
from pipeline.clips.options import AlphaSource, ClipSize
from pipeline.errors import OptionError
from pipeline.run.fields import check_yes, convert_fields, local_path


def is_test_split(name: str) -> bool:
    """Whether a split is for testing, judged by its name.

    >>> is_test_split("test"), is_test_split("Test-1kA"), is_test_split("val")
    (True, True, False)
    """
    return "test" in name.lower()


def check_hold_out(share: float) -> None:
    """Refuse a share of the training videos that is none or all of them."""
    if not 0 < share < 1:
        raise OptionError(f"hold_out_share must lie between 0 and 1, got {share}")


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How batches are drawn, and how their clips are changed at random."""

    captions: str = "one"
    """`one`: each video once an epoch, with one of its captions at random. `all`: every pair of a video and a
    caption."""
    same_video: str = "apart"
    """`apart`: no batch contains two pairs of one video, which would be false negatives of each other. `together`: it
    may, and they count as positives in the loss. `negatives`: it may, and they count as negatives, as in the code of
    CLIP4Clip, X-Pool and FDA-CLIP. Where both pairs have the very same frames, the two are one and the same loss."""
    frames: int = 0
    """Frames of a clip in a step: one at random in each of so many equal spans of its stored frames, drawn again each
    epoch (FDA-CLIP's code: 6). Their masks are computed from them. 0: all stored frames, with their stored masks."""
    crop: float = 0.0
    """Least share, 0..1, of the picture that a random part of it has, which is resized to the whole picture: one part
    for all frames of a clip, of 3:4 to 4:3, as torchvision's RandomResizedCrop draws it (FDA-CLIP's code: 0.5). 0: no
    part."""
    align_masks: bool = True
    """Whether masks follow `crop` and `flip` of their frames. False: they stay as they were, which is all that
    FDA-CLIP's public code shows."""
    alpha_ones: float = 0.0
    """Part of the clips, 0..1, whose alpha is all ones: Alpha-CLIP's neutral input (0.1 there)."""
    mask_dropout: float = 0.0
    """Part of the masks' blocks, 0..1, that are cleared; a block is as large as the model's patches."""
    mask_jitter: int = 0
    """Pixels by which masks are shifted against their frames at most, up or down and left or right."""
    frame_jitter: int = 0
    """Pixels by which frames are shifted with their masks at most; the edge is repeated, and masks are empty there."""
    flip: float = 0.0
    """Part of the clips, 0..1, that are mirrored left to right with their masks, after `crop`. Captions are not
    changed, so "left" and "right" in them become wrong."""

    def __post_init__(self) -> None:
        limits = {
            "captions": (self.captions in ("one", "all"), "one or all"),
            "same_video": (self.same_video in ("apart", "together", "negatives"), "apart, together or negatives"),
            "frames": (self.frames >= 0, "0 (all) or more"),
            "crop": (0 <= self.crop <= 1, "within 0..1"),
            "alpha_ones": (0 <= self.alpha_ones <= 1, "within 0..1"),
            "mask_dropout": (0 <= self.mask_dropout <= 1, "within 0..1"),
            "mask_jitter": (0 <= self.mask_jitter < 1024, "within 0..1023"),
            "frame_jitter": (0 <= self.frame_jitter < 1024, "within 0..1023"),
            "flip": (0 <= self.flip <= 1, "within 0..1"),
        }
        for name, (holds, limit) in limits.items():
            if not holds:
                raise OptionError(f"{name} must be {limit}, got {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True)
class TrainingRecipe:
    """What to train on, and how."""

    train: TrainOptions
    batches: BatchOptions = field(default_factory=BatchOptions)
    train_split: str = "train"
    val_split: str = "val"
    """If the store has no such split, `hold_out_share` of the train videos is held out instead."""
    hold_out_share: float = 0.1
    mask_name: str = "default"
    alpha: AlphaSource = AlphaSource.MASKS
    seed: int = 0
    """Random seed of batches, captions, hold-out, augmentation and random alpha."""
    watch_split: str | None = None
    """A split that is scored at every evaluation and never used to choose."""
    size: ClipSize | None = None
    """What clips are resized to, if they are stored at another size than the model reads."""

    @property
    def chosen_on_test(self) -> bool:
        """Whether a test split is trained on or chooses the best evaluation, judged by the splits' names."""
        return any(map(is_test_split, (self.train_split, self.val_split)))


@dataclass(frozen=True, slots=True)
class FinetuneOptions:
    """What to train, as a user says it: a preset, and what differs from it."""

    preset: str = "fda-clip"
    """A model and how to train it: the name of a preset, or a TOML file of the same form."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Values of the preset's [finetune] and [batches] to change, by name."""
    model: str | None = None
    """Default: the preset's. This and the next: see `ModelSource`."""
    pretrained: str | None = None
    alpha_checkpoint: Path | None = None
    activation: Activation | None = None
    mask_name: str | None = None
    """Mask set of the store. Default: `default`."""
    alpha: AlphaSource | None = None
    """What goes into the alpha channel. Default: the preset's."""
    train_split: str = "train"
    val_split: str | None = None
    """The split by which the weights are chosen. Default: the preset's, or `val`; if there is none, `hold_out_share` of
    the videos."""
    hold_out_share: float = 0.1
    """Part of the training videos, 0..1, that is held out if there is no validation split."""
    watch_split: str | None = None
    """A split, such as `test`, whose R@1s are recorded at every evaluation (`history.json`, `log.jsonl`). It chooses
    nothing: the bias of choosing on it can be read off afterwards. Default: none."""
    choose_on_test: bool = False
    """Allow a test split to be trained or chosen on: the checkpoint and what it makes are marked."""
    resize_frames: bool = False
    """Resize frames and masks where they are stored at another size than the model reads. `encode` then does the same
    for the checkpoint."""
    save_seconds: float = 600.0
    """Between two states that training can be resumed at; one is saved after each evaluation, too."""
    seed: int = 0
    """Random seed of batches, captions, hold-out, augmentation and what alpha draws."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`, ..."""
    overwrite: bool = False
    """Remove the checkpoint first, if there is one; files that are not of a checkpoint stay."""
    yes: bool = False
    """With `overwrite`: also where weights or a state of training are removed. Default: `UnconfirmedError`."""

    def __post_init__(self) -> None:
        convert_fields(self, alpha=AlphaSource, activation=Activation, alpha_checkpoint=local_path)
        check_yes(overwrite=self.overwrite, yes=self.yes)
        check_hold_out(self.hold_out_share)
        if not self.save_seconds >= 0:
            raise OptionError(f"save_seconds must not be negative, got {self.save_seconds}")
