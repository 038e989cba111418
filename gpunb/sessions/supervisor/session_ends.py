"""Ending a session: save its files, then destroy it, whatever else fails."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from gpunb.errors import HostError, SyncError
from gpunb.sessions.access.activity import observe
from gpunb.sessions.cost.lease import due
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.sessions.lifecycle.ending import Listing, begin_end, end_step
from gpunb.sessions.lifecycle.fetch_results import awaited, fetch_saves
from gpunb.sessions.lifecycle.rescue import from_disk, started_for_files
from gpunb.sessions.lifecycle.run_end import RUN, bring_home, started
from gpunb.sessions.lifecycle.taking_down import settle_work, shut_down
from gpunb.sessions.model import OVER, Cost, Lease, Session, SessionState
from gpunb.sessions.supervisor.ledger_memory import RENTED, LedgerMemory
from gpunb.sessions.supervisor.looked import Looked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpunb.providers.base import Provider

__all__ = ["SessionEnds"]

_S = SessionState


class SessionEnds(LedgerMemory):
    """Base class of `gpunb.sessions.supervisor.sweep.Supervision`: the end of a session."""

    def _end(
        self, provider: Provider, listing: Listing, session: Session, why: str, looked: Looked
    ) -> Session:
        looked.ended.append((session.name, why))
        self._decided[session.id] = why
        if not (session.state is _S.READY or session.save):
            return self._end_now(listing, session, why)
        return self._apart_from_others(
            provider, listing, session, lambda apart: self._end_now(apart, session, why)
        )

    def _end_with_run(
        self, provider: Provider, listing: Listing, session: Session, looked: Looked
    ) -> Session:
        """End a session whose run has ended, once its results are home; until then only its lease ends it."""

        def end(apart: Listing) -> Session:
            failed: list[tuple[str, str]] | None = []
            if started(self.ledger, session):
                try:
                    failed = bring_home(self.ledger, session, self.host, self.timing)
                except ANY as err:
                    failed = [(", ".join(awaited(self.ledger, session)), words(err))]
            if failed is None:
                return session  # its client does it
            if failed:
                self._unhomed[session.id] = self.ledger.clock.time()
                reasons = "; ".join(f"{path}: {reason}" for path, reason in failed)
                self._trouble.append(f"{session.name} has ended its run and stays for its results: {reasons}")
                return session
            if self.ledger.get(session.id).ends_with != session.ends_with:
                return session  # the user keeps it by now
            self._decided[session.id] = RUN
            return self._end_now(apart, session, RUN, save=False)

        if session.id not in self._unhomed:
            looked.ended.append((session.name, RUN))
        return self._apart_from_others(provider, listing, session, end)

    def _apart_from_others(
        self,
        provider: Provider,
        listing: Listing,
        session: Session,
        end: Callable[[Listing], Session],
    ) -> Session:
        """Run `end` in a thread of its own, if there are any: its host may be slow."""
        if self.pool is None:
            return end(listing)
        with self._lock:
            self._ending.add(session.id)

        def work() -> None:
            apart = Listing(provider, shared=True)
            try:
                after = end(apart)
                if after.state in OVER:
                    self._apart.append(after.name)
                    self._written_down(after)
            except ANY as err:  # reported at the next tick, which tries again
                self._trouble.append(f"{session.name}: {words(err)}")
                self._end_anyway(apart, session, Cost())
            finally:
                with self._lock:
                    self._ending.discard(session.id)

        try:
            self.pool.submit(work)
        except RuntimeError:  # no more threads
            work()
        return session

    def _end_now(self, listing: Listing, session: Session, why: str, *, save: bool = True) -> Session:
        """Save the session's files, within the time limit, and end it whatever the outcome."""
        was = session.state
        # a session that is being started again has its files, too
        awaits = awaited(self.ledger, session) if was is _S.READY else session.save
        if save and was in RENTED and session.ready is not None and awaits:
            try:
                session = self._bring_saves(listing, session)
            except ANY as err:  # the disk is full, the folder is gone: reported, no reason to go on paying
                self._trouble.append(f"{session.name}: what was to be saved could not be: {words(err)}")
                reason = self._started.get(session.id, (0.0, words(err)))[1]
                with suppress(*ANY):
                    if was is _S.STOPPED and self._kept(
                        session, why
                    ):  # until the end of its lease there is time
                        self._started[session.id] = (self.ledger.clock.time(), reason)
                        self._decided.pop(session.id, None)
                        return self.ledger.get(session.id)
                self._unsaved(session, awaits, reason)
            with suppress(*ANY):
                if was is _S.READY and self._kept(session, why):
                    self._decided.pop(session.id, None)
                    return self.ledger.get(session.id)
        session = begin_end(self.ledger, session.id, why)
        if was is _S.READY:
            shut_down(self.ledger, session, self.host, self.timing.agent_s)
        self._drop(session.id)
        return end_step(self.ledger, listing, session, self.timing)

    def _bring_saves(self, listing: Listing, session: Session) -> Session:
        """Bring the files, of a stopped session from its disk or after a start; raises if that can't be."""
        why = ""
        if session.state is _S.STOPPED:
            why = from_disk(self.ledger, listing.provider, session, self.host, self.timing, last=True)
            session = self.ledger.get(session.id)
            if not why and session.state is _S.STOPPED:  # else it was started meanwhile: its files are newer
                return session
        try:
            session = started_for_files(self.ledger, listing.provider, session, self.host, self.timing)
        except SyncError as err:
            if why:
                msg = f"{err.message}; without a start: {why}"
                raise SyncError(msg) from err
            raise
        settle_work(session, self.host, self.timing.agent_s)
        fetch_saves(self.ledger, session, self.host, self.timing, last=True)
        return session

    def _unsaved(self, session: Session, awaits: Sequence[str], reason: str) -> None:
        with suppress(*ANY):
            done = {event.detail for event in self.ledger.events(session.id) if event.kind == "saved"}
            for path in awaits:
                if path not in done:
                    self.ledger.note(session.id, "unsaved", json.dumps([path, reason]))

    def _kept(self, session: Session, why: str) -> bool:
        """Whether the reason to end has gone while files were saved: extended, or active again."""
        if why in {"limit", "group"}:
            return False
        if why == "idle":
            at = self.ledger.clock.time()
            with suppress(HostError):
                observe(self.ledger, session, self.host.pulse(session), at)
        session = self.ledger.get(session.id)
        return due(session, self.ledger.cost(session.id), self.ledger.clock.time()) is None

    def _end_anyway(self, listing: Listing, session: Session, cost: Cost) -> None:
        """End a session that must end although its step failed: the destroy needs no ledger, host or disk."""
        now = self.ledger.clock.time()
        try:
            must = session.id in self._decided or session.state is _S.ENDING
            if not must and session.state in RENTED and _over(session, cost, now):
                must = not self._read(Looked(), "clock", lambda: self.ledger.held(session), False)
            trouble = self._unrecorded.end(listing, session) if must else ""
        except ANY as err:
            trouble = words(err)
        if trouble:
            self._trouble.append(f"{session.name}: {trouble}")

    def _written_down(self, session: Session) -> None:
        """Forget a decided end that the ledger has now, and backdate it if it was confirmed earlier."""
        self._decided.pop(session.id, None)
        gone = self._unrecorded.ended(session.id)
        self._unrecorded.forget(session.id)
        if gone is not None:
            self.ledger.backdate(session.id, gone)


def _over(session: Session, cost: Cost, now: float) -> bool:
    """Whether the session's time or budget is over; each is checked even if the other can't be."""
    for limit in ("deadline", "budget_usd"):
        lease = replace(Lease(), **{limit: getattr(session.lease, limit)})
        with suppress(*ANY):
            if due(replace(session, lease=lease), cost, now) is not None:
                return True
    return False
