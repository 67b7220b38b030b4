"""What is looked at, in which order and for how long: one module of this folder a probe.

Probes that import what may be broken run in child processes: a package that was compiled for another machine kills its
process, a driver may hang, and a mount that is gone does not even answer.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

from pipeline.doctor.checks import Check, State, reason


@dataclass(frozen=True, slots=True)
class Probe:
    """One module with a function `check`."""

    module: str
    """In `pipeline.doctor`."""
    group: str
    """Of the row that says that it failed."""
    name: str
    """Of that row."""
    is_needed: bool
    """Whether no run can do without what it looks at."""
    limit_seconds: float
    """Then it counts as hung. A network file system may take a minute to give the thousands of files of torch."""
    remedy: str
    """Where it failed."""

    def failed(self, why: str) -> Check:
        """The row that says why it failed."""
        state = State.MISSING if self.is_needed else State.WARNING
        return Check(self.group, self.name, state, why, remedy=self.remedy)

    def checks(self, place: str | None) -> Iterator[Check]:
        """What it finds, and why not more if it raises."""
        try:
            check = importlib.import_module(f"pipeline.doctor.{self.module}").check
            yield from cast(Callable[[str | None], Iterator[Check]], check)(place)
        except Exception as error:  # whatever is broken is a row
            yield self.failed(f"does not work: {reason(error)}")


@dataclass(frozen=True, slots=True)
class Request:
    """What a child is to do."""

    probes: tuple[Probe, ...]
    """One after the other."""
    place: str | None
    """The store or folder that `fda doctor` was given."""


HERE = Probe("machine", "machine", "limits", False, 5.0, "report this with `fda doctor --json`")
"""In this process: it takes no time, and the terminal is this one's."""

_REINSTALL = "pip install --force-reinstall"
_SLOW = "see whether the network or the file system answers"
LANES = (
    (
        Probe("devices", "software", "torch", True, 120.0, f"{_REINSTALL} torch, for this machine"),
        Probe("models", "software", "open_clip", True, 120.0, f"{_REINSTALL} open_clip_torch torchvision"),
    ),
    (
        Probe("software", "software", "packages", True, 120.0, "run `make setup` in fda's folder again"),
        Probe("codecs", "video", "decoders", True, 20.0, f"{_REINSTALL} av"),
        Probe("place", "store", "place", True, 20.0, _SLOW),
        Probe("disk", "disk", "speed", False, 20.0, _SLOW),
        Probe("cluster", "cluster", "batch systems and s3", False, 20.0, _SLOW),
    ),
)
"""Those of a lane run one after the other in one child process, and the lanes side by side."""
