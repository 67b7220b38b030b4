"""`fda import-features`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

import fda
from cli.options.files import ExistingPath, Place
from cli.options.models import dtype_options, pooling_option
from cli.options.names import complete_features, complete_splits
from cli.options.shared import add_options, progress_option, shared_options, wait_option
from cli.output.printing import print_json
from cli.output.progress import progress_listener
from cli.output.tables import print_table
from encoders.options import Pooling
from pipeline.imports.options import ImportOptions
from pipeline.run.words import plural

if TYPE_CHECKING:
    from pipeline.imports.run import ImportResult

_PATH = ExistingPath()


_OPTIONS = (
    click.option(
        "--features",
        required=True,
        metavar="NAME",
        shell_complete=complete_features,
        help="Name of the feature set.",
    ),
    click.option("--text", required=True, type=_PATH, help="Embeddings of the captions."),
    click.option(
        "--video", type=_PATH, help="Embeddings of the videos; if of frames, they are pooled.  [default: --frame]"
    ),
    click.option("--frame", type=_PATH, help="Embeddings of the frames of videos, to be stored too."),
    click.option("--text-ids", type=_PATH, help="File with the caption id, or the caption, of each row of --text."),
    click.option("--video-ids", type=_PATH, help="File with the video id of each row of --video and --frame."),
    click.option(
        "--split",
        "splits",
        multiple=True,
        shell_complete=complete_splits,
        help="Import this split; may be repeated.  [default: all that match]",
    ),
    pooling_option("How frames are pooled into a video. unit-mean: mean of unit-norm features.  [default: mean]"),
    *dtype_options,
    click.option(
        "--overwrite",
        is_flag=True,
        help="Remove the features of this name and these splits first, if there are any; needs --yes then.",
    ),
    click.option("--yes", is_flag=True, help="With --overwrite: remove features that are there."),
)


def _import_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that make up `ImportOptions`, and hand them on as that one value."""

    @functools.wraps(function)
    def with_options(*, pooling: str | None, splits: Sequence[str], **others: Any) -> None:
        names = (
            "features",
            "text",
            "video",
            "frame",
            "text_ids",
            "video_ids",
            "store_dtype",
            "frame_dtype",
            "overwrite",
            "yes",
        )
        options = ImportOptions(
            pooling=Pooling.MEAN if pooling is None else Pooling(pooling),
            splits=tuple(splits),
            **{name: others.pop(name) for name in names},
        )
        function(options=options, **others)

    return add_options(with_options, _OPTIONS)


@click.command("import-features")
@click.argument("store_place", metavar="STORE", type=Place(path_type=str))
@_import_options
@wait_option
@progress_option
@shared_options
def command(store_place: str, options: ImportOptions, wait: bool, progress: bool, as_json: bool) -> None:
    """Write embeddings that another program made into STORE, as a feature set for `fda eval`.

    Embeddings are .npy, .npz or .parquet files, or the folders that clip-retrieval and clip-video-encode write. Rows
    are matched with the catalogue by their ids; an array without ids must have the rows of one split, in the order of
    the catalogue. All are scaled to unit norm.

    \b
    fda import-features STORE --features theirs --text captions.npz --video videos.npz
    fda eval STORE --features theirs
    """
    with progress_listener("import", progress) as listener:
        result = fda.import_features(store_place, options, wait=wait, listener=listener)
    print_json(result.to_dict()) if as_json else _print(result)


def _print(result: ImportResult) -> None:
    rows = [
        [one.split, f"{one.num_videos:,} of {one.num_videos_expected:,}", f"{one.num_captions:,}"]
        for one in result.splits
    ]
    frames = "with frames" if result.has_frames else "without frames"
    title = f"features {result.features}, imported, {plural(result.dim, 'dimension')}, {frames}"
    print_table(title, ["split", "videos with features", "captions"], rows)
