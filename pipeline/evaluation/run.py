"""`fda eval` and `fda compare`, as one function each: score cached features, and report all that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import OptionError
from pipeline.evaluation.arrays import features_of_arrays
from pipeline.evaluation.comparing.compare import Comparison
from pipeline.evaluation.comparing.compare import compare as compare_sets
from pipeline.evaluation.diagnostics import Diagnostics, diagnose
from pipeline.evaluation.evaluate import Evaluation, evaluate_scores, require_applicable
from pipeline.evaluation.evaluate import evaluate as score
from pipeline.evaluation.metrics import RetrievalResult
from pipeline.evaluation.names import FAMILIES
from pipeline.evaluation.near_duplicates import NearDuplicate, near_duplicates
from pipeline.evaluation.options import BootstrapOptions, CompareOptions, EvalExtras, EvalOptions
from pipeline.evaluation.per_query import per_query_table, write_per_query
from pipeline.evaluation.postprocess import DualSoftmax
from pipeline.evaluation.repeats import num_unlike_repeats
from pipeline.evaluation.scores.dot import DotScores, Put
from pipeline.evaluation.scores.equal import first_of_equal
from pipeline.evaluation.slices.families import SliceFamily, slice_queries
from pipeline.evaluation.slices.figure import draw_slices
from pipeline.evaluation.slices.inputs import caption_texts
from pipeline.evaluation.slices.scoring import SliceScores, score_slices
from pipeline.evaluation.statistics.intervals import Interval, intervals
from pipeline.run.events import Listener, Reporter, ignore_events
from pipeline.run.fields import check_kinds, local_path
from pipeline.run.files import check_writable
from pipeline.run.words import plural
from store.json_values import JSON
from store.store import Store

GPU_DEVICES = tuple(map(Path, ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")))
"""Of NVIDIA's driver, AMD's, and Windows' Linux: without any of them, `auto` is the CPU, and torch is not loaded."""

IntervalTable = Mapping[str, Mapping[str, Interval]]
"""Direction -> metric -> interval."""


@dataclass(frozen=True)
class EvalReport:
    """All that one evaluation has found."""

    result: Evaluation
    options: EvalOptions
    extras: EvalExtras
    intervals: IntervalTable | None
    warnings: tuple[str, ...]
    store: Store | None = None
    """None if arrays were scored; then there is nothing of the following."""
    families: tuple[SliceFamily, ...] = ()
    """The slices that were asked for and can be told from the store."""
    slices: SliceScores | None = None
    diagnostics: Diagnostics | None = None
    near_duplicates: tuple[NearDuplicate, ...] | None = None
    """None if they were not looked for."""

    def per_query(self) -> pa.Table:
        """The rank of every query, and what was retrieved instead: see `pipeline.evaluation.per_query`."""
        result, store = self.result, self.store
        # Read again, and not kept: few reports are asked for single queries.
        texts = None if store is None else caption_texts(store, result.ranking.features, result.split)
        return per_query_table(result.ranking, result.scores, texts, self.families)

    def write_per_query(self, path: str | PathLike[str], *, overwrite: bool = False) -> pa.Table:
        """Write `per_query` as Parquet, with what made it as metadata; returns the table.

        Raises:
            FileExistsError: The file exists, and `overwrite` is false.
            InputError: It would lie in the store.
        """
        path = self._writable(path, overwrite)
        table = self.per_query()
        about = {**self.settings(), "slices": {one.name: one.to_dict() for one in self.families}}
        write_per_query(table, path, about, overwrite=overwrite)
        return table

    def write_figure(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Draw R@1 of the slices that were asked for into a `.png`, `.svg` or `.pdf` file.

        Raises:
            OptionError: No slices were asked for, or the file is of another kind.
            FileExistsError: The file exists, and `overwrite` is false.
            InputError: It would lie in the store.
            NothingToDrawError: All queries are in one slice of each family.
        """
        if self.slices is None:
            raise OptionError("no slices were scored: ask for them by EvalExtras(slices=('all',))")
        title = f"{self.result.features} on {self.result.split}, {self.options.counted}"
        draw_slices(self.slices, self._writable(path, overwrite), title)

    def _writable(self, path: str | PathLike[str], overwrite: bool) -> Path:
        file = local_path(path)
        check_writable(file, *([] if self.store is None else [self.store.place]), overwrite=overwrite)
        return file

    def settings(self) -> dict[str, JSON]:
        """Everything that decides the numbers: enough to get them again."""
        return {
            "features": self.result.features,
            "dataset": {} if self.store is None else dict(self.store.manifest.dataset),
            **asdict(self.options),
            # After `asdict`, in its place: as people write it, and the rule for ties that was used, not None.
            "max_missing": str(self.options.max_missing),
            "ties": str(self.options.counted.ties),
            "bootstrap": None
            if self.intervals is None or self.extras.intervals is None
            else asdict(self.extras.intervals),
        }

    def to_dict(self) -> dict[str, JSON]:
        """The report as JSON."""
        result = self.result
        found = evaluation_dict(result)
        found["post_processed"] = {key: _result_dict(one) for key, one in result.processed.items()}
        found["bank"] = None if result.bank is None else asdict(result.bank)
        if self.intervals is not None:
            found["intervals"] = {
                direction: {key: one.to_dict() for key, one in table.items()}
                for direction, table in self.intervals.items()
            }
        if self.slices is not None:
            found["slices"] = self.slices.to_dict()
        if self.diagnostics is not None:
            found["diagnostics"] = self.diagnostics.to_dict()
        if self.near_duplicates is not None:
            found["near_duplicates"] = [asdict(one) for one in self.near_duplicates]
        return {**found, "options": self.settings(), "warnings": list(self.warnings)}


@overload
def evaluate(
    store: str | PathLike[str],
    features: str,
    options: EvalOptions | None = None,
    *,
    extras: EvalExtras | None = None,
    listener: Listener = ignore_events,
) -> EvalReport: ...


@overload
def evaluate(
    text: ArrayLike,
    video: ArrayLike,
    pairs: ArrayLike | None = None,
    *,
    options: EvalOptions | None = None,
    extras: EvalExtras | None = None,
    listener: Listener = ignore_events,
) -> EvalReport: ...


def evaluate(*what: Any, **how: Any) -> EvalReport:
    """Text-to-video and video-to-text retrieval metrics: of cached features, or of arrays without any store.

    `evaluate(store, "mine")` scores a feature set, `evaluate(text, video, pairs)` embeddings that anything has made:

    - `store`: a folder, or `s3://bucket/prefix`; `features`: name of the feature set.
    - `text`: embeddings of captions, shape (num_captions, dim); `video`: of videos, shape (num_videos, dim). Rows are
      scaled to unit norm: scores are cosines.
    - `pairs`: shape (num_captions,), row of the video that each caption describes; or shape (num_captions, 2), rows of
      a caption and its video. Default: caption i describes video i.
    - `options`: what is scored, and how it is counted. Of arrays, only protocol, ties and dual softmax.
    - `extras`: what is reported beside the metrics. Default: confidence intervals.
    - `listener`: hears how far it is.

    Raises:
        NotInStoreError: There are no such features.
        ShardIncompleteError: They are not complete, or out of date.
        TooManyMissingError: Too many videos have no features.
        InputError: The protocol cannot be applied to these captions, arrays do not fit together, or embeddings are NaN
            or, in a store, not of unit norm.
        OptionError: An option needs a store, and there is none.
    """
    # An array is never a path, so that the first argument tells which of the two is meant. Its own function then
    # refuses arguments that it does not have, by their names.
    first = what[0] if what else how.get("store")
    return _of_store(*what, **how) if isinstance(first, str | PathLike) else _of_arrays(*what, **how)


def _of_store(
    store: str | PathLike[str],
    features: str,
    options: EvalOptions | None = None,
    *,
    extras: EvalExtras | None = None,
    listener: Listener = ignore_events,
) -> EvalReport:
    options, extras, report = options or EvalOptions(), extras or EvalExtras(), Reporter(listener)
    check_kinds(options=(options, EvalOptions), extras=(extras, EvalExtras))
    opened = Store.open(store)
    result = score(opened, features, options, put=_put(extras.device, report), listener=listener)
    # Only told: ranks are right for these embeddings, and other people's cannot be made again here.
    if num_unlike := num_unlike_repeats(opened, result.ranking.features, result.split):
        report.warn(
            f"{plural(num_unlike, 'caption')} with the text of another caption "
            f"{'has another embedding' if num_unlike == 1 else 'have other embeddings'}, so that rounding decides "
            "which ranks first: made by another program or an older version, or on unlike machines. If `fda encode` "
            "made them, `--overwrite --yes` on machines of one kind makes them equal"
        )
    # Before intervals and diagnostics, which take longer: masks that are not complete end it here.
    families = _families(opened, result, extras.slices, report)
    return EvalReport(
        result=result,
        options=options,
        extras=extras,
        intervals=_intervals(result, options, extras.intervals, report),
        families=families,
        slices=score_slices(result.ranking, families, options.counted, _level(extras)) if families else None,
        diagnostics=diagnose(opened, result.ranking, result.scores, result.split, listener=listener)
        if extras.diagnostics
        else None,
        near_duplicates=near_duplicates(
            opened, result.ranking.features, features, options.split, report, options.video_pooling
        )
        if extras.near_duplicates
        else None,
        store=opened,
        warnings=report.warnings,
    )


def _of_arrays(
    text: ArrayLike,
    video: ArrayLike,
    pairs: ArrayLike | None = None,
    *,
    options: EvalOptions | None = None,
    extras: EvalExtras | None = None,
    listener: Listener = ignore_events,
) -> EvalReport:
    options, extras, report = options or EvalOptions(), extras or EvalExtras(), Reporter(listener)
    check_kinds(options=(options, EvalOptions), extras=(extras, EvalExtras))
    need_store = {
        "pooling": options.pooling,
        "top_frames": options.top_frames,
        "bank_split": options.bank_split,
        "slices": extras.slices,
        "diagnostics": extras.diagnostics,
        "near_duplicates": extras.near_duplicates,
    }
    # Refused, not ignored: a report without what was asked for would look like one in which nothing was found.
    if asked := [name for name, value in need_store.items() if value]:
        raise OptionError(f"{', '.join(asked)}: needs a store; `fda.import_features` writes embeddings into one")
    found, changed = features_of_arrays(text, video, pairs)
    for sentence in changed:
        report.warn(sentence)
    require_applicable(found, "these arrays", options.counted, are_paragraphs=False)
    scores = DotScores(found.text, found.video, _put(extras.device, report))
    result = evaluate_scores(found, scores, options, features="arrays", pooling="none", listener=listener)
    if options.dsl_temperature is not None:
        processed = {"dsl": DualSoftmax(scores, options.dsl_temperature)}
        result = result.with_processed(processed, options.counted, listener=listener)
    return EvalReport(
        result=result,
        options=options,
        extras=extras,
        intervals=_intervals(result, options, extras.intervals, report),
        warnings=report.warnings,
    )


def compare(
    store: str | PathLike[str],
    names: Sequence[str],
    options: CompareOptions | None = None,
    *,
    listener: Listener = ignore_events,
) -> Comparison:
    """Feature sets side by side, and each against the first, with confidence intervals and p-values.

    Args:
        store: A folder, or `s3://bucket/prefix`.
        names: Of the feature sets, two or more.
        options: The split, how ranks are counted, and how intervals and p-values are computed.
        listener: Hears how far it is.

    Raises:
        NotInStoreError: There are no such features.
        ShardIncompleteError: They are not complete, or out of date.
        TooManyMissingError: Too many videos lack features in some set.
        CaptionsDifferError: The sets were made from other captions.
        OptionError: Fewer than two names, or one twice.
    """
    options = options or CompareOptions()
    check_kinds(options=(options, CompareOptions))
    return compare_sets(Store.open(store), names, options, listener=listener)


def _put(device: str, report: Reporter) -> Put:
    """What moves embeddings to the device that computes."""
    if device == "cpu" or (device == "auto" and not any(map(Path.exists, GPU_DEVICES))):
        return lambda array: array
    from encoders.similarity import place  # torch, which scoring on a CPU does without

    found = place(device)
    report.say(f"scored on {found.device}")
    return found.put


def _families(store: Store, result: Evaluation, names: Sequence[str], report: Reporter) -> tuple[SliceFamily, ...]:
    """The families that were asked for, of those that the store can tell."""
    wanted = FAMILIES if "all" in names else tuple(dict.fromkeys(names))  # each once, in the order given
    if not wanted:
        return ()
    families = slice_queries(store, result.ranking, result.split)
    known = {family.name for family in families}
    for name in wanted:
        if name not in known:
            report.warn(f"no slices by {name}: the store has no values for it")
    return tuple(family for family in families if family.name in wanted)


def _level(extras: EvalExtras) -> float:
    """The confidence of intervals that are not drawn: those of slices."""
    return (extras.intervals or BootstrapOptions()).level


def _intervals(
    result: Evaluation, options: EvalOptions, bootstrap: BootstrapOptions | None, report: Reporter
) -> IntervalTable | None:
    if bootstrap is None:
        return None
    # Intervals are the default, so one video is no error: nobody may have asked for them.
    if len(result.ranking.to_text.videos) < 2:
        report.warn("no intervals: they are over videos, and only one has captions")
        return None
    return intervals(result.ranking, options.counted, bootstrap, report.listener)


def num_tied(result: Evaluation) -> dict[str, int]:
    """Direction -> queries whose own item scores as high as another."""
    ranking = result.ranking
    return {
        # `level` counts the own item as well: from 2 on, another one ties with it.
        "text_to_video": int((ranking.to_video.level > 1).sum()),
        "video_to_text": int((ranking.to_text.best.level > 1).sum()),
    }


def evaluation_dict(result: Evaluation) -> dict[str, JSON]:
    """Metrics under every protocol that can be applied, as JSON."""
    features = result.ranking.features
    return {
        "features": result.features,
        "split": result.split,
        "protocol": result.protocol,
        "num_videos": result.num_videos,
        "num_videos_expected": result.num_videos_expected,
        "missing_video_ids": list(features.missing_video_ids),
        "num_captions": result.num_captions,
        "num_captions_expected": result.num_captions_expected,
        "num_captions_cut": int((features.num_dropped > 0).sum()),
        "num_captions_equal_to_another": _num_repeated(features.text),
        "num_queries_tied": dict(num_tied(result)),
        "pooling": result.pooling,
        "alpha_cosine": result.alpha_cosine,
        "chosen_on_test": result.chosen_on_test,
        "caveats": list(result.caveats),
        **_result_dict(result.metrics),
        "protocols": {name: _result_dict(one) for name, one in result.results.items()},
        "inapplicable": dict(result.inapplicable),
        "made_by": dict(result.attributes),
    }


def _num_repeated(text: NDArray[np.float32]) -> int:
    """Captions whose embedding is another caption's as well: whatever holds for one holds for the other."""
    first = first_of_equal(text)
    # How often each first row occurs, looked up for every row: (n,).
    return int((np.bincount(first)[first] > 1).sum())


def _result_dict(result: RetrievalResult) -> dict[str, JSON]:
    return {
        "text_to_video": dict(result.text_to_video.to_dict()),
        "video_to_text": dict(result.video_to_text.to_dict()),
    }
