"""A terminal of some width, for what commands print."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from unittest import mock


class Screen(io.StringIO):
    """What was printed on a terminal."""

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        """Without what makes letters bold."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.getvalue()).splitlines()


@contextmanager
def terminal(columns: int) -> Iterator[Screen]:
    """Stdout is a terminal of this many columns while the block runs."""
    screen = Screen()
    with mock.patch.dict(os.environ, {"COLUMNS": str(columns), "LINES": "50"}), redirect_stdout(screen):
        yield screen
