"""The syncs of ``sync``: with one host, between two hosts, or again at each change."""

from __future__ import annotations

import contextlib
import posixpath
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gpunb.errors import BootstrapFailed, GpunbError, SyncBusy, SyncError, WrongState
from gpunb.hints import typed
from gpunb.units import bytes_text, duration_text, files_text, money_text, took_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpunb.progress import Progress
    from gpunb.remote import AgentClient
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.model import Session
    from gpunb.ssh.connection import Connection
    from gpunb.sync import SyncReport
    from gpunb.sync.planning.estimate import Rates

__all__ = ["carry", "estimate_text", "follow", "move", "rates", "relay", "send", "split", "summary"]

BUSY_S = 2.0
SHOWN = 10
_told: set[tuple[str, str]] = set()
_REMOTE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)?:(.*)", re.DOTALL)


def split(given: str) -> tuple[str | None, str] | None:
    """Parse ``:path`` and ``session:path`` to ``(session or None, path)``; None for a local path.

    A local path with a colon is written with a slash before it: ``./a:b``.
    """
    found = _REMOTE.fullmatch(given)
    return (found.group(1), found.group(2)) if found else None


def _asking(once: Callable[..., SyncReport], context: Workspace, *ends: Any, **options: Any) -> SyncReport:
    """Run a sync; ask first before it deletes everything at the target, where the user can answer."""
    from gpunb.services.confirmations import Question
    from gpunb.sync.planning.deletions import WouldEmpty

    try:
        return once(context, *ends, **options)
    except WouldEmpty as err:
        if not context.can_ask or not context.put(Question(text=err.message)):
            raise
    return once(context, *ends, **{**options, "yes": True})


def move(context: Workspace, session: Session, source: str, target: str, **options: Any) -> SyncReport:
    """Carry out one sync with progress, and record the transfer in the ledger."""
    return _asking(_move, context, session, source, target, **options)


def send(
    context: Workspace, session: Session, source: str, target: str, what: str, **options: Any
) -> SyncReport:
    """Send all of a folder or file for `what`, with `options` of a sync (exclude, delete); see `carry`."""
    again = typed("sync", source, f"{session.name}:{target}") + " shows what goes and what not"
    return carry(context, session, source, target, what=what, hint=again, direction="up", **options)


def carry(
    context: Workspace, session: Session, source: str, target: str, *, what: str, hint: str, **options: Any
) -> SyncReport:
    """Carry out one sync whole; each warning is shown once.

    Raises
    ------
    SyncError
        A file did not go.
    """
    report = move(context, session, source, target, **options)
    for text in report.plan.notes:
        if (session.id, text) not in _told:
            _told.add((session.id, text))
            context.say((text, "warn"))
    if report.failed:
        path, reason = report.failed[0]
        more = f", and {len(report.failed) - 1} more" if len(report.failed) > 1 else ""
        did = "sent" if options["direction"] == "up" else "brought"
        msg = f"{what}: {path} was not {did}: {reason}{more}"
        raise SyncError(msg, hint=hint)
    return report


def _move(
    context: Workspace,
    session: Session,
    source: str,
    target: str,
    *,
    direction: Literal["up", "down"],
    **options: Any,
) -> SyncReport:
    from gpunb.sessions.access import host_access
    from gpunb.sessions.access.activity import moving
    from gpunb.sessions.lifecycle import fetch_results
    from gpunb.sync import sync

    up = direction == "up"
    what = source if up else target
    title = f"sync to {session.name}" if up else f"sync from {session.name}"
    with context.progress(title) as progress:
        agent = _agent(session, progress)
        connection = agent.connection if agent is not None else host_access.connection(session)
        options.setdefault("rates", rates(session, direction))
        options["hold"] = up and is_stranger(context, session)
        options.setdefault("guard", session.trust != "own")
        if options.get("dry_run"):
            return sync(
                connection, source, target, direction=direction, agent=agent, progress=progress, **options
            )
        if up:
            check_mounted(context, session, connection, target, yes=bool(options.get("yes")))
        with moving(context.ledger, session, direction, what) as transfer:
            report = sync(
                connection, source, target, direction=direction, agent=agent, progress=progress, **options
            )
            transfer.bytes, transfer.files = report.sent_bytes, report.sent_files
            if report.failed:
                transfer.state = "partial"
        if up and Path(source).is_dir():
            fetch_results.note_folder(context.ledger, session, target)
    return report


def check_mounted(
    context: Workspace, session: Session, connection: Connection, target: str, *, yes: bool
) -> None:
    """Refuse a target on an unmounted volume: its files would be lost with the machine's own disk.

    Raises
    ------
    WrongState
        The session was rented with a volume at that path, and nothing is mounted there.
    """
    from gpunb.ssh.quoting import quote

    intents = context.ledger.intents(session.id)
    mounts = {path: name for intent in intents for name, path in (intent.summary.get("mounts") or {}).items()}
    place = posixpath.normpath(target).replace("//", "/")
    for path, name in mounts.items():
        if yes or not f"{place}/".startswith(f"{path.rstrip('/')}/"):
            continue
        look = ["grep", "-qF", f" {path.rstrip('/')} ", "/proc/self/mountinfo"]
        if connection.run(quote(look), timeout=20).code == 1:  # 2: unknown
            msg = f"volume {name} is not mounted at {path} on {session.name}"
            raise WrongState(
                msg,
                bill=f"{session.name} and the volume are billed; nothing was moved",
                hint="files put there would be lost with the machine; --yes puts them on its own disk",
            )


def is_stranger(context: Workspace, session: Session) -> bool:
    """Whether credentials are not sent unless named: trust is below the setting ``secrets.min_trust``."""
    from gpunb.trust import LEVELS, rank

    # the most trust is never below a setting, and reading the settings takes longer than a small sync
    most = len(LEVELS) - 1
    return rank(session.trust) < most and rank(session.trust) < rank(context.settings.secrets.min_trust)


def relay(context: Workspace, ends: tuple[Session, str, Session, str], **options: Any) -> SyncReport:
    """Sync from one host to another."""
    return _asking(_relay, context, ends, **options)


def _relay(
    context: Workspace,
    ends: tuple[Session, str, Session, str],
    **options: Any,
) -> SyncReport:
    from gpunb.sessions.access.activity import moving
    from gpunb.sync.stream.sync_session import SyncOptions, by_agents
    from gpunb.sync.throttle import Pace

    session, source, two, target = ends
    mirror, delete = options.pop("mirror", False), options.pop("delete", False)
    limit = options.pop("limit_rate", None)
    with context.progress(f"sync from {session.name} to {two.name}") as progress:
        from gpunb.sessions.access import host_access

        clients = host_access.agent(session, progress), host_access.agent(two, progress)
        options.setdefault("rates", _both(rates(session, "down"), rates(two, "up")))
        options["hold"] = is_stranger(context, two)
        wish = SyncOptions(
            delete="mirror" if mirror else "delete" if delete else "",
            pace=Pace(limit),
            progress=progress,
            **options,
        )
        if wish.dry_run:
            return by_agents(clients[0], source, clients[1], target, wish)
        check_mounted(context, two, clients[1].connection, target, yes=wish.yes)
        what = f"{session.name}:{source} to {two.name}:{target}"
        with (
            moving(context.ledger, session, "down", what) as taken,
            moving(context.ledger, two, "up", what) as given,
        ):
            report = by_agents(clients[0], source, clients[1], target, wish)
            for transfer in (taken, given):
                transfer.bytes, transfer.files = report.sent_bytes, report.sent_files
                transfer.state = "partial" if report.failed else transfer.state
    return report


def follow(
    context: Workspace, session: Session, sources: Sequence[str], target: str, **options: Any
) -> list[SyncReport]:
    """Sync at each change of the single source, until Ctrl-C; returns the reports in order.

    The watch begins before the first sync: files edited meanwhile are synced after it.
    """
    from gpunb.sync.watch import changes

    (source,) = sources
    patterns = {name: options[name] for name in ("include", "exclude", "follow") if name in options}
    reports: list[SyncReport] = []
    with contextlib.suppress(KeyboardInterrupt):
        for wake in changes(Path(source).expanduser(), **patterns):
            if wake.note:
                context.say((wake.note, "warn"))
            try:
                report = _when_free(context, session, source, target, options)
            except GpunbError as err:  # the next change tries again
                if not reports:
                    raise
                context.say((f"not synced: {err.message}", "bad"))
                continue
            reports.append(report)
            _tell(context, session, report, f"; watching {source} until Ctrl-C" if len(reports) == 1 else "")
    return reports


def _tell(context: Workspace, session: Session, report: SyncReport, more: str) -> None:
    """Show one report of a watch: summary, failures, and each warning once."""
    notes = [note for note in report.plan.notes if (session.id, note) not in _told]
    _told.update((session.id, note) for note in notes)
    context.say(
        *((note, "warn") for note in notes),
        (summary(report) + more, "warn" if report.failed else "ok"),
        *((f"not moved: {path}: {reason}", "bad") for path, reason in report.failed[:SHOWN]),
        *([(f"and {len(report.failed) - SHOWN} more", "bad")] if len(report.failed) > SHOWN else []),
    )


def _when_free(
    context: Workspace, session: Session, source: str, target: str, options: dict[str, Any]
) -> SyncReport:
    """Run one sync, waiting for another one into the same place."""
    while True:
        try:
            return move(context, session, source, target, direction="up", **options)
        except SyncBusy:  # noqa: PERF203 - each try by itself
            time.sleep(BUSY_S)


def summary(report: SyncReport) -> str:
    """Summarize a sync in one line."""
    plan = report.plan
    took = max(report.seconds, 1e-6)
    first = f"{files_text(report.sent_files)}, {bytes_text(report.sent_bytes)} in {took_text(report.seconds)}"
    if report.sent_bytes > 10**6:
        first += f" ({bytes_text(report.sent_bytes / took)}/s)"
    if report.engine:
        first += f" by {report.engine}"
    parts = [first]
    if report.way:
        parts.append(report.way)
    if report.matched_bytes:
        parts.append(f"{bytes_text(report.matched_bytes)} (holes, or there already) did not have to go")
    if plan.unchanged:
        parts.append(f"{len(plan.unchanged)} were there already")
    if report.deleted:
        parts.append(f"{len(report.deleted)} deleted")
    if plan.left_out:
        parts.append(f"{len(plan.left_out)} left out (--dry-run says which and why)")
    if report.retries:
        parts.append(f"the line broke {report.retries} time{'s'[: report.retries != 1]}")
    return "; ".join(parts)


def _agent(session: Session, progress: Progress) -> AgentClient | None:
    """The host's agent; None where it can't be installed (no Python), and SFTP is used."""
    from gpunb.sessions.access import host_access

    try:
        return host_access.agent(session, progress)
    except BootstrapFailed:
        return None


def estimate_text(seconds: float | None, usd: float | None) -> str:
    """The time and traffic cost of a plan as text, as far as known; may be empty."""
    parts = []
    if seconds is not None:
        parts.append(f"about {duration_text(seconds)} at the offer's rates")
    if usd:
        parts.append(f"{money_text(usd)} of traffic")
    return "; ".join(parts)


def _both(one: Rates | None, two: Rates | None) -> Rates | None:
    """Combine the rates of two hosts: the slower speed, and both prices."""
    from gpunb.sync.planning.estimate import Rates

    known = [each for each in (one, two) if each is not None]
    if not known:
        return None
    speeds = [each.mb_s for each in known if each.mb_s]
    prices = [each.usd_per_gb for each in known if each.usd_per_gb is not None]
    return Rates(min(speeds) if speeds else None, sum(prices) if prices else None)


def rates(session: Session, direction: str) -> Rates | None:
    """The offer's network speed and traffic price in this direction."""
    from gpunb.sync.planning.estimate import Rates

    named = "inet_down_mbps" if direction == "up" else "inet_up_mbps"
    mbit = session.offer.get(named)
    price = session.offer.get("down_usd_gb" if direction == "up" else "up_usd_gb")
    if not mbit and price is None:
        return None
    return Rates(float(mbit) / 8 if mbit else None, float(price) if price is not None else None)
