"""The ledger watcher: polls the ledger once for all clients and publishes changes as events.

SQLite tells cheaply whether another connection wrote (`PRAGMA data_version`), so a poll costs next
to nothing while nothing changes; without clients there is none at all.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from gpunb import log
from gpunb.errors import GpunbError, LedgerError
from gpunb.server import shown
from gpunb.units import duration_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpunb.presentation import api, models
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Session

__all__ = ["Watcher", "notice"]

LOOK_S = 1.0
COST_S = 10.0  # seconds between two cost events while nothing else happens
RUNS = 100
_BY = {"time": "its time", "idle": "its idle time", "money": "its budget"}


def notice(tone: str, text: str, session: str | None = None, actions: tuple[str, ...] = ()) -> api.Notice:
    """Return a notice event: a text for the user to read now."""
    return {"tone": tone, "text": text, "session": session, "actions": list(actions), "at": time.time()}


class Watcher:
    """Compares the ledger with what was published last.

    Parameters
    ----------
    ledger
        Gives the ledger that is in use now.
    publish
        Takes an event.
    watched
        Whether any client is connected.
    loads
        The latest load of each session.
    each
        Called with the live sessions at every full poll.
    always
        Called at every poll, with or without clients.
    """

    def __init__(
        self,
        ledger: Callable[[], Ledger],
        publish: Callable[[str, Mapping[str, Any]], None],
        *,
        watched: Callable[[], bool],
        loads: Callable[[], Mapping[str, models.Sample]],
        each: Callable[[list[Session]], None],
        always: Callable[[], None],
        error: Callable[[], str | None],
    ) -> None:
        self.ledger = ledger
        self.publish = publish
        self.watched = watched
        self.loads = loads
        self.each = each
        self.always = always
        self.error = error
        self._seen: tuple[Any, ...] = ()
        self._sessions: dict[str, models.Session] | None = None
        self._cost: api.CostNow | None = None
        self._runs: dict[str, tuple[Any, ...]] = {}
        self._moved: dict[str, float | None] = {}
        self._transfers: dict[str, int] = {}
        self._supervisor: api.Supervisor | None = None
        self._told = 0.0
        self._halt = threading.Event()
        self._now = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start to poll, in a thread."""
        self._thread = threading.Thread(target=self._go, name="gpunb-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop polling."""
        self._halt.set()
        self._now.set()
        if self._thread is not None:
            self._thread.join(10.0)

    def hurry(self) -> None:
        """Poll now."""
        self._now.set()

    def _go(self) -> None:
        while not self._halt.is_set():
            self._now.wait(LOOK_S)
            self._now.clear()
            if self._halt.is_set():
                return
            try:
                self.always()
                self.look()
            except LedgerError as err:
                log.get(__name__).warning("the ledger can't be looked at: %s", err.message)
            except Exception:  # noqa: BLE001 - the next poll may succeed
                log.get(__name__).exception("a look at the ledger failed")

    def look(self) -> None:
        """Publish what changed since the last poll, if any client watches."""
        if not self.watched():
            self._seen = ()
            return
        ledger = self.ledger()
        version = ledger._rows("PRAGMA data_version")[0][0]  # noqa: SLF001 - this thread's own connection
        seen = (ledger.path, version)
        now = time.monotonic()
        if seen == self._seen and now - self._told < COST_S:
            return
        first, self._told = self._seen == () or self._seen[0] != ledger.path, now
        live = ledger.sessions()
        self.each(live)
        self._compare_sessions(ledger, first=first)
        if seen != self._seen:
            self._compare_runs(ledger, live, first=first)
            self._compare_transfers(ledger, live, first=first)
        self._compare_supervisor(ledger)
        self._seen = seen

    # -- sessions

    def _compare_sessions(self, ledger: Ledger, *, first: bool) -> None:
        sessions = {session["id"]: session for session in shown.sessions_now(ledger, self.loads())}
        before = {} if first or self._sessions is None else self._sessions
        for key, session in sessions.items():
            old = before.get(key)
            if old is None or _lasting(session) != _lasting(old):
                self.publish("session", session)
            self._warn(session, old)
        for key, old in before.items():
            if key not in sessions:
                self._removed(ledger, key, old)
        self._sessions = sessions
        cost = shown.cost_now(sessions.values())
        if cost != self._cost:
            self._cost = cost
            self.publish("cost", cost)

    def _removed(self, ledger: Ledger, key: str, old: Mapping[str, Any]) -> None:
        try:
            state = ledger.get(key).state.value
        except GpunbError:
            state = "gone"
        self.publish("removed", {"id": key, "name": old["name"], "state": state})

    def _warn(self, one: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
        lease, name = one["lease"], one["name"]
        if lease["soon"] and not (old is not None and old["lease"]["soon"]):
            left = duration_text(max(0.0, (lease["ends"] or 0.0) - time.time()))
            text = f"{name} ends in {left}: {_BY.get(lease['ends_by'], 'its lease')} is nearly over"
            self.publish("notice", notice("warn", text, one["id"], ("extend",)))
        if one["tone"] == "bad" and not (old is not None and old["tone"] == "bad"):
            text = f"{name} is {one['state']}: {one['detail']}" if one["detail"] else f"{name}: {one['next']}"
            self.publish("notice", notice("bad", text, one["id"], tuple(_ways(one))))

    # -- runs, transfers, supervisor

    def _compare_runs(self, ledger: Ledger, live: list[Session], *, first: bool) -> None:
        sessions = {session.id: session for session in live}
        found = {}
        for note in ledger.runs(None, RUNS):
            found[note.id] = (note.state, note.ended, note.name)
            # at first those of live sessions, too: one may have ended since a client took its snapshot
            if note.session_id in sessions if first else self._runs.get(note.id) != found[note.id]:
                self.publish("run", shown.run(ledger, note, sessions.get(note.session_id)))
        self._runs = found

    def _compare_transfers(self, ledger: Ledger, live: list[Session], *, first: bool) -> None:
        names = {session.id: session.name for session in live}
        moved = {session.id: session.last_activity for session in live}
        for key, at in moved.items():
            if not first and self._moved.get(key) == at:
                continue  # a transfer is activity
            rows = ledger.transfers(key)
            for row in rows[-20:]:
                if not first and row.id > self._transfers.get(key, 0):
                    self.publish("transfer", shown.transfer(row, names))
            self._transfers[key] = max((row.id for row in rows), default=0)
        self._moved = moved
        self._transfers = {key: last for key, last in self._transfers.items() if key in moved}

    def _compare_supervisor(self, ledger: Ledger) -> None:
        supervisor = shown.supervisor(ledger, self.error())
        if {**supervisor, "heartbeat": 0} != {**(self._supervisor or {}), "heartbeat": 0}:
            self.publish("supervisor", supervisor)
        self._supervisor = supervisor


def _lasting(one: Mapping[str, Any]) -> dict[str, Any]:
    """Remove what changes with the clock alone, or has events of its own."""
    lease = {key: value for key, value in one["lease"].items() if key != "ends"}
    return {**one, "cost": None, "load": None, "lease": lease}


def _ways(one: Mapping[str, Any]) -> list[str]:
    return [action for action in ("start", "down") if action in one["can"]]
