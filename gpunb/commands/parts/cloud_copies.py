"""``sync --via vast`` without paths: list the account's linked storages and Vast's scheduled copies."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gpunb.hints import typed
from gpunb.presentation.columns import Column
from gpunb.presentation.result import Block, Cell, Note, Result, Table
from gpunb.text import clean

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.providers.features import CloudConnection, CloudCopy, ScheduledJob
    from gpunb.sessions.model import Session

__all__ = ["DAYS", "shown"]

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_PAGE = "https://cloud.vast.ai/settings/"


def shown(context: Context, cloud: CloudCopy, via: str, session: Session | None) -> Result:
    """List the account's connections and copies; with `session` only its copies."""
    connections = cloud.connections()
    jobs = cloud.scheduled_copies(None if session is None else session.instance_id)
    live = {one.instance_id: one.name for one in context.ledger.sessions() if one.provider == via}
    copies = [_job(job, live.get(str(job.instance_id))) for job in jobs]
    data = {
        "connections": [_connection(connection) for connection in connections],
        "scheduled": copies,
    }
    blocks: list[Block] = []
    if connections:
        heads = [Column("connection"), Column("storage"), Column("name", wrap=True)]
        rows = [
            [Cell(str(connection["id"]), "strong"), connection["storage"], connection["name"]]
            for connection in data["connections"]
        ]
        blocks.append(Table(heads, rows))
    else:
        blocks.append(Note("no storage is linked to the account", "dim"))
    blocks.append(Note(f"connections are made and deleted at {_PAGE}", "dim"))
    if copies:
        heads = [
            Column("session", wrap=True),
            Column("every"),
            Column("from", wrap=True),
            Column("to", wrap=True),
            Column("connection", drop=1),
            Column("until", drop=2),
        ]
        blocks.append(Table(heads, [_cells(row) for row in copies]))
        end = (
            typed("sync SESSION:PATH s3://BUCKET/PATH --via", via, "--every", "never")
            + " ends a session's copy"
        )
        blocks.append(Note(end, "dim"))
    else:
        whose = "" if session is None else f" of {session.name}"
        blocks.append(Note(f"no copy{whose} is scheduled", "dim"))
    return Result(data, *blocks)


def _connection(one: CloudConnection) -> dict[str, Any]:
    return {"id": one.id, "storage": clean(one.cloud_type)[:40], "name": clean(one.name)[:100]}


def _job(one: ScheduledJob, session: str | None) -> dict[str, Any]:
    body = one.request_body if isinstance(one.request_body, dict) else {}
    return {
        "id": one.id,
        "session": session,
        "instance": None if one.instance_id is None else str(one.instance_id),
        "every": _every(one),
        "source": clean(body.get("src") or "")[:200],
        "target": clean(body.get("dst") or "")[:200],
        "connection": body.get("selected"),
        "until": one.end_time,
    }


def _every(one: ScheduledJob) -> str:
    """Format a schedule as ``--every`` takes it."""
    words = [clean(one.frequency)[:20].lower()]
    if one.day_of_the_week is not None and 0 <= one.day_of_the_week < len(DAYS):
        words.append(DAYS[one.day_of_the_week])
    if one.hour_of_the_day is not None:
        words.append(str(one.hour_of_the_day))
    return " ".join(words)


def _cells(row: dict[str, Any]) -> list[Any]:
    until = row["until"]
    return [
        Cell(row["session"] or f"instance {row['instance']}", "strong"),
        row["every"],
        row["source"],
        row["target"],
        clean(row["connection"] or "")[:20],
        time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(until)) if until else "",
    ]
