"""``runs``: list the cells and jobs that were run, from the ledger, or a host's jobs as it knows them."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from gpunb.cli.command import verb
from gpunb.presentation.result import Block, Note, Result
from gpunb.presentation.run_columns import JOB_COLUMNS, RUN_COLUMNS, JobLine, RunLine
from gpunb.presentation.shown import table_of

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]

LIMIT = 20


@verb("runs", reads=True, example="runs\nruns -s train -n 100\nruns --jobs -s train", session=True)
@click.option(
    "-n", "--limit", type=click.IntRange(1, 10_000), help=f"How many. [default: {LIMIT}; --jobs: all]"
)
@click.option("--jobs", is_flag=True, help="A host's jobs, as it knows them now: GPUs, size of the output.")
def command(context: Context, *, session: str | None, limit: int | None, jobs: bool) -> Result:
    """List the cells and jobs that were run, newest first, also those of ended sessions.

    It reads this machine's ledger only. How runs do that nobody follows, the supervisor asks their
    hosts every 20 seconds; --jobs, `logs` and `attach` ask at once.
    """
    if jobs:
        return _jobs(context, session, limit)
    ledger = context.ledger
    wanted = context.session(session).id if session else None
    runs = ledger.runs(wanted, limit or LIMIT)
    names = {found.id: found.name for found in ledger.sessions()}
    now = time.time()
    lines = [RunLine(run, names.get(run.session_id, ""), now) for run in runs]
    block: Block = table_of(RUN_COLUMNS, lines) if runs else Note("no runs yet", "dim")
    return Result([asdict(run) for run in runs], block)


def _jobs(context: Context, session: str | None, limit: int | None) -> Result:
    """Ask the session's host for its jobs, and note in the ledger how they do."""
    from gpunb.services.running import runs

    host = context.session(session)
    infos = runs.refresh(context, context.agent(host), host)
    jobs = [info for info in infos if info.kind == "job"][::-1][:limit]
    now = time.time()
    block: Block = Note(f"no jobs on {host.name}; run SCRIPT starts one", "dim")
    if jobs:
        block = table_of(JOB_COLUMNS, [JobLine(job, now) for job in jobs])
    return Result([asdict(job) for job in jobs], block)
