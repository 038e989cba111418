"""``supervise``: run the supervisor, which ends sessions when their lease is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpunb.cli.command import DURATION, verb
from gpunb.errors import BadInput
from gpunb.presentation.result import Note, Result

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]


@verb("supervise", undone="nothing was ended", example="supervise\nsupervise --every 5s", watches=False)
@click.option(
    "--every",
    type=DURATION,
    default="15s",
    envvar="GPUNB_SUPERVISE_EVERY",
    show_default=True,
    metavar="TIME",
    help="How often to look; lists are asked for at every fourth look.",
)
def command(context: Context, *, every: float) -> Result:
    """Watch the leases of all sessions, and end what is over, until none is left.

    `rent` starts it by itself where no Jupyter server does the work; one at a time is enough, and
    a second one waits in case the first dies.
    """
    from gpunb.sessions.supervisor import process

    if not 0.1 <= every <= 60.0:
        msg = f"--every {every:g} s: must be 0.1 s to 60 s; leases are enforced within two checks"
        raise BadInput(msg)
    process.run(context.ledger, context.provider, tick_s=every, renew=context.renew)
    return Result({"supervised": True}, Note("no session is left; the supervisor ends", "dim"))
