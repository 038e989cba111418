"""Read-only queries of the ledger's file without importing the `Ledger`."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING

from gpunb.sessions.ledger import process_id

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["nothing_to_say", "place", "watched"]

SOON_S = 600.0


def nothing_to_say(path: Path) -> bool:
    """Whether nothing needs a warning: no live session, or all healthy, watched, and over ten minutes left.

    False also where the file can't be read this way: the `Ledger` reports why.
    """
    now = time.time()
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1.0)) as db:
            live, odd = db.execute(
                "SELECT count(*), sum(state IN ('unknown', 'ending', 'creating') OR deadline < ? "
                "OR budget_usd IS NOT NULL AND deadline IS NULL) "
                "FROM sessions WHERE state NOT IN ('gone', 'failed')",
                (now + SOON_S,),
            ).fetchone()
            leader = db.execute("SELECT owner, beat + ttl FROM leader").fetchone()
    except (sqlite3.Error, OSError):
        return False
    if not live:
        return True
    return not odd and leader is not None and leader[1] > now and process_id.lives(leader[0]) is not False


def watched(path: Path) -> bool:
    """Whether no session is live, or a live supervisor can use all clouds as far as it knows.

    False also where the file can't be read this way: the `Ledger` reports why.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1.0)) as db:
            (live,) = db.execute(
                "SELECT count(*) FROM sessions WHERE state NOT IN ('gone', 'failed')"
            ).fetchone()
            leader = db.execute("SELECT owner, beat + ttl FROM leader").fetchone()
            blind = db.execute("SELECT value FROM meta WHERE key = 'blind'").fetchone()
    except (sqlite3.Error, OSError):
        return False
    if not live:
        return True
    led = leader is not None and leader[1] > time.time() and process_id.lives(leader[0]) is not False
    return led and (blind is None or blind[0] == "{}")


def place(path: Path, session_id: str) -> tuple[str, str, int] | None:
    """A session's state and its host's address, or None if unknown."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1.0)) as db:
            found = db.execute(
                "SELECT state, host, port FROM sessions WHERE id = ?", (session_id,)
            ).fetchone()
    except (sqlite3.Error, OSError):
        return None
    return None if found is None else (str(found[0]), str(found[1]), int(found[2]))
