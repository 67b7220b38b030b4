"""How the store was made: runs with their throughput, the commands that reproduce it, versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.reporting.commands import MadeWith, Step, Steps, steps_to
from pipeline.reporting.page import Section
from pipeline.reporting.records import Work, work_of, worked_on
from pipeline.reporting.scoring import NUM_PERMUTATIONS
from pipeline.reporting.subject import Subject
from pipeline.run.records import PastRun
from pipeline.run.software import software_versions
from store.json_values import JSON, mapping_at

MOST_RUNS = 30


@dataclass(frozen=True, slots=True)
class Throughput:
    """What all runs of one kind made together."""

    command: str
    about: str
    """The mask set, feature set or checkpoint; empty for frames."""
    unit: str
    number: int
    seconds: float
    num_runs: int
    num_frames: int | None
    num_source_bytes: int | None
    where: str
    """Of the latest run."""

    def a_second(self, number: int | None) -> float | None:
        """Of so many, how many a second."""
        return None if number is None or not self.seconds else number / self.seconds


@dataclass(frozen=True, slots=True)
class Versions:
    """Versions of one piece of software where it was at work."""

    name: str
    used: tuple[str, ...]
    """One for each column, a dash where it was not used."""


@dataclass(frozen=True, slots=True)
class Making:
    """How the store was made."""

    runs: tuple[tuple[PastRun, str], ...]
    """The latest, newest first, and what each worked on."""
    num_more_runs: int
    num_failed: int
    num_interrupted: int
    throughput: tuple[Throughput, ...]
    steps: Steps
    checks: tuple[Step, ...]
    """The lines that give the numbers of this page again."""
    columns: tuple[str, ...]
    versions: tuple[Versions, ...]


def making_section(subject: Subject) -> Section:
    """The section."""
    runs = subject.runs
    manifest = subject.store.manifest
    made = MadeWith(subject.store.place, manifest.options, subject.masks, subject.features, tuple(manifest.splits))
    columns, versions = _versions(subject)
    values = Making(
        runs=tuple((run, worked_on(run)) for run in reversed(runs[-MOST_RUNS:])),
        num_more_runs=max(0, len(runs) - MOST_RUNS),
        num_failed=sum(not run.is_done and not run.is_interrupted for run in runs),
        num_interrupted=sum(run.is_interrupted for run in runs),
        throughput=_throughput(runs),
        steps=steps_to(made, runs),
        checks=_checks(subject),
        columns=columns,
        versions=versions,
    )
    return Section.of("making", "How it was made", values)


def _throughput(runs: tuple[PastRun, ...]) -> tuple[Throughput, ...]:
    groups: dict[tuple[str, str, str], list[Work]] = {}
    for run in runs:
        work = work_of(run)
        if work is not None:
            groups.setdefault((run.command, worked_on(run), work.unit), []).append(work)
    found = []
    for (command, about, unit), works in groups.items():
        found.append(
            Throughput(
                command=command,
                about=about,
                unit=unit,
                number=sum(work.number for work in works),
                seconds=sum(work.seconds for work in works),
                num_runs=len(works),
                num_frames=_sum([work.num_frames for work in works]),
                num_source_bytes=_sum([work.num_source_bytes for work in works]),
                where=works[-1].where,
            )
        )
    return tuple(found)


def _sum(numbers: list[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _checks(subject: Subject) -> tuple[Step, ...]:
    place, steps = subject.store.place, []
    permutations = ["--permutations", str(NUM_PERMUTATIONS)]
    for scored in subject.scores.splits:
        names = [one.name for one in scored.sets]
        split = [] if scored.split == "test" else ["--split", scored.split]
        protocol = [] if subject.options.protocol == "fda" else ["--protocol", subject.options.protocol]
        for name in names:
            limit = ["--max-missing", "100%"] if _lacks_many(subject, scored.split, name) else []
            steps.append(Step.of("fda", "eval", place, "--features", name, *split, *protocol, *limit))
        if len(names) > 1:
            limit = ["--max-missing", "100%"] if any(_lacks_many(subject, scored.split, name) for name in names) else []
            steps.append(Step.of("fda", "compare", place, *names, *split, *protocol, *limit, *permutations))
    return tuple(steps)


def _lacks_many(subject: Subject, split: str, name: str) -> bool:
    """Whether so many videos lack features that `fda eval` refuses them by default."""
    scored = next(one for its in subject.scores.splits if its.split == split for one in its.sets if one.name == name)
    return scored.num_videos_expected - scored.num_videos > 0.1 * scored.num_videos_expected


def _versions(subject: Subject) -> tuple[tuple[str, ...], tuple[Versions, ...]]:
    """One column for the frames, one for each feature set with other versions than the one before, one for now."""
    columns: dict[str, Mapping[str, JSON]] = {"frames and masks": dict(subject.store.manifest.software)}
    for name, attributes in subject.features.items():
        software = mapping_at(attributes, "software")
        same = next((key for key, its in columns.items() if its == software and key.startswith("features ")), None)
        if same is not None:
            # Renamed, to the end: one column for all feature sets that the same versions made.
            columns[f"{same}, {name}"] = columns.pop(same)
        elif software:
            columns[f"features {name}"] = software
    columns["this page"] = dict(software_versions(("fda", "numpy", "matplotlib")))
    names = list(dict.fromkeys(name for software in columns.values() for name in software))
    return tuple(columns), tuple(
        Versions(name, tuple(str(software.get(name, "-")) for software in columns.values())) for name in names
    )
