"""`fda finalise`."""

from __future__ import annotations

import click

import fda
from cli.options.files import Place
from cli.options.shared import max_failed_option, progress_option, shared_options, wait_option
from cli.output.failures import exit_by_failures, print_failures
from cli.output.printing import FAILED, print_json, say
from cli.output.progress import SECONDS_BEFORE_A_BAR, progress_listener
from pipeline.run.limits import Limit
from pipeline.run.words import plural


@click.command("finalise")
@click.argument("store_place", metavar="STORE", type=Place(path_type=str))
@max_failed_option
@wait_option
@progress_option
@shared_options
def command(store_place: str, max_failed: Limit, wait: bool, progress: bool, as_json: bool) -> None:
    """End a job that was done in parts: report what is pending in STORE, and which videos failed.

    Run it once all `--partition` jobs have ended; a run without partitions does it by itself. Exit code 1 where shards
    are still pending: run those parts again, and then this. Once all frames are complete, the table of failed videos is
    written to catalog/failures.parquet, and leftovers of killed parts are removed.
    """
    with progress_listener("finalise", progress, after_seconds=SECONDS_BEFORE_A_BAR) as listener:
        result = fda.finalise(store_place, wait=wait, listener=listener)
    finalised = result.finalised
    print_json(result.to_dict()) if as_json else print_failures(finalised.tally)
    for one in finalised.pending:
        say(
            f"{one.split}: {one.num_pending:,} of {plural(one.num_shards, 'shard')} of {one.stage} are pending, the "
            f"first is {one.first_pending.key}"
        )
    if not result.is_done:
        say("not done: run the parts that made them again, and then this")
        click.get_current_context().exit(FAILED)
    # Pending comes before failed: the share of failures is known only when all parts are there.
    exit_by_failures(finalised.tally, max_failed)
