"""Supervisor coverage: which one leads, which clouds none can serve, and starting one if none is alive.

There is one leader. Where it can't end anything at a cloud (no key in its environment, a proxy that
no client can use), it says so in the ledger, and another supervisor that can serves that cloud beside it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

from gpunb import isolated, paths
from gpunb.errors import GpunbError, LedgerError, SessionError
from gpunb.hints import typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gpunb.sessions.ledger.sessions import Ledger

__all__ = [
    "COMMAND",
    "LEADER_TTL_S",
    "Duties",
    "died",
    "ensure",
    "presence",
    "unserved",
    "unwatched",
]

LEADER_TTL_S = 90.0
COMMAND = tuple(isolated.argv("gpunb", "supervise"))

# It outlives us on purpose; dropping the handle would make Python warn of a child not waited for.
_children: list[subprocess.Popen[bytes]] = []


def ensure(
    ledger: Ledger, command: Sequence[str] = COMMAND, *, able: Callable[[str], bool] | None = None
) -> bool:
    """Start a detached supervisor if none is alive and a session needs one; returns whether it was started.

    It outlives this process, and ends after the last session.

    Parameters
    ----------
    able
        Whether this process could end something at a cloud. With it, another supervisor is started
        where the living one can't, and a new one started from here could.

    Raises
    ------
    SessionError
        It can't be started: nothing would end a lease when this process is gone.
    """
    if not ledger.sessions() and not ledger.unfollowed():
        return False
    if ledger.leader() is not None:
        blind = unserved(ledger) if able is not None else {}
        if not any(able is not None and able(name) for name in blind):
            return False
    elif _holds_on(ledger):
        return False
    try:
        with _out() as out:
            child = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                cwd=paths.home(),
                env={**os.environ, "GPUNB_HOME": str(paths.home())} if "GPUNB_HOME" in os.environ else None,
            )
    except OSError as err:
        msg = f"the supervisor can't be started: {err.strerror or err}"
        raise SessionError(msg, hint="run `" + typed("supervise") + "` in a terminal of its own") from err
    _children.append(child)
    return True


@contextlib.contextmanager
def _out() -> Iterator[int]:
    """The file for the supervisor's stderr; none if the log's folder can't be written."""
    try:
        folder = paths.private_dir(paths.home() / "log")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        found = paths.private_opener(str(folder / "supervise.out"), flags)
    except (OSError, GpunbError):
        found = os.open(os.devnull, os.O_WRONLY)
    try:
        yield found
    finally:
        os.close(found)


def died() -> list[str]:
    """Messages on supervisors that this process started and that ended at once."""
    failed = [child.returncode for child in _children if child.poll() not in {None, 0}]
    where = paths.home() / "log" / "supervise.out"
    return [f"the supervisor that was started ended at once (exit {code}); see {where}" for code in failed]


def unserved(ledger: Ledger) -> dict[str, str]:
    """Clouds with live sessions at which no live supervisor can end anything, each with the reason."""
    blind = ledger.blind()
    if not blind:
        return {}
    live = {session.provider for session in ledger.sessions()}
    return {name: why for name, why in blind.items() if name in live and not ledger.served(name)}


def unwatched(ledger: Ledger, cloud: str | None = None) -> list[str]:
    """Warnings that no supervisor watches the leases, or those at a cloud; empty if all is well.

    Parameters
    ----------
    cloud
        Only what concerns the sessions there.
    """
    live = [session for session in ledger.sessions() if cloud in {None, session.provider}]
    if not live:
        return []
    if ledger.leader() is None and not _holds_on(ledger):
        return ["nothing watches the leases: no supervisor is alive; " + typed("supervise") + " starts one"]
    out: list[str] = []
    for name, why in sorted(unserved(ledger).items()):
        if cloud not in {None, name}:
            continue
        names = ", ".join(session.name for session in live if session.provider == name)
        out.append(
            f"nothing watches the leases of {names}: the supervisor can't use {name} ({why}); "
            + typed("login", name)
            + ", or any verb from a terminal that can use it"
        )
    return out


class Duties:
    """The clouds that this supervisor serves, published in the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._said: Mapping[str, str] | None = None
        self._renewed: dict[str, float] = {}

    def left_over(self) -> set[str]:
        """Clouds that the leader can't serve and no other supervisor serves."""
        blind = self.ledger.blind()
        live = {session.provider for session in self.ledger.sessions()} if blind else set()
        return {name for name in live & set(blind) if not self.ledger.claimed(_duty(name))}

    def tell(self, blind: Mapping[str, str], *, leads: bool, served: set[str]) -> None:
        """Record changes: as the leader the clouds it can't serve, else those served in its place."""
        if leads and self._said != blind:
            self.ledger.save_blind(blind)
            self._said = dict(blind)
        now = self.ledger.clock.time()
        for name in served - set(blind):
            if not leads and now - self._renewed.get(name, 0.0) >= LEADER_TTL_S / 4.0:
                self.ledger.claim(_duty(name), LEADER_TTL_S)
                self._renewed[name] = now
        for name in set(blind) & set(self._renewed):
            self.ledger.release(_duty(name))
            del self._renewed[name]


def _duty(name: str) -> str:
    return f"watch:{name}"


@contextlib.contextmanager
def presence(ledger: Ledger) -> Iterator[None]:
    """Hold a lock on the ledger's folder, so that `ensure` sees a live supervisor; needs no disk space."""
    import fcntl

    handle = -1
    with contextlib.suppress(OSError):
        handle = os.open(ledger.path.parent, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    try:
        yield
    finally:
        if handle >= 0:
            os.close(handle)


def _holds_on(ledger: Ledger) -> bool:
    """Whether a supervisor is alive that can't record it, because the ledger can't be written."""
    import fcntl

    try:
        if ledger.writable():
            return False
        handle = os.open(ledger.path.parent, os.O_RDONLY)
    except (OSError, LedgerError):
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
