"""The ledger: every session, intent, cost and receipt of this user, in one SQLite file.

Opened by kernels, servers and terminals at once. Each call is one transaction; a change of
state is a compare-and-set, so two processes can't both make it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import string
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from gpunb import log, paths
from gpunb.errors import BadInput, LedgerError, RunNotFound, SessionNotFound, WrongState
from gpunb.hints import typed
from gpunb.sessions.ledger import clock_steps
from gpunb.sessions.ledger import names as naming
from gpunb.sessions.ledger import process_id as owners
from gpunb.sessions.ledger.accounting import Books
from gpunb.sessions.model import (
    HOSTS,
    OVER,
    SYSTEM_CLOCK,
    Clock,
    Event,
    Intent,
    IntentState,
    Lease,
    RunNote,
    Segment,
    Session,
    SessionState,
    allowed,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

__all__ = ["Ledger", "label_for", "new_id", "valid_name"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_LIVE = "state NOT IN ('gone', 'failed')"
_LETTERS = string.ascii_lowercase + string.digits
_LEASE = ("deadline", "idle_s", "budget_usd", "budget_set", "count_ssh")
_TIMES_AND_MONEY = (
    "created", "state_at", "ready", "ended", "deadline", "idle_s", "budget_usd", "last_activity",
    "usd_h", "stopped_usd_h", "disk_gb", "next_try",
)  # fmt: skip
_J = TypeVar("_J", dict[str, Any], list[str])
_COLUMNS = {f.name for f in fields(Session)} - {"id", "state", "state_at", "lease"} | set(_LEASE)


def new_id() -> str:
    """Eight lower-case letters and digits, the first a letter."""
    return secrets.choice(string.ascii_lowercase) + "".join(secrets.choice(_LETTERS) for _ in range(7))


def valid_name(name: str) -> str:
    """`name` if it may be a session's name.

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
    return name


def label_for(installation: str, session_id: str, attempt: int = 1) -> str:
    """The name of an attempt's instance at the provider: lower-case, DNS-safe, 25 characters at most.

    Fluence takes no more, so attempts are counted in base 36: ``-2`` … ``-9``, ``-a`` … ``-z``, ``10`` ….
    """
    digits = string.digits + string.ascii_lowercase
    end = f"-{digits[attempt]}" if attempt < 36 else digits[attempt // 36] + digits[attempt % 36]
    return f"gpunb-{installation[:8]}-{session_id}{end if attempt > 1 else ''}"


class Ledger(Books):
    """The open ledger. Share one object between threads, and use it in ``with`` or `close` it.

    Parameters
    ----------
    path
        The file; made with mode 0600 if it is not there.
    clock
        Where times come from.
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
        self._followed: clock_steps.Mark | None = None
        super().__init__(path)
        with contextlib.suppress(LedgerError):  # it can't be written: the next one who can does it
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

    def follow_clock(self) -> float:
        """Move the times of what lives if this machine's clock was set.

        By how many seconds they were moved since this object was last asked, by whichever process.
        """
        found = self._steady()
        if found is None:
            return 0.0
        mark = clock_steps.read(self._db())
        if mark is None or clock_steps.compare(mark, *found, self.clock.time(), 0.0)[0] != mark:
            with self._write() as db:
                mark = clock_steps.read(db)
        before, self._followed = self._followed, mark
        if before is None or mark is None or before.boot != mark.boot:
            return 0.0
        return mark.offset - before.offset

    @contextlib.contextmanager
    def _write(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One write transaction, before which what lives has followed the clock: times in it are by one."""
        with super()._write(durable=durable) as db:
            self._follow(db)
            yield db

    def _follow(self, db: sqlite3.Connection) -> None:
        found, wall = self._steady(), self.clock.time()
        if found is None:
            return
        before = clock_steps.read(db)
        if before is not None and clock_steps.compare(before, *found, wall, 0.0)[0] == before:
            return
        mark, step, since = clock_steps.compare(before, *found, wall, clock_steps.latest(db))
        clock_steps.save(db, mark)
        if step:
            clock_steps.move(db, step, since)
            log.get(__name__).warning("this machine's clock was set by %+.0f s; leases move along", step)

    def _steady(self) -> tuple[str, float] | None:
        steady: Callable[[], tuple[str, float] | None] = getattr(self.clock, "steady", lambda: None)
        return steady()

    def held(self, session: Session) -> bool:
        """Whether its lease has to wait: this machine has just started, and its clock may be wrong yet."""
        found, mark = self._steady(), clock_steps.read(self._db())
        if found is None or mark is None or not mark.fresh or mark.boot != found[0]:
            return False
        return found[1] - mark.ticks < clock_steps.HOLD_S and session.created < mark.wall

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
        return [_session(row) for row in self._rows(f"SELECT * FROM sessions{where} ORDER BY created, id")]

    def without_receipt(self) -> list[Session]:
        """Sessions that have ended and have no receipt: it could not be written, or its process died."""
        rows = self._rows(
            "SELECT * FROM sessions WHERE state IN ('gone', 'failed') "
            "AND id NOT IN (SELECT session_id FROM receipts) ORDER BY ended DESC LIMIT 100"
        )
        return [_session(row) for row in rows]

    def get(self, session_id: str) -> Session:
        """The session with exactly this id, as it is now."""
        rows = self._rows("SELECT * FROM sessions WHERE id = ?", (session_id,))
        if not rows:
            msg = f"the ledger has no session with the id {session_id!r}"
            raise SessionNotFound(msg)
        return _session(rows[0])

    def find(self, name: str) -> Session:
        """The session with exactly this name or id, live or ended; of ended ones, the latest.

        Raises
        ------
        SessionNotFound, SessionAmbiguous
        """
        return naming.whole(name, *self._live_and_over(name))

    def look_up(self, name: str) -> Session:
        """As `find`, also by a beginning: for what only reads, never for what changes something.

        Raises
        ------
        SessionNotFound, SessionAmbiguous
        """
        return naming.reading(name, *self._live_and_over(name))

    def one(self, name: str | None = None, here: Sequence[str] = ()) -> Session:
        """The live session with exactly this name or id; without one, the only one, or the one rented here.

        Parameters
        ----------
        here
            The marks of who asks: `gpunb.sessions.access.renter.marks`.

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
        """All live sessions, and the ended ones whose name or id begins so; the oldest first."""
        over = self._rows(
            "SELECT * FROM sessions WHERE state IN ('gone', 'failed') "
            "AND (substr(name, 1, ?1) = ?2 OR substr(id, 1, ?1) = ?2) ORDER BY created, id",
            (len(name), name),
        )
        return self.sessions(), [_session(row) for row in over]

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
        session.created, session.state_at, session.state = now, now, SessionState.REQUESTED
        with self._write(durable=True) as db:
            taken = {row["name"] for row in db.execute(f"SELECT name FROM sessions WHERE {_LIVE}")}
            if session.name in taken:
                msg = f"--name {session.name!r} is taken by a live session"
                raise BadInput(msg, bill="nothing was rented", hint="choose another name")
            number = 1
            while not session.name:
                if f"{slug}-{number}" not in taken:
                    session.name = f"{slug}-{number}"
                number += 1
            row = _row(session)
            names = ", ".join(row)
            marks = ", ".join(f":{key}" for key in row)
            db.execute(f"INSERT INTO sessions ({names}) VALUES ({marks})", row)
            _event(db, session.id, now, "transition", new=session.state.value)
            if claim_s > 0:
                db.execute(
                    "INSERT OR REPLACE INTO claims (session_id, owner, until) VALUES (?, ?, ?)",
                    (session.id, self.owner, now + claim_s),
                )
        return self.get(session.id)

    def transition(
        self, session: Session, new_state: SessionState, detail: str = "", **changed: Any
    ) -> Session:
        """Move `session` from the state it was read in to `new_state`; returns it anew.

        Compare-and-set: if another process moved it first, nothing is written. Segments of
        cost follow the state: stopped closes the gpu's, gone and failed close all.

        Raises
        ------
        WrongState
            The way is not in `ALLOWED`, or the session is in another state by now.
        """
        if not allowed(session.state, new_state):
            msg = f"session {session.name} can't go from {session.state.value} to {new_state.value}"
            raise WrongState(msg)
        now = self.clock.time()
        with self._write(durable=new_state is SessionState.CREATING) as db:
            self._move(db, session, new_state, detail, now, changed)
        return self.get(session.id)

    def begin_create(self, session: Session, intent: Intent, **changed: Any) -> Session:
        """Commit the intent and the state creating, together, before the create call.

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
                    IntentState.SENT.value,
                    now,
                    json.dumps(intent.summary, default=str),
                ),
            )
        return self.get(session.id)

    def answer_create(
        self, session: Session, instance_id: str, segments: Iterable[Segment], **changed: Any
    ) -> Session:
        """Commit what a create call rented: the id, the intent's answer, the open segments.

        The id is recorded whatever the session's state is by now; the state becomes booting
        only if it was creating or unknown. Look at the returned session's state.
        """
        now = self.clock.time()
        with self._write(durable=True) as db:
            row = db.execute("SELECT * FROM sessions WHERE id = ?", (session.id,)).fetchone()
            current = _session(row)
            db.execute(
                "UPDATE intents SET state = 'answered', instance_id = ?, resolved = ? WHERE label = ?",
                (instance_id, now, session.label),
            )
            values = {**changed, "instance_id": instance_id}
            if current.state in {SessionState.CREATING, SessionState.UNKNOWN}:
                self._move(db, current, SessionState.BOOTING, f"instance {instance_id}", now, values)
            else:
                _set(db, session.id, values)
                _event(db, session.id, now, "answered", detail=f"instance {instance_id}")
            self._open_segments(db, segments)
        return self.get(session.id)

    def resolve_intent(self, label: str, state: IntentState, detail: str = "") -> None:
        """Write down what became of a create call (refused, absent, gone)."""
        with self._write(durable=True) as db:
            db.execute(
                "UPDATE intents SET state = ?, resolved = ?, detail = ? WHERE label = ?",
                (state.value, self.clock.time(), detail, label),
            )

    def intents(self, session_id: str | None = None, *, unresolved: bool = False) -> list[Intent]:
        """Create calls, oldest first; `unresolved` leaves those whose answer is not known."""
        where, values = ["1"], []
        if session_id is not None:
            where.append("session_id = ?")
            values.append(session_id)
        if unresolved:
            where.append("state = 'sent'")
        sql = f"SELECT * FROM intents WHERE {' AND '.join(where)} ORDER BY sent, label"
        return [_intent(row) for row in self._rows(sql, tuple(values))]

    def update(self, session_id: str, **changed: Any) -> Session:
        """Change fields of a session (not its state). `lease=` sets its limits together.

        Raises
        ------
        TypeError
            There is no such field.
        """
        with self._write() as db:
            _set(db, session_id, changed)
        return self.get(session_id)

    def note(self, session_id: str, kind: str, detail: str = "") -> None:
        """Add a line to the session's history: what is about to be, or was, done."""
        with self._write() as db:
            _event(db, session_id, self.clock.time(), kind, detail=detail)

    def events(self, session_id: str) -> list[Event]:
        """The session's history, in the order it was committed."""
        rows = self._rows("SELECT * FROM events WHERE session_id = ? ORDER BY id", (session_id,))
        return [Event(**dict(row)) for row in rows]

    def touch(self, session_id: str, at: float | None = None) -> None:
        """Note activity (a run or a transfer) at `at`; never moves backwards."""
        when = self.clock.time() if at is None else at
        with self._write() as db:
            db.execute(
                "UPDATE sessions SET last_activity = ?1 "
                "WHERE id = ?2 AND (last_activity IS NULL OR last_activity < ?1)",
                (when, session_id),
            )

    # -- runs -------------------------------------------------------------

    def add_run(self, note: RunNote) -> None:
        """Record a run; it is activity, unless only the host says that there is one."""
        values = {f.name: getattr(note, f.name) for f in fields(RunNote)}
        values["started"] = note.started or self.clock.time()
        names, marks = ", ".join(values), ", ".join(f":{key}" for key in values)
        with self._write() as db:
            db.execute(f"INSERT OR REPLACE INTO runs ({names}) VALUES ({marks})", values)
        if note.front != HOSTS:
            self.touch(note.session_id, values["started"])

    def finish_run(self, run_id: str, state: str, ended: float | None = None) -> None:
        """Record how a run ended; if we started it, the idle time starts anew from there.

        `ended` is held between the run's start and now: a host's clock is no authority.
        """
        now = self.clock.time()
        with self._write() as db:
            row = db.execute("SELECT session_id, started, front FROM runs WHERE id = ?", (run_id,)).fetchone()
            if row is None:
                return
            when = max(row["started"], min(now if ended is None else ended, now))
            db.execute("UPDATE runs SET state = ?, ended = ? WHERE id = ?", (state, when, run_id))
        if row["front"] != HOSTS:
            self.touch(row["session_id"], when)

    def mark_run(self, run_id: str, state: str) -> None:
        """Record what a run that is not over does now."""
        with self._write() as db:
            db.execute("UPDATE runs SET state = ? WHERE id = ? AND ended IS NULL", (state, run_id))

    def touch_run(self, run_id: str) -> None:
        """Somebody did something about a run: its session's idle time starts anew."""
        for row in self._rows("SELECT session_id FROM runs WHERE id = ?", (run_id,)):
            self.touch(row["session_id"])

    def open_runs(self, session_id: str) -> list[RunNote]:
        """The session's runs of which no end is known, newest first."""
        rows = self._rows(
            "SELECT * FROM runs WHERE session_id = ? AND ended IS NULL ORDER BY started DESC, id",
            (session_id,),
        )
        return [RunNote(**dict(row)) for row in rows]

    def runs(self, session_id: str | None = None, limit: int = 50) -> list[RunNote]:
        """The latest runs, newest first."""
        where = "" if session_id is None else "WHERE session_id = :session"
        rows = self._rows(
            f"SELECT * FROM runs {where} ORDER BY started DESC, id LIMIT :limit",
            {"session": session_id, "limit": limit},
        )
        return [RunNote(**dict(row)) for row in rows]

    def find_run(self, prefix: str) -> RunNote:
        """The run whose id begins with `prefix`.

        Raises
        ------
        RunNotFound
            No run, or more than one, fits.
        """
        found = [
            RunNote(**dict(row))
            for row in self._rows(
                "SELECT * FROM runs WHERE substr(id, 1, ?) = ? ORDER BY started DESC", (len(prefix), prefix)
            )
        ]
        exact = [one for one in found if one.id == prefix]
        if len(found) == 1 or exact:
            return (exact or found)[0]
        if not found:
            msg = f"there is no run {prefix!r}"
            raise RunNotFound(msg, hint=typed("runs") + " lists them")
        msg = f"{prefix!r} could mean the runs {', '.join(one.id for one in found[:8])}"
        raise RunNotFound(msg, close=[one.id for one in found], hint="type more of the id")

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
        _set(db, session.id, values)
        _event(
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


def _session(row: sqlite3.Row) -> Session:
    """The session of a row. What can't be read in it is left out: the rest must be watched and ended."""
    values = dict(row)
    for key in _TIMES_AND_MONEY:
        if values[key] is not None and not isinstance(values[key], (int, float)):
            values[key] = _number(values["id"], key, values[key])
    values["budget_set"] = bool(values["budget_set"])
    values["count_ssh"] = bool(values["count_ssh"])
    values["lease"] = Lease(**{key: values.pop(key) for key in _LEASE})
    values["seen"] = bool(values["seen"])
    values["offer"] = _from_json(values["id"], "offer", values["offer"], {})
    values["save"] = _from_json(values["id"], "save", values["save"], [])
    values["ports"] = _from_json(values["id"], "ports", values["ports"], {})
    try:
        values["state"] = SessionState(values["state"])
    except ValueError:
        _spoiled(values["id"], "state", values["state"])
        values["state"] = SessionState.UNKNOWN
    return Session(**values)


def _from_json(session_id: str, key: str, text: Any, otherwise: _J) -> _J:
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        found = None
    if isinstance(found, type(otherwise)):
        return found
    _spoiled(session_id, key, text)
    return otherwise


def _number(session_id: str, key: str, text: Any) -> float | None:
    _spoiled(session_id, key, text)
    try:
        return float(text)
    except (ValueError, TypeError):
        # 1970 for a time and nothing for money: what can't be read must not make a lease longer
        return 0.0


def _spoiled(session_id: str, key: str, value: Any) -> None:
    log.get(__name__).error("session %s: %s can't be read in the ledger: %.200r", session_id, key, value)


def _intent(row: sqlite3.Row) -> Intent:
    values = dict(row)
    values["state"] = IntentState(values["state"])
    values["summary"] = json.loads(values["summary"])
    return Intent(**values)


def _row(session: Session) -> dict[str, Any]:
    values = {f.name: getattr(session, f.name) for f in fields(Session) if f.name != "lease"}
    values.update({key: getattr(session.lease, key) for key in _LEASE})
    values["state"] = session.state.value
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    return json.dumps(value, default=str) if isinstance(value, (dict, list, tuple)) else value


def _set(db: sqlite3.Connection, session_id: str, changed: Mapping[str, Any]) -> None:
    values = dict(changed)
    lease = values.pop("lease", None)
    if lease is not None:
        values.update({key: getattr(lease, key) for key in _LEASE})
    odd = set(values) - _COLUMNS
    if odd:
        msg = f"a session has no field {', '.join(sorted(odd))} that can be changed"
        raise TypeError(msg)
    if values:
        marks = ", ".join(f"{key} = :{key}" for key in values)
        plain = {key: _plain(value) for key, value in values.items()}
        db.execute(f"UPDATE sessions SET {marks} WHERE id = :_id", {**plain, "_id": session_id})


def _event(
    db: sqlite3.Connection,
    session_id: str,
    at: float,
    kind: str,
    *,
    old: str = "",
    new: str = "",
    detail: str = "",
) -> None:
    db.execute(
        "INSERT INTO events (session_id, at, pid, kind, old, new, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (session_id, at, os.getpid(), kind, old, new, detail),
    )
