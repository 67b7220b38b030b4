"""Feature sets as the page shows them: of each split, scored one after the other and then compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from encoders.errors import EncoderError
from pipeline.errors import PipelineError
from pipeline.evaluation.comparing.compare import Comparison, compare_rankings
from pipeline.evaluation.evaluate import Evaluation
from pipeline.evaluation.metrics import RetrievalResult
from pipeline.evaluation.near_duplicates import NearDuplicate, near_duplicates
from pipeline.evaluation.options import BootstrapOptions, CompareOptions, EvalExtras, EvalOptions
from pipeline.evaluation.ranking import Ranking
from pipeline.evaluation.run import EvalReport, IntervalTable, evaluate, num_tied
from pipeline.evaluation.slices.families import slice_queries
from pipeline.evaluation.slices.scoring import SliceScores, score_slices
from pipeline.reporting.examples import Example, find_examples
from pipeline.reporting.options import ReportOptions
from pipeline.reporting.records import worked_on
from pipeline.run.events import Event, Message, Reporter, ignore_events
from pipeline.run.limits import ALL
from pipeline.run.records import PastRun
from pipeline.run.words import listed, plural
from store.errors import NotInStoreError, StoreError
from store.features import feature_names
from store.json_values import JSON
from store.store import Store

MAX_SPLITS, MAX_SETS = 4, 8
"""Splits that are scored, and feature sets of each: `ReportOptions` names others."""
MAKING = ("encode", "import-features", "pool")
"""Commands that make feature sets."""
MOST_MOVED = 3
"""Queries to name that rose most, and as many that fell most."""
NUM_PERMUTATIONS = 2_000
"""A fifth of those of `fda compare`: with 10,000 videos, they would take longer than all else."""
MAX_SEARCHED = 50
"""Splits of a store in which near-duplicates are looked for: each is read as a whole."""
MAX_WITH_EXAMPLES = 4
"""Feature sets with example retrievals, over all splits."""
WRONG = (StoreError, PipelineError, EncoderError, OSError)
"""What a part of the page may fail with: it becomes a sentence there. A bug of ours is none of these."""


@dataclass(frozen=True, slots=True)
class ScoredSet:
    """One feature set of a split."""

    name: str
    metrics: RetrievalResult
    intervals: IntervalTable | None
    """None where one video has captions."""
    protocol: str
    others: Mapping[str, RetrievalResult]
    """Metrics under the other protocols that can be applied."""
    num_videos: int
    num_videos_expected: int
    num_captions: int
    num_captions_expected: int
    num_tied: Mapping[str, int]
    """Direction -> queries whose own item scores as high as another."""
    num_cut: int
    """Captions that are longer than the model reads."""
    alpha_cosine: float | None
    attributes: Mapping[str, JSON]
    caveats: tuple[str, ...]
    remarks: tuple[str, ...]
    """Warnings of the evaluation."""
    slices: SliceScores | None
    why_no_slices: str
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class ScoredSplit:
    """The feature sets of a split."""

    split: str
    sets: tuple[ScoredSet, ...]
    not_scored: Mapping[str, str]
    """Feature set -> why it could not be scored."""
    not_shown: tuple[str, ...]
    """Feature sets for which there is no room."""
    comparison: Comparison | None
    """Each set with the first; None with fewer than two."""
    why_not_compared: str
    duplicates: tuple[NearDuplicate, ...] | None
    """Of the first set; None if they could not be looked for."""
    duplicate_remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """All that was scored."""

    splits: tuple[ScoredSplit, ...]
    not_scored: tuple[str, ...]
    """Splits with features that were left out."""


def score_all(store: Store, options: ReportOptions, runs: Sequence[PastRun], report: Reporter) -> Scores:
    """Score feature sets, split by split; what cannot be scored is a warning.

    Where there are more than the page has room for and none are named, the newest are scored: as `runs` tell it.

    Raises:
        NotInStoreError: The options name a split or feature set that the store does not have, or no feature set of the
            splits that they name.
    """
    names = {split: feature_names(store, split) for split in store.manifest.splits}
    for split in options.splits:
        store.layout(split)  # raises for a split that is not there
    known = set().union(*names.values())
    for name in options.features:
        if name not in known:
            raise NotInStoreError(f"no features {name!r} in {store.place}: there are {listed(sorted(known))}")
    wanted = _named(names, options.features)
    chosen = (options.splits or _default_splits(wanted))[:MAX_SPLITS]
    _check_named(store, names, chosen, options.features, report)
    num_examples_left = MAX_WITH_EXAMPLES
    scored = []
    for split in chosen:
        # Those that were named stay in their order: the first is what others are compared with.
        names_here = wanted[split] if options.features else _newest(wanted[split], runs)
        if num_left := max(0, len(wanted[split]) - MAX_SETS):
            which = "first" if options.features else "newest"
            report.say(
                f"split {split!r}: the {MAX_SETS} {which} of {len(wanted[split])} feature sets are scored, and "
                f"{num_left} left out: --features names others"
            )
        one = _Split(store, split, options, report, num_examples_left).scored(names_here)
        # Over all splits: examples have pictures, and these the most bytes of the page.
        num_examples_left -= sum(bool(its.examples) for its in one.sets)
        scored.append(one)
    # Told on the page, so that a split that was not scored does not look like one without features.
    left = [split for split, its in names.items() if its and split not in chosen]
    return Scores(tuple(scored), tuple(left))


def _named(names: Mapping[str, tuple[str, ...]], features: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Split -> those of its feature sets that are asked for."""
    return {split: tuple(name for name in features or its if name in its) for split, its in names.items()}


def _newest(names: tuple[str, ...], runs: Sequence[PastRun]) -> tuple[str, ...]:
    """Those for which there is room, by name, and after them the others: the room is for what was made last."""
    # Runs are in order of time, so that the last one that made a set counts. A set without a record is the oldest.
    made = {worked_on(run): number for number, run in enumerate(runs) if run.command in MAKING}
    by_age = sorted(names, key=lambda name: made.get(name, -1), reverse=True)
    return (*sorted(by_age[:MAX_SETS]), *sorted(by_age[MAX_SETS:]))


def _check_named(
    store: Store,
    names: Mapping[str, tuple[str, ...]],
    chosen: tuple[str, ...],
    features: tuple[str, ...],
    report: Reporter,
) -> None:
    """Say which of the feature sets that are asked for are in no split that is scored.

    Raises:
        NotInStoreError: None of them is in one.
    """
    absent = [name for name in features if not any(name in names[split] for split in chosen)]
    for name in absent:
        its = [split for split, found in names.items() if name in found]
        sentence = f"no features {name!r} of split {listed(chosen)} in {store.place}: they are of split {listed(its)}"
        if len(absent) == len(features):
            raise NotInStoreError(sentence)
        report.warn(f"{sentence}, which --split would score")


def _default_splits(names: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Those that are there to be scored, `test` first."""
    found = [split for split, its in names.items() if its]
    to_score = [split for split in found if split != "train"] or found
    return tuple(sorted(to_score, key=lambda split: split != "test"))


@dataclass
class _Split:
    """One split while it is scored."""

    store: Store
    split: str
    options: ReportOptions
    report: Reporter
    num_examples_left: int
    duplicates: tuple[NearDuplicate, ...] | None = None
    duplicate_remarks: tuple[str, ...] = ()
    rankings: dict[str, Ranking] = field(default_factory=dict)
    """Of each set that is scored, with its embeddings: all are in memory until they are compared."""

    def scored(self, names: tuple[str, ...]) -> ScoredSplit:
        """Score the first of these feature sets."""
        sets: list[ScoredSet] = []
        not_scored: dict[str, str] = {}
        for name in names[:MAX_SETS]:
            try:
                # `not sets`: the first that can be scored, even if one before it could not.
                sets.append(self._set(name, is_first=not sets))
            except WRONG as error:
                not_scored[name] = str(error)
                self.report.warn(f"features {name!r} of split {self.split!r} are not scored: {error}")
        comparison, why = self._compared()
        return ScoredSplit(
            split=self.split,
            sets=tuple(sets),
            not_scored=not_scored,
            not_shown=names[MAX_SETS:],
            comparison=comparison,
            why_not_compared=why,
            duplicates=self.duplicates,
            duplicate_remarks=self.duplicate_remarks,
        )

    def _set(self, name: str, *, is_first: bool) -> ScoredSet:
        self.report.say(f"scoring features {name!r} of split {self.split!r}")
        # However many videos are missing: the page says so beside the number (`_coverage`), and shows what there is.
        asked = EvalOptions(split=self.split, max_missing=ALL, protocol=self.options.protocol)
        found = evaluate(self.store.place, name, asked, extras=EvalExtras(), listener=self._progress)
        result = found.result
        # Not by `EvalExtras.slices`: masks that are pending would fail the whole evaluation.
        slices, why = self._slices(found)
        examples: tuple[Example, ...] = ()
        if self.num_examples_left > 0:
            examples = find_examples(self.store, result)
            self.num_examples_left -= 1
        scored = ScoredSet(
            name=name,
            metrics=result.metrics,
            intervals=found.intervals,
            protocol=result.protocol,
            others={key: one for key, one in result.results.items() if key != result.protocol},
            num_videos=result.num_videos,
            num_videos_expected=result.num_videos_expected,
            num_captions=result.num_captions,
            num_captions_expected=result.num_captions_expected,
            num_tied=num_tied(result),
            num_cut=int((result.ranking.features.num_dropped > 0).sum()),
            alpha_cosine=result.alpha_cosine,
            attributes=result.attributes,
            caveats=(*result.caveats, *_coverage(result)),
            remarks=found.warnings,
            slices=slices,
            why_no_slices=why,
            examples=examples,
        )
        self.rankings[name] = result.ranking  # now that it is sure to be shown
        # Once a split: near-duplicates are a matter of its videos, and another set finds much the same.
        if is_first:
            self._find_duplicates(result, name)
        return scored

    def _compared(self) -> tuple[Comparison | None, str]:
        if len(self.rankings) < 2:
            return None, ""
        self.report.say(f"comparing {len(self.rankings)} feature sets of split {self.split!r}")
        options = CompareOptions(
            split=self.split,
            max_missing=ALL,
            protocol=self.options.protocol,
            num_moved=MOST_MOVED,
            num_permutations=NUM_PERMUTATIONS,
        )
        try:
            # By the rankings that the sets were scored with: to score them again would take as long as all before.
            return compare_rankings(self.store, self.rankings, options, listener=self._progress), ""
        except WRONG as error:
            self.report.warn(f"the feature sets of split {self.split!r} are not compared: {error}")
            return None, str(error)

    def _progress(self, event: Event) -> None:
        """Pass on progress alone: what the evaluation warns of is beside its numbers."""
        if not isinstance(event, Message):
            self.report.listener(event)

    def _slices(self, found: EvalReport) -> tuple[SliceScores | None, str]:
        try:
            families = slice_queries(self.store, found.result.ranking, self.split)
        except WRONG as error:
            return None, str(error)
        level = BootstrapOptions().level
        return score_slices(found.result.ranking, families, found.options.counted, level), ""

    def _find_duplicates(self, result: Evaluation, name: str) -> None:
        # A reporter of its own, as its warnings belong beside the duplicates, and not at the top of the page.
        told, num_splits = Reporter(ignore_events), len(self.store.manifest.splits)
        if num_splits > MAX_SEARCHED:
            self.duplicate_remarks = (f"near-duplicates are not looked for among more than {MAX_SEARCHED} splits",)
            return
        try:
            self.duplicates = near_duplicates(self.store, result.ranking.features, name, self.split, told)
        except WRONG as error:
            self.duplicate_remarks = (str(error),)
        else:
            self.duplicate_remarks = told.warnings


def _coverage(result: Evaluation) -> tuple[str, ...]:
    """A caveat if fewer videos are scored than there should be."""
    missing = result.num_videos_expected - result.num_videos
    if missing <= 0.1 * result.num_videos_expected:  # the default of `EvalOptions.max_missing`
        return ()
    return (
        f"{missing:,} of {plural(result.num_videos_expected, 'video')} have no features: `fda eval` refuses that "
        "without --max-missing",
    )
