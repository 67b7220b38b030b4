"""Options that commands share, each defined once."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.logging import RichHandler

from cli.main import COMMANDS
from cli.options.files import ExistingPath, Place
from cli.options.names import complete_masks, complete_presets
from encoders.options import Activation
from pipeline.clips.options import AlphaSource
from pipeline.errors import OptionError
from pipeline.run.fields import local_path
from pipeline.run.limits import Limit
from pipeline.run.options import CLUSTER_KINDS
from pipeline.run.partition import WHOLE, Partition

CLUSTER_TABLES = "cli.options.shared.cluster_tables"
"""Where `Context.meta` keeps the tables [cluster.NAME] of the --config file."""

Function = TypeVar("Function", bound=Callable[..., Any])


def _read_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    """Take defaults for this command from its table in a TOML file."""
    if value is None:
        return
    try:
        tables = tomllib.loads(value.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{value}: {error}", ctx, param) from error
    name = ctx.command.name or ""
    # Kept for `run_options`: which of them is used is known only with --cluster.
    ctx.meta[CLUSTER_TABLES] = _cluster_tables(ctx, param, value, tables.pop("cluster", {}))
    unknown_tables = sorted(set(tables) - set(COMMANDS))
    if unknown_tables:
        raise click.BadParameter(
            f"{value}: [{unknown_tables[0]}] is not a command: name tables {', '.join(COMMANDS)}, or cluster.NAME",
            ctx,
            param,
        )
    table = tables.get(name, {})
    if not isinstance(table, dict):
        raise click.BadParameter(f"{value}: [{name}] must be a table", ctx, param)
    _take_defaults(ctx, param, table, f"{value}: [{name}]")


def _read_preset(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Take defaults for this command from the [preprocess] table of a preset."""
    if value is None:
        return
    from pipeline.training.presets import load_preset

    _take_defaults(ctx, param, load_preset(value).preprocess, f"[preprocess] of {value}")


def _read_model_of_preset(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Take defaults for this command from the model of a preset, and from what its training would have it read."""
    if value is None:
        return
    from pipeline.training.presets import load_preset

    preset = load_preset(value)
    options, source = preset.encode_options("any"), preset.model_source
    given = {
        "model": source.model,
        "pretrained": source.pretrained,
        "alpha": options.alpha,
        "pooling": options.pooling,
        "max_words": options.max_words,
    }
    ctx.default_map = {**(ctx.default_map or {}), **{key: str(one) for key, one in given.items() if one is not None}}


def _take_defaults(ctx: click.Context, param: click.Parameter, table: Mapping[str, object], where: str) -> None:
    by_key = {key: parameter for parameter in ctx.command.params for key in _config_keys(parameter)}
    for key, entry in table.items():
        if key.replace("_", "-") not in by_key:
            close = get_close_matches(key.replace("_", "-"), by_key)
            meant = f": did you mean {' or '.join(map(repr, close))}?" if close else ""
            raise click.BadParameter(f"{where} has no option {key!r}{meant}", ctx, param)
        # click would cut 7.9 to 7.
        if isinstance(entry, float) and isinstance(by_key[key.replace("_", "-")].type, click.types.IntParamType):
            raise click.BadParameter(f"{where} {key} must be a whole number, got {entry}", ctx, param)
    named = {key: by_key[key.replace("_", "-")] for key in table}
    given = {one.name: _entry(ctx, param, one, f"{where} {key}", table[key]) for key, one in named.items()}
    # Options that are read later take their defaults from here, which is why those of files and presets are eager.
    ctx.default_map = {**(ctx.default_map or {}), **given}


def _entry(ctx: click.Context, param: click.Parameter, option: click.Parameter, where: str, entry: object) -> object:
    """A value of a file as click takes a default: `slice = "motion"` is a list of one, and not of six letters."""
    if option.multiple:
        entries = entry if isinstance(entry, list) else [entry]
        if all(isinstance(one, str | int | float) for one in entries):
            return entries
        raise click.BadParameter(f"{where} must be a text or a list of texts, got {entry!r}", ctx, param)
    is_flag = isinstance(option, click.Option) and (option.is_flag or option.count)
    if isinstance(entry, list | dict) or (isinstance(entry, bool) and not is_flag):
        raise click.BadParameter(f"{where} takes one value, got {entry!r}", ctx, param)
    return entry


def _cluster_tables(ctx: click.Context, param: click.Parameter, path: Path, tables: object) -> dict[str, object]:
    """The tables [cluster.NAME]; what is in one is checked when it is used."""
    if not isinstance(tables, dict):
        raise click.BadParameter(
            f"{path}: write [cluster.NAME], with NAME one of {', '.join(CLUSTER_KINDS)}", ctx, param
        )
    for name, table in tables.items():
        if name not in CLUSTER_KINDS or not isinstance(table, dict):
            raise click.BadParameter(
                f"{path}: [cluster] {name} is not a table of a cluster; there are {', '.join(CLUSTER_KINDS)}",
                ctx,
                param,
            )
    return tables


def _config_keys(parameter: click.Parameter) -> list[str]:
    """What an option is called in a file: as on the command line, without the dashes before it."""
    if not isinstance(parameter, click.Option):
        return []
    return [name.removeprefix("--") for name in parameter.opts if name.startswith("--")]


def _configure_logging(ctx: click.Context, param: click.Parameter, value: int) -> None:
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(value, 2)]
    handler = RichHandler(console=Console(stderr=True), show_time=False, show_path=False)
    for name in ("botocore", "aiobotocore", "s3fs", "fsspec"):
        logging.getLogger(name).setLevel(logging.WARNING)  # asked for more, they print tokens and signatures
    # `force`: a library that was imported before may have set up its own.
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler], force=True)


def on_this_machine(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Refuse an address such as s3://bucket/folder at once, and with the name of the argument."""
    try:
        return None if value is None else local_path(value)
    except OptionError as error:
        raise click.BadParameter(str(error), ctx, param) from error


_SHARED = (
    click.option(
        "--json", "as_json", is_flag=True, help="Print the result as JSON on stdout; everything else goes to stderr."
    ),
    click.option(
        "-v",
        "--verbose",
        count=True,
        expose_value=False,
        is_eager=True,
        callback=_configure_logging,
        help="Print more; given twice, with the traceback of an error.",
    ),
    click.option(
        "--config",
        type=ExistingPath(dir_okay=False),
        expose_value=False,
        is_eager=True,
        callback=_read_config,
        help="Read options from a TOML file: a table named like the command, one key per option. Flags on the command "
        "line win. [cluster.NAME] describes the jobs of --cluster NAME.",
    ),
)


progress_option = click.option(
    "--progress/--no-progress",
    default=True,
    show_default=True,
    help="Show the progress on stderr: a bar on a terminal, elsewhere a line now and then.",
)


def add_options(function: Function, options: Sequence[Callable[[Function], Function]]) -> Function:
    """Add several options, which `--help` lists in this order."""
    # Decorators apply from the last to the first.
    for option in reversed(options):
        function = option(function)
    return function


def shared_options(function: Function) -> Function:
    """Add `--json`, `-v` and `--config`."""
    return add_options(function, _SHARED)


preset_option = click.option(
    "--preset",
    metavar="NAME",
    shell_complete=complete_presets,
    is_eager=True,
    expose_value=False,
    callback=_read_preset,
    help="Use the clip options of a preset of `fda finetune` as defaults.",
)
model_preset_option = click.option(
    "--preset",
    metavar="NAME",
    shell_complete=complete_presets,
    is_eager=True,
    expose_value=False,
    callback=_read_model_of_preset,
    help="Use the model, weights, alpha, pooling and tokens of a preset as defaults: zero-shot, without its training.",
)


def _parse_partition(ctx: click.Context, param: click.Parameter, value: str | None) -> Partition:
    try:
        return WHOLE if value is None else Partition.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


partition_option = click.option(
    "--partition",
    metavar="I/N",
    callback=_parse_partition,
    help="Work on part I of N of the shards, for array jobs. Run `fda finalise` when all parts have ended.",
)
wait_option = click.option(
    "--wait", is_flag=True, help="Wait until another run that writes the same has ended.  [default: refuse]"
)
mask_option = click.option(
    "--masks",
    "mask_name",
    metavar="NAME",
    shell_complete=complete_masks,
    help="Name of the mask set.  [default: `default`, or the one that the checkpoint was trained with]",
)
alpha_option = click.option(
    "--alpha",
    type=click.Choice([str(source) for source in AlphaSource]),
    help="Content of the alpha channel: the clip's masks, or a control: all ones, all zeros, another clip's masks, "
    "random rectangles of the masks' area.  [default: masks, or that of the preset or checkpoint]",
)
device_option = click.option(
    "--device", default="auto", show_default=True, help="Device: auto (a GPU if there is one), cpu, cuda, cuda:1, ..."
)
seed_option = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed.")


def model_options(function: Function) -> Function:
    """Add `--model`, `--pretrained`, `--alpha-checkpoint` and `--activation`."""
    options = (
        click.option(
            "--model",
            help="Model: one of open_clip's, such as ViT-B-16-quickgelu or PE-Core-B-16; a JSON file in its format; "
            "hf-hub:ORG/NAME, or a folder with open_clip_config.json.",
        ),
        click.option(
            "--pretrained",
            help="Weights: an open_clip tag (openai, laion2b_s34b_b88k, ...), a local file, or `none`: random weights. "
            " [default: those of hf-hub:ORG/NAME, or of the folder]",
        ),
        click.option(
            "--alpha-checkpoint",
            type=Place(path_type=Path),
            help="Alpha-CLIP .pth file: its vision tower is loaded on top of --pretrained.",
        ),
        click.option(
            "--activation",
            type=click.Choice([str(activation) for activation in Activation]),
            help="Activation that the weights of --pretrained were trained with, for files that do not record it.",
        ),
    )
    return add_options(function, options)


class LimitType(click.ParamType[Limit]):
    """A number of videos, or a share of them: `5`, `10%` or `0.1`."""

    name = "N|P%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Limit:
        """Return the limit."""
        try:  # what click converts a second time, and what a config file has, are no texts
            return value if isinstance(value, Limit) else Limit.of(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


max_failed_option = click.option(
    "--max-failed",
    type=LimitType(),
    default="10%",
    show_default=True,
    help="Exit with code 3 if more videos than this failed.",
)
