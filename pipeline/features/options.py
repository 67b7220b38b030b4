"""What decides the features of a store."""

from __future__ import annotations

from dataclasses import dataclass

from encoders.options import MIN_WORDS, Pooling, Precision
from pipeline.clips.options import AlphaSource, ClipSize
from pipeline.errors import OptionError
from pipeline.run.dtypes import chosen_dtypes
from pipeline.run.fields import convert_fields
from store.feature_dtypes import FLOAT32, FeatureDtype, FeatureDtypes
from store.names import check_name


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """What to encode, as a user says it. None stands for what the checkpoint was trained with, else the default."""

    features: str
    """Name of the feature set."""
    splits: tuple[str, ...] = ()
    """Default: all splits of the store."""
    mask_name: str | None = None
    """Mask set of the store. Default: `default`."""
    alpha: AlphaSource | None = None
    """What goes into the alpha channel. Default: the masks."""
    pooling: Pooling | None = None
    """How frames become a video. Default: their mean."""
    precision: str = "auto"
    """`fp32`, `bf16`, or `auto`: bf16 if the device is made for it, and it is measured to be faster and as good."""
    store_dtype: FeatureDtype = "float32"
    """What the features are kept in: float16 takes half of the space, int8 a quarter."""
    frame_dtype: FeatureDtype | None = None
    """What those of frames are kept in, which take most of the space. Default: `store_dtype`."""
    max_words: int | None = None
    """Tokens of a caption that are read, start and end included (CLIP4Clip's `max_words`: 32, and 64 for paragraphs).
    Default: as many as the checkpoint was trained with, or as the model reads."""
    truncate_dim: int | None = None
    """First numbers of each embedding that are kept, brought to unit norm again, for models that were trained for it
    (Matryoshka). Default: all."""
    resize_frames: bool = False
    """Resize frames and masks where they are stored at another size than the model reads. A checkpoint that was trained
    so is encoded so in any case."""
    sensitivity_every: int = 32
    """Every N-th video is also encoded with an alpha of all ones, to measure what the alpha does; 0: none."""
    seed: int = 0
    """Random seed of what `alpha` draws."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`, ..."""
    batch_frames: int | None = None
    """Frames at once; halved if memory runs out. Default: 64 on a CPU, 192 on a GPU."""
    compiled: bool = False
    """Compile the vision tower: takes minutes once, saves some percent."""

    def __post_init__(self) -> None:
        convert_fields(self, splits=tuple, alpha=AlphaSource, pooling=Pooling)
        check_name("feature set", self.features)
        _ = self.dtypes  # raises
        if self.precision not in ("auto", *Precision):
            raise OptionError(f"precision must be auto, {' or '.join(Precision)}, got {self.precision!r}")
        if self.batch_frames is not None and self.batch_frames < 1:
            raise OptionError(f"batch_frames must be at least 1, got {self.batch_frames}")
        if self.max_words is not None and self.max_words < MIN_WORDS:
            raise OptionError(f"max_words must be at least {MIN_WORDS}, got {self.max_words}")
        if self.truncate_dim is not None and self.truncate_dim < 1:
            raise OptionError(f"truncate_dim must be at least 1, got {self.truncate_dim}")
        if self.sensitivity_every < 0:
            raise OptionError(f"sensitivity_every must not be negative, got {self.sensitivity_every}")

    @property
    def dtypes(self) -> FeatureDtypes:
        """What all arrays are kept in."""
        return chosen_dtypes(self.store_dtype, self.frame_dtype)


@dataclass(frozen=True, slots=True)
class FeatureRecipe:
    """What decides the features of a store: `EncodeOptions` in which every choice has been made."""

    features: str
    """Name of the feature set."""
    splits: tuple[str, ...]
    mask_name: str = "default"
    alpha: AlphaSource = AlphaSource.MASKS
    seed: int = 0
    """Of what `alpha` draws: which other clip's masks a clip gets, or where a rectangle lies."""
    pooling: Pooling = Pooling.MEAN
    precision: str = "fp32"
    """Of the model's computation."""
    dtypes: FeatureDtypes = FLOAT32
    """What the features are kept in."""
    max_words: int | None = None
    """Tokens of a caption that are read, start and end included, if that is fewer than the model can read."""
    truncate_dim: int | None = None
    """First numbers of each embedding that are kept, if that is fewer than the model gives."""
    size: ClipSize | None = None
    """What clips are resized to, if they are stored at another size."""
    sensitivity_every: int = 32
    """Of every so many videos, one is encoded with an alpha of all ones too, to see what the alpha does; 0: none."""

    @property
    def measures_sensitivity(self) -> bool:
        """Whether there is anything to compare: all ones are what is compared with."""
        return self.sensitivity_every > 0 and self.alpha is not AlphaSource.ONES
