"""Runs in the ledger: what was started on the hosts, from where, and how it ended."""

from __future__ import annotations

from dataclasses import fields

from gpunb.errors import RunNotFound
from gpunb.hints import typed
from gpunb.sessions.ledger.accounting import Books
from gpunb.sessions.model import HOSTS, RunNote

__all__ = ["Runs"]


class Runs(Books):
    """Base class of `gpunb.sessions.ledger.sessions.Ledger`: the runs."""

    def add_run(self, note: RunNote) -> None:
        """Record a run, as activity unless only the host reports it."""
        values = {f.name: getattr(note, f.name) for f in fields(RunNote)}
        values["started"] = note.started or self.clock.time()
        names, marks = ", ".join(values), ", ".join(f":{key}" for key in values)
        with self._write() as db:
            db.execute(f"INSERT OR REPLACE INTO runs ({names}) VALUES ({marks})", values)
        if note.front != HOSTS:
            self.touch(note.session_id, values["started"])

    def finish_run(self, run_id: str, state: str, ended: float | None = None) -> None:
        """Record how a run ended; if started from here, the idle time restarts then.

        `ended` is limited to between the run's start and now: a host's clock may be wrong.
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
        """Record the current state of an unfinished run."""
        with self._write() as db:
            db.execute("UPDATE runs SET state = ? WHERE id = ? AND ended IS NULL", (state, run_id))

    def touch_run(self, run_id: str) -> None:
        """Record activity on a run, such as an answer: its session's idle time restarts."""
        for row in self._rows("SELECT session_id FROM runs WHERE id = ?", (run_id,)):
            self.touch(row["session_id"])

    def open_runs(self, session_id: str) -> list[RunNote]:
        """The session's runs without a known end, newest first."""
        rows = self._rows(
            "SELECT * FROM runs WHERE session_id = ? AND ended IS NULL ORDER BY started DESC, id",
            (session_id,),
        )
        return [RunNote(**dict(row)) for row in rows]

    def run(self, session_id: str, run_id: str) -> RunNote | None:
        """The session's run with exactly this id; None if there is none."""
        rows = self._rows("SELECT * FROM runs WHERE session_id = ? AND id = ?", (session_id, run_id))
        return RunNote(**dict(rows[0])) if rows else None

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
        notes = [
            RunNote(**dict(row))
            for row in self._rows(
                "SELECT * FROM runs WHERE substr(id, 1, ?) = ? ORDER BY started DESC", (len(prefix), prefix)
            )
        ]
        exact = [note for note in notes if note.id == prefix]
        if len(notes) == 1 or exact:
            return (exact or notes)[0]
        if not notes:
            msg = f"there is no run {prefix!r}"
            raise RunNotFound(msg, hint=typed("runs") + " lists them")
        msg = f"{prefix!r} could mean the runs {', '.join(note.id for note in notes[:8])}"
        raise RunNotFound(msg, close=[note.id for note in notes], hint="type more of the id")
