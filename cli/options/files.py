"""Types of options that name files: what is to be there, and what is to be written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from pipeline.errors import InputError


class Place(click.Path):
    """A file or folder, or the address of a store. An empty text, as a variable that is not set leaves it, is none.

    A path would take it for the working folder.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return it as click does."""
        if value == "":
            self.fail("it is empty: give a place", param, ctx)
        return super().convert(value, param, ctx)


class ExistingPath(Place):
    """A file or folder to read.

    One that is not there ends the command like a missing store, split or feature set, with exit code 1: the line itself
    is right, and may work tomorrow. click would call it wrong usage, 2.
    """

    def __init__(self, *, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(file_okay=file_okay, dir_okay=dir_okay)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return it as a path.

        Raises:
            InputError: There is nothing of that name.
        """
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.exists():
            is_option = isinstance(param, click.Option) and ctx is not None  # an argument is known by its value
            name = f"{param.get_error_hint(ctx)}: " if param is not None and is_option else ""
            kinds = {"file": self.file_okay, "folder": self.dir_okay}
            what = " or ".join(kind for kind, is_okay in kinds.items() if is_okay)
            raise InputError(f"{name}there is no {what} {path}")
        return path


class NewFile(Place):
    """A file to write, whose suffix says what will be in it: another would be a file that no program opens."""

    def __init__(self, *suffixes: str) -> None:
        super().__init__(dir_okay=False)
        self.suffixes = suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return it as a path."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if path.suffix.lower() not in self.suffixes:
            self.fail(f"{path.name!r} must end in {' or '.join(self.suffixes)}: that is what is written", param, ctx)
        return path
