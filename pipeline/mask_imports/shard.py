"""The imported masks of one shard: read from the files of its videos, fitted to its frames, and committed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.mask_imports.files import mask_file_name, read_masks
from pipeline.mask_imports.fitting import fitted_clip
from pipeline.mask_imports.options import MaskImportOptions
from pipeline.run.events import ItemsDone, Tell
from pipeline.run.sources import sha256_of
from pipeline.run.threads import one_cv2_thread
from store.clips.layout import Masks, moving
from store.clips.shards import read_frame_index, slot_checksum, write_masks
from store.commits import VideoOutcome
from store.completion import outcomes_of, require_committed
from store.places.folder import StoreFolder
from store.schema import Shard
from store.stages import FRAMES_STAGE
from store.store import Store

NO_FILE = "no file of masks: taken as empty"
FULL_COVERAGE = 0.9
"""Share of the picture from which on a mask counts as full in the summaries, as by default in `fda masks`."""


@dataclass(frozen=True, slots=True)
class MaskImportTask:
    """One shard to import."""

    folder: StoreFolder
    """The store."""
    shard: Shard
    name: str
    """Of the mask set."""
    source: Path
    """The folder of the files of masks."""
    options: MaskImportOptions

    def __str__(self) -> str:
        return f"masks {self.name!r} of shard {self.shard.key}"


@one_cv2_thread()
def import_shard(task: MaskImportTask, tell: Tell) -> Shard:
    """Import one shard's masks. The only writer of their file; running it twice writes the same bytes.

    Raises:
        InputError: The masks of a video cannot be used; the message names the file.
    """
    store, shard = Store.open(task.folder), task.shard
    require_committed(store, shard, FRAMES_STAGE)
    # (videos, t): which frame of the video is in each slot, -1 where there is none.
    frame_index, inputs = read_frame_index(store, shard)
    layout = store.layout(shard.split)
    shape = (*frame_index.shape, layout.height, layout.width)
    masks: Masks = np.zeros(shape, np.uint8 if task.options.soft else np.bool_)
    outcomes = [
        _imported(task, outcome, frame_index[slot], masks[slot])
        for slot, outcome in enumerate(outcomes_of(store, shard))
    ]
    write_masks(store, shard, task.name, masks, outcomes, inputs)
    tell(ItemsDone(shard.num_rows, sum(not outcome.filled for outcome in outcomes)))
    return shard


def _imported(
    task: MaskImportTask, outcome: VideoOutcome, frame_index: NDArray[np.int64], masks: Masks
) -> VideoOutcome:
    """Fill the masks of one clip; its frames come first, then its empty slots."""
    if not outcome.filled:
        return VideoOutcome(outcome.video_id, outcome.row, outcome.status, filled=False)
    path = task.source / mask_file_name(outcome.video_id)
    wanted = frame_index[frame_index >= 0]
    reason = num_bytes = digest = None
    if path.is_file():
        # A clip may show a frame twice, if its video has fewer than it wants; each is read once.
        frames, places = np.unique(wanted, return_inverse=True)
        read = np.zeros((len(frames), *masks.shape[1:]), masks.dtype)
        try:
            fitted_clip(read_masks(path, frames.tolist()), read)
        except InputError as error:
            if str(path) in str(error):
                raise
            raise InputError(f"{path}: {error}") from error  # the geometry does not know of files
        masks[: len(wanted)] = read[places]
        num_bytes, digest = path.stat().st_size, sha256_of(path)
    else:
        reason = NO_FILE
    shown = moving(masks[: len(wanted)])
    areas = shown.sum(axis=(1, 2))  # (t, h, w) -> (t,)
    # OpenCV counts the ground as a component.
    components = [cv2.connectedComponents(mask.astype(np.uint8))[0] - 1 for mask in shown]
    return VideoOutcome(
        video_id=outcome.video_id,
        row=outcome.row,
        status=outcome.status,
        filled=True,
        reason=reason,
        source_bytes=num_bytes,
        source_sha256=digest,
        checksum=slot_checksum(masks),
        num_masks=len(shown),
        mask_coverage=int(areas.sum()) / shown.size,
        mask_components=sum(components) / len(shown),
        num_empty_masks=int((areas == 0).sum()),
        num_full_masks=int((areas >= FULL_COVERAGE * shown[0].size).sum()),
    )
