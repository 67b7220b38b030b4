"""`fda generate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import fda
from cli.options.factors import factor_option
from cli.options.files import Place
from cli.options.shared import on_this_machine, progress_option, seed_option, shared_options
from cli.options.workers import workers_option
from cli.output.printing import print_json, say
from cli.output.progress import progress_listener
from cli.output.tables import print_table
from pipeline.synthetic.options import BackgroundMotion, Codec, GenerateOptions
from pipeline.synthetic.suites import Size, Suite

if TYPE_CHECKING:
    from pipeline.synthetic.run import GenerateResult


@click.command("generate")
@click.argument("folder", type=Place(file_okay=False, path_type=Path), callback=on_this_machine)
@click.option(
    "--suite",
    type=click.Choice([str(one) for one in Suite]),
    default=str(Suite.DEMO),
    show_default=True,
    help="Which splits there are. factors: a test split for each level of each factor.",
)
@click.option(
    "--size",
    type=click.Choice([str(one) for one in Size]),
    default=str(Size.SMALL),
    show_default=True,
    help="How many clips, and how large: tiny takes seconds to make, large hours of all cores (see --dry-run).",
)
@factor_option
@click.option("--num-train", type=click.IntRange(min=1), help="Clips to train with.  [default: as --size says]")
@click.option("--num-eval", type=click.IntRange(min=1), help="Clips of each other split.  [default: as --size says]")
@click.option(
    "--codec",
    type=click.Choice([str(one) for one in Codec]),
    default=str(Codec.H264),
    show_default=True,
    help="Encoding of the videos.",
)
@click.option(
    "--background",
    type=Place(path_type=Path),
    callback=on_this_machine,
    help="Folder of videos of your own: one is the ground of each clip.  [default: a drawn ground]",
)
@click.option(
    "--background-motion",
    type=click.Choice([str(one) for one in BackgroundMotion]),
    default=str(BackgroundMotion.FROZEN),
    show_default=True,
    help="What --background shows. frozen: its first frame, so that the truth is exact. moving: its frames.",
)
@seed_option
@workers_option(
    "Worker processes; 0 works in this process alone.  [default: the number of cores; 0 for a few seconds of work]"
)
@click.option("--overwrite", is_flag=True, help="Remove a generated data set of other options first.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Print what the data set would take, and end.")
@progress_option
@shared_options
def command(
    folder: Path, workers: int | None, overwrite: bool, is_dry: bool, as_json: bool, progress: bool, **given: object
) -> None:
    """Make real, encoded videos in FOLDER, with ground truth of what moves, and a manifest for `fda preprocess`.

    In each clip some objects stand on a textured ground and one moves, or some move in turn; the caption names them.
    Each factor (the camera, noise, cuts, ...) can be set alone. If it is interrupted, run the same command again.

    \b
    fda generate DATA --suite factors --size tiny
    fda preprocess DATA/clips.jsonl STORE
    fda import-masks STORE DATA/truth --masks truth
    """
    options = GenerateOptions(**given)  # type: ignore[arg-type]  # click has checked the names
    if is_dry:
        cost = fda.preview_generation(options)
        print_json(cost.to_dict()) if as_json else say(f"suite {options.suite}, {options.size}: {cost}")
        return
    with progress_listener("generate", progress) as listener:
        result = fda.generate(folder, options, workers=workers, overwrite=overwrite, listener=listener)
    print_json(result.to_dict()) if as_json else _print(result)


def _print(result: GenerateResult) -> None:
    rows = [
        [
            one.split,
            f"{one.num_clips:,}",
            *map(_bound, (one.single_frame_bound_r1, one.orderless_bound_r1, one.best_r1)),
        ]
        for one in result.splits
    ]
    print_table("generated", ["split", "clips", "R@1 of single frames", "without order", "at best"], rows)
    say(f"manifest: {result.manifest}\ntruth: {result.truth}")


def _bound(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
