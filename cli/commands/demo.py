"""`fda demo`."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import fda
from cli.options.files import Place
from cli.options.shared import on_this_machine, progress_option, seed_option, shared_options
from cli.output.printing import print_json, show
from cli.output.progress import progress_listener
from cli.output.tables import print_table
from pipeline.demo.options import DemoOptions

if TYPE_CHECKING:
    from pipeline.demo.result import DemoResult


@click.command("demo")
@click.argument("folder", type=Place(file_okay=False, path_type=Path), callback=on_this_machine)
@click.option("--quick", is_flag=True, help="A tiny data set and one epoch: runs everything, and shows nothing.")
@seed_option
@progress_option
@shared_options
def command(folder: Path, quick: bool, seed: int, as_json: bool, progress: bool) -> None:
    """Make a small motion data set in FOLDER, and run all commands on it, with masks and without.

    In every clip four objects stand on a still ground and one of them moves; the caption names it. A single frame does
    not tell which one moves, so without masks no per-frame encoder can know. Two kinds of masks are tried: the paper's,
    and those of whole objects. The table also shows two controls: the masks of other clips, and a split whose captions
    name an object that rests. If it is interrupted, run the same command again: it resumes.
    """
    with progress_listener("demo", progress) as listener:
        result = fda.demo(folder, DemoOptions(quick, seed), listener=listener)
    print_json(result.to_dict()) if as_json else _print(result, folder)


def _print(result: DemoResult, folder: Path) -> None:
    from pipeline.demo.page import QUESTION  # NumPy, which --help does without
    from pipeline.demo.table import demo_table
    from pipeline.experiments.findings import QUICK

    print_table(QUESTION, *demo_table(result))
    show(QUICK if result.is_quick else _answer(result))
    num_clips = result.num_test_clips
    show(f"{num_clips} test clips: one hit is {100 / num_clips:.1f} points. still: captions name an object that")
    show("rests, so masks point at the wrong one and should not help.")
    show(f"page: {result.page}  ({result.seconds:.0f} s)")
    line = shlex.join([_program(), "serve", str(folder / "store"), "--open"])
    show(f"search it: {line}    (try: a red star is moving)")


def _answer(result: DemoResult) -> str:
    names = ("masks", "ones", "objects")
    with_masks, without, objects = (result.moving[name].result.metrics.text_to_video.r1 for name in names)
    return (
        f"R@1 with the paper's masks is {with_masks / result.bound_r1:.1f} times the best that any model could guess "
        f"from single frames, and {with_masks - without:.1f} points over the same training without masks. Masks of "
        f"whole objects (--difference auto) make it {objects:.1f}."
    )


def _program() -> str:
    """How to call this program again: by its name, or by its path where a shell does not find it (`make demo`)."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "fda" and shutil.which("fda") is None else "fda"
