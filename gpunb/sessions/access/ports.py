"""Port forwards of a session: opened, kept up, listed, and closed from any process.

A forward lives in the process that opened it (a kernel, a terminal). A small
file beside the session's keys records it; removing the file closes the forward.
Each is opened again at the same port on the session's next connection after a
break, and ends with the session.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from gpunb import log, paths
from gpunb.agent.shared import processes
from gpunb.errors import BadInput, GpunbError, LedgerError, SessionError
from gpunb.ssh.browsers import own_name

if TYPE_CHECKING:
    from pathlib import Path

    from gpunb.sessions.model import Session
    from gpunb.ssh import Connection
    from gpunb.ssh.forward import Forward

    _Opened = tuple[Forward, Connection]

__all__ = ["Held", "Port", "close", "listed", "open_port"]

LOOK_S = 0.5  # seconds between two checks of the file and the connection
LEDGER_EVERY = 8  # such checks between two checks of the ledger
BACKOFF = (0.5, 5.0)

_mine: dict[Path, Held] = {}  # the forwards of this process


@dataclass(frozen=True, slots=True)
class Port:
    """One forward: `host_port` on the host, `local_port` here; with `reverse` the host listens."""

    session_id: str
    session: str
    host_port: int
    local_port: int
    reverse: bool
    pid: int
    started: int | None
    since: float
    name: str = ""  # the host name in a browser's link

    @property
    def link(self) -> str:
        """The URL for a browser here; for a reverse forward, for programs on the host."""
        if self.reverse:
            return f"http://127.0.0.1:{self.host_port}"
        return f"http://{self.name or '127.0.0.1'}:{self.local_port}"

    @property
    def path(self) -> Path:
        """The file that records the forward."""
        way = "r" if self.reverse else "l"
        return _folder(self.session_id) / f"{self.pid}-{way}-{self.local_port}-{self.host_port}.json"


def _folder(session_id: str) -> Path:
    return paths.session_dir(session_id) / "forwards"


def listed(session_id: str) -> list[Port]:
    """List the session's forwards held by live processes, and remove the files of dead ones."""
    found = []
    for path in sorted(_folder(session_id).glob("*.json")):
        try:
            port = Port(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            continue
        if processes.alive(port.pid, port.started):
            found.append(port)
        else:
            path.unlink(missing_ok=True)
    return sorted(found, key=lambda port: port.since)


def close(port: Port) -> None:
    """Close a forward; if another process holds it, it does so within a second."""
    held = _mine.get(port.path)
    port.path.unlink(missing_ok=True)
    if held is not None:
        held.close()


class Held:
    """A forward that this process keeps up, described by `port`.

    Attributes
    ----------
    ended
        Set when it was closed; `why` says by what, if not from here.
    """

    def __init__(self, session: Session, opened: _Opened, port: Port) -> None:
        self.session = session
        self.port = port
        self.ended = threading.Event()
        self.why = ""
        self._forward, self._connection = opened
        threading.Thread(target=self._keep, name=f"gpunb-port-{port.host_port}", daemon=True).start()

    def close(self, why: str = "") -> None:
        """Close the forward; a second call does nothing."""
        if self.ended.is_set():
            return
        self.why = why
        self.ended.set()
        self.port.path.unlink(missing_ok=True)
        _mine.pop(self.port.path, None)
        self._forward.close()

    def _keep(self) -> None:
        looks, wait = 0, BACKOFF[0]
        while not self.ended.wait(LOOK_S):
            looks += 1
            if not self.port.path.exists():
                self.close("it was closed from elsewhere")
                return
            if looks % LEDGER_EVERY == 0 or not self._up():
                why = self._over()
                if why:
                    self.close(why)
                    return
            if self._up():
                wait = BACKOFF[0]
                continue
            self._forward.close()  # frees the port here
            try:
                self._forward, self._connection = _open(self.session, self.port)
            except GpunbError as err:
                log.get(__name__).info("forward %s: %s", self.port.link, err)
                self.ended.wait(wait)
                wait = min(wait * 2, BACKOFF[1])
            if self.ended.is_set():
                self._forward.close()

    def _up(self) -> bool:
        return not self._forward.closed and self._connection.alive()

    def _over(self) -> str:
        """Why the session ends the forward; empty while it continues."""
        from gpunb.sessions.ledger.sessions import Ledger
        from gpunb.sessions.model import SessionState

        try:
            with Ledger.open() as ledger:
                self.session = ledger.get(self.session.id)
        except SessionError:
            return "its session is gone"
        except LedgerError:
            return ""
        if not self.session.alive or self.session.state is SessionState.ENDING:
            return f"session {self.session.name} has ended"
        return ""


def open_port(session: Session, host_port: int, *, local_port: int = 0, reverse: bool = False) -> Held:
    """Forward a port and keep it up until it is closed or the session ends.

    Parameters
    ----------
    host_port
        The port on the host: what is connected to, or with `reverse` listened on.
    local_port
        The port here; 0 takes the same number if it is free, else any (with
        `reverse`: the same number).

    Raises
    ------
    BadInput, HostError
        It can't be opened.
    """
    here = local_port or host_port
    pid = os.getpid()
    started = processes.start_time(pid)
    # the user's own host may get the cookies that a browser has for this machine
    name = "" if reverse or session.trust == "own" else own_name(session.name)
    port = Port(session.id, session.name, host_port, here, reverse, pid, started, time.time(), name)
    try:
        opened = _open(session, port)
    except BadInput:
        if local_port or reverse:
            raise
        opened = _open(session, replace(port, local_port=0))
        port = replace(port, local_port=opened[0].port)
    paths.private_dir(_folder(session.id))
    paths.write_private(port.path, json.dumps(asdict(port)))
    held = _mine[port.path] = Held(session, opened, port)
    return held


def _open(session: Session, port: Port) -> _Opened:
    from gpunb.sessions.access import host_access
    from gpunb.ssh import forward

    connection = host_access.connection(session)
    if port.reverse:
        made = forward.reverse(connection, "127.0.0.1", port.local_port, listen=port.host_port)
    else:
        made = forward.local(connection, "127.0.0.1", port.host_port, listen=port.local_port, name=port.name)
    return made, connection
