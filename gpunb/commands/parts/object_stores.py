"""``sync`` with a URL on one side: between an object store and the host."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from gpunb.errors import BadInput, WrongState
from gpunb.hints import typed
from gpunb.presentation.result import Block, Cell, Note, Result, Table
from gpunb.units import bytes_text, files_text, took_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpunb.cli.context import Context
    from gpunb.sessions.model import Session
    from gpunb.sync.report import CloudReport

__all__ = ["is_url", "options", "refuse", "run"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://", re.DOTALL)
_SIDE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)?:(?!//)(.*)", re.DOTALL)
SHOWN = 40
_OPTIONS = {
    "via": "--via",
    "connection": "--connection",
    "allow_credentials": "--allow-credentials",
    "every": "--every",
}
_Command = TypeVar("_Command", bound="Callable[..., Any]")


def options(function: _Command) -> _Command:
    """Add the options that are only for URLs."""
    for option in (
        click.option(
            "--allow-credentials",
            is_flag=True,
            help="With a URL: let the host have headers with a secret in them, if no URL can be signed.",
        ),
        click.option(
            "--every",
            metavar="WHEN",
            help="With --via vast, from the host: again and again, 'hourly', 'daily 21' or 'weekly sun 21' "
            "(hours in UTC); 'never' ends it.",
        ),
        click.option("--connection", metavar="ID", help="With --via vast: which of its cloud connections."),
        click.option(
            "--via",
            type=click.Choice(["host", "here", "vast"]),
            help="With a URL: who moves the bytes. By default the host where it can, else through here. "
            "From host to host: here, never straight.",
        ),
    ):
        function = option(function)
    return function


def is_url(given: str) -> bool:
    """Whether the text is a URL, ``s3://bucket/key``, and not ``session:path``."""
    return _URL.match(given) is not None


def by_cloud(via: str | None) -> bool:
    """Whether ``--via`` names a cloud that makes the copy itself."""
    return via is not None and via not in {"host", "here"}


def refuse(given: Mapping[str, Any]) -> None:
    """Refuse the options of `options` without a URL."""
    for field, flag in _OPTIONS.items():
        if given.get(field):
            msg = f"{flag}: is for a sync with a URL on one side, like s3://bucket/key"
            raise BadInput(msg)


def run(
    context: Context,
    source: str,
    target: str,
    session: str | None,
    *,
    via: str | None,
    connection: str | None,
    allow_credentials: bool,
    every: str | None,
    delete: bool,
    **plan: Any,
) -> Result:
    """Carry out one sync between a URL and the host."""
    if is_url(source) and is_url(target):
        msg = f"sync {source!r} {target!r}: one of the two must be on the host"
        raise BadInput(msg, hint="the stores' own tools copy between stores")
    up = is_url(source)
    url, side = (source, target) if up else (target, source)
    found = _SIDE.fullmatch(side)
    if found is None:
        msg = f"sync {source!r} {target!r}: one of the two must be on the host"
        raise BadInput(msg, hint="write the host's side with a colon: sync s3://bucket/set :data")
    if delete:
        msg = "--delete: nothing is deleted in a sync with a URL"
        raise BadInput(msg, hint="delete the extra files with the store's own tools")
    named, path = found.group(1), found.group(2)
    if named and session and named != session:
        msg = f"sync: --session {session!r} and {named}:{path} name two sessions"
        raise BadInput(msg)
    from gpunb.sessions.model import SessionState

    one = context.session(named or session)
    if connection and not by_cloud(via):
        msg = f"--connection {connection!r}: is for --via vast"
        raise BadInput(msg)
    if every and not by_cloud(via):
        msg = f"--every {every!r}: is for --via vast, which goes on without this machine"
        raise BadInput(msg, hint="here, cron and " + typed("sync") + " do the same")
    if one.state is SessionState.STOPPED and not by_cloud(via):
        _while_stopped(one, via, allow=allow_credentials)
        via = one.provider
    if via is not None and by_cloud(via):
        from gpunb.commands.parts import vast_cloud_copy

        more: dict[str, Any] = {"connection": connection, "allow_credentials": allow_credentials}
        more["every"] = every
        return vast_cloud_copy.run(context, one, url, path, via=via, up=up, **more, **plan)
    report = _move(context, one, url, path, up=up, via=via or "auto", allow=allow_credentials, plan=plan)
    return _result(report, one, dry_run=plan["dry_run"], up=up)


def _while_stopped(session: Session, via: str | None, *, allow: bool) -> None:
    """Refuse a stopped session, except for its cloud's own copy with credentials allowed."""
    from gpunb.providers import provider_class
    from gpunb.providers.features import CloudCopy

    cloud = provider_class(session.provider)
    copies = issubclass(cloud, CloudCopy)
    if copies and via is None and allow:
        return
    msg = f"session {session.name} is stopped"
    hint = typed("start", session.name)
    if copies:
        hint += (
            f", or --via {cloud.name} --allow-credentials for {cloud.title}'s own copy, "
            "which needs no running machine"
        )
    raise WrongState(msg, bill="its disk is billed", hint=hint)


def _move(
    context: Context,
    session: Session,
    url: str,
    path: str,
    *,
    up: bool,
    via: str,
    allow: bool,
    plan: Mapping[str, Any],
) -> CloudReport:
    from gpunb.services.transfers import is_stranger
    from gpunb.sessions.access import host_access
    from gpunb.sessions.access.activity import moving
    from gpunb.sync.object_store.cloud_sync import cloud_sync

    with context.progress(f"sync {'to' if up else 'from'} {session.name}") as progress:
        line = host_access.connection(session)
        options: dict[str, Any] = {**plan, "via": via, "allow_credentials": allow, "progress": progress}
        options["hold"] = up and is_stranger(context, session)
        direction: Literal["up", "down"] = "up" if up else "down"
        if plan["dry_run"]:
            return cloud_sync(line, url, path, direction=direction, **options)
        with moving(context.ledger, session, direction, url) as transfer:
            report = cloud_sync(line, url, path, direction=direction, **options)
            transfer.bytes, transfer.files = report.sent_bytes, report.sent_files
            if report.failed:
                transfer.state = "partial"
    return report


def _outlook(report: CloudReport, session: Session, *, up: bool) -> list[Note]:
    """Notes on a plan: the largest files, and the time and cost by the offer's rates."""
    import heapq

    from gpunb.services.transfers import estimate_text, rates

    notes = []
    if len(report.items) > SHOWN:
        top = heapq.nlargest(3, report.items, key=lambda item: item.size)
        notes.append(", ".join(f"{item.path} ({bytes_text(item.size)})" for item in top))
        notes[-1] = f"the largest: {notes[-1]}"
    known = rates(session, "up" if up else "down")
    if known is not None and report.total_bytes:
        seconds = report.total_bytes / 1e6 / known.mb_s if known.mb_s else None
        usd = None if known.usd_per_gb is None else report.total_bytes / 1e9 * known.usd_per_gb
        notes.append(estimate_text(seconds, usd))
    return [Note(text, "dim") for text in notes if text]


def _result(report: CloudReport, session: Session, *, dry_run: bool, up: bool) -> Result:
    blocks: list[Block] = [Note(text, "warn") for text in report.warnings]
    if dry_run:
        rows: list[list[object]] = [
            [Cell("go", "ok"), item.path, bytes_text(item.size), ""] for item in report.items[:SHOWN]
        ]
        rows += [[Cell("stay", "dim"), out.path, "", out.rule] for out in report.left_out[:SHOWN]]
        more = max(0, len(report.items) - SHOWN) + max(0, len(report.left_out) - SHOWN)
        if more:
            rows.append(["", f"and {more} more (--json lists them)", "", ""])
        if rows:
            blocks.append(Table(["", "path", ">size", "why"], rows))
        text = (
            f"{files_text(len(report.items))}, {bytes_text(report.total_bytes)} would go; nothing was moved"
        )
        blocks.append(Note(text, "strong"))
        blocks += _outlook(report, session, up=up)
    else:
        size, time = bytes_text(report.sent_bytes), took_text(report.seconds)
        parts = [f"{files_text(report.sent_files)}, {size} in {time}"]
        if report.unchanged:
            parts.append(f"{report.unchanged} were there already")
        if report.left_out:
            parts.append(f"{len(report.left_out)} left out (--dry-run says which and why)")
        blocks.append(Note("; ".join(parts), "warn" if report.failed else "ok"))
    if report.way:
        where = {"host": "by the host itself", "here": "through this machine"}[report.way]
        blocks.append(Note(f"{where}: {report.why}", "dim"))
    blocks += [Note(f"not moved: {path}: {reason}", "bad") for path, reason in report.failed[:SHOWN]]
    if len(report.failed) > SHOWN:
        blocks.append(Note(f"and {len(report.failed) - SHOWN} more (--json lists them)", "bad"))
    data = {"session": session.name, "dry_run": dry_run, **report.data()}
    return Result(data, *blocks, exit_code=1 if report.failed else 0)
