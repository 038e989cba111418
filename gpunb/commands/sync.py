"""``sync``: files to the host and back, by a plan that ``--dry-run`` shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import click

from gpunb.commands import clouds
from gpunb.commands.result import Block, Cell, Note, Result, Table
from gpunb.commands.verb import verb
from gpunb.errors import BadInput
from gpunb.units import bytes_text, duration_text

if TYPE_CHECKING:
    from gpunb.commands.context import Context
    from gpunb.sessions.model import Session
    from gpunb.sync import Plan, SyncReport

__all__ = ["command", "move", "split"]

_REMOTE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)?:(.*)", re.DOTALL)
SHOWN = 40


def split(given: str) -> tuple[str | None, str] | None:
    """``(session or None, path)`` of ``:path`` and ``session:path``; None for a path here.

    A local path with a colon is written with a slash before it: ``./a:b``.
    """
    found = _REMOTE.fullmatch(given)
    return (found.group(1), found.group(2)) if found else None


@verb(
    "sync",
    session=True,
    example="sync data :data\nsync :out out\nsync src train:src --delete -n\nsync s3://bucket/set :data",
)
@click.argument("source", metavar="SRC", type=click.Path())
@click.argument("target", metavar="DST", type=click.Path())
@click.option("-n", "--dry-run", is_flag=True, help="Show the plan; move nothing.")
@click.option("--delete", is_flag=True, help="Remove from DST what is not in SRC.")
@click.option("--include", multiple=True, metavar="PATTERN", help="Send what a rule would leave out.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out, as a line of .gitignore would.")
@click.option("--checksum", is_flag=True, help="Compare by content, not by size and time.")
@clouds.options
def command(
    context: Context,
    *,
    source: str,
    target: str,
    session: str | None,
    dry_run: bool,
    delete: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    checksum: bool,
    **cloud: Any,
) -> Result:
    """Copy files to the host or back. The host's side is written :path or SESSION:path.

    The other side is a path here, or s3://, gs://, az://, hf://, http(s):// and any fsspec URL.

    A path on the host begins at its home folder. .git, virtual environments and caches stay here,
    and what .gpunbignore (or .gitignore) names.
    """
    if clouds.is_url(source) or clouds.is_url(target):
        plan: dict[str, Any] = {"dry_run": dry_run, "delete": delete, "include": include, "exclude": exclude}
        return clouds.run(context, source, target, session, **plan, checksum=checksum, **cloud)
    clouds.refuse(cloud)
    up, down = split(target), split(source)
    if (up is None) == (down is None):
        msg = f"sync {source!r} {target!r}: one of the two, and only one, must be on the host"
        raise BadInput(msg, hint="write the host's side with a colon: sync data :data, or sync :out out")
    side = up or down
    assert side is not None  # noqa: S101 - one of the two is, as checked above
    named, path = side
    if named and session and named != session:
        msg = f"sync: --session {session!r} and {named}:{path} name two sessions"
        raise BadInput(msg)
    found = context.session(named or session)
    report = move(
        context,
        found,
        source if up else path,
        path if up else target,
        direction="up" if up else "down",
        dry_run=dry_run,
        delete=delete,
        include=include,
        exclude=exclude,
        checksum=checksum,
    )
    return _result(report, found, dry_run=dry_run)


def move(
    context: Context,
    session: Session,
    source: str,
    target: str,
    *,
    direction: Literal["up", "down"],
    **options: Any,
) -> SyncReport:
    """Carry out one sync, with progress, and note the transfer in the ledger."""
    from gpunb.sessions import reach
    from gpunb.sessions.activity import moving
    from gpunb.sync import sync

    up = direction == "up"
    what = source if up else target
    title = f"sync to {session.name}" if up else f"sync from {session.name}"
    with context.progress(title) as progress:
        connection = reach.connection(session)
        if options.get("dry_run"):
            return sync(connection, source, target, direction=direction, progress=progress, **options)
        with moving(context.ledger, session, direction, what) as transfer:
            report = sync(connection, source, target, direction=direction, progress=progress, **options)
            transfer.bytes, transfer.files = report.sent_bytes, report.sent_files
            if report.failed:
                transfer.state = "partial"
    return report


def _result(report: SyncReport, session: Session, *, dry_run: bool) -> Result:
    plan = report.plan
    blocks: list[Block] = [Note(text, "warn") for text in plan.notes]
    if dry_run:
        blocks += _plan_blocks(plan)
    else:
        parts = [
            f"{report.sent_files} files, {bytes_text(report.sent_bytes)} in {duration_text(report.seconds)}"
        ]
        if report.engine:
            parts[0] += f" by {report.engine}"
        if plan.unchanged:
            parts.append(f"{len(plan.unchanged)} were there already")
        if report.deleted:
            parts.append(f"{len(report.deleted)} deleted")
        if plan.left_out:
            parts.append(f"{len(plan.left_out)} left out (--dry-run says which and why)")
        blocks.append(Note("; ".join(parts), "warn" if report.failed else "ok"))
    blocks += [Note(f"not moved: {path}: {reason}", "bad") for path, reason in report.failed[:SHOWN]]
    if len(report.failed) > SHOWN:
        blocks.append(Note(f"and {len(report.failed) - SHOWN} more (--json lists them)", "bad"))
    data = {"session": session.name, "dry_run": dry_run, **report.data()}
    return Result(data, *blocks, exit_code=1 if report.failed else 0)


def _plan_blocks(plan: Plan) -> list[Block]:
    groups: list[tuple[Cell, list[tuple[str, str, str]]]] = [
        (Cell("go", "ok"), [(item.path, bytes_text(item.size), "") for item in plan.items]),
        (Cell("stay", "dim"), [(out.path, "", out.rule) for out in plan.left_out]),
        (Cell("can't go", "bad"), [(path, "", reason) for path, reason in plan.blocked]),
        (Cell("delete", "bad"), [(path, "", "not in the source") for path in plan.deletions]),
    ]
    rows: list[list[object]] = []
    for word, entries in groups:
        rows += [[word, *entry] for entry in entries[:SHOWN]]
        if len(entries) > SHOWN:
            rows.append([word, f"and {len(entries) - SHOWN} more (--json lists them)", "", ""])
    blocks: list[Block] = [Table(["", "path", ">size", "why"], rows)] if rows else []
    there = f"; {len(plan.unchanged)} are there already" if plan.unchanged else ""
    text = f"{len(plan.items)} files, {bytes_text(plan.total_bytes)} would go{there}; nothing was moved"
    return [*blocks, Note(text, "strong")]
