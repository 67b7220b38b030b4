"""What the client of the Hugging Face hub logs while it is asked for a file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.utils import logging as client

_log = logging.getLogger(__name__)


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Let the hub's client not log each attempt to reach it: the error that is raised after the last one says all.

    It logs as before where this package's loggers are asked for more than warnings (`fda -v`), or the client itself is
    (`HF_HUB_VERBOSITY`).
    """
    before = client.get_verbosity()
    if before == logging.WARNING and not _log.isEnabledFor(logging.INFO):
        client.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        client.set_verbosity(before)
