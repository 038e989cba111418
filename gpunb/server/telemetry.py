"""The hosts' load, received over the connections that this process holds anyway."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from gpunb.errors import HostError
from gpunb.server import shown
from gpunb.sessions.access import host_access
from gpunb.sessions.model import SessionState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gpunb.presentation import models
    from gpunb.remote import AgentClient
    from gpunb.sessions.model import Session

__all__ = ["Loads", "NotUp", "reachable", "series"]

FRESH_S = 180.0  # seconds after which a sample is stale
LOOK_S = 30.0  # seconds for which a host sends more samples after a request
POINTS = 120


class Loads:
    """The latest sample of each session; `tell` gets each new one, `ended` each run that ended on a host."""

    def __init__(
        self, tell: Callable[[str, models.Sample], None], ended: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self._tell = tell
        self._ended = ended
        self._latest: dict[str, tuple[float, models.Sample]] = {}
        self._heard: dict[str, tuple[AgentClient, Callable[[], None]]] = {}
        self._lock = threading.Lock()

    def latest(self) -> dict[str, models.Sample]:
        """Return the latest samples by session id, without stale ones."""
        since = time.monotonic() - FRESH_S
        return {key: value for key, (at, value) in list(self._latest.items()) if at >= since}

    def listen(self, sessions: Iterable[Session]) -> None:
        """Subscribe to the hosts that have a connection, and unsubscribe from other sessions' hosts."""
        live = {session.id for session in sessions if session.state is SessionState.READY}
        for session_id in live:
            client = host_access.held(session_id)
            if client is not None:
                self._hear(session_id, client)
        with self._lock:
            gone = [key for key in self._heard if key not in live]
            ends = [self._heard.pop(key)[1] for key in gone]
            for key in gone:
                self._latest.pop(key, None)
        for end in ends:
            end()

    def close(self) -> None:
        """Unsubscribe from all hosts."""
        self.listen(())

    def _hear(self, session_id: str, client: AgentClient) -> None:
        with self._lock:
            old = self._heard.get(session_id)
            if old is not None and old[0] is client:
                return
            if old is not None:
                old[1]()

            def heard(head: Mapping[str, Any]) -> None:
                kind = head.get("k")
                if kind == "telemetry":
                    self._take(session_id, head)
                elif kind == "run-ended":
                    self._ended(head)

            self._heard[session_id] = (client, client.listen(heard))

    def _take(self, session_id: str, head: Mapping[str, Any]) -> None:
        sample = shown.sample(head)
        self._latest[session_id] = (time.monotonic(), sample)
        self._tell(session_id, sample)

    def asked(self, session: Session, client: AgentClient, seconds: int) -> models.Telemetry:
        """Request the host's last `seconds` as series; it sends more samples for a while.

        Raises
        ------
        HostError
            It can't be asked.
        """
        self._hear(session.id, client)
        answer = client.request("telemetry", since=time.time() - 86_400, points=2000)
        client.begin("look", seconds=LOOK_S)
        given = answer.get("samples")
        rows = (
            [shown.sample(one) for one in given if isinstance(one, dict)] if isinstance(given, list) else []
        )
        now = answer.get("time")
        end = float(now) if isinstance(now, (int, float)) else max((row["at"] for row in rows), default=0.0)
        rows = [row for row in rows if row["at"] > end - seconds]
        if rows:
            self._latest[session.id] = (time.monotonic(), rows[-1])
        return series(session.id, rows)


def series(session_id: str, rows: list[models.Sample]) -> models.Telemetry:
    """Convert samples to one list for each figure."""
    step = max(1, -(-len(rows) // POINTS))
    rows = rows[::-1][::step][::-1]
    count = max((len(row["gpus"]) for row in rows), default=0)

    def gpu(row: models.Sample, index: int) -> models.Gpu:
        none: models.Gpu = {"name": "", "util": None, "memory": None, "temp": None, "power": None}
        return row["gpus"][index] if index < len(row["gpus"]) else none

    return {
        "session": session_id,
        "latest": rows[-1] if rows else None,
        "at": [row["at"] for row in rows],
        "gpu": [[gpu(row, index)["util"] for row in rows] for index in range(count)],
        "gpu_memory": [[_share(gpu(row, index)["memory"]) for row in rows] for index in range(count)],
        "cpu": [row["cpu"] for row in rows],
        "memory": [_share(row["memory"]) for row in rows],
    }


def _share(pair: list[float] | None) -> float | None:
    return round(100.0 * pair[0] / pair[1], 2) if pair is not None and pair[1] > 0 else None


def reachable(session: Session) -> None:
    """Refuse what needs a host if the session has none.

    Raises
    ------
    GpunbError
        The session is not up.
    """
    if session.state in {SessionState.READY, SessionState.REACHABLE}:
        return
    msg = f"session {session.name} is {session.state.value}: its host can't be asked"
    hint = "start it first" if session.state is SessionState.STOPPED else None
    raise NotUp(msg, hint=hint)


class NotUp(HostError):
    """The session has no host now."""
