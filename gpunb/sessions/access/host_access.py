"""Access to a session's host: keys, endpoint, SSH connection, agent.

Connections are kept for each process and session, checked before they are handed out,
and closed when the process ends.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gpunb import log, paths
from gpunb.errors import AuthRefused, BootstrapFailed, GpunbError, SyncError, Unreachable, WrongState
from gpunb.hints import typed
from gpunb.progress import SILENT, Progress, step
from gpunb.sessions.access import sent
from gpunb.sessions.access.pulse import Pulse, traffic
from gpunb.sessions.model import SessionState
from gpunb.units import costs_text, hourly_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gpunb.providers.base import Provider
    from gpunb.remote import AgentClient
    from gpunb.sessions.model import Session
    from gpunb.ssh import Connection, Endpoint, KeyPair
    from gpunb.sync.bring import Brought

__all__ = [
    "HOST",
    "HostAccess",
    "Pulse",
    "agent",
    "arm",
    "close_all",
    "connection",
    "drop",
    "endpoint",
    "held",
    "key_pair",
]


@dataclass(slots=True)
class _Held:
    """The connection and agent client that this process has open to one session's host."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    endpoint: Endpoint | None = None
    connection: Connection | None = None
    agent: AgentClient | None = None


_log = log.get(__name__)
# The ledger decides what is idle. The host acts on its own idle count only this much later.
HOST_GRACE_S = 180.0
SETTLE_S = 30.0
LAST_RECORDS = 100  # of a run, for its last lines
KERNEL_S = 30.0  # a kernel that takes longer reports why in the first cell
EXAMINE_S = 45.0

_held: dict[str, _Held] = {}
_lock = threading.Lock()
_pid = os.getpid()
_left_behind: list[dict[str, _Held]] = []  # of the parent, after a fork: not ours to close
_registered = False


def key_pair(session_id: str, *, comment: str = "") -> KeyPair:
    """The session's own key pair, made at the first call."""
    from gpunb.ssh import generate

    return generate(paths.session_dir(session_id), comment=comment or f"gpunb-{session_id}")


def endpoint(session: Session) -> Endpoint:
    """The SSH endpoint of the session's host: address, port, user and keys.

    Raises
    ------
    WrongState
        The provider has not said yet where it is, or the session is over.
    """
    if not session.alive:
        msg = f"session {session.name} is {session.state.value}"
        raise WrongState(msg, hint=typed("rent") + " starts another")
    if session.state is SessionState.STOPPED:
        away = f" ({session.cloud_state})" if session.cloud_state in {"interrupted", "offline"} else ""
        msg = f"{session.name} is stopped{away}: nothing runs there, and no file can be reached"
        bill = f"its disk {costs_text(session.stopped_usd_h)}"
        hint = typed("start", session.name) + f" brings it back ({hourly_text(session.usd_h)})"
        stopped = WrongState(msg, bill=bill, hint=hint)
        stopped.runs_on = True  # its disk is billed on
        raise stopped
    if not session.host or not session.port:
        msg = f"session {session.name} has no address yet ({session.state.value}: {session.detail})"
        raise WrongState(msg, hint=typed("show", session.name))
    proxy = str(session.offer.get("proxy", ""))
    return _own(session, host=session.host, port=session.port, user=session.user or "root", proxy=proxy)


def computer(session: Session, host: str, port: int, user: str) -> Endpoint:
    """SSH endpoint of the computer under the session's machine: the session's key, its own host key pin."""
    return _own(session, "-computer", host=host, port=port, user=user)


def _own(session: Session, suffix: str = "", **where: Any) -> Endpoint:
    from gpunb.ssh import Endpoint

    folder, alias = paths.session_dir(session.id), f"gpunb-{session.id}{suffix}"
    return Endpoint(key=folder / "id_ed25519", known_hosts=folder / "known_hosts", alias=alias, **where)


def connection(session: Session) -> Connection:
    """The live SSH connection to the session's host; the agent's, if there is one.

    Raises
    ------
    Unreachable, HostKeyChanged, AuthRefused, WrongState
    """
    from gpunb.ssh import Connection

    where = endpoint(session)
    held = _hold(session.id)
    with held.lock:
        where = _same_place(held, session, where)
        # the agent retries a broken connection for minutes; a new caller learns at once that the host is dead
        if held.agent is not None and held.agent.connected:
            line = held.agent.connection
            if line.alive():
                return line
        if held.connection is None or not held.connection.alive():
            if held.connection is not None:
                held.connection.close()
                held.connection = None
            with _told(session):
                held.connection = Connection.open(where)
        return held.connection


def agent(session: Session, progress: Progress = SILENT) -> AgentClient:
    """The client of the session's agent, which is installed on the host if it is missing.

    Raises
    ------
    Unreachable, HostKeyChanged, AuthRefused, BootstrapFailed, WrongState
    """
    from gpunb.remote import AgentClient

    where = endpoint(session)
    held = _hold(session.id)
    with held.lock:
        where = _same_place(held, session, where)
        if held.agent is not None and not held.agent.alive:
            held.agent.close()
            held.agent = None
        if held.agent is None:
            first, held.connection = held.connection, None
            with _told(session):
                held.agent = AgentClient.connect(
                    where,
                    python=session.python or None,
                    trust=session.trust,
                    progress=progress,
                    name=session.name,
                    connection=first,
                )
                held.agent.still = lambda: _still(session, held, where)
            held.agent.on_start = partial(sent.keep, session.id)
        held.agent.trust, held.agent.name = session.trust, session.name  # the user may have changed them
        return held.agent


def _still(session: Session, held: _Held, first: Endpoint) -> Endpoint:
    """Return where the host is now. If that is another customer's machine, the pinned key refuses it.

    Raises
    ------
    Unreachable
        The session has ended, is ending or stopped; another process did that.
    """
    from gpunb.sessions.ledger import peek

    found = peek.place(paths.ledger_file(), session.id)
    if found is None:
        return held.endpoint or first
    state, host, port = found
    if state in {"ending", "gone", "failed", "stopped"}:
        msg = f"session {session.name} is {state}; what ran there has ended"
        raise Unreachable(msg, hint=typed("show", session.name))
    where = held.endpoint or first
    if (host, port) != (where.host, where.port):
        _log.info("the host of session %s is at %s:%s now", session.name, host, port)
        held.endpoint = where = replace(where, host=host, port=port)
    return where


@contextmanager
def _told(session: Session) -> Iterator[None]:
    """Add a hint to a refused key if the host has accepted that key before."""
    try:
        yield
    except AuthRefused as err:
        if session.ready is not None:
            key = paths.session_dir(session.id) / "id_ed25519.pub"
            err.hint = (
                "it accepted the key before: something removed it from ~/.ssh/authorized_keys there. The "
                f"provider's console can put it back (the line in {key}); "
                + typed("down", session.name)
                + " ends it"
            )
        raise


def held(session_id: str) -> AgentClient | None:
    """The live agent client that this process has for the session, or None; opens no connection."""
    with _lock:
        found = _held.get(session_id) if _pid == os.getpid() else None
    client = found.agent if found is not None else None
    return client if client is not None and client.alive else None


def arm(client: AgentClient, session: Session, *, timeout: float = 60.0) -> dict[str, Any]:
    """Send the ledger's lease of the session to its host; returns the host's answer.

    Raises
    ------
    Unreachable
        No answer within `timeout` seconds.
    """
    lease = session.lease
    return client.set_lease(
        lease.deadline,
        None if session.group_id else lease.idle_s,  # idle is what all members are: seen from here only
        count_ssh=lease.count_ssh,
        quiet_s=max(0.0, time.time() - session.active_at) if session.active_at else 0.0,
        grace_s=HOST_GRACE_S,
        timeout=timeout,
    )


def drop(session_id: str) -> None:
    """Close this process's connections to the session's host."""
    with _lock:
        held = _held.pop(session_id, None)
    if held is not None:
        _close(held)


def close_all() -> None:
    """Close all connections of this process to hosts."""
    with _lock:
        mine = list(_held.values()) if _pid == os.getpid() else []
        _held.clear()
    for held in mine:
        _close(held)


def _hold(session_id: str) -> _Held:
    global _held, _lock, _pid, _registered  # noqa: PLW0603 - one cache a process, also after a fork
    if _pid != os.getpid():
        _left_behind.append(_held)
        _held, _lock, _pid = {}, threading.Lock(), os.getpid()
    with _lock:
        if not _registered:
            atexit.register(close_all)
            _registered = True
        return _held.setdefault(session_id, _Held())


def _same_place(held: _Held, session: Session, where: Endpoint) -> Endpoint:
    """Return where the host is; close the connections if it is reached in another way now.

    A client that lives goes along to another address: runs of other threads are followed over it. Which
    address is the newest is in the ledger: `session` may have been read before the host moved.
    """
    before, client = held.endpoint, held.agent
    if before is not None and before != where:
        moved = replace(before, host=where.host, port=where.port) == where
        if moved and client is not None and client.alive:
            now = _still(session, held, where)
            if client.connected and client.endpoint != now:
                client.renew()
            return now
        _close(held)
    held.endpoint = where
    return where


def _close(held: _Held) -> None:
    # no lock: closing also wakes a thread that hangs in a transfer
    client, line = held.agent, held.connection
    held.agent = held.connection = None
    for one in (client, line):
        if one is not None:
            with suppress(GpunbError, OSError, EOFError):
                one.close()


class HostAccess:
    """Operations of the lifecycle and the supervisor on a host; tests replace it.

    Every method raises a `gpunb.errors.HostError` if the host fails or refuses.
    """

    def prepare(self, session_id: str, label: str) -> str:
        """Create the session's key pair and forget an earlier host's key; returns the public line."""
        line = key_pair(session_id, comment=label).public_line
        _known_hosts(session_id).unlink(missing_ok=True)
        return line

    def host_key(self) -> tuple[str, str]:
        """Create a host key to inject: private text, public line."""
        from gpunb.ssh import generate_host_key

        return generate_host_key()

    def pin(self, session: Session, line: str) -> None:
        """Pin the host key that the provider vouches for; `HostKeyChanged` if another one is pinned."""
        from gpunb.ssh.hostkeys import pin

        pin(_known_hosts(session.id), f"gpunb-{session.id}", line)

    def pinned(self, session: Session) -> list[str]:
        """The host keys (public lines) that are pinned for the session."""
        from gpunb.ssh.hostkeys import pinned

        return pinned(_known_hosts(session.id), f"gpunb-{session.id}")

    def repin(self, session: Session, line: str) -> None:
        """Replace the pinned host key by that of a recreated machine."""
        from gpunb.ssh.hostkeys import repin

        repin(_known_hosts(session.id), f"gpunb-{session.id}", line)

    def unpin(self, session: Session) -> None:
        """Remove the pin of a host key that the host was not given."""
        _known_hosts(session.id).unlink(missing_ok=True)

    def wait(
        self, session: Session, *, timeout: float, progress: Progress, give_up: Callable[[], None]
    ) -> None:
        """Wait until SSH answers with the pinned key; the agent then uses this connection."""
        from gpunb.ssh import open_patiently

        where = endpoint(session)
        opened = open_patiently(where, timeout=timeout, progress=progress, give_up=give_up)
        held = _hold(session.id)
        with held.lock:
            _close(held)
            held.endpoint, held.connection = where, opened

    def arm(self, session: Session, progress: Progress = SILENT) -> None:
        """Connect the agent and set the session's lease on the host."""
        arm(agent(session, progress), session)

    def first_cell(self, session: Session, progress: Progress = SILENT) -> None:
        """Wait for the kernel, which the agent starts by itself, and run an empty cell."""
        client = agent(session)
        step(progress, "kernel")
        client.kernel_request("kernel_info_request", {}, timeout=KERNEL_S)
        step(progress, "first cell")
        client.kernel_request("execute_request", {"code": ""}, timeout=KERNEL_S)

    def examine(self, session: Session, *, gpus: bool, disk: bool) -> dict[str, Any]:
        """Examine the host; see `gpunb/agent/check/machine.py` for the answer."""
        return agent(session).request("examine", timeout=EXAMINE_S, gpus=gpus, disk=disk)

    def pulse(self, session: Session) -> Pulse:
        """Ask the agent for its runs and send it the session's current lease."""
        client = agent(session)
        runs = {run.id: run for run in client.runs()}
        info = arm(client, session)
        logins = session.lease.count_ssh and bool(info.get("logins"))
        return Pulse(runs, logins, traffic(info.get("net")))

    def settle(self, session: Session) -> None:
        """Shut the host's kernels down, so that their output is flushed to its files."""
        agent(session).request("settle", timeout=SETTLE_S)

    def touch(self, session: Session) -> None:
        """Restart the host's own idle time."""
        agent(session).touch()

    def fetch(self, session: Session, path: str, target: Path, progress: Progress, **more: Any) -> Brought:
        """Download the host's `path` to `target`; `more` as in `gpunb.sync.bring.bring` (folders)."""
        from gpunb.sync.bring import bring

        guard, line = session.trust != "own", connection(session)
        return bring(
            line, path, target,
            word=session.name, guard=guard, agent=held(session.id), progress=progress, **more,
        )  # fmt: skip

    def fetch_project(
        self, session: Session, place: str, root: Path, progress: Progress, **more: Any
    ) -> Brought:
        """Bring what runs wrote in `place` to `root`; see `gpunb.sessions.project.results.bring_home`.

        Where the agent is not there and can't be put there all of the folder comes, beside what is here.
        """
        from gpunb.sessions.project.results import bring_home

        try:
            return bring_home(session, root, place, **more)
        except BootstrapFailed:
            return self.fetch(session, place, root, progress)

    def kept_disk(self, provider: Provider) -> HostAccess | None:
        """Access to the files of stopped sessions without a start; None if this can't be done.

        The cloud has to give the files, and rsync here has to be safe with a stranger's.
        """
        from gpunb.providers.features import StoppedFiles
        from gpunb.sessions.access.kept_disk import KeptDisk
        from gpunb.sync import rsync

        return KeptDisk(provider) if isinstance(provider, StoppedFiles) and rsync.safe_here() else None

    def mirror(self, session: Session, path: str, target: Path) -> bool:
        """Make the local folder `target` hold what the host's folder `path` holds; false if there is none.

        Raises
        ------
        SyncError
            Not all of it came.
        """
        from gpunb.ssh.quoting import quote
        from gpunb.sync import sync

        client = agent(session)
        line, guard = client.connection, session.trust != "own"
        if line.run(quote(["test", "-d", path]), timeout=EXAMINE_S).code:
            return False
        end = f"{path.rstrip('/')}/"
        report = sync(
            line, end, f"{target}/", direction="down", agent=client, delete=True, yes=True, guard=guard
        )
        if report.failed:
            name, why = report.failed[0]
            msg = f"{name}: {why}"
            raise SyncError(msg)
        return True

    def keep_output(self, session: Session, run_id: str, file: Path) -> None:
        """Write the text that a run has printed so far into `file`."""
        from gpunb.output import TextSink
        from gpunb.output.player import play_history

        client = agent(session)
        last = client.run_info(run_id).last
        with file.open("w", encoding="utf-8", errors="replace") as text:
            play_history(client.attach(run_id), TextSink(text, text), last)

    def last_output(self, session: Session, run_id: str) -> str:
        """The text of the last records that a run has printed."""
        from io import StringIO

        from gpunb.output import TextSink
        from gpunb.output.player import play_history

        client, text = agent(session), StringIO()
        last = client.run_info(run_id).last
        play_history(client.attach(run_id, after=max(0, last - LAST_RECORDS)), TextSink(text, text), last)
        return text.getvalue()

    def shutdown(self, session: Session) -> None:
        """Ask the agent to end all work."""
        agent(session).shutdown()

    def drop(self, session_id: str) -> None:
        """Close the connections to the host."""
        drop(session_id)


def _known_hosts(session_id: str) -> Path:
    return paths.session_dir(session_id) / "known_hosts"


HOST = HostAccess()
