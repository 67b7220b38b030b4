"""The flags that say which model, and with which weights: `ModelSource`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cli.options.shared import model_options
from encoders.options import Activation, ModelSource

_checkpoint_option = click.option(
    "--checkpoint", type=click.Path(path_type=Path), help="Folder that `fda finetune` made."
)


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
        source = model_source(checkpoint, model, pretrained, alpha_checkpoint, activation, seed=seed)
        function(model=source, **others)

    return _checkpoint_option(model_options(with_options))


def model_source(
    checkpoint: Path | None,
    model: str | None,
    pretrained: str | None,
    alpha_checkpoint: Path | None,
    activation: str | None,
    *,
    seed: int,
) -> ModelSource:
    """What the flags say of a model.

    Raises:
        click.UsageError: They say too little, for weights are never guessed, or too much.
    """
    if checkpoint is not None:
        if model or pretrained or alpha_checkpoint or activation:
            raise click.UsageError("--checkpoint holds the model and its weights: give it alone")
        return ModelSource(checkpoint=checkpoint)
    if not model or not pretrained:
        raise click.UsageError(
            "give --model and --pretrained (a tag such as openai, a file, or `none`: random weights), or --checkpoint"
        )
    return ModelSource(
        model=model,
        pretrained=pretrained,
        alpha_checkpoint=alpha_checkpoint,
        seed=seed,
        activation=Activation(activation) if activation else None,
    )
