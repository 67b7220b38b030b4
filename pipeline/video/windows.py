"""Several clips of one file in one pass: it is opened, scanned and decoded once for all of them.

Films and long videos are cut into clips by windows of time. Alone, each clip costs a scan of the whole file, and
decodes again what its neighbours have decoded.

A pass gives a clip only if it is the one that the window gives alone: its frames are chosen without regard to other
windows, and come out of the decoder undamaged, with the times that were planned for them (`decoding.py`). A window from
which a pass takes no clip is decoded alone, and another pass begins behind it. So no window changes how another one
ends, and damage costs only those that depend on it. Only a picture with damage that its decoder does not report may
differ (`soundness.py`): it may contain parts of pictures decoded before it, and a pass decodes others.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import numpy as np

from pipeline.video.clips import DecodedClip, VideoError
from pipeline.video.decoding import clip_of, decode_clip, planned_timeline_of
from pipeline.video.drawing import (
    PlanRefutedError,
    decode_facts,
    draw_packets,
    draw_sequentially,
    drawn_segments,
    is_hollow,
)
from pipeline.video.frame_plan import (
    ClipPlan,
    PacketPlan,
    SequentialPlan,
    guessed_positions,
    plan_clip,
    plan_from_frames,
    plan_packets,
)
from pipeline.video.options import DecodeOptions, Window
from pipeline.video.pictures import Album
from pipeline.video.reading.opening import Deadline, open_video
from pipeline.video.reading.scanned import ScannedVideo, explained, open_scanned
from pipeline.video.reading.timeline import Timeline
from pipeline.video.segments import Segment
from store.schema import VideoStatus

PASS_BYTES = 1 << 26
"""Of pictures: a pass has no more windows than this holds the clips of: 37 of 12 frames of 224 pixels, 6 of 64."""

_logger = logging.getLogger(__name__)

_Outcomes = Generator[DecodedClip | VideoError | int, None, None]
"""One a window, in order. If a pass does not get to the last window, the end is a number: so many of the windows that
follow are to be decoded alone."""


def decode_windows(
    path: Path, options: DecodeOptions, windows: Sequence[Window]
) -> Generator[DecodedClip | VideoError, None, None]:
    """What `decode_clip` gives, or raises, for each window of a file, in order.

    The time limit of the options holds from one answer to the next.

    Args:
        path: The file.
        options: As in `decode_clip`.
        windows: At least one. In the order in which they end, least is kept in memory.
    """
    # Neighbours are RGB until the clip is made.
    clip_bytes = options.num_frames * options.image_size**2 * (6 if options.neighbours else 3)
    most = max(1, PASS_BYTES // clip_bytes)
    for start in range(0, len(windows), most):
        yield from _answers(path, options, windows[start : start + most])


def _answers(
    path: Path, options: DecodeOptions, windows: Sequence[Window]
) -> Generator[DecodedClip | VideoError, None, None]:
    number = 0
    while number < len(windows):
        begin, num_alone, deadline = number, 0, Deadline(options.timeout_seconds)
        with closing(_tried_in_one_pass(path, options, windows[number:], deadline)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, int):
                    num_alone = outcome
                    break
                yield outcome
                number += 1
                deadline.restart()
        assert num_alone or number > begin, "a pass told nothing: the next one would not either"
        # After the pass has been closed: beside it, a window may lack the memory that it has alone.
        for window in windows[number : number + num_alone]:
            yield _alone(path, options, window)
        number += num_alone


def _alone(path: Path, options: DecodeOptions, window: Window) -> DecodedClip | VideoError:
    try:
        return decode_clip(path, options, window)
    except VideoError as error:
        return error


def _tried_in_one_pass(path: Path, options: DecodeOptions, windows: Sequence[Window], deadline: Deadline) -> _Outcomes:
    """The windows, as far as a pass gets. One that fails as a whole is not tried again: each would cost as much."""
    # A pass for a single window saves nothing over `decode_clip`.
    if len(windows) == 1:
        yield 1
        return
    try:
        yield from _in_one_pass(path, options, windows, deadline)
    except VideoError as error:
        _logger.info("the windows that are left are decoded one by one: %s", error)
        yield len(windows)


def _in_one_pass(path: Path, options: DecodeOptions, windows: Sequence[Window], deadline: Deadline) -> _Outcomes:
    """The windows, as far as a pass gets.

    Raises:
        VideoError: It gets no farther.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_scanned(path, options, deadline))
        except VideoError as error:
            if error.status is VideoStatus.TIMEOUT:
                raise
            yield from [error] * len(windows)  # no window was looked at yet, so each has this error
            return
        timeline = planned_timeline_of(file.scan, options)
        if timeline is None:
            yield from _from_the_start(file, options, windows, deadline)
        else:
            yield from _by_packets(file, timeline, options, windows, deadline)


def _from_the_start(
    file: ScannedVideo, options: DecodeOptions, windows: Sequence[Window], deadline: Deadline
) -> _Outcomes:
    """Decode all of the file; twice, if other frames are needed than was guessed."""
    scan, path = file.scan, file.video.path
    guessed = frozenset[int]().union(*(guessed_positions(scan, options, window) for window in windows))
    events, album = decode_facts(path, scan, options, deadline, guessed=guessed, fresh=file.video)
    plans: list[SequentialPlan | VideoError] = []
    for window in windows:
        try:
            plans.append(plan_from_frames(scan, events, options, window))
        except VideoError as error:
            plans.append(explained(error, file.extent))
    clips = [plan for plan in plans if isinstance(plan, SequentialPlan)]
    positions = {position for plan in clips for position in plan.positions.values()}
    if not album.holds(positions):
        try:
            # The times are those of one decode, the same in all plans. There is a clip: an album holds no positions at
            # once.
            album = draw_sequentially(path, scan, positions, clips[0].expected_pts, options, deadline)
        except PlanRefutedError as error:
            raise VideoError(VideoStatus.CORRUPT, str(error)) from error
    for plan in plans:
        yield plan if isinstance(plan, VideoError) else clip_of(scan, plan.clip, album.moved(plan.positions), options)


def _by_packets(
    file: ScannedVideo, timeline: Timeline, options: DecodeOptions, windows: Sequence[Window], deadline: Deadline
) -> _Outcomes:
    """Decode the packets that the frames of all windows depend on, each once."""
    scan = file.scan
    plans = [_planned(file, timeline, options, window) for window in windows]
    clips = [plan for plan in plans if isinstance(plan, ClipPlan)]
    wanted = sorted({place for clip in clips for place in clip.wanted})
    album, drawn, refuted = Album(options, scan.display), set[int](), set[int]()
    waiting = deque(plans)

    def is_refuted(plan: ClipPlan | VideoError) -> bool:
        return isinstance(plan, ClipPlan) and not refuted.isdisjoint(plan.wanted)

    def ended() -> Iterator[DecodedClip | VideoError | int]:
        """The next windows, as far as it is known how they end."""
        while waiting:
            plan = waiting[0]
            if isinstance(plan, VideoError):
                yield plan
            elif is_refuted(plan):
                yield len(list(takewhile(is_refuted, waiting)))  # mostly, one damaged part refutes several
            elif drawn.issuperset(plan.wanted):
                yield clip_of(scan, plan, album.moved({place: place for place in plan.wanted}), options)
            else:
                return
            waiting.popleft()

    # First, because one missing frame at the end means that any of the planned times may be wrong.
    if wanted and not _ends_as_planned(file, timeline, options, deadline):
        refuted.update(wanted)
    yield from ended()
    if not waiting:
        return
    plan = plan_packets(timeline, wanted, scan)
    for segment, holds in _tried_segments(file, plan, options, deadline, album):
        is_shown = np.isin(timeline.pts[wanted], segment.shown_pts)
        (drawn if holds else refuted).update(np.array(wanted)[is_shown].tolist())
        yield from ended()
        # Pictures of clips that are answered: a pass over a film would hold all of them to its end.
        album.keep({place for later in waiting if isinstance(later, ClipPlan) for place in later.wanted})


def _planned(file: ScannedVideo, timeline: Timeline, options: DecodeOptions, window: Window) -> ClipPlan | VideoError:
    try:
        return plan_clip(timeline, file.scan, options, window)
    except VideoError as error:
        return explained(error, file.extent)


def _ends_as_planned(file: ScannedVideo, timeline: Timeline, options: DecodeOptions, deadline: Deadline) -> bool:
    """Whether the last packet gives its frame, if that is in doubt: if not, no plan of the file holds."""
    if not file.scan.may_end_early:
        return True
    try:
        draw_packets(file.video, file.scan, plan_packets(timeline, (), file.scan), options, deadline)
    except PlanRefutedError:
        return False
    return True


def _tried_segments(
    file: ScannedVideo, plan: PacketPlan, options: DecodeOptions, deadline: Deadline, album: Album
) -> Generator[tuple[Segment, bool], None, None]:
    """The segments of a plan, and whether each holds. After one that does not, the file is opened again.

    Raises:
        VideoError: `TIMEOUT`.
    """
    scan, waiting = file.scan, deque(plan.segments)
    with ExitStack() as stack:
        video = file.video
        while waiting:
            whole = tuple(takewhile(lambda segment: not is_hollow(segment, scan), waiting))
            drawn = drawn_segments(video, scan, replace(plan, segments=whole), options, deadline, into=album)
            try:
                for segment in stack.enter_context(closing(drawn)):
                    waiting.popleft()
                    yield segment, True
            except (PlanRefutedError, VideoError) as error:
                if isinstance(error, VideoError) and error.status is VideoStatus.TIMEOUT:
                    raise
                _logger.info("a part of the pass does not hold: %s", error)
            if waiting:  # the first one is hollow or refuted
                yield waiting.popleft(), False
                # A decoder that met damage, and a reader that stopped inside, are not used again.
                stack.close()
                video = stack.enter_context(open_video(video.path, deadline, options, scan.choice))
