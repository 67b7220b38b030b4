"""The flags that say which model, and with which weights: `ModelSource`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cli.options.shared import Function, model_options
from encoders.options import Activation, ModelSource, Pooling

_checkpoint_option = click.option(
    "--checkpoint", type=click.Path(path_type=Path), help="Folder that `fda finetune` made."
)

frame_dtype_option = click.option(
    "--frame-dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Number format of stored frame features; float16 needs half the space.",
)


def pooling_option(help_text: str) -> Callable[[Function], Function]:
    """`--pooling`; what is taken by default differs between commands."""
    return click.option("--pooling", type=click.Choice([str(pooling) for pooling in Pooling]), help=help_text)


def encoder_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add `--checkpoint`, `--model` and so on, and hand them on as one value, `model`; `--seed` must be there too."""

    @functools.wraps(function)
    def with_options(
        *,
        checkpoint: Path | None,
        model: str | None,
        pretrained: str | None,
        alpha_checkpoint: Path | None,
        activation: str | None,
        seed: int,
        **others: Any,
    ) -> None:
        if checkpoint is not None:
            if model or pretrained or alpha_checkpoint or activation:
                raise click.UsageError("--checkpoint holds the model and its weights: give it alone")
            source = ModelSource(checkpoint=checkpoint)
        elif not model or not pretrained:  # weights are never guessed
            raise click.UsageError(
                "give --model and --pretrained (a tag such as openai, a file, or `none`: random weights), or "
                "--checkpoint"
            )
        else:
            source = ModelSource(
                model=model,
                pretrained=pretrained,
                alpha_checkpoint=alpha_checkpoint,
                seed=seed,
                activation=Activation(activation) if activation else None,
            )
        function(model=source, **others)

    return _checkpoint_option(model_options(with_options))
