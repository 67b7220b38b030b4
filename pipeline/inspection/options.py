"""Which videos `fda inspect` shows, and what of them. This loads no NumPy, so that `--help` shows the defaults."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index
from pathlib import Path

from pipeline.errors import OptionError
from pipeline.run.fields import convert_fields, local_path

NUM_BY_DEFAULT = 8
"""Videos drawn at random where nothing says which are wanted."""
MAX_FRAMES = 100
"""Frames of a video that can be shown: the pictures of a row are one JPEG, which has at most 65,535 columns."""
MAX_MASK_SETS = 3
"""Mask sets that are shown where none is named."""
_COUNTS = ("worst_rank", "emptiest", "fullest", "camera", "failed", "random", "num_frames")


@dataclass(frozen=True, slots=True)
class InspectOptions:
    """Which videos are shown: those that at least one choice finds, in the order of the choices below.

    Without any choice, `NUM_BY_DEFAULT` videos are drawn at random.
    """

    video_ids: tuple[str, ...] = ()
    """Videos by their ids."""
    worst_rank: int | None = None
    """So many videos whose captions find them last; needs `features`."""
    emptiest: int | None = None
    """So many videos whose masks cover least of the picture."""
    fullest: int | None = None
    """So many videos whose masks cover most of it."""
    camera: int | None = None
    """So many videos whose camera moves, those with the fullest masks first."""
    failed: int | None = None
    """So many videos that failed: they have a reason, and no frames."""
    random: int | None = None
    """So many videos drawn at random."""
    seed: int = 0
    """Random seed of these."""
    splits: tuple[str, ...] = ()
    """Where to choose; none given: all. `worst_rank` then takes `test`, if that has the features."""
    masks: tuple[str, ...] = ()
    """Mask sets to show. Choices by masks go by the first. None given: `default` first, `MAX_MASK_SETS` at most."""
    features: str | None = None
    """Feature set, for ranks and attention."""
    num_frames: int = 12
    """Frames to show of each video, at most."""
    attention: bool = True
    """Whether to compute where the model looks."""
    device: str = "auto"
    """Where that is computed: `auto` (a GPU if there is one), `cpu`, `cuda`, ..."""

    def __post_init__(self) -> None:
        convert_fields(self, video_ids=tuple, splits=tuple, masks=tuple, **dict.fromkeys(_COUNTS, index))
        for name in _COUNTS:
            count = getattr(self, name)
            if count is not None and count < 1:
                raise OptionError(f"{name} must be at least 1, got {count}")
        if self.num_frames > MAX_FRAMES:
            raise OptionError(f"num_frames must be at most {MAX_FRAMES}, got {self.num_frames}")
        if self.worst_rank is not None and self.features is None:
            raise OptionError("--worst-rank needs --features: ranks are those of a feature set")

    @property
    def chooses_by_masks(self) -> bool:
        """Whether masks decide which videos are shown."""
        return any(count is not None for count in (self.emptiest, self.fullest, self.camera))

    @property
    def draws_by_default(self) -> bool:
        """Whether nothing says which videos are wanted."""
        counts = (self.worst_rank, self.emptiest, self.fullest, self.camera, self.failed, self.random)
        return not self.video_ids and all(count is None for count in counts)


@dataclass(frozen=True, slots=True)
class InspectFiles:
    """Files that `fda inspect` writes; without any, it only finds facts and ranks."""

    page: Path | None = None
    """One HTML file."""
    sheet: Path | None = None
    """One picture, PNG."""
    overwrite: bool = False
    """Whether to replace files that are there."""

    def __post_init__(self) -> None:
        convert_fields(self, page=local_path, sheet=local_path)
        if self.page is not None and self.page == self.sheet:
            raise OptionError(f"the page and the sheet cannot be one file: {self.page}")
