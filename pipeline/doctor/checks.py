"""What `fda doctor` says of one thing: its state, what would be used, and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum

from store.json_values import JSON


class State(StrEnum):
    """How good one thing is."""

    OK = "ok"
    WARNING = "warning"
    """It works less well than it could, or for some commands only."""
    OPTIONAL = "optional"
    """It is not there, and only those who want what it is for need it."""
    MISSING = "missing"
    """It is not there or does not work, and every run needs it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    group: str
    """What it belongs to: `software`, `devices`, ..."""
    name: str
    state: State
    found: str
    """What is there, or what is wrong, in one line."""
    used: str | None = None
    """What a run would use, where that is a choice."""
    remedy: str | None = None
    """A command or a sentence: what to do where something is missing."""

    def to_dict(self) -> dict[str, JSON]:
        """The check as JSON."""
        return {**asdict(self), "state": str(self.state)}


def reason(error: BaseException) -> str:
    """An error in one line, for a row of a table.

    >>> reason(ValueError("it has no header\\nsecond line")), reason(KeyError("a")), reason(RuntimeError())
    ('it has no header', "KeyError: 'a'", 'RuntimeError')
    """
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return lines[0] if " " in lines[0] else f"{type(error).__name__}: {lines[0]}"
