"""`fda import-masks`."""

from __future__ import annotations

from pathlib import Path

import click

import fda
from cli.commands.masks import print_masks
from cli.options.files import Place
from cli.options.names import complete_masks
from cli.options.shared import on_this_machine, progress_option, shared_options
from cli.options.workers import run_options, workers_option
from cli.output.printing import print_json
from cli.output.progress import progress_listener
from pipeline.mask_imports.options import MaskImportOptions, Missing
from pipeline.run.options import RunOptions


@click.command("import-masks")
@click.argument("store_place", metavar="STORE", type=Place(path_type=str))
@click.argument("folder", type=Place(path_type=Path), callback=on_this_machine)
@click.option(
    "--masks", "name", required=True, metavar="NAME", shell_complete=complete_masks, help="Name of the mask set."
)
@click.option("--soft", is_flag=True, help="The masks say how likely each pixel moves, 0..255.")
@click.option(
    "--missing",
    type=click.Choice([str(one) for one in Missing]),
    default=str(Missing.REFUSE),
    show_default=True,
    help="What to do about a video without a file. empty: nothing moves in it.",
)
@workers_option(
    "Worker processes; 0 works in this process alone.  [default: the number of cores, or fewer if memory is short; 0 "
    "for a few seconds of work]"
)
@run_options(
    "Remove the mask set of this name first, if there is one.",
    "With --overwrite: also where features were made from these masks, which are then out of date.",
)
@progress_option
@shared_options
def command(
    store_place: str,
    folder: Path,
    name: str,
    soft: bool,
    missing: str,
    run: RunOptions,
    as_json: bool,
    progress: bool,
) -> None:
    """Take masks of any origin from FOLDER into STORE, as a mask set: ground truth, or another program's.

    FOLDER has a file VIDEO_ID.npz for each video, with an array `masks` (frames, height, width), bool or uint8, as the
    video is shown. They are of all frames of the video, or an array `frame_index` says of which. They are resized and
    cropped as the frames are. If it is interrupted, run the same command again: it resumes.

    \b
    fda generate DATA --size tiny
    fda preprocess DATA/clips.jsonl STORE
    fda import-masks STORE DATA/truth --masks truth
    """
    options = MaskImportOptions(soft, Missing(missing))
    with progress_listener("import", progress) as listener:
        result = fda.import_masks(store_place, folder, name, options, run=run, listener=listener)
    print_json(result.to_dict()) if as_json else print_masks(result)
