"""State shared by all handlers: ledger, clouds, thread pools, jobs, tokens, event bus, supervisor."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from gpunb import log, paths
from gpunb.errors import GpunbError
from gpunb.server import shown
from gpunb.server.event_bus import Feed
from gpunb.server.jobs import Jobs
from gpunb.server.ledger_watcher import Watcher
from gpunb.server.supervisor_host import Host
from gpunb.server.telemetry import Loads
from gpunb.server.threads import Pool
from gpunb.server.work import Clouds, WorkContext
from gpunb.services.confirmations import Tokens
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.supervisor.process import TICK_S

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gpunb.offers import Ranked
    from gpunb.presentation import api, models
    from gpunb.server.jobs import Job

__all__ = ["Hub"]

OFFERS_MOST = 20_000
OFFERS_S = 900.0


class Hub:
    """The shared state of one server.

    Parameters
    ----------
    root
        The server's own folder: where paths on this side of a transfer begin.
    supervise
        Whether leases are enforced here.
    """

    def __init__(self, root: Path, *, supervise: bool = True, tick_s: float = TICK_S) -> None:
        self.root = root
        self.supervise = supervise
        self.clouds = Clouds()
        self.quick = Pool("ledger", 4)
        self.hosts = Pool("hosts", 24)
        self.asking = Pool("clouds", 8)
        self.tokens = Tokens()
        self.feed = Feed(self.snapshot)
        self.jobs = Jobs(self._job_changed)
        self.loads = Loads(self._load_changed, self._run_ended)
        self.host = Host(self.clouds.provider, self.feed.publish, tick_s=tick_s, renew=self.clouds.renew)
        self.watcher = Watcher(
            self.ledger,
            self.feed.publish,
            watched=lambda: self.feed.watched,
            loads=self.loads.latest,
            each=self.loads.listen,
            always=self._world,
            error=lambda: self.host.error,
        )
        self._ledger: Ledger | None = None
        self._others: list[Ledger] = []
        self._begun = False
        self._lock = threading.Lock()
        self._offers: OrderedDict[str, tuple[float, Ranked]] = OrderedDict()

    # -- life

    def start(self) -> None:
        """Start watching and supervising; a second call does nothing."""
        if self._begun:
            return
        self._begun = True
        self.watcher.start()
        if self.supervise:
            self.host.start()

    def stop(self) -> None:
        """Stop, hand over to a detached supervisor and close; takes at most about half a minute."""
        self.watcher.stop()
        self.host.stop()
        self.loads.close()
        for pool in (self.quick, self.hosts, self.asking):
            pool.close()
        self.clouds.close()
        with self._lock:
            ledgers = [*self._others, *([self._ledger] if self._ledger is not None else [])]
            self._others, self._ledger = [], None
        for ledger in ledgers:
            ledger.close()

    # -- resources

    def ledger(self) -> Ledger:
        """The ledger in use now: a different one while clouds are simulated."""
        path = paths.ledger_file()
        with self._lock:
            if self._ledger is None or self._ledger.path != path:
                opened = Ledger.open(path)
                if self._ledger is not None:
                    self._others.append(self._ledger)  # another thread may be reading it
                self._ledger = opened
            return self._ledger

    def context(self, job: Job | None = None, ledger: Ledger | None = None) -> WorkContext:
        """Return the context of a verb, with its progress in `job`."""
        found = ledger if ledger is not None else self.ledger()
        if job is None:
            return WorkContext(found, self.clouds.provider)
        return WorkContext(found, self.clouds.provider, job)

    # -- offers that were shown

    def keep_offers(self, rows: Mapping[str, Ranked]) -> None:
        """Remember the offers that were shown, so that each can be rented as it was shown."""
        now = time.monotonic()
        with self._lock:
            for key, row in rows.items():
                self._offers.pop(key, None)
                self._offers[key] = (now, row)
            while self._offers and (
                len(self._offers) > OFFERS_MOST or next(iter(self._offers.values()))[0] < now - OFFERS_S
            ):
                self._offers.popitem(last=False)

    def offer(self, key: str) -> Ranked | None:
        """Return the offer as it was shown last, if that was recently."""
        with self._lock:
            at, row = self._offers.get(key, (0.0, None))
        return row if row is not None and at >= time.monotonic() - OFFERS_S else None

    # -- events

    async def snapshot(self) -> api.Snapshot:
        """Return the snapshot that a new client gets first."""
        return await self.quick.run(self._snapshot)

    def _snapshot(self) -> api.Snapshot:
        try:
            ledger = self.ledger()
            sessions = shown.sessions_now(ledger, self.loads.latest())
            return {
                "sessions": sessions,
                "jobs": self.jobs.listed(),
                "transfers": shown.transfers(ledger, ledger.sessions()),
                "cost": shown.cost_now(sessions),
                "supervisor": shown.supervisor(ledger, self.host.error),
                "found": shown.found(ledger),
                "notices": list(self.feed.notices),
            }
        except GpunbError as err:
            from gpunb.server.ledger_watcher import notice

            log.get(__name__).warning("no snapshot: %s", err.message)
            return {
                "sessions": [],
                "jobs": self.jobs.listed(),
                "transfers": [],
                "cost": shown.cost_now([]),
                "supervisor": shown.nobody(err.message),
                "found": {"orphans": [], "unknown": []},
                "notices": [*self.feed.notices, notice("bad", err.message)],
            }

    def _world(self) -> None:
        if self.supervise:
            self.host.check()

    def _job_changed(self, job: Job) -> None:
        self.feed.publish("job", job.data())
        if job.over.is_set():
            self.watcher.hurry()

    def _load_changed(self, session_id: str, sample: models.Sample) -> None:
        self.feed.publish("telemetry", {"session": session_id, "sample": sample})

    def _run_ended(self, head: Mapping[str, Any]) -> None:
        run, state = head.get("run"), head.get("state")
        if isinstance(run, str) and isinstance(state, str):
            # called by the connection's reader thread, which must not wait for the disk
            self.quick.submit(lambda: self._note_end(run[:64], state[:16]))

    def _note_end(self, run: str, state: str) -> None:
        ledger = self.ledger()
        note = ledger.find_run(run)
        if note.id == run and note.ended is None:
            ledger.finish_run(run, state)
