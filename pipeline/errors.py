"""Errors that users can do something about. Each is also the builtin that fits it.

The command line prints these, and those of `store.errors` and `encoders.errors`, as one line. Every other exception
is a bug of `fda`, and is shown with its traceback.
"""

from __future__ import annotations


class PipelineError(Exception):
    """A run cannot begin or go on, for a reason that its user can change."""


class OptionError(PipelineError, ValueError):
    """An option or an argument cannot be used as it was given."""


class InputError(PipelineError, ValueError):
    """What a run was given to work on cannot be used: a file, a store, a model, or their combination."""


class RefusedError(PipelineError, RuntimeError):
    """The first of several processes refused to train; its own message says why."""
