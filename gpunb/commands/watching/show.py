"""``show``: everything known about one session."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import click

from gpunb.cli.command import complete_runs, complete_sessions, no_use, verb
from gpunb.presentation.result import Block, Cell, Fields, Result, Table
from gpunb.sessions.start_check import StartCheck
from gpunb.units import bytes_text, duration_text, files_text, hourly_text, money_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.presentation.models import StartCheck as CheckShown
    from gpunb.presentation.rows import SessionShown
    from gpunb.sessions.model import Event

__all__ = ["command"]


@verb("show", reads=True, example="show\nshow train --events\nshow train --instance\nshow --run k3v9")
@click.argument("name", required=False, shell_complete=complete_sessions)
@click.option(
    "--run", metavar="RUN", shell_complete=complete_runs, help="One run instead, and what it did to its host."
)
@click.option("--events", is_flag=True, help="Its whole history, not the last ten lines.")
@click.option(
    "--instance",
    is_flag=True,
    help="What its cloud tells of the machine now instead: state, image, command, SSH key.",
)
def command(context: Context, *, name: str | None, run: str | None, events: bool, instance: bool) -> Result:
    """Show everything known about one session, also about one that has ended."""
    from gpunb.commands.parts import attempt_rows
    from gpunb.presentation import tables
    from gpunb.presentation.run_columns import RUN_COLUMNS, RunLine
    from gpunb.presentation.shown import table_of
    from gpunb.sessions import start_check
    from gpunb.sessions.lifecycle.bringup import STARTED
    from gpunb.sessions.model import machine

    if run is not None:
        no_use("--run", "events", "instance")
        return _run(context, run, name)
    ledger = context.ledger
    session = context.session(name)
    if instance:
        no_use("--instance", "events")
        from gpunb.commands.parts.instances import facts

        return facts(context, session)
    now = time.time()
    cost = ledger.cost(session.id)
    runs = ledger.runs(session.id, 1000)
    running = [run for run in runs if run.ended is None] if session.alive else []
    history = ledger.events(session.id)
    rest = tables.lease_cells(session, cost, sum(run.active for run in running), now)
    address = f"{session.user}@{session.host} port {session.port}" if session.host else ""
    lease = session.lease
    blocks: list[Block] = list(tables.warnings([session], ledger.silences(), now))
    blocks.append(
        Fields(
            [
                ("name", Cell(session.name, "strong")),
                ("state", tables.state_cell(session)),
                ("detail", session.detail),
                ("machine", f"{machine(session.gpu, session.gpus)} on {session.provider}"),
                ("host", f"{session.trust}; {address}" if address else session.trust),
                *tables.hardware_rows(session),
                ("instance", session.instance_id),
                ("python", session.python),
                ("created", tables.ago(session.created, now)),
                ("ready", tables.ago(session.ready, now)),
                ("start", next((one.detail for one in reversed(history) if one.kind == STARTED), "")),
                ("ended", tables.ago(session.ended, now)),
                ("price", f"{hourly_text(session.hourly)} now"),
                ("cost so far", money_text(cost.total)),
                ("time left", rest[0] if lease.deadline is not None else ""),
                ("contract ends", _at(session.contract_end) if session.alive else ""),
                ("idle left", rest[1] if lease.idle_s is not None else ""),
                ("idle limit", duration_text(lease.idle_s) if lease.idle_s is not None else ""),
                ("budget left", rest[2] if lease.budget_usd is not None else ""),
                ("will fetch", ", ".join(session.save)),
                *attempt_rows.rows(ledger, session, now),
                *(tables.port_rows(session) if session.alive else ()),
            ]
        )
    )
    check = start_check.recorded(ledger, session)
    blocks += tables.check_blocks(check)
    if runs:
        lines = [RunLine(run, session.name if session.alive else "", now) for run in runs[:10]]
        blocks.append(table_of(RUN_COLUMNS, lines))
    shown = history if events else history[-10:]
    rows = []
    for event in shown:
        change = f"{event.old} -> {event.new}" if event.new else event.kind
        rows.append([time.strftime("%H:%M:%S", time.localtime(event.at)), change, _detail(event)])
    if rows:
        blocks.append(Table([">at", "what", "detail"], rows))
    data: SessionShown = {
        **tables.session_data(session, cost, running, now),
        **attempt_rows.data(ledger, session),
        "check": None if check is None else cast("CheckShown", check.data()),
        "runs": [{"id": run.id, "kind": run.kind, "name": run.name, "state": run.state} for run in runs],
        "events": [
            {"at": event.at, "kind": event.kind, "old": event.old, "new": event.new, "detail": event.detail}
            for event in history
        ],
    }
    return Result(data, *blocks)


def _run(context: Context, run: str, name: str | None) -> Result:
    """Show one run: its kind and command, its result, and the host's load meanwhile."""
    from gpunb.presentation import load
    from gpunb.services.running import runs as playing

    session, run_id = playing.find(context, run, name)
    client = context.agent(session)
    info = client.run_info(run_id)
    playing.note_end(context, run_id, info)
    samples: list[dict[str, Any]] = []
    if info.started is not None:
        # by the host's clock; a sample each ten seconds: the one before the run's start is included
        asked = client.request(
            "telemetry", since=info.started - 10, until=(info.ended or 1e12) + 1, points=load.WIDTH
        )
        samples = [sample for sample in asked.get("samples", []) if isinstance(sample, dict)]
    took = duration_text((info.ended or time.time()) - info.started) if info.started else ""
    code = "" if info.exit_code is None else str(info.exit_code)
    about = Fields(
        [
            ("run", Cell(info.id, "strong")),
            ("what", f"{info.kind} {info.name}"),
            ("session", session.name),
            ("state", f"{info.state}{f': {info.why}' if info.why else ''}"),
            ("exit code", code),
            ("took", took),
            ("gpus", ", ".join(info.gpus)),
            ("starts", str(info.attempt) if info.attempt > 1 else ""),
        ]
    )
    return Result(
        {**asdict(info), "session": session.name, "load": samples}, about, *load.run_blocks(samples)
    )


def _at(at: float | None) -> str:
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def _detail(event: Event) -> str:
    """Format an event's detail for people; some details are JSON for the receipt."""
    if event.kind == "check":
        with suppress(ValueError, TypeError, KeyError):
            return StartCheck.from_data(json.loads(event.detail)).summary()
    if event.kind not in {"brought", "unsaved"}:
        return event.detail
    try:
        data = json.loads(event.detail)
        if event.kind == "unsaved":
            return f"{data[0]}: {data[1]}"
        files = f"{files_text(data['files'])}, {bytes_text(data['bytes'])}"
        return f"{data['path']} ({files}) in {', '.join(data['to'])}"
    except (ValueError, TypeError, KeyError, IndexError):  # a row that another program has damaged
        return event.detail
