"""The `fda` command. Sub-commands are imported when they are called, so that `fda --help` starts no torch."""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import sys
import threading
from contextlib import suppress
from difflib import get_close_matches

import click
from click.shell_completion import CompletionItem

from cli.completing import VARIABLE, answer
from cli.going_on import how_to_go_on
from cli.interrupts import interruptible
from cli.output.printing import FAILED, fail, print_in_any_encoding, printable, say

COMMANDS = {
    "demo": ("cli.commands.demo", "Make a small labelled motion data set and run everything on it, on the CPU."),
    "generate": ("cli.commands.generate", "Make videos with ground truth in which one factor can be set alone."),
    "preprocess": ("cli.commands.preprocess", "Decode videos into frames and masks in a store."),
    "masks": ("cli.commands.masks", "Make another mask set from stored frames, without decoding."),
    "import-masks": ("cli.commands.import_masks", "Take masks of any origin into a store, as a mask set."),
    "finetune": ("cli.commands.finetune", "Train Alpha-CLIP on the clips of a store."),
    "encode": ("cli.commands.encode", "Embed clips and captions of a store, and cache the embeddings."),
    "pool": ("cli.commands.pool", "Train a small transformer on cached frames, and cache what it makes of them."),
    "import-features": ("cli.commands.import_features", "Take embeddings that other programs made into a store."),
    "eval": ("cli.commands.evaluate", "Score retrieval from cached embeddings."),
    "compare": ("cli.commands.compare", "Compare feature sets, with paired intervals and p-values."),
    "inspect": ("cli.commands.inspect", "Look at videos: a page and a sheet of frames, masks, attention, ranks."),
    "export": ("cli.commands.export", "Write a store in a layout of other programs: Parquet, webdataset, ..."),
    "experiment": ("cli.commands.experiment", "Answer a question by many trainings, with intervals: do masks help?"),
    "search": ("cli.commands.search", "Find videos by a text, a picture, or another video."),
    "report": ("cli.commands.report", "Write a page about a store to share, with all numbers and figures."),
    "serve": ("cli.commands.serve", "Search stores in a browser, and look at videos, frames and masks."),
    "weights": ("cli.commands.weights", "Inspect weights; write a model in the layout of Alpha-CLIP or CLIP."),
    "finalise": ("cli.commands.finalise", "End a job done in parts: what is pending, what failed."),
    "remove": ("cli.commands.remove", "Remove a mask set, a feature set or a split from a store."),
    "status": ("cli.commands.status", "What a store contains and what is pending, with sizes and failures."),
    "verify": ("cli.commands.verify", "Check every byte of a store against its checksums; --repair it."),
    "doctor": ("cli.commands.doctor", "Look at this machine: what is missing, what would be used, what to do."),
    "completion": ("cli.commands.completion", "Print what makes bash, zsh or fish complete commands and names."),
}


_BEGINS_WITH_A_DASH = (
    "a text, an id or a file that begins with - comes after --, behind all options; a file may have ./ before it "
    "instead"
)
REPORT = "fda: this is a bug of fda, not of yours. What is committed is kept. Please report it with what follows:"


class LazyGroup(click.Group):
    """A group whose commands are imported one by one, when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which people use them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or name those that are spelt like it."""
        is_typed = not ctx.resilient_parsing and bool(args) and args[0] not in COMMANDS
        close = get_close_matches(args[0], COMMANDS) if is_typed else []
        # `-x` is an option that is not there, and no command.
        if close and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {' or '.join(map(repr, close))}?")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Complete a command without importing any."""
        found = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="fda")
def fda() -> None:
    """Text-video retrieval, decoded once: frames and motion masks in a store, Alpha-CLIP features, honest numbers.

    \b
    fda preprocess CLIPS.jsonl STORE
    fda encode STORE --features mine --model ViT-B-32-quickgelu --pretrained openai
    fda eval STORE --features mine
    fda search STORE "a dog runs"

    Exit codes: 0 done; 1 failed, also where a store, a file, a split or a feature set is not there; 2 wrong usage: the
    command line itself is wrong; 3 done, but more videos failed than --max-failed allows.
    """


def main() -> None:
    """Run `fda`. An error made for users becomes one line; any other is a bug of ours, and shows where it happened."""
    if VARIABLE in os.environ:
        answer(fda)
    with interruptible(FAILED, _interrupted):
        _run()


def _interrupted() -> str:
    return printable(how_to_go_on(fda, sys.argv[1:]))


def _run() -> None:
    # Here, and not above: completion answers without them.
    from encoders.errors import EncoderError
    from pipeline.errors import OptionError, PipelineError
    from store.errors import StoreError, StoreNameError

    print_in_any_encoding()
    try:
        sys.exit(fda.main(prog_name="fda", standalone_mode=False))  # what a command gave to `Context.exit`, else None
    # From the narrow to the wide: this is a ClickException, OptionError a PipelineError, BrokenPipeError an OSError.
    except click.NoSuchOption as error:
        hint = "" if error.possibilities else f" ({_BEGINS_WITH_A_DASH})"
        click.UsageError(printable(f"{error.format_message()}{hint}"), error.ctx).show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (OptionError, StoreNameError) as error:  # no store has such a name: the line itself is wrong
        click.UsageError(printable(str(error))).show()
        sys.exit(click.UsageError.exit_code)
    except (click.Abort, KeyboardInterrupt):
        fail(_interrupted())
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe has gone: no one is left to read a message
        sys.exit(FAILED)
    except MemoryError:
        fail("this machine has no memory left: what is committed is kept, run the same command again where it has more")
    except (StoreError, PipelineError, EncoderError, OSError) as error:
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            raise
        fail(str(error) or type(error).__name__)
    except Exception:
        say(REPORT)
        raise


def program() -> None:
    """What a shell starts: `main`, and an end of the process that does not take apart what is loaded.

    Python would free every object of every module, which is half a second where torch is loaded. What waits for the end
    is done: threads, functions of `atexit`, and what is not written yet of stdout and stderr.
    """
    try:
        main()
    except SystemExit as stop:
        if _is_watched():
            raise
        code = 0 if stop.code is None else stop.code
        assert isinstance(code, int)
        with suppress(KeyboardInterrupt):  # the command has ended as its code says: only the waiting is interrupted
            threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()  # if it fails, Python ends as usual, and says so
        os._exit(code)


def _is_watched() -> bool:
    """Whether a profiler, a debugger or a measure of coverage runs this: it writes what it found when all has ended."""
    if sys.gettrace() or sys.getprofile():
        return True
    monitoring = getattr(sys, "monitoring", None)  # how they watch since Python 3.12
    return monitoring is not None and any(monitoring.get_tool(tool) for tool in range(6))


if __name__ == "__main__":
    program()
