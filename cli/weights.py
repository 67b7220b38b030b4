"""`fda weights`."""

from __future__ import annotations

from pathlib import Path

import click

from cli.models import model_source
from cli.options import local_path, model_options, shared_options
from cli.output import plural, print_json, print_pairs, say
from encoders.weight_export import Layout, exported, write_weights
from store.arrays import JSON


@click.command("weights")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="What `fda finetune` made.")
@model_options
@click.option(
    "--layout",
    type=click.Choice([str(layout) for layout in Layout]),
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
@shared_options
def command(
    checkpoint: Path | None,
    model: str | None,
    pretrained: str | None,
    alpha_checkpoint: Path | None,
    activation: str | None,
    layout: str | None,
    output: Path | None,
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
    loaded = model_source(checkpoint, model, pretrained, alpha_checkpoint, activation, seed=0).load()
    report, config = loaded.report, loaded.config
    found: dict[str, JSON] = {
        "model": config.name,
        "activation": str(config.activation),
        "source": report.source,
        "kind": report.kind,
        "sha256": report.sha256,
        "num_matched": report.matched,
        "missing": list(report.missing),
        "unexpected": list(report.unexpected),
        "num_weights": sum(tensor.numel() for tensor in loaded.model.named_tensors().values()),
        "output": None if output is None else str(output),
    }
    if layout is not None and output is not None:
        tensors = exported(loaded.model, Layout(layout))
        write_weights(output, tensors, quick_gelu=config.quick_gelu)
        say(f"{plural(len(tensors), 'tensor')} in the layout {layout}: {output}")
    if as_json:
        print_json(found)
        return
    print_pairs(config.name, [(name, _cell(value)) for name, value in found.items()])


def _cell(value: JSON) -> str:
    if isinstance(value, list):
        more = f" and {len(value) - 4:,} more" if len(value) > 4 else ""
        return ", ".join(map(str, value[:4])) + more if value else "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
