"""``sync --via vast`` and syncs from a stopped session: Vast's own copies, without a running instance."""

from __future__ import annotations

import posixpath
import shlex
import stat
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gpunb.commands.parts import cloud_copies
from gpunb.commands.parts.cloud_copies import DAYS
from gpunb.errors import BadInput, HostError, WrongState
from gpunb.hints import typed
from gpunb.presentation.result import Note, Result
from gpunb.services import provider_copies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.cli.context import Context
    from gpunb.providers import Provider
    from gpunb.providers.features import CloudConnection, CloudCopy, StoppedCommands
    from gpunb.sessions.model import Session
    from gpunb.sync import SyncReport
    from gpunb.sync.sftp.protocol import Attrs

__all__ = ["between", "here", "listed", "run", "stopped"]

_KINDS = {"s3": "s3", "s3a": "s3", "b2": "b2", "hf": "hf", "dropbox": "dropbox", "drive": "drive"}


def run(
    context: Context,
    session: Session,
    url: str,
    path: str,
    *,
    via: str,
    up: bool,
    connection: str | None,
    allow_credentials: bool,
    every: str | None,
    dry_run: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    checksum: bool,
) -> Result:
    """Start the copy, follow it by the instance's status, cancel it on Ctrl-C; or schedule it."""
    provider, copies = _cloud(context, session, via)
    when = _when(every) if every else None
    if when is not None and up:
        msg = f"--every {every!r}: {provider.title} repeats copies from the host only"
        raise BadInput(msg, hint="write the host's side first: sync :out s3://bucket/out")
    if when == ():
        return _unschedule(copies, session, via, dry_run=dry_run)
    if include or exclude or checksum:
        msg = f"--via {via}: its copy knows no --include, --exclude or --checksum"
        raise BadInput(msg, hint="name a smaller folder, or leave --via out")
    parts = urlsplit(url)
    there = f"/{parts.netloc}{parts.path}"
    inside = _absolute(path)
    chosen = _connection(copies.connections(), via, parts.scheme.lower(), connection)
    source, target = (there, inside) if up else (inside, there)
    data: dict[str, Any] = {
        "session": session.name,
        "way": via,
        "connection": chosen.id,
        "source": source,
        "target": target,
    }
    named = f"connection {chosen.id} ({chosen.name or chosen.cloud_type})"
    text = f"{source} to {target}, by {provider.title}'s {named}"
    if dry_run:
        again = f" {every}" if every else ""
        return Result(
            {**data, "dry_run": True}, Note(f"would copy {text}{again}; nothing was moved", "strong")
        )
    if not allow_credentials:
        msg = f"--via {via}: {provider.title} gives the host the credentials of connection {chosen.id}"
        hint = "add --allow-credentials if the host may have them"
        raise BadInput(msg, bill="nothing was moved", hint=hint)
    if when:
        return _schedule(
            copies,
            provider.title,
            session,
            (chosen.id, source, target),
            when,
            data=data,
            said=f"{text} {every}",
        )
    context.ledger.touch(session.id)

    def begin() -> None:
        copies.start_cloud_copy(session.instance_id, chosen.id, source, target, to_instance=up)

    title = f"sync {'to' if up else 'from'} {session.name}"
    took = provider_copies.to_its_end(
        context, (provider, copies), session, title, begin, copies.cancel_cloud_copy
    )
    warn = "the host was shown the connection's credentials, and could have kept them"
    return Result({**data, "state": "done"}, Note(f"copied {text} in {took}", "ok"), Note(warn, "warn"))


def listed(context: Context, via: str, session: Session | None) -> Result:
    """List the account's connections and scheduled copies; copies nothing."""
    from gpunb.providers.features import CloudCopy, feature

    if session is not None:
        copies = _cloud(context, session, via)[1]
    else:
        copies = feature(context.provider(via), CloudCopy)
    return cloud_copies.shown(context, copies, via, session)


def stopped(session: Session) -> WrongState:
    """The error for a stopped session's files that can't be copied here, with the possible ways."""
    msg = f"session {session.name} is stopped: its files can't come here from it"
    return WrongState(msg, bill="nothing was moved", hint=_ways(session))


def _ways(session: Session) -> str:
    from gpunb.providers import provider_class
    from gpunb.providers.features import CloudCopy, InstanceCopy

    ways = typed("start", session.name)
    cloud = provider_class(session.provider)
    if issubclass(cloud, InstanceCopy):
        ways += (
            ", or without a start: "
            + typed("sync", f"{session.name}:PATH", "OTHER:PATH")
            + f" to a session on {cloud.title}"
        )
    if issubclass(cloud, CloudCopy):
        ways += ", or " + typed("sync", f"{session.name}:PATH", "s3://BUCKET/PATH", "--via", cloud.name)
    return ways


class _Seen:
    """A read-only view of a stopped instance's files as its cloud lists them: files and folders."""

    def __init__(self, provider: StoppedCommands, session: Session) -> None:
        self._provider, self._instance = provider, session.instance_id
        self._known: dict[str, Attrs | None] = {}

    def attrs(self, path: str, *, follow: bool = True) -> Attrs | None:  # noqa: ARG002 - as a host's side has it
        """The attributes of a file or folder; None if missing or an empty folder."""
        from gpunb.sync.sftp.protocol import Attrs

        if path not in self._known:
            listed = self._provider.execute(self._instance, shlex.join(["ls", path])).splitlines()
            there = [line.strip() for line in listed if line.strip()]
            missing = not there or (len(there) == 1 and "cannot access" in there[0])
            mode = stat.S_IFREG if there == [path] else stat.S_IFDIR
            self._known[path] = None if missing else Attrs(mode=mode)
        return self._known[path]

    def real(self, path: str) -> str:
        """Return the path unchanged: links are resolved by the machine."""
        return _absolute(path)


def here(context: Context, one: Session, path: str, target: str, *, dry_run: bool) -> Result | SyncReport:
    """Copy from a stopped session to this machine, by rsync with the computer that it is on.

    Raises
    ------
    WrongState
        Its cloud has no such copy, this machine's rsync is too old for a stranger, or no login is accepted.
    """
    from gpunb.providers.features import StoppedFiles
    from gpunb.sessions.access import host_access
    from gpunb.ssh import probe
    from gpunb.sync import off_machine, rsync
    from gpunb.sync.planning import locations

    provider = context.provider(one.provider)
    if not isinstance(provider, StoppedFiles):
        raise stopped(one)
    if not rsync.safe_here():
        msg = f"session {one.name} is stopped: only rsync 3.4 or newer may fetch from a stranger's computer"
        raise WrongState(msg, bill="nothing was moved", hint="install that here, or " + _ways(one))
    with context.progress(f"sync from {one.name}, which is stopped") as progress:
        progress.say(f"looking into {one.name}")
        ends = locations.down_ends(_Seen(provider, one), path, target, delete=False)
        source = ends.source or ends.there
        if dry_run:
            to = ends.here / ends.single
            data = {"session": one.name, "source": source, "target": str(to), "dry_run": True}
            return Result(data, Note(f"would copy {one.name}:{source} to {to}; nothing was moved", "strong"))
        served = provider.serve_files(one.instance_id, source)
        where = host_access.computer(one, served.host, served.port, served.user)
        try:
            probe(where)
        except HostError as err:
            msg = f"{provider.title}'s copy accepts no login at {where}: {err.message}"
            raise WrongState(msg, bill="nothing was moved", hint=_ways(one)) from err
        context.ledger.touch(one.id)
        guard = one.trust != "own"
        return off_machine.fetch(where, served.module, ends, guard=guard, progress=progress)


def between(context: Context, one: Session, path: str, two: Session, target: str, *, dry_run: bool) -> Result:
    """Copy from a stopped session to a running one by the hosts themselves; cancelled on Ctrl-C.

    Raises
    ------
    WrongState
        The two are not on a cloud that copies from stopped instances.
    """
    from gpunb.providers.features import InstanceCopy

    provider = context.provider(one.provider)
    if one.provider != two.provider or not isinstance(provider, InstanceCopy):
        raise stopped(one)
    source, into = _absolute(path), _absolute(target)
    with context.progress(f"looking into {one.name}"):
        attrs = _Seen(provider, one).attrs(source.rstrip("/") or "/")
    if attrs is None:
        msg = f"sync {one.name}:{path}: {provider.title} finds nothing at {source}"
        raise BadInput(
            msg,
            bill="nothing was moved",
            hint=typed("exec", one.name, "--", "ls", "/root") + " lists what there is",
        )
    if stat.S_ISDIR(attrs.mode or 0):  # its content, as in every sync
        source, into = f"{source.rstrip('/')}/", f"{into.rstrip('/')}/"
    text = f"{one.name}:{source} to {two.name}:{into}, by {provider.title} itself"
    data = {"session": two.name, "way": provider.name, "source": source, "target": into, "dry_run": dry_run}
    if dry_run:
        return Result(data, Note(f"would copy {text}; nothing was moved", "strong"))

    def begin() -> None:
        provider.copy_between(one.instance_id, source, two.instance_id, into)

    title = f"sync from {one.name}, which is stopped"
    took = provider_copies.to_its_end(
        context, (provider, provider), two, title, begin, provider.cancel_copy_between
    )
    note = "no ignore rule holds: all that is there went"
    return Result({**data, "state": "done"}, Note(f"copied {text} in {took}", "ok"), Note(note, "dim"))


def _absolute(path: str) -> str:
    return path if path.startswith("/") else posixpath.normpath(posixpath.join("/root", path))


def _when(text: str) -> tuple[()] | tuple[str, int | None, int | None]:
    """Parse ``daily 21`` to frequency, hour and weekday; empty for ``never``."""
    words = text.lower().split()
    hour = words[-1] if words else ""
    if words == ["never"]:
        return ()
    if words == ["hourly"]:
        return "hourly", None, None
    good = hour.isdecimal() and int(hour) < 24
    if good and len(words) == 2 and words[0] == "daily":
        return "daily", int(hour), None
    if good and len(words) == 3 and words[0] == "weekly" and words[1][:3] in DAYS:
        return "weekly", int(hour), DAYS.index(words[1][:3])
    msg = (
        f"--every {text!r}: must be 'hourly', 'daily HOUR', 'weekly DAY HOUR' (hours 0 to 23, UTC) or 'never'"
    )
    raise BadInput(msg, hint="for example --every 'weekly sun 21'")


def _schedule(
    copies: CloudCopy,
    title: str,
    session: Session,
    copy: tuple[int, str, str],
    when: tuple[str, int | None, int | None],
    *,
    data: dict[str, Any],
    said: str,
) -> Result:
    """Schedule the copy until the session's deadline, or for a month without one."""
    if copies.scheduled_copies(session.instance_id):
        msg = f"session {session.name} has a scheduled copy already, and {title} keeps one an instance"
        raise BadInput(msg, bill="nothing was changed", hint="--every never ends it")
    now = time.time()
    end = session.lease.deadline or now + 30 * 86400.0
    every, hour, weekday = when
    copies.schedule_cloud_copy(
        session.instance_id, *copy, every=every, start=now, end=end, hour=hour, weekday=weekday
    )
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(end))
    notes = [
        Note(f"{title} copies {said} until {until}; its traffic is billed each time", "ok"),
        Note("the host is shown the connection's credentials each time, and could keep them", "warn"),
        Note("an extend does not prolong it: end it with --every never, and schedule it anew", "dim"),
    ]
    return Result({**data, "state": "scheduled", "every": every, "until": end}, *notes)


def _unschedule(copies: CloudCopy, session: Session, via: str, *, dry_run: bool) -> Result:
    jobs = copies.scheduled_copies(session.instance_id)
    for job in jobs if not dry_run else ():
        copies.end_scheduled_copy(job.id)
    data = {"session": session.name, "way": via, "ended": [job.id for job in jobs], "dry_run": dry_run}
    if not jobs:
        return Result(data, Note(f"{session.name} has no scheduled copy", "dim"))
    word = "would be ended" if dry_run else "ended"
    return Result(data, Note(f"{word}: {len(jobs)} scheduled copy of {session.name}", "ok"))


def _cloud(context: Context, session: Session, via: str) -> tuple[Provider, CloudCopy]:
    from gpunb.providers.features import CloudCopy

    provider = context.provider(session.provider)
    if session.provider != via or not isinstance(provider, CloudCopy):
        msg = f"--via {via}: session {session.name} is on {provider.title}"
        raise BadInput(msg, hint="leave --via out: the host or this machine moves the files")
    return provider, provider


def _connection(
    found: Sequence[CloudConnection], via: str, scheme: str, wanted: str | None
) -> CloudConnection:
    """Choose the named connection, or the only one that fits the URL."""
    shown = ", ".join(f"{one.id} ({one.cloud_type} {one.name})" for one in found) or "none"
    if wanted is not None:
        for connection in found:
            if wanted in (str(connection.id), connection.name):
                return connection
        msg = f"--connection {wanted!r}: the account's connections are: {shown}"
        raise BadInput(msg, hint="make a connection at https://cloud.vast.ai/settings/")
    fitting = [connection for connection in found if connection.cloud_type.lower() == _KINDS.get(scheme, "")]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        msg = f"--via {via}: no connection of the account is for {scheme}://; they are: {shown}"
        raise BadInput(msg, hint="make a connection at https://cloud.vast.ai/settings/")
    msg = f"--via {via}: several connections would fit: {shown}"
    raise BadInput(msg, hint="choose one with --connection ID")
