"""Whether a video has changed since its clip was made: by size, or by content."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from pipeline.run.options import SourceCheck
from store.commits import VideoOutcome


def file_bytes(path: Path) -> int:
    """Size of a regular file; 0 if there is none."""
    try:
        facts = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in a path from a manifest
        return 0
    return facts.st_size if stat.S_ISREG(facts.st_mode) else 0


def sha256_of(path: Path) -> str:
    """The sha256 of a file. Raises OSError if it cannot be read to its end."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_sha256(path: Path) -> str | None:
    """The sha256 of a file, or None if it cannot be read to its end. For the clips of one file it is read once."""
    try:
        facts = path.stat()
        return _sha256(path, (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns))
    except OSError:
        return None


@lru_cache(maxsize=16)  # a file a thread that looks for changed videos
def _sha256(path: Path, version: tuple[int, ...]) -> str:
    """As `sha256_of`; another version of a file is another file."""
    return sha256_of(path)


def changed_rows(outcomes: Iterable[tuple[VideoOutcome, Path]], check: SourceCheck) -> frozenset[int]:
    """The rows whose videos have changed since they were decoded.

    Args:
        outcomes: How each video ended, and its path now.
        check: How to compare.
    """
    return frozenset(outcome.row for outcome, path in outcomes if _has_changed(outcome, path, check))


def _has_changed(outcome: VideoOutcome, path: Path, check: SourceCheck) -> bool:
    if check is SourceCheck.OFF or outcome.source_bytes is None:
        return False
    num_bytes = file_bytes(path)
    if num_bytes == 0:  # missing, or just being copied: keep the clip
        return False
    if num_bytes != outcome.source_bytes:
        return True
    if check is SourceCheck.SIZE or outcome.source_sha256 is None:
        return False
    return file_sha256(path) not in (None, outcome.source_sha256)
