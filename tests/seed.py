"""The random seed of what tests draw: another one for each commit, so that in time every point is tried.

A failed test reports it. `FDA_TEST_SEED=... pytest ...` draws the same again.
"""

from __future__ import annotations

import functools
import hashlib
import os
import random
import subprocess

from tests.paths import ROOT

VARIABLE = "FDA_TEST_SEED"


@functools.cache
def seed() -> str:
    """What the variable says; otherwise the commit; otherwise, in a copy without git, a digest of all sources."""
    return os.environ.get(VARIABLE) or _commit() or _digest_of_sources()


def drawn(name: str) -> random.Random:
    """A generator of its own for each name, so that no test draws otherwise because another one was left out."""
    return random.Random(f"{seed()} {name}")


def seed_number(name: str) -> int:
    """For generators that want a number, of 32 bits."""
    return drawn(name).getrandbits(32)


def _commit() -> str:
    if not (ROOT / ".git").exists():
        return ""
    try:
        asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return asked.stdout.strip()[:12]


def _digest_of_sources() -> str:
    sources = hashlib.sha256()
    for folder in ("cli", "encoders", "pipeline", "store", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            sources.update(path.read_bytes())
    return sources.hexdigest()[:12]
