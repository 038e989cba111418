"""One tick over all sessions: leases enforced, unfinished work completed, orphans ended."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING

from gpunb.errors import AuthFailed, LedgerTooNew, SettingsError
from gpunb.sessions.cost import funds, limits, limits_used, volumes
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.sessions.groups.forming import broken_off
from gpunb.sessions.lifecycle.ending import Listing
from gpunb.sessions.model import Cost, IntentState, Session
from gpunb.sessions.supervisor.looked import Looked
from gpunb.sessions.supervisor.one_session import OneSession
from gpunb.sessions.supervisor.orphans import sweep

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gpunb.providers.base import Provider
    from gpunb.sessions.cost.lease import Due

__all__ = ["Looked", "Supervision"]

# Lists were seen to lag by ten minutes (skypilot#4431): so long after an answer was lost, and the
# lists had nothing, the supervisor continues to look for an instance of that call.
LINGER_S = 1800.0


class Supervision(OneSession):
    """The supervisor's ticks over the ledger. Holds only caches; a new object can continue at any time.

    Parameters
    ----------
    providers
        Returns the provider of a name; what it raises (no key, a proxy that can't be used, a plug-in's
        own error) is reported, and does not block the ends at other providers.
    pool
        Runs ends that need their host, so that one does not delay the others; None runs all
        in turn.
    hosts
        Runs requests to hosts: one that is slow or silent, by accident or on purpose, must not
        delay the ends of others. None runs them in turn.
    clouds, wait
        Runs the check of each cloud, and how a tick waits for that (at most `tick_s`): a cloud
        that does not answer must not delay the ends at the others. None runs them in turn.
    tick_s
        The time between two ticks; budgets are checked two of them ahead.
    list_s, sweep_s, pulse_s
        Shortest time between two fetches of a provider's list for healthy sessions, two searches
        for orphans, and two requests to a host.
    renew
        Called with the name of a cloud that can't be used: `providers` then creates it again.

    Attributes
    ----------
    blind
        Cloud -> why this process can't end anything there: no key, a wrong one, no client.
    """

    def tick(self, only: Collection[str] | None = None) -> Looked:
        """Check everything once. An error of one session does not affect another.

        What can't be read from the ledger is taken from the last tick: a session whose lease is over
        is ended also while its row, or the whole file, can't be read or written.

        Parameters
        ----------
        only
            Check these clouds only.

        Raises
        ------
        LedgerError
            The ledger can't be read, and never was.
        """
        looked = Looked()
        looked.errors = self._trouble[:]
        del self._trouble[: len(looked.errors)]
        looked.over = self._apart[:]
        del self._apart[: len(looked.over)]
        self._follow_clock(looked)
        now = self.ledger.clock.time()
        groups: dict[str, list[Session]] = {}
        sessions = self._sessions(looked)
        for session in sessions:
            groups.setdefault(session.provider, []).append(session)
        costs = self._costs(sessions, now + 2.0 * self.tick_s, looked)
        none_over: dict[str, Due] = {}
        self._crossed = self._read(looked, "caps", lambda: self._over_caps(looked), none_over)
        halves = self._read(looked, "groups", lambda: broken_off(self.ledger), none_over)
        self._crossed = {**halves, **self._crossed}
        none: set[str] = set()
        orphaned = self._read(looked, "orphans", lambda: {orphan.provider for orphan in self._ours()}, none)
        due = self._read(looked, "clouds", lambda: self._due_sweeps(now), none)
        for name in sorted({*groups, *orphaned, *due}):
            if name not in self._looks and (only is None or name in only):
                self._begin(name, groups.get(name, []), costs, orphaned=name in orphaned)
        self.wait(list(self._looks.values()), self.tick_s)
        for name, look in list(self._looks.items()):
            if look.done():
                del self._looks[name]
                looked.add(_result(name, look))
            else:
                looked.errors.append(f"{name}: it has not answered yet; its sessions wait for that")
        if now - self._receipts_at >= self.sweep_s:
            self._receipts(looked)
            self._receipts_at = now
        self._leave(looked)
        looked.orphans = self._read(looked, "orphans", lambda: len(self._ours()), 0)
        return looked

    def _over_caps(self, looked: Looked) -> dict[str, Due]:
        """The sessions that a cap over all sessions ends now; the last caps hold if they can't be read."""
        try:
            self._caps, self._agents = self.caps(), limits_used.agents()
        except SettingsError as err:
            looked.errors.append(
                f"the caps over all sessions can't be read, the last ones hold: {err.message}"
            )
        ahead_s, out = 2.0 * self.tick_s, {}
        if self._agents is not None:
            out = limits.crossed(self.ledger, self._agents, ahead_s=ahead_s, by_agents=True)
        if self._caps is not None:
            out |= limits.crossed(self.ledger, self._caps, ahead_s=ahead_s)
        return out

    # -- one cloud --------------------------------------------------------------

    def _begin(
        self, name: str, sessions: list[Session], costs: Mapping[str, Cost], *, orphaned: bool
    ) -> None:
        """Start the check of one cloud, in a thread of its own if there are any."""
        if name in self._hurried:
            self._hurried.discard(name)
            self._funded.pop(name, None)
            for session in sessions:
                self._listed.pop(session.id, None)
        if self.clouds is not None:
            try:
                self._looks[name] = self.clouds.submit(self._cloud, name, sessions, costs, orphaned=orphaned)
            except RuntimeError as err:  # no more threads: then in turn
                self._trouble.append(f"no thread for {name}: {err}")
            else:
                return
        done: Future[Looked] = Future()
        try:
            done.set_result(self._cloud(name, sessions, costs, orphaned=orphaned))
        except ANY as err:
            done.set_exception(err)
        self._looks[name] = done

    def _cloud(
        self, name: str, sessions: list[Session], costs: Mapping[str, Cost], *, orphaned: bool
    ) -> Looked:
        """Check all sessions and orphans of one cloud."""
        looked = Looked()
        try:
            provider = self.providers(name)
        except ANY as err:
            self.blind[name] = words(err)
            if sessions:
                looked.errors.append(f"{name}: {words(err)}; its sessions can't be ended")
            return looked
        listing = Listing(provider, shared=True)
        for session in sessions:
            self._look(provider, listing, session, costs.get(session.id, Cost()), looked)
        due = self.ledger.clock.time() - self._swept.get(name, 0.0) >= self.sweep_s
        if orphaned or due:
            self._sweep(listing, looked)
        if due or looked.over:
            self._volumes(provider, looked)
        if listing.error is not None:
            looked.errors.append(f"{name}: its list can't be had: {listing.error.message}")
        self._see(name, listing)
        self._account(provider, sessions)
        return looked

    def _account(self, provider: Provider, sessions: list[Session]) -> None:
        """Query the account's balance while something there costs; `ps` and every verb use it to warn."""
        now = self.ledger.clock.time()
        if (
            any(session.hourly > 0 for session in sessions)
            and now - self._funded.get(provider.name, 0.0) >= self.sweep_s
        ):
            self._funded[provider.name] = now
            funds.ask(self.ledger, provider)

    def _see(self, name: str, listing: Listing) -> None:
        """Record whether this process can use a cloud at all.

        A key or client that fails here may work in another process, or at the next tick.
        """
        if isinstance(listing.error, AuthFailed) or isinstance(listing.cause, SettingsError):
            self.blind[name] = listing.error.message if listing.error is not None else ""
            now = self.ledger.clock.time()
            if self.renew is not None and now - self._renewed.get(name, 0.0) >= self.list_s:
                self._renewed[name] = now
                self.renew(name)
        elif listing.answered:
            self.blind.pop(name, None)

    def awaited(self) -> int:
        """Count create calls that are recent and so far absent from lists, which may lag."""
        since = self.ledger.clock.time() - LINGER_S
        return sum(
            intent.state is IntentState.ABSENT and (intent.resolved or 0.0) > since
            for intent in self.ledger.intents()
        )

    def _due_sweeps(self, now: float) -> set[str]:
        """Providers that were used before and whose sweep for orphans is due."""
        names = self.ledger.providers()
        return {name for name in names if now - self._swept.get(name, 0.0) >= self.sweep_s}

    def _sweep(self, listing: Listing, looked: Looked) -> None:
        try:
            sweep(self.ledger, listing, self.timing)
        except ANY as err:
            looked.errors.append(f"orphans of {listing.provider.name}: {words(err)}")
        if listing.error is None:
            instances = listing.instances()
            if self._caps is not None and instances is not None:
                limits_used.note_others(self.ledger, listing.provider, instances)
            self._swept[listing.provider.name] = self.ledger.clock.time()

    def _volumes(self, provider: Provider, looked: Looked) -> None:
        """Check which volumes are unused; the ledger stores ours for `ps`."""
        try:
            volumes.sweep(self.ledger, provider)
        except ANY as err:
            looked.errors.append(f"volumes of {provider.name}: {words(err)}")


def _result(name: str, look: Future[Looked]) -> Looked:
    """The result of one cloud's check; an exception becomes one of its errors."""
    try:
        return look.result()
    except LedgerTooNew:
        raise
    except ANY as err:
        return Looked(errors=[f"{name}: {words(err)}"])
