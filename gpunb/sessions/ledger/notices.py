"""Notices in the ledger: what was noticed, each once, and what still has to be sent."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from gpunb.sessions.ledger.rows import session_of
from gpunb.sessions.ledger.runs import Runs
from gpunb.sessions.model import RunNote, Session

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

__all__ = ["KEEP_S", "Notice", "Notices"]

KEEP_S = 40 * 86400.0  # longer than the longest period of a cap
_PREFIX = "notice:"


@dataclass(slots=True, kw_only=True)
class Notice:
    """Something that a person should know.

    Attributes
    ----------
    key
        What it is of; a second notice with the same key is the same.
    kind
        The setting's name for it, one of ``notify.events``.
    session
        The session's name; "" if it is of none.
    at
        When it was noticed, Unix seconds.
    left
        The channels that it has to be sent by; empty once it is sent.
    tries, next_try
        Attempts that failed, and when the next one is due.
    failed
        The channels that did not take it in the end.
    output
        The last lines of the run that it is of, if they are wanted: of a host, made harmless.
    """

    key: str
    kind: str
    text: str
    session: str = ""
    at: float = 0.0
    left: list[str] = field(default_factory=list)
    tries: int = 0
    next_try: float = 0.0
    failed: list[str] = field(default_factory=list)
    output: str = ""


class Notices(Runs):
    """Base class of `gpunb.sessions.ledger.sessions.Ledger`: the notices."""

    def notices_since(self, horizon_s: float) -> float:
        """When notices were turned on, at most `horizon_s` ago: what was before is none."""
        now = self.clock.time()
        with self._write() as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'notices'").fetchone()
            if row is None:
                db.execute("INSERT INTO meta VALUES ('notices', ?)", (str(now),))
        return now if row is None else max(float(row["value"]), now - horizon_s)

    def ended_after(self, since: float) -> tuple[list[Session], list[RunNote]]:
        """The sessions and the runs that ended after `since`."""
        sessions = self._rows("SELECT * FROM sessions WHERE ended > ? ORDER BY ended", (since,))
        runs = self._rows(
            "SELECT * FROM runs WHERE started > ? AND ended > ? ORDER BY ended", (since - KEEP_S, since)
        )
        return [session_of(row) for row in sessions], [RunNote(**dict(row)) for row in runs]

    def note_notices(self, found: Iterable[Notice], channels: Sequence[str]) -> None:
        """Record those that are new, to be sent by `channels`; old ones are forgotten."""
        now = self.clock.time()
        known = {notice.key: notice for notice in self.notices()}
        new = {one.key: one for one in found if one.key not in known}
        old = [key for key, notice in known.items() if not notice.left and now - notice.at > KEEP_S]
        if not new and not old:
            return
        with self._write() as db:
            for key in old:
                db.execute("DELETE FROM meta WHERE key = ?", (_PREFIX + key,))
            for notice in new.values():
                notice.at, notice.left = now, list(channels)
                db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", _row(notice))

    def notices(self) -> list[Notice]:
        """All notices that are kept, oldest first."""
        rows = self._rows("SELECT value FROM meta WHERE key LIKE ?", (_PREFIX + "%",))
        return sorted((Notice(**json.loads(row["value"])) for row in rows), key=lambda one: one.at)

    def take_notices(self, channel: str) -> list[Notice]:
        """Take what is due for a channel: no other process sends it, whatever becomes of this one."""
        now = self.clock.time()
        with self._write(durable=True) as db:
            due = [notice for notice in _all(db) if channel in notice.left and notice.next_try <= now]
            for notice in due:
                notice.left.remove(channel)
                db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", _row(notice))
        return sorted(due, key=lambda one: one.at)

    def untaken(self, channel: str, taken: Iterable[Notice], next_try: float | None) -> None:
        """Give back what `channel` did not take, to be tried at `next_try`; None gives up."""
        keys = {notice.key for notice in taken}
        with self._write() as db:
            for notice in _all(db):
                if notice.key in keys:
                    notice.tries += 1
                    if next_try is None:
                        notice.failed.append(channel)
                    else:
                        notice.next_try = next_try
                        notice.left.append(channel)
                    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", _row(notice))


def _all(db: sqlite3.Connection) -> list[Notice]:
    rows = db.execute("SELECT value FROM meta WHERE key LIKE ?", (_PREFIX + "%",)).fetchall()
    return [Notice(**json.loads(row["value"])) for row in rows]


def _row(one: Notice) -> tuple[str, str]:
    return _PREFIX + one.key, json.dumps(asdict(one))
