"""Completion of presets, and of names in the store that was typed before: feature sets, mask sets, splits."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from store.listing import StoreNames

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]


def _completer(names_of: Callable[[StoreNames], tuple[str, ...]]) -> Completer:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        return [CompletionItem(name) for name in names_of(_names(ctx)) if name.startswith(incomplete)]

    return complete


def _names(ctx: click.Context) -> StoreNames:
    """Those of a local store: an answer from S3 would take longer than a person who types waits."""
    from store.listing import StoreNames, names_in
    from store.places.opening import folder_at

    place = _store_typed(ctx)
    if place is None or "://" in place:
        return StoreNames((), (), ())
    return names_in(folder_at(os.path.expanduser(place)))  # noqa: PTH111 (a place is no path)


def _store_typed(ctx: click.Context) -> str | None:
    """The STORE of the line. Where its last word is an option without a value, click has parsed no argument."""
    if ctx.params.get("store_place"):
        return str(ctx.params["store_place"])
    arguments = [one.name for one in ctx.command.params if isinstance(one, click.Argument)]
    # What click has left unparsed stands in the order of the arguments.
    typed = dict(zip(arguments, ctx.args, strict=False))
    return typed.get("store_place")


complete_features = _completer(lambda names: names.feature_sets)
complete_masks = _completer(lambda names: names.mask_sets)
complete_splits = _completer(lambda names: names.splits)


def complete_presets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """The built-in presets, or else the name of a file."""
    from pipeline.training.presets import preset_names

    found = [CompletionItem(name) for name in preset_names() if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]
