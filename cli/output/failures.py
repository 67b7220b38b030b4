"""What commands print of videos that failed, and the exit code that comes of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.output.printing import DONE, FAILED, OVER_LIMIT, say, show
from pipeline.run.limits import Limit
from pipeline.run.words import plural

if TYPE_CHECKING:
    from pipeline.run.plan import Tally

FAILURES_SHOWN = 20


def exit_by_failures(tally: Tally, max_failed: Limit) -> None:
    """End the command: with another exit code where videos are pending, or more failed than the user allows."""
    # Before the limit: what the machine stopped is no failure of a video, and the next run decodes it.
    if tally.pending:
        click.get_current_context().exit(FAILED)
    failed, limit = len(tally.failures), max_failed(tally.num_videos)
    if failed > limit:
        say(f"{failed} of {plural(tally.num_videos, 'video')} failed, over --max-failed {max_failed}")
    click.get_current_context().exit(OVER_LIMIT if failed > limit else DONE)


def _print_notes(tally: Tally) -> None:
    """Print the notes on clips: choices that a person may want to check."""
    if tally.noted:
        show(f"{plural(len(tally.noted), 'clip')} with a note:")
    for clip in tally.noted[:FAILURES_SHOWN]:
        show(f"  {clip.video_id}  {clip.note}")
    if len(tally.noted) > FAILURES_SHOWN:
        show(f"  and {len(tally.noted) - FAILURES_SHOWN} more: --json and the commit records have all")


def print_failures(tally: Tally, root: Path | None = None) -> None:
    """Say how many clips there are and which videos failed; `root` is where videos were looked for, if they were."""
    num_clips = tally.num_clips
    _print_notes(tally)
    for one in tally.pending[:FAILURES_SHOWN]:
        show(f"  {one.video_id}  {one.status}: {one.reason}")
    if len(tally.pending) > FAILURES_SHOWN:
        show(f"  and {len(tally.pending) - FAILURES_SHOWN} more: --json and `fda status --failures` name all")
    truncated = f", {tally.num_truncated} of them from files of which a part is lost" if tally.num_truncated else ""
    if not tally.failures:
        show(f"{plural(num_clips, 'clip')}{truncated}; no video failed")
        return
    counts = Counter(str(failure.status) for failure in tally.failures)
    by_status = ", ".join(f"{number} {status}" for status, number in counts.most_common())
    show(f"{plural(num_clips, 'clip')}{truncated}; {plural(len(tally.failures), 'video')} failed: {by_status}")
    for failure in tally.failures[:FAILURES_SHOWN]:
        show(f"  {failure.video_id}  {failure.status}: {failure.reason}")
    if len(tally.failures) > FAILURES_SHOWN:
        show(f"  and {len(tally.failures) - FAILURES_SHOWN} more: --json and the commit records name all")
    if root is not None and any(failure.status == "missing" for failure in tally.failures):
        say(f"missing videos were looked for below {root}: name another folder with --videos")
    say("once videos are repaired or found, --retry-failed decodes them, and only them")
