"""Remedies that several messages share, as parts of sentences."""

from __future__ import annotations

REMOVE = "`fda verify --repair` removes it"
"""For a file that nothing needs."""

REBUILD = f"{REMOVE}, and the next run of the command that made it rebuilds it"
"""For a file of a shard that is damaged or missing."""

RUN_AGAIN = "run the same command again"
"""After a fault that passes, or a race with another run."""

RETRY_WRITE = f"Nothing half-written was committed: once this is fixed, {RUN_AGAIN}"
"""For a write that the disk or the server refused."""

PREPROCESS_AGAIN = "run its `fda preprocess` again"
"""For a store whose making or growing was cut short: the same call finishes it."""

START_OVER = "use another store folder, or --overwrite to remove this store and rebuild it"
"""For options or videos that do not fit what the store was made of."""

FROM_COPY = "put it back from a copy"
"""For a file that nothing else in the store can rebuild."""

REBUILD_CATALOG = "run its `fda preprocess` again, with the same data set and options, and it rebuilds the catalogue"
"""For a catalogue that is damaged or lost: the data set has its rows, and the commit records have their order."""

REBUILD_FAILURES = "`fda finalise` rebuilds it"
"""For the table of failed videos, which the commit records have."""


def install_extra(extra: str) -> str:
    """For a package that is missing: `extra` is one of the optional dependencies in pyproject.toml.

    `fda` itself is not named: it is on no index, where another package may have its name. `-e`, as in `make setup`,
    because pip would replace the checkout by a copy of it.
    """
    return f"pip install -e '.[{extra}]' in fda's folder"
