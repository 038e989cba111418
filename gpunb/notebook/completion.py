"""Completion of ``%gpu`` and ``%%gpu`` lines, from the command grammar."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from click.shell_completion import ShellComplete

from gpunb import log
from gpunb.cli.context import Context
from gpunb.cli.main import cli

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

__all__ = ["complete"]


def complete(line: str, symbol: str) -> list[str]:
    """Return the possible completions of a line.

    Parameters
    ----------
    line
        The line up to the cursor, with the magic's name.
    symbol
        The end of it that IPython will replace.
    """
    if "\n" in line:
        return []
    magic, _, rest = line.lstrip().partition(" ")
    if not line.lstrip().startswith(f"{magic} "):
        return []
    try:
        args = shlex.split(rest)
    except ValueError:  # inside a quote
        return []
    incomplete = "" if not rest or rest[-1].isspace() else args.pop()
    if magic == "%%gpu":
        from gpunb.notebook import cell_magic

        command: click.Command = cell_magic.CELL
    else:
        command = cli
    try:
        items = ShellComplete(command, {"obj": Context("notebook")}, magic, "").get_completions(
            args, incomplete
        )
    except Exception as err:  # noqa: BLE001 - a key press must never show a traceback
        log.get(__name__).debug("completion of %r: %s", line, err)
        return []
    words = [word for item in items for word in ([item.value] if item.type == "plain" else _files(item))]
    # IPython replaces `symbol` only, which may begin in the middle of our word
    cut = len(incomplete) - len(symbol)
    if cut < 0 or not incomplete.endswith(symbol):
        return []
    return [str(word)[cut:] for word in words]


def _files(item: CompletionItem) -> list[str]:
    """List local paths that begin with the word, as a shell does; a folder ends in a slash."""
    given = str(item.value)
    folder, _, start = given.rpartition("/")
    try:
        entries = sorted(
            os.scandir(folder or ("/" if given.startswith("/") else ".")), key=lambda one: one.name
        )
        return [
            f"{given[: len(given) - len(start)]}{entry.name}{'/' * entry.is_dir()}"
            for entry in entries
            if entry.name.startswith(start)
            and (start or not entry.name.startswith("."))
            and (entry.is_dir() or item.type == "file")
        ]
    except OSError:
        return []
