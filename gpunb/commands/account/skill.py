"""``skill``: how an agent uses gpunb, as a file that agents read."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpunb.cli.command import verb
from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.presentation.result import Code, Note, Result
from gpunb.text import clean

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command", "text"]

#: Where agents look for skills, below the home folder: those that are there get it.
PLACES = (".claude/skills", ".codex/skills", ".cursor/skills", ".agents/skills")


def text() -> str:
    """The skill file."""
    return files("gpunb.commands.parts").joinpath("skill.md").read_text("utf-8")


@verb("skill", example="skill\nskill --install")
@click.option("--install", is_flag=True, help="Write it where the agents of this computer look.")
def command(context: Context, *, install: bool) -> Result:  # noqa: ARG001
    """Print how to do twelve tasks with gpunb, for coding agents; with --install put it where they look.

    The places are ~/.claude/skills, ~/.codex/skills, ~/.cursor/skills and ~/.agents/skills, where the agent's
    folder is there; without any of them ~/.agents/skills.
    """
    if not install:
        return Result({"skill": text()}, Code(text()))
    home = Path.home()
    places = [home / place for place in PLACES if (home / place).parent.is_dir()]
    written = []
    for place in places or [home / PLACES[-1]]:
        file = place / "gpunb" / "SKILL.md"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text(), "utf-8")
        except OSError as err:
            msg = f"{file} can't be written: {err.strerror or err}"
            raise BadInput(msg, bill="nothing is rented by this", hint=typed("skill") + " prints it") from err
        written.append(str(file))
    return Result({"files": written}, *(Note(clean(f"wrote {file}"), "ok") for file in written))
