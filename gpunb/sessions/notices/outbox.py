"""The supervisor's outbox: notices are recorded once, sent in batches, and tried again."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gpunb import log
from gpunb.errors import SettingsError
from gpunb.sessions.access.host_access import HOST, HostAccess
from gpunb.sessions.access.kept_output import last_lines
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.sessions.notices import channels as ways
from gpunb.sessions.notices.events import noticed, of_increases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Executor, Future

    from gpunb.providers.base import Provider
    from gpunb.sessions.cost.lease import Due
    from gpunb.sessions.ledger.notices import Notice
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.settings import LimitsSettings, NotifySettings

__all__ = ["Outbox", "own"]

BATCH_S = 60.0  # between two messages: what happens together comes together
RETRY_S = (60.0, 300.0, 900.0, 3600.0, 3600.0, 3600.0, 7200.0, 7200.0)
INCREASES_S = 300.0
_log = log.get(__name__)


def own() -> NotifySettings:
    """The user's own settings for notices.

    Raises
    ------
    SettingsError
        They can't be read.
    """
    from gpunb import settings

    return settings.load(cwd=Path("/")).notify


class Outbox:
    """Notices of one supervisor. Holds only caches: the ledger knows what was noticed and sent.

    Parameters
    ----------
    providers
        Returns the provider of a name, to ask for price increases.
    pool
        Runs the sending, which may be slow; None runs it in turn.
    settings
        Returns where notices go.
    host
        Gives the last lines of runs, if notices are to have them.
    """

    def __init__(
        self,
        ledger: Ledger,
        providers: Callable[[str], Provider],
        *,
        pool: Executor | None = None,
        settings: Callable[[], NotifySettings] = own,
        host: HostAccess = HOST,
    ) -> None:
        self.ledger = ledger
        self.providers = providers
        self.pool = pool
        self.settings = settings
        self.host = host
        self._to: NotifySettings | None = None  # as they were the last time that they could be read
        self._turn: Future[None] | None = None
        self._asked: dict[str, float] = {}
        self._sent_at: dict[str, float] = {}

    def look(self, caps: LimitsSettings | None, crossed: Mapping[str, Due], *, last: bool = False) -> None:
        """Notice what has happened and send what is due; never fails.

        Parameters
        ----------
        last
            The supervisor ends: nothing is held back for a later message.
        """
        if self.pool is None or last:
            if self._turn is not None:
                with suppress(*ANY):
                    self._turn.result(2 * ways.TIMEOUT_S)
            self._work(caps, crossed, last=last)
        elif self._turn is None or self._turn.done():
            with suppress(RuntimeError):  # no more threads: at the next tick
                self._turn = self.pool.submit(self._work, caps, dict(crossed), last=False)

    def _work(self, caps: LimitsSettings | None, crossed: Mapping[str, Due], *, last: bool) -> None:
        try:
            with suppress(SettingsError):
                self._to = self.settings()
            if self._to is None or not (names := ways.channels(self._to)):
                return
            notices = [*noticed(self.ledger, caps, crossed), *self._increases()]
            notices = [notice for notice in notices if notice.kind in self._to.events]
            if self._to.output:
                self._add_output(notices)
            self.ledger.note_notices(notices, names)
            for name in names:
                self._send(name, self._to, last=last)
        except ANY as err:
            _log.error("notices: %s", words(err))

    def _add_output(self, notices: list[Notice]) -> None:
        """Add the last lines of runs to what is noticed now, as far as they can be had."""
        known = {notice.key for notice in self.ledger.notices()}
        for notice in notices:
            if notice.kind == "run" and notice.key not in known:
                _, session_id, run_id = notice.key.split(":")
                notice.output = last_lines(self.ledger, session_id, run_id, self.host)

    def _increases(self) -> Iterator[Notice]:
        from gpunb.providers.features import PriceIncreases

        now = self.ledger.clock.time()
        sessions = self.ledger.sessions()
        for name in sorted({session.provider for session in sessions if session.hourly > 0}):
            if now - self._asked.get(name, 0.0) < INCREASES_S:
                continue
            self._asked[name] = now
            try:
                provider = self.providers(name)
                if isinstance(provider, PriceIncreases):
                    yield from of_increases(name, provider.price_increases(), sessions)
            except ANY as err:
                _log.warning("price increases of %s can't be asked for: %s", name, words(err))

    def _send(self, channel: str, to: NotifySettings, *, last: bool) -> None:
        now = self.ledger.clock.time()
        if not last and now - self._sent_at.get(channel, 0.0) < BATCH_S:
            return
        if not any(channel in notice.left for notice in self.ledger.notices()):
            return
        due = self.ledger.take_notices(channel)
        if not due:
            return
        self._sent_at[channel] = now
        try:
            ways.send(channel, to, due)
        except ANY as err:
            tries = max(notice.tries for notice in due)
            again = now + RETRY_S[tries] if tries < len(RETRY_S) else None
            _log.error("%d notices were not sent by %s: %s", len(due), channel, words(err))
            self.ledger.untaken(channel, due, again)
