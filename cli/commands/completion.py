"""`fda completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from cli.completing import VARIABLE
from cli.main import fda
from cli.options.shared import shared_options
from cli.output.printing import print_json

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@shared_options
def command(shell: str, as_json: bool) -> None:
    """Print a script for SHELL that completes commands, options, choices, and names in a store.

    \b
    eval "$(fda completion bash)"                                    in ~/.bashrc
    eval "$(fda completion zsh)"                                     in ~/.zshrc, after compinit
    fda completion fish > ~/.config/fish/completions/fda.fish        once
    """
    found = get_completion_class(shell)
    assert found is not None  # click has all three
    # The variable is that which `main` looks for: click would take one of its own from the name of the program.
    script = found(fda, {}, "fda", VARIABLE).source()
    print_json({"shell": shell, "script": script}) if as_json else click.echo(script, nl=False)
