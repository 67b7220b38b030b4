"""What encoding must know of a folder that training writes."""

from __future__ import annotations

from pathlib import Path

HISTORY_FILE = "history.json"
"""Written last: if it exists, training has ended and the checkpoint is final."""


def has_ended(folder: Path) -> bool:
    """Whether training has ended in a folder."""
    return (folder / HISTORY_FILE).is_file()
