"""The flags that say which model, and with which weights: `ModelSource`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cli.options.files import Place
from cli.options.shared import Function, model_options
from encoders.errors import ModelError
from encoders.options import Activation, ModelSource, Pooling, is_whole_model
from store.feature_dtypes import FEATURE_DTYPES

_checkpoint_option = click.option("--checkpoint", type=Place(path_type=Path), help="Folder that `fda finetune` made.")

_store_dtype_option = click.option(
    "--store-dtype",
    type=click.Choice(FEATURE_DTYPES),
    default="float32",
    show_default=True,
    help="Number format of stored features: float16 needs half the space, int8 a quarter.",
)
_frame_dtype_option = click.option(
    "--frame-dtype",
    type=click.Choice(FEATURE_DTYPES),
    help="The same for features of frames alone, which need most of the space.  [default: that of --store-dtype]",
)
dtype_options = _store_dtype_option, _frame_dtype_option


def pooling_option(help_text: str) -> Callable[[Function], Function]:
    """`--pooling`; what is taken by default differs between commands."""
    return click.option("--pooling", type=click.Choice([str(pooling) for pooling in Pooling]), help=help_text)


def encoder_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add `--checkpoint`, `--model` and so on, and hand them on as one value, `model`; `--seed` must be there too."""

    @functools.wraps(function)
    def with_options(**given: Any) -> None:
        source, others = _split_off_source(given)
        if source is None:  # weights are never guessed
            raise click.UsageError(
                "give --model and --pretrained (a tag such as openai, a file, or `none`: random weights), --model "
                "hf-hub:ORG/NAME or a folder with its own weights, or --checkpoint"
            )
        function(model=source, **others)

    return _checkpoint_option(model_options(with_options))


def known_encoder_options(function: Callable[..., None]) -> Callable[..., None]:
    """`encoder_options` for features that are there: without any of them, `model` is None, as the store knows it."""

    @functools.wraps(function)
    def with_options(**given: Any) -> None:
        source, others = _split_off_source(given)
        function(model=source, **others)

    return _checkpoint_option(model_options(with_options))


def _split_off_source(given: dict[str, Any]) -> tuple[ModelSource | None, dict[str, Any]]:
    """The model that the flags say, None without any of them; and the other flags."""
    names = ("model", "pretrained", "alpha_checkpoint", "activation")
    fields = {name: given.pop(name) for name in names}
    # A command that needs the seed for more has read it before, in a decorator outside this one.
    checkpoint, seed = given.pop("checkpoint"), given.pop("seed")
    if checkpoint is not None:
        try:
            # It refuses flags that contradict a checkpoint, which has its model and weights.
            return ModelSource(checkpoint=checkpoint, **{name: one for name, one in fields.items() if one}), given
        except ModelError as error:
            raise click.UsageError(str(error)) from error
    if not any(fields.values()):
        return None, given
    if not fields["model"] or not (fields["pretrained"] or is_whole_model(fields["model"])):
        raise click.UsageError(
            "--model and --pretrained go together: which model, and with which weights. Only hf-hub:ORG/NAME and a "
            "folder have their own"
        )
    fields["pretrained"] = fields["pretrained"] or ""
    activation = fields.pop("activation")
    return ModelSource(**fields, seed=seed, activation=Activation(activation) if activation else None), given
