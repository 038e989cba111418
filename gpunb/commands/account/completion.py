"""``completion``: the shell script that completes ``gpunb``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpunb.cli.command import verb
from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.presentation.result import Code, Result

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]

SHELLS = ("bash", "zsh", "fish")


@verb(
    "completion",
    reads=True,
    watches=False,
    example=(
        "completion bash >> ~/.bashrc\ncompletion zsh >> ~/.zshrc\n"
        "completion fish > ~/.config/fish/completions/gpunb.fish"
    ),
)
@click.argument("shell", required=False, type=click.Choice(SHELLS))
def command(context: Context, *, shell: str | None) -> Result:  # noqa: ARG001
    """Print the lines that make your shell complete gpunb's verbs, options, sessions and runs."""
    from click.shell_completion import get_completion_class

    from gpunb.cli.main import cli

    name = shell or Path(os.environ.get("SHELL", "")).name
    maker = get_completion_class(name) if name in SHELLS else None
    if maker is None:
        msg = f"completion: SHELL is {name!r}, which is none of {', '.join(SHELLS)}"
        raise BadInput(msg, hint="name the shell: " + typed("completion bash"))
    source = maker(cli, {}, "gpunb", "_GPUNB_COMPLETE").source()
    return Result({"shell": name, "source": source}, Code(source))
