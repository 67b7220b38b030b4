"""`fda remove`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

import fda
from cli.options.files import Place
from cli.options.names import complete_features, complete_masks, complete_splits
from cli.options.shared import progress_option, shared_options, wait_option
from cli.output.printing import print_json, show
from cli.output.progress import SECONDS_BEFORE_A_BAR, progress_listener
from pipeline.run.words import plural
from pipeline.upkeep.options import RemoveOptions

if TYPE_CHECKING:
    from pipeline.upkeep.removal import Removal


@click.command("remove")
@click.argument("store_place", metavar="STORE", type=Place(path_type=str))
@click.option(
    "--masks",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_masks,
    help="Remove this mask set; may be repeated.",
)
@click.option(
    "--features",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_features,
    help="Remove this feature set; may be repeated.",
)
@click.option(
    "--split",
    "splits",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_splits,
    help="Remove this split with everything in it.",
)
@click.option("--yes", is_flag=True, help="Remove it. Without this flag, print what would be removed.")
@wait_option
@progress_option
@shared_options
def command(
    store_place: str,
    masks: Sequence[str],
    features: Sequence[str],
    splits: Sequence[str],
    yes: bool,
    wait: bool,
    progress: bool,
    as_json: bool,
) -> None:
    """Remove mask sets, feature sets or whole splits from STORE: named one by one, and only with --yes.

    Commit records are removed first, so a half-removed set is never used. If interrupted, run it again. Features that
    were made from removed masks are named: they are refused from then on. Only files that fda wrote are removed. A
    store keeps at least one split.
    """
    options = RemoveOptions(tuple(masks), tuple(features), tuple(splits))
    with progress_listener("remove", progress, after_seconds=SECONDS_BEFORE_A_BAR) as listener:
        result = fda.remove(store_place, options, preview=not yes, wait=wait, listener=listener)
    print_json(result.to_dict()) if as_json else show(_sentence(result.removal, is_done=yes))


def _sentence(removal: Removal, *, is_done: bool) -> str:
    named = ", ".join(
        f"{kind} {name!r}"
        for kind, names in (("masks", removal.masks), ("features", removal.features), ("split", removal.splits))
        for name in names
    )
    lost = [*(f"masks {name!r}" for name in removal.masks_of_splits)]
    lost += [f"features {name!r}" for name in removal.features_of_splits]
    with_it = f" with its part of {', '.join(lost)}" if lost else ""
    size = f"{plural(removal.num_files, 'file')}, {removal.num_bytes / 2**20:,.1f} MiB"
    if is_done:
        return f"removed {named}{with_it} ({size}){_stale(removal, 'are')}"
    return f"this would remove {named}{with_it} ({size}): give --yes to remove it{_stale(removal, 'would be')}"


def _stale(removal: Removal, verb: str) -> str:
    """What cannot be used any more."""
    names = removal.features_out_of_date
    if not names:
        return ""
    named = ", ".join(map(repr, names))
    what, maker = ("these masks", "`fda masks`") if removal.masks else ("these", "the same command")
    return (
        f". Features {named}, which were made from {what}, {verb} out of date, and refused: {maker} with the same "
        "options makes them current again"
    )
