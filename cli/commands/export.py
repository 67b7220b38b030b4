"""`fda export`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import fda
from cli.options.files import Place
from cli.options.names import complete_features, complete_masks, complete_splits
from cli.options.shared import add_options, on_this_machine, progress_option, shared_options
from cli.output.printing import print_json, say
from cli.output.progress import progress_listener
from cli.output.tables import print_table
from pipeline.exporting.options import ExportFormat, ExportOptions, FrameImages, VectorType
from pipeline.run.words import plural

if TYPE_CHECKING:
    from pipeline.exporting.run import ExportResult


_OPTIONS = (
    click.option(
        "--format",
        "format_name",
        required=True,
        type=click.Choice([str(name) for name in ExportFormat]),
        help="Layout of the files.",
    ),
    click.option(
        "--features",
        metavar="NAME",
        shell_complete=complete_features,
        help="Feature set whose vectors are exported.",
    ),
    click.option(
        "--masks",
        metavar="NAME",
        shell_complete=complete_masks,
        help="Mask set that is exported: its statistics, or in webdataset its pictures.  [default: `default`, if there "
        "is one]",
    ),
    click.option(
        "--split",
        "splits",
        multiple=True,
        shell_complete=complete_splits,
        help="Export this split; may be repeated.  [default: all, or those that have the features]",
    ),
    click.option(
        "--images",
        type=click.Choice([str(name) for name in FrameImages]),
        help="Files of frames in webdataset. png: bit for bit; jpeg: quality 95.  [default: jpeg]",
    ),
    click.option(
        "--vectors",
        type=click.Choice([str(name) for name in VectorType]),
        help="Numbers of vectors in .npy and .npz files.  [default: float32]",
    ),
    click.option(
        "--videos-per-file",
        type=click.IntRange(min=1),
        metavar="N",
        help="Videos of a tar of webdataset, or of a part of clip-retrieval.  [default: 1000]",
    ),
    click.option("--overwrite", is_flag=True, help="Replace an export that is at OUT, once the new one is complete."),
)


def _export_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that make up `ExportOptions`, and hand them on as that one value."""

    @functools.wraps(function)
    def with_options(
        *, format_name: str, splits: Sequence[str], images: str | None, vectors: str | None, **others: Any
    ) -> None:
        options = ExportOptions(
            format=ExportFormat(format_name),
            splits=tuple(splits),
            images=None if images is None else FrameImages(images),
            vectors=None if vectors is None else VectorType(vectors),
            **{name: others.pop(name) for name in ("features", "masks", "videos_per_file", "overwrite")},
        )
        function(options=options, **others)

    return add_options(with_options, _OPTIONS)


@click.command("export")
@click.argument("store_place", metavar="STORE", type=Place(path_type=str))
@click.argument("out", metavar="OUT", type=Place(path_type=Path), callback=on_this_machine)
@_export_options
@progress_option
@shared_options
def command(store_place: str, out: Path, options: ExportOptions, progress: bool, as_json: bool) -> None:
    """Write what is in STORE into the folder OUT, in a layout that other programs read. STORE is not changed.

    OUT appears when it is complete. Videos that failed are left out, and counted.

    \b
    fda export STORE tables --format parquet --features mine
    fda export STORE tars --format webdataset --split train
    """
    with progress_listener("export", progress) as listener:
        result = fda.export(store_place, out, options, listener=listener)
    print_json(result.to_dict()) if as_json else _print(result)


def _print(result: ExportResult) -> None:
    rows = [
        [one.split, f"{one.num_videos:,}", f"{one.num_captions:,}", f"{one.num_videos_left_out:,}"]
        for one in result.splits
    ]
    parts = {"features": result.features, "masks": result.masks}
    title = ", ".join([str(result.format), *(f"{what} {name}" for what, name in parts.items() if name is not None)])
    print_table(title, ["split", "videos", "captions", "failed, left out"], rows)
    size = f"{plural(result.num_files, 'file')}, {result.num_bytes / 2**20:,.1f} MiB"
    say(f"{size} in {result.seconds:.1f} s: {result.out}")
