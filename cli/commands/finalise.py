"""`fda finalise`."""

from __future__ import annotations

from collections.abc import Callable

import click

from cli.options.shared import max_failed_option, shared_options, wait_option
from cli.output.printing import FAILED, plural, print_json, say
from cli.writing import exit_by_failures, print_failures
from pipeline.run.records import RunClock, recorded_run
from pipeline.run.writing import writing
from pipeline.upkeep.finalise import Finalised, finalise
from store.failures import FAILURES_NAME
from store.json_values import JSON
from store.places.opening import folder_at
from store.stages import FRAMES_STAGE
from store.store import Store


@click.command("finalise")
@click.argument("store_place", metavar="STORE", type=click.Path(path_type=str))
@max_failed_option
@wait_option
@shared_options
def command(
    store_place: str, max_failed: Callable[[int], float], wait: bool, as_json: bool, progress: bool | None
) -> None:
    """End a job that was done in parts: say whether everything stands in STORE, and which videos failed.

    Run it once all `--partition` jobs have ended; a run without partitions does it by itself. Exit code 1 where shards
    are still pending: run those parts again, and then this. Once all frames are complete, the table of failed videos is
    written to catalog/failures.parquet, and leftovers of killed parts are removed.
    """
    clock = RunClock()
    folder = folder_at(store_place)
    Store.open(folder)  # so that nothing is claimed where there is no store
    with (
        writing(folder, "finalise", [FRAMES_STAGE], wait=wait) as mine,
        recorded_run(mine, "finalise", clock, {}) as run,
    ):
        finalised = finalise(Store.open(mine))
        run.result = summary = _summary(store_place, finalised)
    if as_json:
        print_json(summary)
    else:
        print_failures(finalised.tally)
    for one in finalised.pending:
        say(
            f"{one.split}: {one.stage} owes {one.num_pending:,} of {plural(one.num_shards, 'shard')}, "
            f"the first is {one.first_pending.key}"
        )
    if finalised.pending:
        say("not done: run the parts that made them again, and then this")
        click.get_current_context().exit(FAILED)
    exit_by_failures(finalised.tally, max_failed)


def _summary(place: str, finalised: Finalised) -> dict[str, JSON]:
    tally = finalised.tally
    return {
        "store": place,
        "num_videos": tally.num_videos,
        "num_clips": tally.num_videos - len(tally.failures),
        "num_clips_truncated": tally.num_truncated,
        "num_failed": len(tally.failures),
        "failures": FAILURES_NAME,
        "num_shards": finalised.num_shards,
        "pending": [
            {"split": one.split, "stage": one.stage, "num_shards": one.num_shards, "num_pending": one.num_pending}
            for one in finalised.pending
        ],
    }
