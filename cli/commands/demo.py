"""`fda demo`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from cli.main import fda
from cli.options.shared import local_path, num_cores, seed_option, shared_options
from cli.output.demo_page import DemoClip, write_demo_page
from cli.output.eval_report import METRIC_COLUMNS, metric_cells, to_json
from cli.output.printing import plural, print_json, print_table, say
from pipeline.datasets.synthetic import SPLITS, SyntheticOptions, single_frame_bound, write_synthetic_dataset
from pipeline.evaluation.evaluate import Evaluation, evaluate
from pipeline.evaluation.metrics import ranks_of
from pipeline.evaluation.options import EvalOptions
from pipeline.evaluation.protocols import Ties
from pipeline.evaluation.ranking import DotScores, text_to_video
from pipeline.run.records import RunClock
from pipeline.training.checkpoint import read_history
from store.clips.reader import ClipReader
from store.features import read_features
from store.json_values import JSON
from store.store import Store

MASKS, ONES, SHUFFLED = "masks", "ones", "shuffled"
TITLES = {
    MASKS: "with motion masks",
    ONES: "without (alpha all ones)",
    SHUFFLED: "control: another clip's masks",
}
CLIPS_ON_PAGE = 8
FP32 = ("--precision", "fp32")  # a tiny model gains nothing from bf16, and the numbers are the same everywhere

QUICK_TRAIN = 48


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo measured."""

    moving: dict[str, Evaluation]
    """By feature set, on the split `test`."""
    still: dict[str, Evaluation]
    """By feature set, on the split `still`, whose captions name an object that rests."""
    chance_r1: float
    """R@1 in percent of a guess."""
    bound_r1: float
    """R@1 in percent of an ideal model that sees single frames: it knows every object, and not which one moves."""


@click.command("demo")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), callback=local_path)
@click.option("--quick", is_flag=True, help="A tiny data set and one epoch: runs everything, and shows nothing.")
@seed_option
@shared_options
def command(folder: Path, quick: bool, seed: int, as_json: bool, progress: bool | None) -> None:
    """Make a small motion data set in FOLDER, and run all commands on it, with masks and without.

    In every clip four objects stand on a still ground and one of them moves; the caption names it. A single frame does
    not tell which one moves, so without masks no per-frame encoder can know. The table also shows two controls: the
    masks of other clips, and a split whose captions name an object that rests. Run again, it goes on where it was.
    """
    clock = RunClock()
    options = SyntheticOptions(seed=seed, num_train=QUICK_TRAIN) if quick else SyntheticOptions(seed=seed)
    say(f"making {plural(sum(map(options.num_clips, SPLITS)), 'video')} in {folder / 'data'}")
    manifest = write_synthetic_dataset(folder / "data", options, num_cores())
    for arguments in _commands(folder, manifest, quick, seed):
        _run([*arguments, *_progress_flag(progress)])
    store = Store.open(folder / "store")
    result = _measure(store, options)
    page = folder / "demo.html"
    histories = {name: read_history(folder / "checkpoints" / name) for name in (MASKS, ONES)}
    write_demo_page(page, _rows(result), _header(), histories, _clips(store), store.layout("test").num_videos)
    if as_json:
        print_json(_to_json(result, page, clock))
    else:
        _print(result, page, clock)


def _commands(folder: Path, manifest: Path, quick: bool, seed: int) -> Iterator[list[str]]:
    """The commands of the demo, as a user would type them."""
    store, checkpoints = str(folder / "store"), folder / "checkpoints"
    train = ["--preset", "demo", "--seed", str(seed), *(["--set", "epochs=1"] if quick else [])]
    splits = ["--split", "test", "--split", "still"]
    yield ["preprocess", str(manifest), store]
    for alpha in (MASKS, ONES):
        checkpoint = str(checkpoints / alpha)
        yield ["finetune", store, checkpoint, *train, "--alpha", alpha]
        yield ["encode", store, "--features", alpha, "--checkpoint", checkpoint, "--alpha", alpha, *FP32, *splits]
        yield ["eval", store, "--features", alpha]
    shuffled = ["--checkpoint", str(checkpoints / MASKS), "--alpha", SHUFFLED, *FP32, *splits]
    yield ["encode", store, "--features", SHUFFLED, *shuffled]


def _run(arguments: Sequence[str]) -> None:
    """Run one command in this process; its result goes to stderr, because the demo's own is the last table."""
    say(f"\n$ fda {' '.join(arguments)}")
    with contextlib.redirect_stdout(sys.stderr):
        code = fda.main(list(arguments), prog_name="fda", standalone_mode=False)
    if code:
        raise RuntimeError(f"`fda {arguments[0]}` ended with exit code {code}")


def _progress_flag(progress: bool | None) -> list[str]:
    return [] if progress is None else ["--progress" if progress else "--no-progress"]


def _measure(store: Store, options: SyntheticOptions) -> DemoResult:
    return DemoResult(
        moving={name: evaluate(store, name, EvalOptions("test", max_missing=0.0)) for name in TITLES},
        still={name: evaluate(store, name, EvalOptions("still", max_missing=0.0)) for name in TITLES},
        chance_r1=100 / store.layout("test").num_videos,
        bound_r1=single_frame_bound(options, "test"),
    )


def _header() -> list[str]:
    return ["text to video, test clips", *METRIC_COLUMNS, "V2T R@1", "still R@1"]


def _rows(result: DemoResult) -> list[list[str]]:
    rows = [
        [
            title,
            *metric_cells(result.moving[name].metrics.text_to_video),
            f"{result.moving[name].metrics.video_to_text.r1:.1f}",
            f"{result.still[name].metrics.text_to_video.r1:.1f}",
        ]
        for name, title in TITLES.items()
    ]
    blanks = [""] * (len(METRIC_COLUMNS) + 1)
    rows.append(["ideal guess from single frames", f"{result.bound_r1:.1f}", *blanks])
    rows.append(["chance", f"{result.chance_r1:.1f}", *blanks])
    return rows


def _clips(store: Store) -> list[DemoClip]:
    """The first test clips, and where each stands among all for its own caption."""
    reader = ClipReader(store, "test", "default")
    captions = store.catalog.split_captions("test")["text"].to_pylist()
    ranks = {}
    for name in (MASKS, ONES):
        features = read_features(store, name, "test")
        counts = text_to_video(DotScores(features.text, features.video), features.truth)
        ranks[name] = ranks_of(counts, Ties.PESSIMISTIC)
    clips = []
    for row in range(min(CLIPS_ON_PAGE, len(captions))):
        batch = reader.read([row])
        clips.append(
            DemoClip(
                video_id=batch.video_ids[0],
                caption=captions[row],
                frames=batch.frames[0],
                masks=batch.masks[0],
                rank_with_masks=int(ranks[MASKS][row]),
                rank_without=int(ranks[ONES][row]),
            )
        )
    return clips


def _print(result: DemoResult, page: Path, clock: RunClock) -> None:
    print_table("Does the motion mask help?", _header(), _rows(result))
    with_masks, without = (result.moving[name].metrics.text_to_video.r1 for name in (MASKS, ONES))
    click.echo(
        f"R@1 with masks is {with_masks / result.bound_r1:.1f} times the best that any model could guess from single "
        f"frames, and {with_masks - without:.1f} points over the same training without masks."
    )
    num_clips = result.moving[MASKS].num_videos
    click.echo(f"{num_clips} test clips: one hit is {100 / num_clips:.1f} points. still: captions name an object that")
    click.echo("rests, so masks point at the wrong one and should not help.")
    click.echo(f"page: {page.resolve()}  ({clock.seconds:.0f} s)")


def _to_json(result: DemoResult, page: Path, clock: RunClock) -> dict[str, JSON]:
    return {
        "test": {name: to_json(one) for name, one in result.moving.items()},
        "still": {name: to_json(one) for name, one in result.still.items()},
        "chance_r1": result.chance_r1,
        "single_frame_bound_r1": result.bound_r1,
        "page": str(page.resolve()),
        "seconds": round(clock.seconds, 1),
    }
