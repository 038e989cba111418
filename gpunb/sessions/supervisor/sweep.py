"""One look over all sessions: leases enforced, half-done things finished, orphans ended."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING

from gpunb.errors import AuthFailed, LedgerTooNew, SettingsError
from gpunb.sessions.cost import funds, volumes
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.sessions.lifecycle.ending import Listing
from gpunb.sessions.model import Cost, IntentState, Session
from gpunb.sessions.supervisor.looked import Looked
from gpunb.sessions.supervisor.one_session import OneSession
from gpunb.sessions.supervisor.orphans import sweep

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gpunb.providers.base import Provider

__all__ = ["Looked", "Supervision"]

# Lists were seen to lag by ten minutes (skypilot#4431): so long after an answer was lost, and the
# lists had nothing, somebody goes on to look for what may have come of it.
LINGER_S = 1800.0


class Supervision(OneSession):
    """Ticks over the ledger. Holds only what makes it cheap; a new one can go on at any time.

    Parameters
    ----------
    providers
        Gives the provider of a name; what it raises (no key, a proxy that can't be used, a plug-in's
        own error) is told, and keeps nobody else's sessions from their ends.
    pool
        Where ends with a host to talk to are carried out, so that one does not hold up the
        others; None does all in turn.
    hosts
        Where hosts are talked to: one that is slow or silent, by accident or on purpose, must not
        hold up the ends of others. None does that in turn.
    clouds, wait
        Where each cloud is looked at, and how a tick waits for that (at most `tick_s`): a cloud
        that does not answer must not hold up the ends at the others. None does them in turn.
    tick_s
        The time between two looks; budgets are looked at two of them ahead.
    list_s, sweep_s, pulse_s
        How often at most a provider's list is had for sessions that are well, orphans are
        looked for, and a host is asked what runs there.
    renew
        Called with the name of a cloud that can't be used: `providers` is to make it anew.

    Attributes
    ----------
    blind
        Cloud -> why this process can't end anything there: no key, a wrong one, no client.
    """

    def tick(self, only: Collection[str] | None = None) -> Looked:
        """Look once at everything. Fails for no session because of another.

        What the ledger does not tell any more is taken from the look before: a lease that is over
        is ended also while its row, or the whole file, can't be read or written.

        Parameters
        ----------
        only
            Look at these clouds only.

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
        none: set[str] = set()
        orphaned = self._read(looked, "orphans", lambda: {one.provider for one in self._ours()}, none)
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

    # -- one cloud --------------------------------------------------------------

    def _begin(
        self, name: str, sessions: list[Session], costs: Mapping[str, Cost], *, orphaned: bool
    ) -> None:
        """Look at one cloud, in a thread of its own if there are any."""
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
        """All sessions and orphans of one cloud."""
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
        """See what the account holds, while something there costs; `ps` and every verb warn by it."""
        now = self.ledger.clock.time()
        if (
            any(one.hourly > 0 for one in sessions)
            and now - self._funded.get(provider.name, 0.0) >= self.sweep_s
        ):
            self._funded[provider.name] = now
            funds.ask(self.ledger, provider)

    def _see(self, name: str, listing: Listing) -> None:
        """Note whether this process can use a cloud at all.

        A key or client that fails here may be right in another process, or by the next look.
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
        """Create calls of which nothing came as far as lists say, and not long enough to be sure of lists."""
        since = self.ledger.clock.time() - LINGER_S
        return sum(
            one.state is IntentState.ABSENT and (one.resolved or 0.0) > since for one in self.ledger.intents()
        )

    def _due_sweeps(self, now: float) -> set[str]:
        """Providers that were rented from before, and were not swept for a while."""
        names = self.ledger.providers()
        return {name for name in names if now - self._swept.get(name, 0.0) >= self.sweep_s}

    def _sweep(self, listing: Listing, looked: Looked) -> None:
        try:
            sweep(self.ledger, listing, self.timing)
        except ANY as err:
            looked.errors.append(f"orphans of {listing.provider.name}: {words(err)}")
        if listing.error is None:
            self._swept[listing.provider.name] = self.ledger.clock.time()

    def _volumes(self, provider: Provider, looked: Looked) -> None:
        """See which volumes nothing uses; the ledger keeps ours for `ps`."""
        try:
            volumes.sweep(self.ledger, provider)
        except ANY as err:
            looked.errors.append(f"volumes of {provider.name}: {words(err)}")


def _result(name: str, look: Future[Looked]) -> Looked:
    """What came of one cloud's look; an error in it is one of its lines."""
    try:
        return look.result()
    except LedgerTooNew:
        raise
    except ANY as err:
        return Looked(errors=[f"{name}: {words(err)}"])
