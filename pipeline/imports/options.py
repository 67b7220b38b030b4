"""What `import_features` takes into a store."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

from encoders.options import Pooling
from pipeline.errors import OptionError
from pipeline.run.dtypes import chosen_dtypes
from pipeline.run.fields import check_yes, convert_fields
from store.feature_dtypes import FeatureDtype, FeatureDtypes
from store.names import check_name

if TYPE_CHECKING:
    from pipeline.imports.embeddings import Embeddings  # which loads NumPy, and this module must not

    Source = str | PathLike[str] | Embeddings


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """Which embeddings become a feature set."""

    features: str
    """Name of the feature set."""
    text: Source
    """Embeddings of the captions: a file or folder (docs/evaluation.md lists the kinds), or `Embeddings`."""
    video: Source | None = None
    """Embeddings of the videos. If they are of frames, these are pooled. Default: `frame`, pooled."""
    frame: Source | None = None
    """Embeddings of the frames of videos, to be stored too: at most as many as the store has of a video."""
    text_ids: str | PathLike[str] | None = None
    """A file with the id of each text: caption ids, or the captions themselves. Default: what `text` says."""
    video_ids: str | PathLike[str] | None = None
    """A file with the id of each video. Default: what `video` and `frame` say."""
    splits: tuple[str, ...] = ()
    """Default: all splits of which there are embeddings."""
    pooling: Pooling = Pooling.MEAN
    """How frames become a video."""
    store_dtype: FeatureDtype = "float32"
    """What the embeddings are kept in: float16 takes half of the space, int8 a quarter."""
    frame_dtype: FeatureDtype | None = None
    """What those of frames are kept in, which take most of the space. Default: `store_dtype`."""
    overwrite: bool = False
    """Whether to remove the features of these splits first, if there are any."""
    yes: bool = False
    """With `overwrite`: also where there are some. Default: `UnconfirmedError`."""

    def __post_init__(self) -> None:
        convert_fields(self, splits=tuple, pooling=Pooling)
        check_name("feature set", self.features)
        check_yes(overwrite=self.overwrite, yes=self.yes)
        if self.video is None and self.frame is None:
            raise OptionError("give the embeddings of videos (video) or of their frames (frame), beside those of texts")
        _ = self.dtypes  # raises

    @property
    def dtypes(self) -> FeatureDtypes:
        """What all arrays are kept in."""
        return chosen_dtypes(self.store_dtype, self.frame_dtype)
