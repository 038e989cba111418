"""``jobs``: list the host's jobs, as the host knows them."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from gpunb.cli.command import verb
from gpunb.presentation.columns import Column
from gpunb.presentation.result import Block, Cell, Note, Result, Table
from gpunb.units import bytes_text, duration_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.remote import RunInfo

__all__ = ["command"]

_TONES = {"running": "info", "ok": "ok", "cancelled": "warn"}


@verb("jobs", reads=True, example="jobs", session=True)
def command(context: Context, *, session: str | None) -> Result:
    """List the host's jobs, newest first, as the host knows them now.

    `runs` lists cells too, for all sessions, without asking a host.
    """
    from gpunb.presentation import tables
    from gpunb.services.running import runs

    found = context.session(session)
    infos = runs.refresh(context, context.agent(found), found)
    jobs = [info for info in infos if info.kind == "job"][::-1]
    now = time.time()
    rows = []
    for job in jobs:
        began = job.started or job.created
        rows.append(
            [
                Cell(job.id, "strong"),
                job.name,
                Cell(job.state, _TONES.get(job.state, "bad" if job.over else "")),
                _gpus(job),
                "" if job.exit_code is None else str(job.exit_code),
                tables.ago(began, now),
                duration_text(max(0.0, (job.ended or now) - began)) if began else "",
                bytes_text(job.size),
            ]
        )
    heads = [
        Column("job"),
        Column("name", wrap=True),
        Column("state", wrap=True),
        Column("gpus", drop=3, wrap=True),
        Column("exit", right=True),
        Column("started", right=True, drop=2),
        Column("took", right=True, drop=1),
        Column("output", right=True, drop=4),
    ]
    block: Block = (
        Table(heads, rows) if rows else Note(f"no jobs on {found.name}; run SCRIPT starts one", "dim")
    )
    return Result([asdict(job) for job in jobs], block)


def _gpus(job: RunInfo) -> str:
    """The GPUs that a job holds or waits for, and how often it was started."""
    held = f"waits for {job.wants}" if job.wants and job.state == "queued" else " ".join(job.gpus)
    again = f"attempt {job.attempt}" if job.attempt > 1 else ""
    return ", ".join(text for text in (held, again) if text)
