"""``supervise``: the process that ends sessions when their lease is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.commands.result import Note, Result
from gpunb.commands.verb import verb

if TYPE_CHECKING:
    from gpunb.commands.context import Context

__all__ = ["command"]


@verb("supervise", example="supervise")
def command(context: Context) -> Result:
    """Watch the leases of all sessions, and end what is over, until none is left.

    `rent` starts it by itself where no Jupyter server does the work; one at a time is enough, and
    a second one waits in case the first dies.
    """
    from gpunb.sessions import supervisor

    supervisor.run(context.ledger, context.provider)
    return Result({"supervised": True}, Note("no session is left; the supervisor ends", "dim"))
