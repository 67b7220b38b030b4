"""`fda weights`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import fda
from cli.options.files import Place
from cli.options.models import encoder_options
from cli.options.shared import on_this_machine, progress_option, seed_option, shared_options
from cli.output.printing import print_json, say, show
from cli.output.progress import SECONDS_BEFORE_A_BAR, progress_listener
from cli.output.tables import print_pairs
from cli.output.weights import weights_rows
from encoders.options import ModelSource, WeightsLayout
from pipeline.run.words import listed, plural

if TYPE_CHECKING:
    from pipeline.features.weights import WeightsResult


@click.command("weights")
@seed_option
@encoder_options
@click.option(
    "--layout",
    type=click.Choice([str(layout) for layout in WeightsLayout]),
    help="Layout of the file to write. alpha-clip: the vision tower, for Alpha-CLIP's code. clip: both towers, for "
    "OpenAI's and open_clip's; without the alpha convolution, it is the model where alpha is all ones.",
)
@click.option(
    "-o",
    "--output",
    type=Place(dir_okay=False, path_type=Path),
    callback=on_this_machine,
    help="The file to write, with --layout: .safetensors, or what torch.load reads (.pt, .pth).",
)
@progress_option
@shared_options
def command(model: ModelSource, layout: str | None, output: Path | None, progress: bool, as_json: bool) -> None:
    """Load weights as `fda encode` would, and say what they are; with --layout and -o, write them for other code.

    \b
    fda weights --model ViT-B-16-quickgelu --pretrained openai --alpha-checkpoint clip_b16_grit20m_fultune_2xe.pth
    fda weights --checkpoint CHECKPOINT --layout clip -o model.safetensors
    """
    chosen = None if layout is None else WeightsLayout(layout)
    with progress_listener("weights", progress, after_seconds=SECONDS_BEFORE_A_BAR) as listener:
        result = fda.weights(model, layout=chosen, output=output, listener=listener)
    for words in result.report.warnings():
        say(f"warning: {words}")
    if chosen is not None and result.left_out:
        is_checkpoint = model.checkpoint is not None
        trained = f"; training may have changed them: --layout {WeightsLayout.CLIP} keeps them" if is_checkpoint else ""
        lost = f"{plural(len(result.left_out), 'tensor')}: {listed(result.left_out)}"
        say(f"left out, being no part of the layout {chosen}: {lost}{trained}")
    if as_json:
        print_json(result.to_dict())
    elif chosen is not None:
        written = plural(result.num_written, "tensor")
        show(f"{output}: {written} in the layout {chosen}, of {result.report.summary()}")
    else:
        _print(result)


def _print(result: WeightsResult) -> None:
    rows = [
        ("activation", result.activation),
        *weights_rows(result.report),
        *_training_rows(result),
        ("number of weights", f"{result.num_weights:,}"),
    ]
    print_pairs(result.model, rows)


def _training_rows(result: WeightsResult) -> list[tuple[str, str]]:
    """What `fda finetune` has done to the weights."""
    if not result.training:
        return []
    stamp = "; CHOSEN ON TEST VIDEOS" if result.training.chosen_on_test else ""
    return [("trained by fda on", plural(result.training.trained.num_videos, "video") + stamp)]
