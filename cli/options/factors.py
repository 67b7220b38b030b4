"""`--factor NAME=LEVEL`, which says what generated videos look like."""

from __future__ import annotations

import click

from pipeline.synthetic.factors import FACTORS


def _factors(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """`speed=slow` and the like."""
    found: dict[str, str] = {}
    for value in values:
        name, equals, level = value.partition("=")
        if not equals or not level:
            raise click.BadParameter(f"{value!r} is not NAME=LEVEL, such as speed=slow", ctx, param)
        if name in found:
            raise click.BadParameter(f"{name} is given twice", ctx, param)
        found[name] = level
    return found


def _complete_factor(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    lines = [f"{name}={level}" for name, factor in FACTORS.items() for level in factor.levels]
    return [line for line in lines if line.startswith(incomplete)]


def _levels() -> str:
    return "; ".join(f"{name} {'/'.join(factor.levels)}" for name, factor in FACTORS.items())


factor_option = click.option(
    "--factor",
    "factors",
    multiple=True,
    metavar="NAME=LEVEL",
    callback=_factors,
    shell_complete=_complete_factor,
    help=f"Level, or number, of one factor in all clips; may be repeated. {_levels()}.",
)
