"""`fda encode`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

import fda
from cli.options.files import Place
from cli.options.models import dtype_options, encoder_options, pooling_option
from cli.options.names import complete_features, complete_splits
from cli.options.shared import (
    add_options,
    alpha_option,
    device_option,
    mask_option,
    model_preset_option,
    progress_option,
    seed_option,
    shared_options,
)
from cli.options.workers import run_options, workers_option
from cli.output.encode_plan import print_preview
from cli.output.printing import DONE, FAILED, print_json, say
from cli.output.progress import progress_listener
from cli.output.tables import print_table
from encoders.options import MIN_WORDS, ModelSource, Pooling, Precision
from pipeline.clips.options import AlphaSource
from pipeline.features.options import EncodeOptions
from pipeline.run.options import RunOptions
from pipeline.run.words import plural

if TYPE_CHECKING:
    from pipeline.features.run import EncodeResult

_DEFAULTS = EncodeOptions("features")
_OPTIONS = (
    click.option(
        "--features",
        required=True,
        metavar="NAME",
        shell_complete=complete_features,
        help="Name of the feature set.",
    ),
    click.option(
        "--split",
        "splits",
        multiple=True,
        shell_complete=complete_splits,
        help="Encode this split; may be repeated. [default: all]",
    ),
    mask_option,
    alpha_option,
    pooling_option(
        "How frames are pooled into a video. unit-mean: mean of unit-norm features, as in CLIP4Clip.  "
        "[default: mean, or what the checkpoint was trained with]"
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", *(str(precision) for precision in Precision)]),
        default=_DEFAULTS.precision,
        show_default=True,
        help="auto: bf16 if the device supports it and a short test shows it faster and as good; else fp32.",
    ),
    *dtype_options,
    click.option(
        "--max-words",
        type=click.IntRange(min=MIN_WORDS),
        help="Tokens of a caption to read, start and end included. CLIP4Clip: 32; 64 for ActivityNet and DiDeMo.  "
        "[default: as the checkpoint was trained, or all that the model reads]",
    ),
    click.option(
        "--truncate-dim",
        type=click.IntRange(min=1),
        metavar="N",
        help="Keep the first N numbers of each embedding, for models trained for it (Matryoshka).  [default: all]",
    ),
    click.option(
        "--resize-frames",
        is_flag=True,
        help="Resize frames and masks that are stored at another size than the model reads: bicubic, masks by area. "
        "Always on for a checkpoint that was trained with it.",
    ),
    click.option(
        "--sensitivity",
        "sensitivity_every",
        type=click.IntRange(min=0),
        default=_DEFAULTS.sensitivity_every,
        show_default=True,
        metavar="N",
        help="Also encode every N-th video with an alpha of all ones, to measure what the alpha does; 0: none.",
    ),
    seed_option,
    device_option,
    click.option(
        "--batch-frames",
        type=click.IntRange(min=1),
        help="Frames at once; halved if memory runs out.  [default: 64 on a CPU, 192 on a GPU]",
    ),
    click.option(
        "--compile",
        "compiled",
        is_flag=True,
        help="Compile the vision tower: takes minutes once, then runs a few percent faster.",
    ),
)


def _encode_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that make up `EncodeOptions`, and hand them on as that one value."""

    @functools.wraps(function)
    def with_options(
        *,
        splits: Sequence[str],
        alpha: str | None,
        pooling: str | None,
        **others: Any,
    ) -> None:
        names = (
            *("features", "mask_name", "precision", "store_dtype", "frame_dtype", "max_words", "truncate_dim"),
            *("resize_frames", "sensitivity_every"),
        )
        options = EncodeOptions(
            splits=tuple(splits),
            alpha=None if alpha is None else AlphaSource(alpha),
            pooling=None if pooling is None else Pooling(pooling),
            # Not popped: `encoder_options` takes it too, for random weights.
            seed=others["seed"],
            compiled=others.pop("compiled"),
            **{name: others.pop(name) for name in (*names, "device", "batch_frames")},
        )
        function(options=options, **others)

    return add_options(with_options, _OPTIONS)


@click.command("encode")
@click.argument("store_place", metavar="STORE", type=Place(path_type=str))
@_encode_options
@model_preset_option
@encoder_options
@workers_option("With --cluster: how many workers to start.")
@run_options(
    "Remove the features of this name and these splits first, if there are any; needs --yes then.",
    "With --overwrite: remove features that are there.",
)
@click.option("--dry-run", "is_dry", is_flag=True, help="Print what would be loaded and encoded, and end.")
@progress_option
@shared_options
def command(
    store_place: str,
    options: EncodeOptions,
    model: ModelSource,
    run: RunOptions,
    is_dry: bool,
    as_json: bool,
    progress: bool,
) -> None:
    """Embed the clips and captions of STORE, and cache the embeddings in it under a name.

    If it is interrupted, run the same command again: it resumes. Features of the same name are never mixed: if the
    weights, the masks or anything else that made them differ, the command refuses and names what differs. --dry-run
    shows what would be loaded, tensor by tensor.
    """
    with progress_listener("encode", progress) as listener:
        if is_dry:
            preview = fda.preview_encoding(store_place, options, model, run=run, listener=listener)
        else:
            result = fda.encode(store_place, options, model, run=run, listener=listener)
    if is_dry:
        print_json(preview.to_dict()) if as_json else print_preview(preview)
        # As the run itself would end: with --overwrite, what is refused is removed first.
        click.get_current_context().exit(FAILED if preview.is_refused and not run.overwrite else DONE)
    print_json(result.to_dict()) if as_json else _print(result)


def _print(result: EncodeResult) -> None:
    rows = []
    for one in result.splits:
        cosine, tally = result.alpha_cosines[one.split], one.tally
        rows.append(
            [
                one.split,
                f"{tally.num_clips:,} of {tally.num_videos:,}",
                f"{one.num_clips_encoded:,}",
                f"{one.num_captions:,}",
                f"{one.num_captions_encoded:,}",
                f"{one.num_captions_truncated:,}",
                "-" if cosine is None else f"{cosine:.3f}",
            ]
        )
    columns = [
        "split",
        "videos with features",
        "videos encoded",
        "captions",
        "captions encoded",
        "cut",
    ]
    print_table(f"features {result.features}, {result.precision}", [*columns, "cosine to ones"], rows)
    num_frames, seconds = sum(one.num_frames_encoded for one in result.splits), result.seconds
    say(
        f"{plural(result.num_videos_encoded, 'video')} ({num_frames / seconds:.0f} frames/s) in {seconds:.1f} s, "
        f"loading the model included; at most {result.peak_memory_mib:,} MiB on {result.device}"
    )
