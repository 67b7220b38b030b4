"""`fda weights`."""

from __future__ import annotations

from pathlib import Path

import click

from cli.options.models import model_source
from cli.options.shared import local_path, model_options, seed_option, shared_options
from cli.output.printing import print_json, print_pairs, say, show
from cli.output.weights import weights_rows
from encoders.options import WeightsLayout
from encoders.weights.export import exported, left_out, write_weights
from encoders.weights.loading import LoadedModel, load
from pipeline.run.words import listed, plural
from store.json_values import JSON


@click.command("weights")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="What `fda finetune` made.")
@model_options
@click.option(
    "--layout",
    type=click.Choice([str(layout) for layout in WeightsLayout]),
    help="Of the file to write. alpha-clip: the vision tower, for Alpha-CLIP's code. clip: both towers, for OpenAI's "
    "and open_clip's; without the alpha convolution, it is the model where alpha is all ones.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=lambda ctx, param, value: value and local_path(ctx, param, value),
    help="The file to write, with --layout: .safetensors, or what torch.load reads (.pt, .pth).",
)
@seed_option
@shared_options
def command(
    checkpoint: Path | None,
    model: str | None,
    pretrained: str | None,
    alpha_checkpoint: Path | None,
    activation: str | None,
    layout: str | None,
    output: Path | None,
    seed: int,
    as_json: bool,
    progress: bool | None,
) -> None:
    """Load weights as `fda encode` would, and say what they are; with --layout and -o, write them for other code.

    \b
    fda weights --model ViT-B-16-quickgelu --pretrained openai --alpha-checkpoint clip_b16_grit20m_fultune_2xe.pth
    fda weights --checkpoint CHECKPOINT --layout clip -o model.safetensors
    """
    if (layout is None) != (output is None):
        raise click.UsageError("--layout and -o go together: what to write, and where to")
    loaded = load(model_source(checkpoint, model, pretrained, alpha_checkpoint, activation, seed=seed))
    if layout is not None and output is not None:
        line = _export(loaded, WeightsLayout(layout), output, is_checkpoint=checkpoint is not None)
        print_json(_found(loaded, output)) if as_json else show(line)
    elif as_json:
        print_json(_found(loaded, None))
    else:
        _print(loaded)


def _export(loaded: LoadedModel, layout: WeightsLayout, output: Path, *, is_checkpoint: bool) -> str:
    """Write the file; say what of the model is not in it, and return what is."""
    tensors = exported(loaded.model, layout)
    write_weights(output, tensors, layout=layout, quick_gelu=loaded.config.quick_gelu)
    lost = left_out(loaded.model, layout)
    if lost:
        trained = f"; training may have changed them: --layout {WeightsLayout.CLIP} keeps them" if is_checkpoint else ""
        say(f"left out, being no part of the layout {layout}: {plural(len(lost), 'tensor')}: {listed(lost)}{trained}")
    return f"{output}: {plural(len(tensors), 'tensor')} in the layout {layout}, of {loaded.report.summary()}"


def _found(loaded: LoadedModel, output: Path | None) -> dict[str, JSON]:
    report, config = loaded.report, loaded.config
    return {
        "model": config.name,
        "activation": str(config.activation),
        "source": report.source,
        "kind": report.kind,
        "sha256": report.sha256,
        "num_matched": report.matched,
        "missing": list(report.missing),
        "unexpected": list(report.unexpected),
        "num_weights": _num_weights(loaded),
        "output": None if output is None else str(output),
    }


def _print(loaded: LoadedModel) -> None:
    config = loaded.config
    rows = [
        ("activation", str(config.activation)),
        *weights_rows(loaded.report),
        ("number of weights", f"{_num_weights(loaded):,}"),
    ]
    print_pairs(config.name, rows)


def _num_weights(loaded: LoadedModel) -> int:
    return sum(tensor.numel() for tensor in loaded.model.named_tensors().values())
