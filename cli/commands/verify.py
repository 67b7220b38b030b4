"""`fda verify`."""

from __future__ import annotations

import time

import click

from cli.options.shared import shared_options, wait_option
from cli.output.printing import DONE, FAILED, plural, print_json, say
from cli.output.progress import progress_listener
from pipeline.run.events import ItemsDone, RunPlanned
from pipeline.run.writing import writing
from store.claims.holding import ANY_STAGE
from store.json_values import JSON
from store.places.folder import StoreFolder
from store.places.opening import folder_at
from store.verify.catalog import read_manifest
from store.verify.verification import Verification, repair, verify

SHOWN = 50
"""Findings that are listed; --json has all."""


@click.command("verify")
@click.argument("store_place", metavar="STORE", type=click.Path(path_type=str))
@click.option("--repair", "is_repair", is_flag=True, help="Remove what is damaged and the next run makes anew.")
@click.option("--quick", "is_quick", is_flag=True, help="Look at names, sizes, records and metadata: read no data.")
@wait_option
@shared_options
def command(
    store_place: str, is_repair: bool, is_quick: bool, wait: bool, as_json: bool, progress: bool | None
) -> None:
    """Find every file of STORE that is not as it was written, missing, foreign or older than what it was made from.

    Reports each file with what is wrong and what repairs it. Exit code 1 where something is wrong; leftovers of killed
    runs and pending shards are reported, and are no error. --repair removes commit records, then their data, and never a
    file that is not the store's. Run the same commands as before, and the store is byte for byte what it was.
    """
    folder = folder_at(store_place)
    start = time.perf_counter()
    repaired: tuple[int, int] | None = None
    if is_repair:
        read_manifest(folder)  # refuse what is no store before anything is written
        with writing(folder, "verify", [ANY_STAGE], wait=wait) as claimed_folder:
            found = _verified(claimed_folder, progress, is_quick=is_quick)
            repaired = repair(claimed_folder, found.findings)
    else:
        found = _verified(folder, progress, is_quick=is_quick)
    seconds = time.perf_counter() - start
    for claim in found.live:
        say(f"warning: {claim} may be writing into the store: what it is making may look wrong until it has ended")
    if as_json:
        print_json(to_json(folder.place, found, repaired, seconds))
    else:
        _print(found, repaired, seconds)
    remaining = [one for one in found.findings if not one.kind.is_harmless and not (is_repair and one.is_repairable)]
    click.get_current_context().exit(FAILED if remaining else DONE)


def _verified(folder: StoreFolder, progress: bool | None, *, is_quick: bool) -> Verification:
    """`verify`, under a progress bar."""
    with progress_listener("verify", progress) as listener:

        def show(num_done: int, num_shards: int) -> None:
            if num_done == 1:
                listener(RunPlanned("shards", num_shards, 0))
            listener(ItemsDone(1))

        return verify(folder, is_quick=is_quick, listener=show)


def _print(found: Verification, repaired: tuple[int, int] | None, seconds: float) -> None:
    for finding in found.findings[:SHOWN]:
        click.echo(f"{finding.kind}: {finding.name}: {finding.what}. Remedy: {finding.remedy}")
    if len(found.findings) > SHOWN:
        click.echo(f"and {len(found.findings) - SHOWN:,} more: --json names all")
    for (split, stage), number in found.pending.items():
        click.echo(f"pending: {plural(number, 'shard')} of {stage} of split {split!r}")
    counts = ", ".join(f"{number:,} {kind}" for kind, number in found.counts.items()) or "nothing found"
    rate = f", {found.num_bytes_read / 2**20 / max(seconds, 1e-9):,.0f} MiB/s" if found.num_bytes_read else ""
    click.echo(
        f"{plural(found.num_files, 'file')}, {found.num_bytes_read / 2**20:,.1f} MiB of data read in {seconds:.1f} s"
        f"{rate}: {counts}"
    )
    if repaired is not None:
        num_removed, num_written = repaired
        click.echo(f"removed {plural(num_removed, 'file')}, wrote {num_written:,}: {_next_step(found)}")


def _next_step(found: Verification) -> str:
    if any(finding.is_repairable for finding in found.findings) or found.pending:
        return "run the commands that made the store again, and they make what is pending"
    return "nothing is to be rebuilt"


def to_json(place: str, found: Verification, repaired: tuple[int, int] | None, seconds: float) -> dict[str, JSON]:
    """The machine-readable result."""
    return {
        "store": place,
        "num_files": found.num_files,
        "num_bytes_read": found.num_bytes_read,
        "seconds": round(seconds, 3),
        "num_wrong": found.num_wrong,
        "counts": {str(kind): number for kind, number in found.counts.items()},
        "pending": [
            {"split": split, "stage": stage, "num_shards": num} for (split, stage), num in found.pending.items()
        ],
        "findings": [finding.to_dict() for finding in found.findings],
        "repaired": None if repaired is None else {"num_removed": repaired[0], "num_written": repaired[1]},
        "live_claims": [str(claim) for claim in found.live],
    }
