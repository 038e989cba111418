"""``mcp``: serve the tools of coding agents on standard input and output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpunb.cli.command import verb
from gpunb.mcp import server
from gpunb.presentation.result import Result
from gpunb.sessions.access import host_access

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]


@verb("mcp", example="mcp\nmcp --as claude")
@click.option("--as", "agent", default="agent", metavar="NAME", help="What its sessions are marked with.")
def command(context: Context, *, agent: str) -> Result:
    """Serve agents over MCP (standard input and output, no port), within the caps of [agent].

    In an agent's settings: the command `gpunb` with the argument `mcp`. Set caps for it in your own
    settings file, in the table [agent]: usd_day = 5, sessions = 2, max_hours = 4. What a person confirms is
    confirm = "rent,extend,down"; without a cap of money a person confirms all three.
    """
    context.watch()
    try:
        server.build(agent).run("stdio")
    finally:
        host_access.close_all()
    return Result()
