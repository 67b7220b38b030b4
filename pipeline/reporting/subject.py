"""What the page is about: a store, with all that several sections need to know of it, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.reporting.options import ReportOptions
from pipeline.reporting.records import read_runs
from pipeline.reporting.scoring import MAX_SEARCHED, WRONG, Scores, score_all
from pipeline.reporting.thumbnails import Thumbnails
from pipeline.run.events import Reporter
from pipeline.run.records import PastRun
from pipeline.upkeep.status import StoreStatus, store_status
from store.claims.holding import claims_on
from store.clips.mask_sets import mask_attributes, mask_set_names
from store.contents import SharedVideos, shared_videos
from store.features import feature_names, features_made_with
from store.json_values import JSON
from store.store import Store
from store.view import StoreView


@dataclass(frozen=True)
class Subject:
    """A store, and what was found in it."""

    view: StoreView
    options: ReportOptions
    report: Reporter
    status: StoreStatus | None
    """None if the catalogue cannot be read."""
    runs: tuple[PastRun, ...]
    claims: tuple[str, ...]
    """Who is writing into the store now."""
    masks: Mapping[str, Mapping[str, JSON]]
    """Mask set -> what made it."""
    features: Mapping[str, Mapping[str, JSON]]
    """Feature set -> what made it, in the first split that has it."""
    shared: tuple[SharedVideos, ...] | None
    """Videos that two splits have in common; None if they were not looked for."""
    scores: Scores
    pictures: Thumbnails

    @property
    def store(self) -> Store:
        """The store itself."""
        return self.view.store

    @property
    def title(self) -> str:
        """Of the page."""
        return self.options.title or f"Report on {self.store.manifest.dataset['name']}"


def subject_of(store: Store, options: ReportOptions, report: Reporter) -> Subject:
    """Read a store; what cannot be read is a warning.

    Raises:
        NotInStoreError: The options name a split or feature set that the store does not have.
    """
    report.say("reading commit and run records")
    view = StoreView(store)
    try:
        status = store_status(store, report.listener)
    except WRONG as error:
        status = None
        report.warn(str(error))
    runs = read_runs(store, report)
    return Subject(
        view=view,
        options=options,
        report=report,
        status=status,
        runs=runs,
        claims=tuple(map(str, claims_on(store.folder))),
        masks=_masks(store, report),
        features=_features(store, report),
        shared=_shared(store, report),
        scores=score_all(store, options, runs, report),
        pictures=Thumbnails(view, report, options.thumbnails),
    )


def _shared(store: Store, report: Reporter) -> tuple[SharedVideos, ...] | None:
    num_splits = len(store.manifest.splits)
    if num_splits > MAX_SEARCHED:
        return None
    try:
        return tuple(shared_videos(store)) if num_splits > 1 else ()
    except WRONG as error:
        report.warn(f"videos that splits share were not looked for: {error}")
        return None


def _masks(store: Store, report: Reporter) -> dict[str, Mapping[str, JSON]]:
    found: dict[str, Mapping[str, JSON]] = {}
    for name in mask_set_names(store):
        for split in store.manifest.splits:
            try:
                found[name] = mask_attributes(store, split, name)
                break
            except WRONG as error:
                found[name] = {}
                report.warn(str(error))
    return found


def _features(store: Store, report: Reporter) -> dict[str, Mapping[str, JSON]]:
    found: dict[str, Mapping[str, JSON]] = {}
    for split in store.manifest.splits:
        for name in feature_names(store, split):
            if not found.get(name):
                try:
                    found[name] = features_made_with(store, name, split)
                except WRONG as error:
                    found[name] = {}
                    report.warn(str(error))
    return dict(sorted(found.items()))
