"""``ps``: list the sessions and their cost, from the ledger and without the network."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from gpunb import paths
from gpunb.cli import completers
from gpunb.cli.command import no_use, verb
from gpunb.hints import typed
from gpunb.presentation.result import Block, Note, Result

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.commands.parts.instances import Wanted
    from gpunb.sessions.model import Cost, RunNote

__all__ = ["command"]


@verb("ps", reads=True, example="ps\nps --all\nps --account\nps --cloud vast --state stopped")
@click.option("-a", "--all", "all_", is_flag=True, help="Sessions that have ended, too.")
@click.option("--account", is_flag=True, help="Ask the clouds for ALL instances of your accounts instead.")
@click.option(
    "--cloud",
    "--provider",
    "cloud",
    multiple=True,
    metavar="NAME",
    shell_complete=completers.clouds,
    help="Only of these clouds.",
)
@click.option(
    "--state",
    multiple=True,
    metavar="STATE",
    shell_complete=completers.states,
    help="Only in these states, as the list words them: ready, stopped, offline.",
)
@click.option(
    "--type",
    "kind",
    multiple=True,
    metavar="KIND",
    shell_complete=completers.kinds,
    help="Only container, vm or bare-metal.",
)
def command(
    context: Context,
    *,
    all_: bool,
    account: bool,
    cloud: tuple[str, ...],
    state: tuple[str, ...],
    kind: tuple[str, ...],
) -> Result:
    """Show the sessions, what they run and what they cost.

    It reads this machine's ledger only, so it is quick and works without a network. With --account
    it asks the clouds what else your accounts have and pay for: by other programs, or by their pages.
    """
    from gpunb.presentation import tables
    from gpunb.presentation.session_columns import PS_COLUMNS, SessionLine
    from gpunb.presentation.shown import table_of
    from gpunb.sessions.cost import funds

    if account:
        from gpunb.commands.parts.instances import instances

        no_use("--account", "all_")
        return instances(context, _wanted(context, cloud=cloud, kind=kind, state=state, account=True))
    filtered = bool(cloud or state or kind)
    wanted = _wanted(context, cloud=cloud, kind=kind, state=state) if filtered else None
    ledger = context.ledger
    now = time.time()
    # warnings are shown whatever the table filters out
    every = ledger.sessions(alive=not all_)
    sessions = [session for session in every if wanted is None or wanted.has(session)]
    costs: dict[str, Cost] = {session.id: ledger.cost(session.id) for session in sessions}
    running: dict[str, list[RunNote]] = {}
    for session in sessions:
        if session.alive:
            running[session.id] = ledger.open_runs(session.id)
    silences = ledger.silences()
    blocks: list[Block] = [
        *tables.warnings(every, silences, now),
        *(Note("WARNING: " + text, "bad") for _, text in funds.lines(ledger, every, now)),
        *tables.orphan_notes(ledger.orphans()),
        *tables.volume_notes(ledger.idle_volumes()),
    ]
    if not ledger.writable():
        text = f"WARNING: {ledger.path} can't be written: ends are carried out all the same, and noted later"
        blocks.insert(0, Note(f"{text}; {paths.unlock_hint(ledger.path)}", "bad"))
    if sessions:
        lines = [SessionLine(one, costs[one.id], running.get(one.id, ()), now) for one in sessions]
        blocks.append(table_of(PS_COLUMNS, lines, total=True))
    elif every:
        rest = f"{len(every)} other{'s' if len(every) > 1 else ''}"
        blocks.append(Note("no session like that; " + typed("ps") + f" shows the {rest}", "dim"))
    else:
        text = (
            "no sessions; nothing is rented from this ledger ("
            + typed("doctor")
            + " asks the clouds what else runs)"
        )
        blocks.append(Note(text, "dim"))
    simulated = paths.simulation()
    if simulated is not None:
        blocks += _simulation(simulated)
    data = [
        tables.session_data(session, costs[session.id], running.get(session.id, []), now)
        for session in sessions
    ]
    for row in data:
        silence = silences.get(row["id"])
        row["silent_since"] = silence.since if silence is not None and row["left"] is not None else None
    return Result(data, *blocks)


def _wanted(
    context: Context,
    *,
    cloud: tuple[str, ...],
    kind: tuple[str, ...],
    state: tuple[str, ...],
    account: bool = False,
) -> Wanted:
    """Read the filter; sessions are in states of gpunb, or in those that their clouds report."""
    from gpunb.commands.parts.instances import Wanted
    from gpunb.providers import InstanceState
    from gpunb.sessions.model import SessionState

    states = [] if account else [one.value for one in SessionState]
    states += [one.value for one in InstanceState]
    return Wanted.read(context, cloud=cloud, kind=kind, state=state, states=states)


def _simulation(providers: dict[str, dict[str, Any]]) -> list[Block]:
    """A note that the clouds are simulated, and which real sessions that hides."""
    notes: list[Block] = [
        Note(
            f"simulated clouds are in use: {', '.join(providers)}; " + typed("sim down") + " ends that",
            "info",
        )
    ]
    if paths.real_ledger_file().exists():
        from gpunb.sessions.ledger.sessions import Ledger

        with Ledger.open(paths.real_ledger_file()) as ledger:
            hidden = ledger.sessions()
            watched = ledger.leader() is not None
        if hidden:
            names = ", ".join(session.name for session in hidden)
            text = (
                f"not shown, and not simulated: {names}; " + typed("sim down") + " brings them back into view"
            )
            notes.append(Note(text, "warn"))
        if hidden and not watched:
            text = (
                "WARNING: nothing watches their leases: " + typed("sim down") + ", then " + typed("supervise")
            )
            notes.append(Note(text, "bad"))
    return notes
