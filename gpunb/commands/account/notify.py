"""``notify``: where notices go, which were sent, and a test."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from gpunb.cli.command import verb
from gpunb.presentation.columns import Column
from gpunb.presentation.result import Block, Cell, Note, Result, Table
from gpunb.text import clean

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.sessions.ledger.notices import Notice
    from gpunb.settings import NotifySettings

__all__ = ["command"]

COLUMNS = (
    Column("when"),
    Column("of"),
    Column("session", drop=1),
    Column("notice", wrap=True),
    Column("sent"),
)
SHOWN = 20


@verb("notify", example="notify\nnotify test")
@click.argument("what", required=False, type=click.Choice(["test"]), metavar="[test]")
def command(context: Context, *, what: str | None) -> Result:
    """Show where notices go and the last ones; "notify test" sends one to each place.

    Set the places in your own settings file, in the table [notify]: desktop = true, webhook = "https://…",
    to = ["mailto://…"] (addresses of the apprise library, pip install 'gpunb[notify]'). events says of
    what: run, lease, budget, machine, unconfirmed, increase, cap. The supervisor sends each notice once.
    vast_secret has it take Vast.ai's own signed webhooks, which make it look at once.
    """
    from gpunb.sessions.notices import channels as ways
    from gpunb.sessions.notices.outbox import own

    to = own()
    names = ways.channels(to)
    listens = to.vast_listen if to.vast_secret is not None else ""
    calls = [Note(f"the supervisor takes Vast.ai's webhooks at {listens}", "dim")] if listens else []
    if what is not None and (names or listens):
        return _test(context, to, names)
    if not names:
        text = "no notices are sent: set a place for them in [notify] of your settings file"
        off: dict[str, Any] = {"channels": [], "notices": [], "vast_listen": listens}
        return Result(off, Note(text, "dim"), *calls, exit_code=1 if what else 0)
    notices = context.ledger.notices()[: -SHOWN - 1 : -1]
    found = [
        {"id": notice.key, "kind": notice.kind, "session": notice.session, "at": notice.at,
         "text": notice.text, "left": notice.left, "failed": notice.failed}
        for notice in notices
    ]  # fmt: skip
    rows = [
        [_when(notice), notice.kind, clean(notice.session), clean(notice.text), _sent(notice)]
        for notice in notices
    ]
    blocks: list[Block] = [Table(COLUMNS, rows)] if rows else [Note("nothing was noticed yet", "dim")]
    places = Note(f"notices go to: {', '.join(names)}; of: {', '.join(to.events)}", "dim")
    data = {"channels": names, "notices": found, "vast_listen": listens}
    return Result(data, *blocks, places, *calls)


def _test(context: Context, to: NotifySettings, names: list[str]) -> Result:
    from gpunb.sessions.ledger.notices import Notice
    from gpunb.sessions.notices import channels as ways

    notice = Notice(key="test", kind="test", text="this is a test of gpunb's notices", at=time.time())
    data, notes = [], []
    for name in names:
        try:
            ways.send(name, to, [notice])
        except ways.NotSent as err:  # noqa: PERF203 - each on its own
            data.append({"channel": name, "sent": False, "why": err.message})
            hint = f"; {err.hint}" if err.hint else ""
            notes.append(Note(clean(f"{name}: not sent: {err.message}{hint}"), "bad"))
        else:
            data.append({"channel": name, "sent": True, "why": ""})
            notes.append(Note(f"{name}: sent", "ok"))
    if to.vast_secret is not None:
        from gpunb.sessions.notices.wakeups import call

        if context.ledger.leader() is None:
            text = "the webhooks of Vast.ai are not taken now: they are while a supervisor runs"
            notes.append(Note(text, "dim"))
        else:
            why = call(to)
            data.append({"channel": "vast", "sent": not why, "why": why})
            text = f"webhooks of Vast.ai: {why or f'taken at {to.vast_listen}'}"
            notes.append(Note(clean(text), "bad" if why else "ok"))
    return Result({"test": data}, *notes, exit_code=0 if all(one["sent"] for one in data) else 1)


def _when(one: Notice) -> str:
    return time.strftime("%m-%d %H:%M", time.localtime(one.at))


def _sent(one: Notice) -> Cell:
    if one.failed:
        return Cell(f"not by {', '.join(one.failed)}", "bad")
    return Cell(f"not yet by {', '.join(one.left)}", "warn") if one.left else Cell("yes", "ok")
