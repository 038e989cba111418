"""``forward``: forward a port of the host to this machine, or the reverse."""

from __future__ import annotations

import time
from dataclasses import asdict
from html import escape
from typing import TYPE_CHECKING

import click

from gpunb.cli.command import no_use, verb
from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.presentation.result import Note, Result, Table
from gpunb.text import clean

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.sessions.access.ports import Port
    from gpunb.sessions.model import Session

__all__ = ["command"]

PORT = click.IntRange(1, 65535)


class Link(Note):
    """A note with a link that can be opened."""

    def __init__(self, before: str, address: str, after: str) -> None:
        super().__init__(f"{before}{address}{after}")
        self.pieces = (before, address, after)

    def html(self) -> str:
        """Render the link for the notebook."""
        before, address, after = (escape(clean(piece)) for piece in self.pieces)
        link = f'<a href="{address}" target="_blank" rel="noopener noreferrer">{address}</a>'
        return f'<div style="margin:2px 0">{before} {link} {after}</div>'


@verb(
    "forward",
    example="forward 6006\nforward 8000 --local 9000\nforward 5432 --reverse\nforward\nforward 6006 --close",
    session=True,
    first="typed",
)
@click.argument("port", required=False, type=PORT)
@click.option(
    "--local", "local_port", type=PORT, metavar="N", help="The port here. [default: the same, if it is free]"
)
@click.option("--reverse", is_flag=True, help="The other way: the host's PORT leads to this machine's.")
@click.option("--close", "closing", is_flag=True, help="Close it, or all of the session's.")
@click.option("-d", "--detach", is_flag=True, hidden=True)
def command(
    context: Context,
    *,
    port: int | None,
    local_port: int | None,
    reverse: bool,
    closing: bool,
    detach: bool,
    session: str | None,
) -> Result:
    """Forward PORT of the host (TensorBoard, a served model) to this machine. Without PORT: list.

    Only programs on this machine reach it. It is kept up over broken lines, and closed with
    `--close` or at the session's end. In a terminal it lasts until Ctrl-C; in a notebook as long
    as the kernel.
    """
    from gpunb.sessions.access import ports

    if closing:
        no_use("--close", "local_port", "reverse", "detach")
    elif port is None:
        no_use("without PORT", "local_port", "reverse", "detach")
    found = context.session(session)
    if closing:
        return _close(found, port)
    if port is None:
        return _list(found)
    if detach and context.frontend == "terminal":
        msg = "forward --detach: a forward lives in the process that holds it, and a terminal's ends"
        raise BadInput(
            msg, hint=typed("forward", port) + " & holds it in the background; a notebook holds it too"
        )
    with context.progress(f"connecting to {found.name}"):
        held = ports.open_port(found, port, local_port=local_port or 0, reverse=reverse)
    text = _text(held.port)
    data = asdict(held.port) | {"link": held.port.link}
    if context.frontend == "notebook":
        return Result(data, text)
    if context.as_json:
        from gpunb.presentation.result import to_json

        print(to_json(data), flush=True)  # noqa: T201 - now, not when it is over
    else:
        context.tell(text, Note("Ctrl-C closes it", "dim"))
    try:
        while not held.ended.wait(1.0):
            pass
    except KeyboardInterrupt:
        held.close()
    if context.as_json:
        raise click.exceptions.Exit(0)
    if held.why:
        return Result(None, Note(f"closed {held.port.link}: {held.why}", "warn"))
    return Result(None, Note(f"closed {held.port.link}", "dim"))


def _text(port: Port) -> Link:
    if port.reverse:
        return Link(f"on {port.session}, ", port.link, f" leads to port {port.local_port} of this machine")
    return Link("", port.link, f" is port {port.host_port} of {port.session}")


def _list(session: Session) -> Result:
    from gpunb.presentation import tables
    from gpunb.sessions.access import ports

    found = ports.listed(session.id)
    now = time.time()
    rows = [
        [
            port.link,
            f"port {port.local_port} here" if port.reverse else f"port {port.host_port} of {port.session}",
            "on the host" if port.reverse else "here",
            str(port.pid),
            tables.ago(port.since, now),
        ]
        for port in found
    ]
    data = [asdict(port) | {"link": port.link} for port in found]
    if not rows:
        return Result(data, Note(f"no port of {session.name} is forwarded; forward 6006 does that", "dim"))
    return Result(data, Table(["link", "leads to", "opens", ">held by", ">since"], rows))


def _close(session: Session, port: int | None) -> Result:
    from gpunb.sessions.access import ports

    there = ports.listed(session.id)
    chosen = [one for one in there if port is None or port in (one.host_port, one.local_port)]
    if port is not None and not chosen:
        known = ", ".join(str(one.host_port) for one in there) or "none"
        msg = f"forward {port} --close: it is not forwarded from {session.name} ({known} is)"
        raise BadInput(msg)
    for one in chosen:
        ports.close(one)
    closed = [one.link for one in chosen]
    text = f"closed {', '.join(closed)}" if closed else f"no port of {session.name} was forwarded"
    return Result({"closed": closed}, Note(text, "ok" if closed else "dim"))
