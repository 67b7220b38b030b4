"""Which decoded frames can be trusted after a decoder met damage.

ffmpeg conceals damage. It invents the missing parts of a broken picture and flags that one picture (most decoders do);
pictures predicted from it come out without a flag. So damage is spread here, from where it is seen over all frames that
may have been predicted from it. Damage that a decoder does not report is not seen here either: mostly a flipped bit
that decodes to other valid pixels, since most video streams carry no checksums (FFV1 does, and its decoder only logs
that they do not match). Such a picture may contain parts of any picture decoded before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from av.video.frame import PictureType, VideoFrame
from numpy.typing import NDArray

from pipeline.video.clips import VideoError


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """The facts of a decoded frame; its pixels are not kept."""

    pts: int | None
    duration: int
    is_key: bool
    is_corrupt: bool
    is_bidirectional: bool
    """A B picture: it may be predicted from pictures that are shown after it."""

    @classmethod
    def of(cls, frame: VideoFrame) -> FrameFacts:
        """Read them off a frame."""
        kind = frame.pict_type
        return cls(frame.pts, frame.duration, frame.key_frame, frame.is_corrupt, kind == PictureType.B)


@dataclass(frozen=True, slots=True)
class Damage:
    """A packet that the decoder refused: at least one frame is lost near it."""

    pts: int | None
    cause: VideoError


def sound_frames(events: Sequence[FrameFacts | Damage]) -> NDArray[np.bool_]:
    """Which frames are sound: not damaged, and not predicted from damage. In the decoder's order.

    - A frame flagged corrupt is unsound, with the B pictures right before it, which may be predicted from it.
    - A refused packet makes the frame before it unsound too: it would be shown in place of the lost one.
    - All later frames are unsound, up to a key frame after the damage. After a refused packet, the key frame must have
      a later time than the packet: frames that the decoder still held at that moment must not end the damage.

    Returns:
        Shape (number of frames,).

    >>> key, good = FrameFacts(0, 1, True, False, False), FrameFacts(1, 1, False, False, False)
    >>> broken, next_key = FrameFacts(2, 1, False, True, False), FrameFacts(4, 1, True, False, False)
    >>> sound_frames([key, good, broken, FrameFacts(3, 1, False, False, False), next_key]).tolist()
    [True, True, False, False, True]
    >>> from store.schema import VideoStatus
    >>> cut = Damage(2, VideoError(VideoStatus.CORRUPT, "cut"))
    >>> sound_frames([key, good, cut, FrameFacts(3, 1, False, False, False), next_key]).tolist()
    [True, False, False, True]
    """
    frames: list[FrameFacts] = []
    sound: list[bool] = []
    damage: FrameFacts | Damage | None = None
    for event in events:
        if isinstance(event, Damage):
            damage = event
            sound[-1:] = [False] * len(sound[-1:])  # the frame before, if there is one
            continue
        if event.is_corrupt:
            damage = event
            # B pictures are shown before the picture they are predicted from, so they have come out already.
            _mark_bidirectional_run(frames, sound)
        elif event.is_key and _clears(event, damage):
            damage = None
        frames.append(event)
        sound.append(damage is None)
    return np.array(sound, dtype=np.bool_)


def _mark_bidirectional_run(frames: Sequence[FrameFacts], sound: list[bool]) -> None:
    """Mark the B pictures at the end of the frames so far as unsound, in place."""
    for position in range(len(frames) - 1, -1, -1):
        if not frames[position].is_bidirectional:
            return
        sound[position] = False


def _clears(key_frame: FrameFacts, damage: FrameFacts | Damage | None) -> bool:
    if isinstance(damage, Damage):
        return damage.pts is not None and key_frame.pts is not None and key_frame.pts > damage.pts
    return True
