"""The flags that say how retrieval numbers are counted, and how their intervals are taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cli.options.shared import LimitType, add_options, seed_option
from pipeline.evaluation.options import TENTH, BootstrapOptions, EvalOptions
from pipeline.evaluation.protocols import PROTOCOLS, Ties

_DEFAULTS = BootstrapOptions()

Function = TypeVar("Function", bound=Callable[..., Any])


class Level(click.ParamType[float]):
    """A confidence between 0 and 1, as a share or in percent: `0.95` or `95%`."""

    name = "P%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return it as a share.

        >>> Level().convert("95%", None, None), Level().convert("0.9", None, None)
        (0.95, 0.9)
        """
        text = str(value).strip()
        try:
            level = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            self.fail(f"{value!r} is no confidence such as 95% or 0.95", param, ctx)
        if not 0 < level < 1:
            self.fail(f"{value!r} must lie between 0% and 100%, such as 95% or 0.95", param, ctx)
        return level


def protocol_options(function: Function) -> Function:
    """Add `--protocol`, `--ties` and `--max-missing`."""
    options = (
        click.option(
            "--protocol",
            type=click.Choice(list(PROTOCOLS)),
            default=EvalOptions().protocol,
            show_default=True,
            help=" ".join(f"{one.name}: {one.summary}." for one in PROTOCOLS.values()) + " --json has all of them.",
        ),
        click.option(
            "--ties",
            type=click.Choice([str(ties) for ties in Ties]),
            help="Rank of a query among candidates that score the same: the last, the mean, the first, or each of them."
            "  [default: the protocol's own]",
        ),
        click.option(
            "--max-missing",
            type=LimitType(),
            default=str(TENTH),
            show_default=True,
            help="Refuse to score if more videos of the split than this have no features.",
        ),
    )
    return add_options(function, options)


def interval_options(function: Function) -> Function:
    """Add `--level`, `--resamples` and `--seed`: `BootstrapOptions(level, resamples, seed)`."""
    options = (
        click.option(
            "--level",
            type=Level(),
            default=f"{_DEFAULTS.level:.0%}",
            show_default=True,
            help="Confidence of the intervals.",
        ),
        click.option(
            "--resamples",
            type=click.IntRange(min=100),
            default=_DEFAULTS.num_resamples,
            show_default=True,
            help="Number of bootstrap resamples of the videos.",
        ),
        seed_option,
    )
    return add_options(function, options)
