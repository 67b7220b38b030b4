"""`fda verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

import fda
from cli.options.files import Place
from cli.options.shared import progress_option, shared_options, wait_option
from cli.output.printing import DONE, FAILED, print_json, say, show
from cli.output.progress import progress_listener
from pipeline.run.words import plural

if TYPE_CHECKING:
    from pipeline.upkeep.run import VerifyResult
    from store.verify.verification import Verification

SHOWN = 50
"""Findings that are listed; --json has all."""


@click.command("verify")
@click.argument("store_place", metavar="STORE", type=Place(path_type=str))
@click.option("--repair", "is_repair", is_flag=True, help="Remove damaged files that the next run rebuilds.")
@click.option("--quick", "is_quick", is_flag=True, help="Check names, sizes, records and metadata; read no data.")
@wait_option
@progress_option
@shared_options
def command(store_place: str, is_repair: bool, is_quick: bool, wait: bool, as_json: bool, progress: bool) -> None:
    """Find files of STORE that changed, are missing, do not belong to it, or are out of date.

    Reports each file with what is wrong and what repairs it. Exit code 1 where something is wrong; leftovers of killed
    runs and pending shards are reported, and are no error. --repair removes commit records, then their data, and never
    a file that is not the store's. Run the same commands as before, and the store is byte for byte what it was.
    """
    with progress_listener("verify", progress) as listener:
        result = fda.verify(store_place, quick=is_quick, repair=is_repair, wait=wait, listener=listener)
    for claim in result.found.live:
        say(f"warning: {claim} may be writing into the store: what it is making may look wrong until it has ended")
    print_json(result.to_dict()) if as_json else _print(result)
    click.get_current_context().exit(DONE if result.is_sound else FAILED)


def _print(result: VerifyResult) -> None:
    found, seconds = result.found, result.seconds
    for finding in found.findings[:SHOWN]:
        show(f"{finding.kind}: {finding.name}: {finding.what}. Remedy: {finding.remedy}")
    if len(found.findings) > SHOWN:
        show(f"and {len(found.findings) - SHOWN:,} more: --json names all")
    for (split, stage), number in found.pending.items():
        show(f"pending: {plural(number, 'shard')} of {stage} of split {split!r}")
    counts = ", ".join(f"{number:,} {kind}" for kind, number in found.counts.items()) or "nothing found"
    # With --quick nothing is read.
    rate = f", {found.num_bytes_read / 2**20 / max(seconds, 1e-9):,.0f} MiB/s" if found.num_bytes_read else ""
    show(
        f"{plural(found.num_files, 'file')}, {found.num_bytes_read / 2**20:,.1f} MiB of data read in {seconds:.1f} s"
        f"{rate}: {counts}"
    )
    if result.repaired is not None:
        removed = plural(result.repaired.num_removed, "file")
        show(f"removed {removed}, wrote {result.repaired.num_written:,}: {_next_step(found)}")


def _next_step(found: Verification) -> str:
    if any(finding.is_repairable for finding in found.findings) or found.pending:
        return "run the commands that made the store again, and they make what is pending"
    return "nothing is to be rebuilt"
