"""`fda doctor`, as one function: what is on this machine, what a run would use of it, and what to do about the rest."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from os import PathLike, fspath

from pipeline.doctor.checks import Check, State
from pipeline.doctor.lanes import checks_in_children
from pipeline.doctor.probes import HERE, LANES
from pipeline.run.events import ItemsDone, Listener, RunPlanned, ignore_events
from store.json_values import JSON

GROUPS = ("software", "extras", "video", "machine", "devices", "cluster", "s3", "store", "disk", "terminal")
"""The order in which they are told."""
_FIRST = {"software": ("Python", "fda", "torch", "open_clip")}
"""The rows of a group that come first; the others follow as they were found."""


@dataclass(frozen=True, slots=True)
class DoctorResult:
    """What was found on this machine."""

    place: str | None
    """The store or folder that was looked at, too."""
    checks: tuple[Check, ...]
    """By group."""
    seconds: float

    @property
    def is_fit(self) -> bool:
        """Whether everything is there that every run needs."""
        return all(one.state is not State.MISSING for one in self.checks)

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        counts = Counter(one.state for one in self.checks)
        return {
            "place": self.place,
            "fit": self.is_fit,
            "counts": {str(state): counts[state] for state in State},
            "checks": [one.to_dict() for one in self.checks],
            "seconds": round(self.seconds, 3),
        }


def doctor(place: str | PathLike[str] | None = None, *, listener: Listener = ignore_events) -> DoctorResult:
    """What is installed and what this machine has, what a run would use, and a remedy for what is missing.

    It changes nothing, sends nothing and raises no error of what it looks at: that is a row. It reads environment
    variables, and never gives a secret.

    Args:
        place: A store, or where one is to be: a folder, or `s3://bucket/prefix`. Its disk is tried with a nameless file
            of at most 64 MiB. Default: no store, and the disk of the current folder.
        listener: Hears how far it is.
    """
    began, given = time.perf_counter(), None if place is None else fspath(place)
    probes = [probe for lane in LANES for probe in lane]
    listener(RunPlanned("checks", len(probes) + 1, 0))
    found = list(HERE.checks(given))
    listener(ItemsDone(1))
    found += checks_in_children(LANES, given, listener)
    return DoctorResult(given, tuple(sorted(found, key=_order)), time.perf_counter() - began)


def _order(row: Check) -> tuple[int, int]:
    first = _FIRST.get(row.group, ())
    group = GROUPS.index(row.group) if row.group in GROUPS else len(GROUPS)
    return group, first.index(row.name) if row.name in first else len(first)
