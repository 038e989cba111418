"""``%gpu off``: run plain cells here again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.cli.command import verb
from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.presentation.result import Note, Result
from gpunb.services.running import cell_target

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]


@verb("off", example="off")
def command(context: Context) -> Result:
    """Run plain cells here again. The session goes on; `down` ends it."""
    if context.shell is None:
        msg = "off is about a notebook's cells, and a terminal has none"
        raise BadInput(msg, hint=typed("down") + " ends a session")
    before = cell_target.turn_off(context.shell)
    if before is None:
        return Result({"on": False}, Note("plain cells run here already", "dim"))
    return Result(
        {"on": False, "session": before.name},
        Note(f"plain cells run here again; {before.name} goes on, " + typed("down") + " ends it", "ok"),
    )
