"""What decides the frames and masks of a store."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.errors import OptionError
from pipeline.masks.options import Difference, MaskOptions
from pipeline.run.fields import convert_fields
from pipeline.run.limits import Limit
from pipeline.run.options import SourceCheck
from pipeline.run.resources import DECODER_MEMORY_MIB
from pipeline.video.options import UNIFORM, DecodeOptions, Resize, Sampling
from store.arrays.codec_names import FRAME_CODECS, MAX_JPEG_SIDE, CodecName
from store.json_values import JSON
from store.names import check_name
from store.schema import SplitLayout, check_shard_size

TRAIN_SPLIT = "train"


_LIMITS = DecodeOptions(num_frames=1)
HALF = Limit(share=0.5)


@dataclass(frozen=True, slots=True)
class PreprocessOptions:
    """Everything that decides the bytes of frames and masks, and the limits within which a video is decoded."""

    train_frames: int = 6
    """Frames of a clip in the split `train` (FDA-CLIP: 6)."""
    eval_frames: int = 12
    """Frames of a clip in every other split (FDA-CLIP: 12)."""
    sampling: Sampling = UNIFORM
    eval_sampling: Sampling | None = None
    """Of every split but `train`; None: as `sampling`."""
    image_size: int = 224
    """Side of the stored frames, pixels: the short side is resized to it, the centre is cut out."""
    resize: Resize = Resize.SWSCALE
    neighbours: bool = False
    """Whether to keep, of each frame, the next one of the video in grey: for masks of true neighbours."""
    frame_codec: CodecName = "raw"
    """How frames are stored, see `store.arrays.codecs`."""
    shard_size: int = 16
    """Videos per shard."""
    timeout_seconds: float = 120.0
    """A video that decodes for longer is given up."""
    max_pixels: int = _LIMITS.max_pixels
    """Of a picture, width times height; a video above any of these limits is refused."""
    max_packets: int = _LIMITS.max_packets
    max_streams: int = _LIMITS.max_streams
    mask_name: str = "default"
    masks: MaskOptions = field(default_factory=MaskOptions)

    def __post_init__(self) -> None:
        convert_fields(self, resize=Resize, timeout_seconds=float)
        if self.frame_codec not in FRAME_CODECS:
            raise OptionError(f"frame_codec must be one of {', '.join(FRAME_CODECS)}, got {self.frame_codec!r}")
        check_name("mask set", self.mask_name)
        for split in (TRAIN_SPLIT, "test"):
            self.decode_options(split)  # which checks what is in it
        if self.masks.difference == Difference.CONSECUTIVE and not self.neighbours:
            raise OptionError(
                "difference 'consecutive' compares each frame with the next one of its video: give --neighbours as "
                "well, so that it is kept, or use difference 'sampled'"
            )
        self.masks.check_picture(self.image_size, self.image_size)
        num_frames = max(self.train_frames, self.eval_frames)
        try:  # what no store can be described by, and so none could be opened again
            check_shard_size(self.shard_size, num_frames)
            SplitLayout(1, 0, num_frames, self.image_size, self.image_size)
        except ValueError as error:
            raise OptionError(str(error)) from error
        if self.frame_codec == "jpeg" and num_frames * self.image_size > MAX_JPEG_SIDE:
            raise OptionError(
                f"frame_codec 'jpeg' takes clips of up to {MAX_JPEG_SIDE} pixels, frames times their side, got "
                f"{num_frames} x {self.image_size}: use fewer or smaller frames, or another frame_codec"
            )

    def decode_options(self, split: str) -> DecodeOptions:
        """How the videos of a split are decoded."""
        return DecodeOptions(
            num_frames=self.train_frames if split == TRAIN_SPLIT else self.eval_frames,
            image_size=self.image_size,
            sampling=self.sampling if split == TRAIN_SPLIT or self.eval_sampling is None else self.eval_sampling,
            resize=self.resize,
            neighbours=self.neighbours,
            timeout_seconds=self.timeout_seconds,
            max_pixels=self.max_pixels,
            max_packets=self.max_packets,
            max_streams=self.max_streams,
        )

    def frame_identity(self) -> dict[str, JSON]:
        """What two runs must agree on to share one store's frames."""
        sampling: dict[str, JSON] = {"sampling": self.sampling.to_dict()}
        if self.eval_sampling not in (None, self.sampling):  # a store that samples all splits alike has no such key
            assert self.eval_sampling is not None
            sampling["eval_sampling"] = self.eval_sampling.to_dict()
        return {
            **sampling,
            "train_frames": self.train_frames,
            "eval_frames": self.eval_frames,
            "image_size": self.image_size,
            "geometry": "short side as displayed to image_size, centre crop",
            "resize": str(self.resize),
        }


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """Which videos are decoded again, and how much memory decoding may take. Nothing here changes a clip."""

    decoder_memory_mib: int = DECODER_MEMORY_MIB
    """Memory that decoding one video may take; a video that needs more is recorded as `unsupported`."""
    retry_failed: bool = False
    """Decode the failed videos again, and only them."""
    check_videos: SourceCheck = SourceCheck.SIZE
    """How changed videos are found; these are decoded again."""
    update_captions: bool = False
    """Take changed captions of the store's videos from the source. Default: refuse them; captions for videos that had
    none are taken."""
    max_missing: Limit = HALF
    """If more videos are missing, nothing is decoded, for their folder is probably a wrong one. Also as a number, a
    share or a text such as `10%`; a share is of all videos of the run, those of earlier runs among them."""

    def __post_init__(self) -> None:
        convert_fields(self, check_videos=SourceCheck, max_missing=Limit.of)
        if self.decoder_memory_mib < 64:
            raise OptionError(f"decoder_memory_mib must be at least 64, got {self.decoder_memory_mib}")
