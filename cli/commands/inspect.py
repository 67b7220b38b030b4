"""`fda inspect`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import fda
from cli.options.files import NewFile, Place
from cli.options.models import known_encoder_options
from cli.options.names import complete_features, complete_masks, complete_splits
from cli.options.shared import Function, add_options, device_option, progress_option, seed_option, shared_options
from cli.output.printing import print_json, show
from cli.output.progress import SECONDS_BEFORE_A_BAR, progress_listener
from cli.output.tables import print_table
from encoders.options import ModelSource
from pipeline.inspection.options import MAX_FRAMES, MAX_MASK_SETS, NUM_BY_DEFAULT, InspectFiles, InspectOptions
from pipeline.run.words import percent, plural

if TYPE_CHECKING:
    from pipeline.inspection.facts import InspectedVideo
    from pipeline.inspection.run import InspectionResult

DEFAULT_PAGE, DEFAULT_SHEET = "inspect.html", "inspect.png"
FAILED_BY_DEFAULT = 100
COLUMNS = ("video", "split", "chosen by", "status", "coverage", "best rank", "worst rank")
TEXTS = COLUMNS[:4]


class _CountOrAll(click.ParamType[int]):
    """The number of `--failed`, which may be left out."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return it."""
        try:
            count = int(value)
        except ValueError:
            self.fail(f"{value!r} is not a number: --failed=20, or --failed at the end of the line", param, ctx)
        if count < 1:
            self.fail(f"{count} is not in the range x>=1.", param, ctx)
        return count


def _count(flag: str, text: str) -> Callable[[Function], Function]:
    return click.option(flag, type=click.IntRange(min=1), metavar="N", help=text)


_CHOICES = (
    _count("--worst-rank", "The N videos whose captions find them last; needs --features."),
    _count("--emptiest", "The N videos whose masks cover least."),
    _count("--fullest", "The N videos whose masks cover most."),
    _count("--camera", "N videos whose camera moves, the fullest masks first."),
    click.option(
        "--failed",
        type=_CountOrAll(),
        # With `flag_value`, click takes the option with a value and without one.
        is_flag=False,
        flag_value=str(FAILED_BY_DEFAULT),
        metavar="[N]",
        help=f"N videos that failed, with their reasons.  [default of N: {FAILED_BY_DEFAULT}]",
    ),
    _count("--random", f"N videos at random.  [default: {NUM_BY_DEFAULT}, if nothing else is asked for]"),
    seed_option,
    click.option(
        "--split",
        "splits",
        multiple=True,
        shell_complete=complete_splits,
        help="Choose in this split; may be repeated.  [default: all]",
    ),
)
_SHOWN = (
    click.option(
        "--masks",
        shell_complete=complete_masks,
        multiple=True,
        metavar="NAME",
        help="Mask set to show; may be repeated. Choices go by the first.  "
        f"[default: those that are there, `default` first, {MAX_MASK_SETS} at most]",
    ),
    click.option(
        "--features",
        metavar="NAME",
        shell_complete=complete_features,
        help="Feature set: shows the ranks of captions, and attention.",
    ),
    click.option(
        "--frames",
        "num_frames",
        type=click.IntRange(1, MAX_FRAMES),
        default=InspectOptions.__dataclass_fields__["num_frames"].default,
        show_default=True,
        metavar="N",
        help="Frames to show of each video, at most.",
    ),
    click.option(
        "--attention/--no-attention",
        default=True,
        show_default=True,
        help="Show where the model of the features looks, with the masks and with an alpha of all ones.",
    ),
    device_option,
)
_FILES = (
    click.option("--page", type=NewFile(".html", ".htm"), metavar="FILE.html", help="Write the page here."),
    click.option("--sheet", type=NewFile(".png"), metavar="FILE.png", help="Write the contact sheet here."),
    click.option("--overwrite", is_flag=True, help="Replace the page and the sheet."),
)


def _inspect_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that make up `InspectOptions` and `InspectFiles`, and hand them on as these values."""

    @functools.wraps(function)
    def with_options(
        *,
        page: Path | None,
        sheet: Path | None,
        overwrite: bool,
        splits: Sequence[str],
        masks: Sequence[str],
        **others: Any,
    ) -> None:
        names = ("worst_rank", "emptiest", "fullest", "camera", "failed", "random")
        fields = {name: others.pop(name) for name in (*names, "features", "num_frames", "attention", "device")}
        # The seed is left for `known_encoder_options`.
        options = InspectOptions(
            video_ids=others.pop("video_ids"), seed=others["seed"], splits=tuple(splits), masks=tuple(masks), **fields
        )
        if page is None and sheet is None:
            # Only if neither is named: whoever names one wants no other file.
            page, sheet = Path(DEFAULT_PAGE), Path(DEFAULT_SHEET)
        function(options=options, files=InspectFiles(page, sheet, overwrite), **others)

    return add_options(with_options, (*_CHOICES, *_SHOWN, *_FILES))


@click.command("inspect")
@click.argument("store_place", metavar="STORE", type=Place(path_type=str))
@click.argument("video_ids", metavar="[ID]...", nargs=-1)
@_inspect_options
@known_encoder_options
@progress_option
@shared_options
def command(
    store_place: str,
    options: InspectOptions,
    files: InspectFiles,
    model: ModelSource | None,
    as_json: bool,
    progress: bool,
) -> None:
    """Look at videos of STORE: a page and a contact sheet of frames, masks, attention, captions and ranks.

    Videos are named by their ids, or chosen; several choices are added up. Without --page and --sheet, inspect.html and
    inspect.png are written. A video that failed is shown with its reason. Changes nothing in the store.
    """
    with progress_listener("inspect", progress, after_seconds=SECONDS_BEFORE_A_BAR) as listener:
        result = fda.inspect(store_place, options, files, model=model, listener=listener)
    print_json(result.to_dict()) if as_json else _print(result)


def _print(result: InspectionResult) -> None:
    rows = [_cells(one) for one in result.videos]
    print_table(plural(len(rows), "video"), COLUMNS, rows, texts=TEXTS)
    for name, path in (("page", result.page), ("sheet", result.sheet)):
        if path is not None:
            show(f"{name}: {path.resolve()}  ({path.stat().st_size / 2**20:,.1f} MiB)")


def _cells(one: InspectedVideo) -> list[str]:
    from pipeline.inspection.page import chosen_words  # pictures, which --help does without

    ranks = [f"{caption.rank.rank:,}" for caption in one.ranked if caption.rank is not None]
    return [
        one.video.video_id,
        one.video.split,
        chosen_words(one.chosen_by),
        str(one.status),
        percent(one.masks[0].mean_coverage if one.masks else None),
        ranks[0] if ranks else "-",
        ranks[-1] if ranks else "-",
    ]
