"""``logout``: remove a cloud's stored key."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from gpunb.cli.command import verb
from gpunb.cli.completers import complete_providers
from gpunb.presentation.result import Block, Note, Result

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]


@verb("logout", example="logout vast")
@click.argument("provider", metavar="CLOUD", shell_complete=complete_providers)
def command(context: Context, *, provider: str) -> Result:
    """Forget the key of CLOUD that `login` kept. It stays valid: revoke it on the cloud's page."""
    from gpunb.providers import keys, provider_class

    made = provider_class(provider)
    live = [session.name for session in context.ledger.sessions() if session.provider == provider]
    gone = keys.delete(provider)
    blocks: list[Block] = (
        [Note(f"forgot the key of {made.title}: {', '.join(gone)}", "ok")]
        if gone
        else [Note(f"no key of {made.title} was kept", "dim")]
    )
    if os.environ.get(keys.variable(provider), "").strip():
        blocks.append(Note(f"{keys.variable(provider)} is set, and still gives one", "warn"))
    elif live:
        text = (
            f"without the key gpunb can't end {', '.join(live)}: log in again, or end it on the cloud's page"
        )
        blocks.append(Note(f"WARNING: {text}", "bad"))
    return Result({"provider": provider, "removed": gone, "live": live}, *blocks)
