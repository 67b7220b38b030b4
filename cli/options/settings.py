"""`--set KEY=VALUE`, which changes values of a preset."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click


def parsed_settings(settings: Sequence[str]) -> dict[str, object]:
    """Values are JSON, and what is no JSON is a text: `lr=3e-6`, `captions=all`.

    >>> parsed_settings(["lr=3e-6", "captions=all"])
    {'lr': 3e-06, 'captions': 'all'}
    """
    values: dict[str, object] = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise click.BadParameter(f"{setting!r} is not of the form KEY=VALUE", param_hint="--set")
        try:
            # `true`, `3e-6` and `[1, 2]` are JSON and TOML alike, so that a value is written as in the preset.
            values[key.strip()] = json.loads(text)
        except ValueError:
            values[key.strip()] = text
    return values
