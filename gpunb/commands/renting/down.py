"""``down``: end sessions, confirmed by the cloud, with a receipt."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from gpunb.cli import several
from gpunb.cli.command import no_use, verb
from gpunb.errors import BadInput, GpunbError
from gpunb.hints import typed
from gpunb.presentation.result import Block, Note, Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.cli.context import Context
    from gpunb.providers import Provider
    from gpunb.sessions.model import Session

__all__ = ["command"]


@verb(
    "down",
    asks=True,
    undone="nothing was ended",
    example="down\ndown train --yes\ndown --all\ndown lab --forget",
)
@several.names
@click.option("-a", "--all", "all_", is_flag=True, help="Every live session.")
@click.option("--no-save", is_flag=True, help="Don't bring back what rent --save asked for.")
@click.option("--forget", is_flag=True, help="On a machine of your own that is off for ever: end without it.")
def command(
    context: Context,
    *,
    names: tuple[str, ...],
    named: tuple[str, ...],
    all_: bool,
    no_save: bool,
    forget: bool,
    yes: bool,
) -> Result:
    """End sessions for good: bring back what was asked for, destroy, wait until the cloud agrees.

    Without a name: the only live one. What is on the host and was not brought back is lost.
    """
    from gpunb.presentation import tables
    from gpunb.sessions import lifecycle

    names = (*names, *named)
    if forget:
        no_use("--forget", "no_save")
    if all_ and names:
        msg = f"down --all ends every session, so {names[0]!r} can't be named beside it"
        raise BadInput(msg, bill="nothing was ended")
    chosen = context.ledger.sessions() if all_ else several.chosen(context, names)
    if not chosen:
        return Result([], Note("no live sessions; nothing is rented", "dim"))
    if forget:
        return _forget(context, chosen, yes=yes)
    from gpunb.services.questions import to_down

    if not context.confirm(to_down(context.ledger, chosen, save=not no_save), yes=yes):
        return Result([], Note("nothing was ended; it goes on and is billed", "warn"), exit_code=1)

    def end(one: Session) -> tuple[dict[str, Any], list[Block]]:
        provider = context.provider(one.provider)
        with context.progress(f"down {one.name}") as progress:
            receipt = lifecycle.down(context.ledger, provider, one, progress=progress, save=not no_save)
        return receipt.data(), [*tables.receipt_blocks(receipt), *_kept(context, provider, one)]

    data, blocks, bad = several.each("down", chosen, end)
    bad = bad or any(row["unsaved"] or row["confirmed"] is None for row in data)
    return Result(data, *blocks, exit_code=1 if bad else 0)


def _forget(context: Context, chosen: Sequence[Session], *, yes: bool) -> Result:
    """End sessions on machines that give no answer; the question and the receipt say what stays there."""
    from gpunb.presentation import tables
    from gpunb.providers.features import OwnHosts
    from gpunb.services.questions import to_forget
    from gpunb.sessions import lifecycle

    stays = []
    for session in chosen:
        provider = context.provider(session.provider)
        if not isinstance(provider, OwnHosts):
            may = f"what {provider.title} has not confirmed gone may be billed"
            msg = f"{session.name} can't be forgotten: {may}"
            raise BadInput(
                msg, bill="nothing was ended", hint=typed("down", session.name) + " asks it to end"
            )
        stays.append(provider.stays(session.instance_id))
    if not context.confirm(to_forget(chosen, stays), yes=yes):
        return Result([], Note("nothing was forgotten; gpunb keeps trying", "warn"), exit_code=1)

    def end(one: Session) -> tuple[dict[str, Any], list[Block]]:
        with context.progress(f"down {one.name}") as progress:
            progress.say("asking its machine once more")
            lifecycle.forget(context.ledger, context.provider(one.provider), one.id)
        receipt = context.ledger.receipt(one.id)
        return (receipt.data(), tables.receipt_blocks(receipt)) if receipt is not None else ({}, [])

    data, blocks, bad = several.each("down", chosen, end)
    return Result(data, *blocks, exit_code=1 if bad else 0)


def _kept(context: Context, provider: Provider, session: Session) -> list[Note]:
    """A note on the session's volumes: they stay, and cost."""
    from gpunb.presentation import tables
    from gpunb.sessions.cost import volumes

    intents = context.ledger.intents(session.id)
    used = {volume for intent in intents for volume in intent.summary.get("volumes") or ()}
    if not used:
        return []
    with suppress(GpunbError):  # the next check shows it
        listed = provider.volumes()
        volumes.sweep(context.ledger, provider, listed)
        left = [volume for volume in volumes.idle(context.ledger, provider, listed) if volume.id in used]
        return tables.volume_notes([volumes.as_idle(volume, time.time()) for volume in left])
    return []
