"""`baseline`: do the paper's masks help, against no alpha channel and against one that says nothing?"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.clips.options import AlphaSource
from pipeline.evaluation.names import DIRECTIONS
from pipeline.evaluation.statistics.crossed import mean_of
from pipeline.experiments.drawings import shares_by_row
from pipeline.experiments.findings import Drawing, Findings, Table, percent_of, points_of, verdict
from pipeline.experiments.kind import Kind, Subject
from pipeline.experiments.masks import KINDS, ONES, PAPER, TRUTH, references
from pipeline.experiments.options import ExperimentKind, ExperimentOptions
from pipeline.experiments.plan import Condition, Plan
from pipeline.experiments.results import Results
from pipeline.run.words import plural
from pipeline.synthetic.suites import Suite

NO_ALPHA = Condition(
    "no-alpha",
    "mean pooling, no alpha (CLIP4Clip)",
    PAPER.name,
    AlphaSource.ONES,
    {"alpha_lr": 0.0},  # the alpha convolution begins at zero, and stays there
    is_plain=True,
)
WITH_MASKS = Condition(PAPER.name, PAPER.title, PAPER.name)
SHUFFLED = Condition("shuffled", "masks of other clips", PAPER.name, AlphaSource.SHUFFLED)
RANDOM_AREA = Condition("random-area", "random rectangles of the masks' area", PAPER.name, AlphaSource.RANDOM_AREA)


def plan(subject: Subject, options: ExperimentOptions) -> Plan:
    """The same training of all conditions, but for what is in the alpha channel."""
    others = (*KINDS, *((TRUTH,) if subject.has_truth else ()))
    return Plan(
        kind=ExperimentKind.BASELINE,
        store=subject.store,
        masks=(PAPER, *others),
        conditions=(
            *(NO_ALPHA, ONES, WITH_MASKS, SHUFFLED, RANDOM_AREA),
            *(Condition(one.name, one.title, one.name) for one in others),
        ),
        seeds=options.random_seeds,
        # Generated data have captions of what rests in a split of their own: masks should not help there.
        splits=(options.test_split, *(one for one in subject.num_videos if subject.is_generated and one == "still")),
        more_splits=(),
        # For the table of what choosing on test would have added; nothing is chosen by it.
        watched=options.test_split,
        trained=subject.trained,
    )


def findings(results: Results) -> Findings:
    """The table of conditions, what each gains, and the two differences that answer the question."""
    split = results.splits[0]
    tables = [_conditions(results, one) for one in results.splits]
    if references(results):
        tables += [_differences(results, one) for one in results.splits]
    return Findings(
        answer=_answer(results, split),
        tables=(*tables, _bias_table(results)),
        drawings=(_drawing(results, split),),
    )


def _answer(results: Results, split: str) -> str:
    told = []
    masks = WITH_MASKS.name if WITH_MASKS.name in results.conditions else next(iter(results.masked), None)
    for than, words in ((ONES.name, "an alpha channel of all ones"), (NO_ALPHA.name, "none")):
        if masks is not None and than in results.conditions:
            gain = results.gain(masks, than, split)
            said = verdict(gain, better="the masks help", worse="the masks harm")
            told.append(f"{points_of(gain)} points over {words} ({said})")
    if not told:
        return f"No answer: it needs masks, and one of `{ONES.name}` and `{NO_ALPHA.name}`; the others were left out."
    named = "FDA-CLIP's masks" if masks == WITH_MASKS.name else f"The masks `{masks}`"
    return f"{named} change text-to-video R@1 by {' and by '.join(told)}."


def _conditions(results: Results, split: str) -> Table:
    rows = []
    for name, one in results.conditions.items():
        uses = one["alpha"] == AlphaSource.MASKS
        rows.append(
            (
                one["title"],
                percent_of(results.recall(name, split)),
                percent_of(results.recall(name, split, k=5)),
                percent_of(results.recall(name, split, DIRECTIONS[1])),
                percent_of(results.overlap(one["masks"], split)) if uses else "-",
                percent_of(results.coverage(one["masks"], split)) if uses else "-",
            )
        )
    return Table(
        _named("conditions", results, split),
        f"Conditions, split {split}",
        ("alpha channel", "T2V R@1", "T2V R@5", "V2T R@1", "IoU with the truth", "coverage"),
        tuple(rows),
    )


def _named(table: str, results: Results, split: str) -> str:
    return table if split == results.splits[0] else f"{table}-{split}"


def _differences(results: Results, split: str) -> Table:
    rows, compared = [], references(results)
    for name, one in results.conditions.items():
        cells = [
            "-" if than == name else points_of(results.gain(name, than, split, direction))
            for direction in DIRECTIONS
            for than in compared
        ]
        rows.append((one["title"], *cells))
    return Table(
        _named("differences", results, split),
        f"Differences of R@1 in points, split {split}",
        ("alpha channel", *(f"{short} over {words}" for short in ("T2V", "V2T") for words in compared.values())),
        tuple(rows),
        ("Each interval is for its own difference: among twenty without any, one is expected to leave out zero.",),
    )


def _bias_table(results: Results) -> Table:
    """What choosing the checkpoint on the test split would have added, evaluation by evaluation of each training."""
    chosen: dict[str, list[float]] = {}
    best: dict[str, list[float]] = {}
    for name in results.conditions:
        trainings = [cell.training for cell in results.cells_of(name)]
        chosen[name] = [one["watched_chosen"] for one in trainings if one is not None]
        best[name] = [one["watched_best"] for one in trainings if one is not None]
    titles = {name: one["title"] for name, one in results.conditions.items()}
    rows = [_bias_row(titles[name], chosen[name], best[name]) for name in titles]
    # The mean over conditions for each seed: seeds are what varies here, and conditions are not drawn.
    over = [[sum(seed) / len(seed) for seed in zip(*one.values(), strict=True)] for one in (chosen, best)]
    num = len(next(iter(chosen.values())))
    return Table(
        "chosen-on-test",
        "Bias of choosing the checkpoint on the test split: T2V R@1 there, while training",
        ("alpha channel", "chosen on validation", "chosen on test", "bias"),
        (*rows, _bias_row("mean of all", *over)),
        (f"Means of {plural(num, 'seed')}; intervals are over seeds alone, for the test videos are the same in both.",),
    )


def _bias_row(title: str, chosen: Sequence[float], best: Sequence[float]) -> tuple[str, ...]:
    # Of differences, seed by seed: what two trainings have in common drops out.
    gain = mean_of([more - less for less, more in zip(chosen, best, strict=True)])
    means = (f"{100 * sum(one) / len(one):.1f}" for one in (chosen, best))
    return (title, *means, points_of(gain))


def _drawing(results: Results, split: str) -> Drawing:
    rows = {name: [results.recall(name, split, direction) for direction in DIRECTIONS] for name in results.conditions}
    what = "Text-to-video and video-to-text R@1 by what is in the alpha channel"
    return shares_by_row("baseline", what, rows, ("text to video", "video to text"), "R@1, %, with 95% intervals")


BASELINE = Kind(
    name=ExperimentKind.BASELINE,
    question="Do FDA-CLIP's masks help, and does anything help more?",
    suite=Suite.DEMO,
    quick_clips=(16, 4),
    plan=plan,
    findings=findings,
)
