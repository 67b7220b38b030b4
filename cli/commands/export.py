"""`fda export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

import fda
from cli.options.shared import local_path, progress_option, shared_options
from cli.output.printing import print_json, say
from cli.output.progress import progress_listener
from cli.output.tables import print_table
from pipeline.exporting.options import ExportFormat, ExportOptions, FrameImages, VectorType
from pipeline.run.words import plural

if TYPE_CHECKING:
    from pipeline.exporting.run import ExportResult


@click.command("export")
@click.argument("store_place", metavar="STORE", type=click.Path(path_type=str))
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path), callback=local_path)
@click.option(
    "--format",
    "format_name",
    required=True,
    type=click.Choice([str(name) for name in ExportFormat]),
    help="Layout of the files.",
)
@click.option("--features", metavar="NAME", help="Feature set whose vectors are exported.")
@click.option(
    "--masks",
    metavar="NAME",
    help="Mask set that is exported: its statistics, or in webdataset its pictures.  [default: `default`, if there is "
    "one]",
)
@click.option(
    "--split",
    "splits",
    multiple=True,
    help="Export this split; may be repeated.  [default: all, or those that have the features]",
)
@click.option(
    "--images",
    type=click.Choice([str(name) for name in FrameImages]),
    help="Files of frames in webdataset. png: bit for bit; jpeg: quality 95.  [default: jpeg]",
)
@click.option(
    "--vectors",
    type=click.Choice([str(name) for name in VectorType]),
    help="Numbers of vectors in .npy and .npz files.  [default: float32]",
)
@click.option(
    "--videos-per-file",
    type=click.IntRange(min=1),
    metavar="N",
    help="Videos of a tar of webdataset, or of a part of clip-retrieval.  [default: 1000]",
)
@click.option("--overwrite", is_flag=True, help="Replace an export that is at OUT, once the new one is complete.")
@progress_option
@shared_options
def command(
    store_place: str,
    out: Path,
    format_name: str,
    features: str | None,
    masks: str | None,
    splits: Sequence[str],
    images: str | None,
    vectors: str | None,
    videos_per_file: int | None,
    overwrite: bool,
    progress: bool,
    as_json: bool,
) -> None:
    """Write what is in STORE into the folder OUT, in a layout that other programs read. STORE is not changed.

    OUT appears when it is complete. Videos that failed are left out, and counted.

    \b
    fda export STORE tables --format parquet --features mine
    fda export STORE tars --format webdataset --split train
    """
    options = ExportOptions(
        format=ExportFormat(format_name),
        features=features,
        masks=masks,
        splits=tuple(splits),
        images=None if images is None else FrameImages(images),
        vectors=None if vectors is None else VectorType(vectors),
        videos_per_file=videos_per_file,
        overwrite=overwrite,
    )
    with progress_listener("export", progress) as listener:
        result = fda.export(store_place, out, options, listener=listener)
    print_json(result.to_dict()) if as_json else _print(result)


def _print(result: ExportResult) -> None:
    rows = [
        [one.split, f"{one.num_videos:,}", f"{one.num_captions:,}", f"{one.num_videos_left_out:,}"]
        for one in result.splits
    ]
    title = f"{result.format}, " + (
        "without vectors" if result.features is None else f"features {result.features}, {result.dim} numbers a vector"
    )
    print_table(title, ["split", "videos", "captions", "failed, left out"], rows)
    size = f"{plural(result.num_files, 'file')}, {result.num_bytes / 2**20:,.1f} MiB"
    say(f"{size} in {result.seconds:.1f} s: {result.out}")
