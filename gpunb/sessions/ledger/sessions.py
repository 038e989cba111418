"""The ledger: every session, intent, cost and receipt of this user, in one SQLite file.

Opened by kernels, servers and terminals at once. Each call is one transaction; a change of
state is a compare-and-set, so two processes can't both make it.
"""

from __future__ import annotations

import contextlib
import json
import os
import string
from typing import TYPE_CHECKING, Any

from gpunb import paths
from gpunb.errors import BadInput, LedgerError, SessionNotFound, WrongState
from gpunb.hints import typed
from gpunb.patterns import later
from gpunb.sessions import model
from gpunb.sessions.ledger import names as naming
from gpunb.sessions.ledger import process_id as owners
from gpunb.sessions.ledger.groups import Groups
from gpunb.sessions.ledger.rows import add_event, intent_of, session_of, set_fields
from gpunb.sessions.ledger.successors import insert
from gpunb.sessions.model import OVER, SYSTEM_CLOCK, Clock, Segment, Session, SessionState, allowed

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from gpunb.sessions.model import Event, Intent, IntentState

__all__ = ["Ledger", "label_for", "new_id", "valid_name"]

_NAME = later(r"[a-z0-9][a-z0-9._-]{0,31}")
_LIVE = "state NOT IN ('gone', 'failed')"
_LETTERS = string.ascii_lowercase + string.digits


def new_id() -> str:
    """A random session id: eight lower-case letters and digits, the first a letter."""
    import secrets  # hmac and OpenSSL come with it

    return secrets.choice(string.ascii_lowercase) + "".join(secrets.choice(_LETTERS) for _ in range(7))


def valid_name(name: str) -> str:
    """Check that `name` is a valid session name, and return it.

    Raises
    ------
    BadInput
        It breaks the rule; the message says which.
    """
    if not _NAME.fullmatch(name):
        msg = (
            f"--name {name!r} can't be a session's name: up to 32 of a-z, 0-9, '.', '_' and '-', "
            "beginning with a letter or digit"
        )
        raise BadInput(msg)
    before, _, number = name.rpartition(".")
    if before and number.isdecimal():
        msg = f"--name {name!r} can't be chosen: '.' and a number end the names of a group's members"
        raise BadInput(msg, hint="choose one without the '.', or rent a group: --count")
    return name


def label_for(installation: str, session_id: str, attempt: int = 1) -> str:
    """The label of an attempt's instance at the provider: lower-case, DNS-safe, 25 characters at most.

    Fluence takes no more, so attempts are counted in base 36: ``-2`` … ``-9``, ``-a`` … ``-z``, ``10`` ….
    """
    digits = string.digits + string.ascii_lowercase
    end = f"-{digits[attempt]}" if attempt < 36 else digits[attempt // 36] + digits[attempt % 36]
    return f"gpunb-{installation[:8]}-{session_id}{end if attempt > 1 else ''}"


class Ledger(Groups):
    """The open ledger. Share one object between threads, and use it in ``with`` or `close` it.

    Parameters
    ----------
    path
        The file; made with mode 0600 if it is not there.
    clock
        The source of all times.
    owner, owner_lives
        This process's mark and the test whether another's process still runs.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock = SYSTEM_CLOCK,
        owner: str | None = None,
        owner_lives: Callable[[str], bool | None] = owners.lives,
    ) -> None:
        self.clock = clock
        self._owner = owner
        self._owner_pid = os.getpid()
        self._owner_lives = owner_lives
        self._installation = ""
        self._followed = None
        super().__init__(path)
        with contextlib.suppress(LedgerError):  # it can't be written: left to the next process that can
            self.follow_clock()

    @classmethod
    def open(cls, path: Path | None = None, **more: Any) -> Ledger:
        """Open the user's ledger (`paths.ledger_file`), or the one at `path`."""
        return cls(path or paths.ledger_file(), **more)

    def __enter__(self) -> Ledger:  # noqa: PYI034 - Self needs 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def installation(self) -> str:
        """The random id of this ledger; labels carry its first eight digits."""
        if not self._installation:
            self._installation = str(
                self._rows("SELECT value FROM meta WHERE key = 'installation'")[0]["value"]
            )
        return self._installation

    @property
    def owner(self) -> str:
        """The mark of this process for claims and leadership."""
        if self._owner is None or (self._owner_pid != os.getpid()):
            self._owner, self._owner_pid = owners.mark(), os.getpid()
        return self._owner

    # -- sessions ---------------------------------------------------------

    def sessions(self, *, alive: bool = True) -> list[Session]:
        """The sessions that may still cost something, or all, oldest first."""
        where = f" WHERE {_LIVE}" if alive else ""
        order = "ORDER BY created, group_id, rank, id"
        return [session_of(row) for row in self._rows(f"SELECT * FROM sessions{where} {order}")]

    def without_receipt(self) -> list[Session]:
        """Ended sessions without a receipt: it could not be written, or its process died."""
        rows = self._rows(
            "SELECT * FROM sessions WHERE state IN ('gone', 'failed') "
            "AND id NOT IN (SELECT session_id FROM receipts) ORDER BY ended DESC LIMIT 100"
        )
        return [session_of(row) for row in rows]

    def get(self, session_id: str) -> Session:
        """The session with exactly this id, as it is now."""
        rows = self._rows("SELECT * FROM sessions WHERE id = ?", (session_id,))
        if not rows:
            msg = f"the ledger has no session with the id {session_id!r}"
            raise SessionNotFound(msg)
        return session_of(rows[0])

    def find(self, name: str) -> Session:
        """The session with exactly this name or id, live or ended; of ended ones, the latest.

        Raises
        ------
        SessionNotFound, SessionAmbiguous
        """
        return naming.whole(name, *self._live_and_over(name))

    def look_up(self, name: str) -> Session:
        """As `find`, also by a prefix: only for verbs that change nothing.

        Raises
        ------
        SessionNotFound, SessionAmbiguous
        """
        return naming.reading(name, *self._live_and_over(name))

    def one(self, name: str | None = None, here: Sequence[str] = ()) -> Session:
        """The live session with exactly this name or id; without a name, the only one or the one rented here.

        Parameters
        ----------
        here
            The caller's marks: `gpunb.sessions.access.renter.marks`.

        Raises
        ------
        SessionAmbiguous
            Several are alive; the message lists them.
        SessionOver, SessionNotFound
            It has ended; or none is.
        """
        if name is not None:
            return naming.acting(name, *self._live_and_over(name))
        return naming.default(self.sessions(), here)

    def _live_and_over(self, name: str) -> tuple[list[Session], list[Session]]:
        """All live sessions, and ended ones whose name or id has this prefix, the oldest first."""
        over = self._rows(
            "SELECT * FROM sessions WHERE state IN ('gone', 'failed') "
            "AND (substr(name, 1, ?1) = ?2 OR substr(id, 1, ?1) = ?2) ORDER BY created, id",
            (len(name), name),
        )
        return self.sessions(), [session_of(row) for row in over]

    def add_session(self, session: Session, *, slug: str = "gpu", claim_s: float = 0.0) -> Session:
        """Record a new session in state requested, claimed by this process for `claim_s` seconds.

        With an empty ``session.name`` it is called "<slug>-<n>", n being the first free number.

        Raises
        ------
        BadInput
            A live session has this name.
        LedgerUnwritable
            The disk is full, or has no room for writing down its end.
        """
        self.hold_reserve()
        now = self.clock.time()
        with self._write(durable=True) as db:
            insert(db, session, slug, now)
            if claim_s > 0:
                db.execute(
                    "INSERT OR REPLACE INTO claims (session_id, owner, until) VALUES (?, ?, ?)",
                    (session.id, self.owner, now + claim_s),
                )
        return self.get(session.id)

    def transition(
        self,
        session: Session,
        new_state: SessionState,
        detail: str = "",
        *,
        admit: Callable[[], None] | None = None,
        **changed: Any,
    ) -> Session:
        """Move `session` from the state it was read in to `new_state`; returns the new record.

        Compare-and-set: if another process moved it first, nothing is written. Segments of
        cost follow the state: stopped closes the gpu's, gone and failed close all.

        Parameters
        ----------
        admit
            As `begin_create`.

        Raises
        ------
        WrongState
            The transition is not in `ALLOWED`, or the session is in another state by now.
        """
        if not allowed(session.state, new_state):
            msg = f"session {session.name} can't go from {session.state.value} to {new_state.value}"
            raise WrongState(msg)
        now = self.clock.time()
        with self._write(durable=new_state is SessionState.CREATING) as db:
            self._move(db, session, new_state, detail, now, changed)
            if admit is not None:
                admit()
        return self.get(session.id)

    def begin_create(
        self, session: Session, intent: Intent, *, admit: Callable[[], None] | None = None, **changed: Any
    ) -> Session:
        """Commit the intent and the state creating, together, before the create call.

        Parameters
        ----------
        admit
            Called inside the transaction, when all of it is written; what it raises rolls all back.

        Raises
        ------
        WrongState
            The session is not requested any more, or still has an unresolved intent.
        """
        now = self.clock.time()
        with self._write(durable=True) as db:
            still = db.execute(
                "SELECT label FROM intents WHERE session_id = ? AND state IN ('sent', 'answered')",
                (session.id,),
            ).fetchone()
            if still is not None:
                msg = f"session {session.name} already has a create call under way ({still['label']})"
                raise WrongState(msg, bill="no second instance was asked for")
            self._move(
                db,
                session,
                SessionState.CREATING,
                f"offer {intent.offer_id}",
                now,
                {**changed, "label": intent.label, "instance_id": "", "seen": False},
            )
            db.execute(
                "INSERT INTO intents (label, session_id, provider, offer_id, state, sent, summary) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    intent.label,
                    session.id,
                    intent.provider,
                    intent.offer_id,
                    model.IntentState.SENT.value,
                    now,
                    json.dumps(intent.summary, default=str),
                ),
            )
            if admit is not None:
                admit()
        return self.get(session.id)

    def answer_create(
        self, session: Session, instance_id: str, segments: Iterable[Segment], **changed: Any
    ) -> Session:
        """Commit a create call's answer: the instance's id, the resolved intent, the open segments.

        The id is recorded whatever the session's state is by now; the state becomes booting
        only if it was creating or unknown. Look at the returned session's state.
        """
        now = self.clock.time()
        with self._write(durable=True) as db:
            row = db.execute("SELECT * FROM sessions WHERE id = ?", (session.id,)).fetchone()
            current = session_of(row)
            db.execute(
                "UPDATE intents SET state = 'answered', instance_id = ?, resolved = ? WHERE label = ?",
                (instance_id, now, session.label),
            )
            values = {**changed, "instance_id": instance_id}
            if current.state in {SessionState.CREATING, SessionState.UNKNOWN}:
                self._move(db, current, SessionState.BOOTING, f"instance {instance_id}", now, values)
            else:
                set_fields(db, session.id, values)
                add_event(db, session.id, now, "answered", detail=f"instance {instance_id}")
            self._open_segments(db, segments)
        return self.get(session.id)

    def resolve_intent(self, label: str, state: IntentState, detail: str = "") -> None:
        """Record the outcome of a create call (refused, absent, gone)."""
        with self._write(durable=True) as db:
            db.execute(
                "UPDATE intents SET state = ?, resolved = ?, detail = ? WHERE label = ?",
                (state.value, self.clock.time(), detail, label),
            )

    def intents(self, session_id: str | None = None, *, unresolved: bool = False) -> list[Intent]:
        """Create calls, oldest first; with `unresolved` only those without a known answer."""
        where, values = ["1"], []
        if session_id is not None:
            where.append("session_id = ?")
            values.append(session_id)
        if unresolved:
            where.append("state = 'sent'")
        sql = f"SELECT * FROM intents WHERE {' AND '.join(where)} ORDER BY sent, label"
        return [intent_of(row) for row in self._rows(sql, tuple(values))]

    def update(self, session_id: str, *, admit: Callable[[], None] | None = None, **changed: Any) -> Session:
        """Change fields of a session (not its state). `lease=` sets its limits together.

        Parameters
        ----------
        admit
            As `begin_create`.

        Raises
        ------
        TypeError
            There is no such field.
        """
        with self._write() as db:
            set_fields(db, session_id, changed)
            if admit is not None:
                admit()
        return self.get(session_id)

    def note(self, session_id: str, kind: str, detail: str = "") -> None:
        """Add an event to the session's history: an action, before or after it is done."""
        with self._write() as db:
            add_event(db, session_id, self.clock.time(), kind, detail=detail)

    def events(self, session_id: str) -> list[Event]:
        """The session's history, in the order it was committed."""
        rows = self._rows("SELECT * FROM events WHERE session_id = ? ORDER BY id", (session_id,))
        return [model.Event(**dict(row)) for row in rows]

    def touch(self, session_id: str, at: float | None = None) -> None:
        """Record activity (a run or a transfer) at `at`, of all members of a group; never moves backwards."""
        when = self.clock.time() if at is None else at
        with self._write() as db:
            db.execute(
                "UPDATE sessions SET last_activity = ?1 WHERE (last_activity IS NULL OR last_activity < ?1) "
                "AND (id = ?2 OR (group_id != '' "
                "AND group_id = (SELECT group_id FROM sessions WHERE id = ?2)))",
                (when, session_id),
            )

    # -- inside -----------------------------------------------------------

    def _move(  # noqa: PLR0917
        self,
        db: sqlite3.Connection,
        session: Session,
        new_state: SessionState,
        detail: str,
        now: float,
        changed: Mapping[str, Any],
    ) -> None:
        values = {"detail": detail, **changed}
        if new_state in OVER:
            values.setdefault("ended", now)
        done = db.execute(
            "UPDATE sessions SET state = ?, state_at = ? WHERE id = ? AND state = ?",
            (new_state.value, now, session.id, session.state.value),
        )
        if done.rowcount != 1:
            row = db.execute("SELECT state FROM sessions WHERE id = ?", (session.id,)).fetchone()
            there = "not in the ledger" if row is None else row["state"]
            msg = (
                f"session {session.name} is {there} by now; it was {session.state.value} when this "
                f"process read it, so it did not become {new_state.value}"
            )
            raise WrongState(msg, hint="another process is working on it; see " + typed("ps"))
        set_fields(db, session.id, values)
        add_event(
            db,
            session.id,
            now,
            "transition",
            old=session.state.value,
            new=new_state.value,
            detail=detail,
        )
        if new_state in OVER or new_state is SessionState.REQUESTED:
            db.execute(
                'UPDATE segments SET "end" = ? WHERE session_id = ? AND "end" IS NULL', (now, session.id)
            )
        elif new_state is SessionState.STOPPED:
            db.execute(
                """UPDATE segments SET "end" = ? WHERE session_id = ? AND "end" IS NULL AND kind = 'gpu'""",
                (now, session.id),
            )
