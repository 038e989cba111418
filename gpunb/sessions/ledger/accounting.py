"""The ledger's other records: costs, transfers, receipts, failures, claims, orphans, leader."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

from gpunb.sessions import model
from gpunb.sessions.cost.totals import cost_of
from gpunb.sessions.ledger.following_clock import FollowingClock
from gpunb.sessions.model import AGENT_MARK, Cost, Segment, offer_from_dict

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gpunb.sessions.cost.funds import Funds
    from gpunb.sessions.model import (
        Failure,
        IdleVolume,
        Leader,
        Orphan,
        OtherInstance,
        Receipt,
        Silence,
        Transfer,
    )

__all__ = ["Books"]

_GB = 1e9
_HOUR = 3600.0
_FASTEST = 12.5e9  # bytes a second: 100 Gbit/s


class Books(FollowingClock):
    """Base class of `gpunb.sessions.ledger.sessions.Ledger`: all records beside sessions and runs."""

    _owner_lives: Callable[[str], bool | None]

    @property
    def owner(self) -> str:
        """The mark of this process."""
        raise NotImplementedError

    def touch(self, session_id: str, at: float | None = None) -> None:
        """Record activity at `at`."""
        raise NotImplementedError

    # -- cost -------------------------------------------------------------

    def segments(self, session_id: str) -> list[Segment]:
        """All cost segments of a session, oldest first."""
        rows = self._rows("SELECT * FROM segments WHERE session_id = ? ORDER BY start, id", (session_id,))
        return [_segment(row) for row in rows]

    def cost(self, session_id: str, now: float | None = None) -> Cost:
        """The session's cost so far, in the provider's billing steps."""
        when = self.clock.time() if now is None else now
        return replace(cost_of(self.segments(session_id), when), beside=self._beside(session_id, when))

    def costs(self, now: float | None = None) -> dict[str, Cost]:
        """`cost` of every live session, by id, in one read."""
        when = self.clock.time() if now is None else now
        groups: dict[str, list[Segment]] = {}
        for row in self._rows(
            "SELECT g.* FROM segments g JOIN sessions s ON s.id = g.session_id "
            "WHERE s.state NOT IN ('gone', 'failed')"
        ):
            groups.setdefault(row["session_id"], []).append(_segment(row))
        out = {key: cost_of(group, when) for key, group in groups.items()}
        live = "SELECT id FROM sessions WHERE group_id != '' AND state NOT IN ('gone', 'failed')"
        for row in self._rows(live):
            one = str(row["id"])
            out[one] = replace(out.get(one, Cost()), beside=self._beside(one, when))
        return out

    def _beside(self, session_id: str, when: float) -> Cost | None:
        """What the other members of the session's group have cost; None without a group."""
        rows = self._rows(
            "SELECT id FROM sessions WHERE id != ?1 AND group_id != '' "
            "AND group_id = (SELECT group_id FROM sessions WHERE id = ?1)",
            (session_id,),
        )
        if not rows:
            return None
        costs = [cost_of(self.segments(str(row["id"])), when) for row in rows]
        return Cost(
            gpu=sum(one.gpu for one in costs),
            disk=sum(one.disk for one in costs),
            bandwidth=sum(one.bandwidth for one in costs),
        )

    def segments_since(self, since: float) -> dict[str, list[Segment]]:
        """All segments of the sessions that were live at or after `since`, by session id, oldest first."""
        groups: dict[str, list[Segment]] = {}
        for row in self._rows(
            "SELECT g.* FROM segments g JOIN sessions s ON s.id = g.session_id "
            "WHERE s.ended IS NULL OR s.ended >= ? ORDER BY g.start, g.id",
            (since,),
        ):
            groups.setdefault(row["session_id"], []).append(_segment(row))
        return groups

    def open_segments(self, segments: Iterable[Segment]) -> None:
        """Open cost segments; an open one of the same kind with another rate is closed."""
        with self._write() as db:
            self._open_segments(db, segments)

    def correct_segments(self, segments: Iterable[Segment]) -> None:
        """Correct the rate of open segments from their start on, and open missing ones."""
        with self._write() as db:
            for segment in segments:
                db.execute(
                    'UPDATE segments SET rate = ? WHERE session_id = ? AND kind = ? AND "end" IS NULL',
                    (segment.rate, segment.session_id, segment.kind),
                )
            self._open_segments(db, segments)

    def close_segments(self, session_id: str) -> None:
        """Close all open segments: nothing is billed from now on."""
        with self._write() as db:
            db.execute(
                'UPDATE segments SET "end" = max(start, ?) WHERE session_id = ? AND "end" IS NULL',
                (self.clock.time(), session_id),
            )

    def _open_segments(self, db: sqlite3.Connection, segments: Iterable[Segment]) -> None:
        for segment in segments:
            same = db.execute(
                'SELECT rate FROM segments WHERE session_id = ? AND kind = ? AND "end" IS NULL',
                (segment.session_id, segment.kind),
            ).fetchone()
            if same is not None and same["rate"] == segment.rate:
                continue
            db.execute(
                'UPDATE segments SET "end" = max(start, ?) '
                'WHERE session_id = ? AND kind = ? AND "end" IS NULL',
                (segment.start, segment.session_id, segment.kind),
            )
            db.execute(
                "INSERT INTO segments "
                '(session_id, kind, rate, start, "end", quantity, increment_s, clock_hours, label) '
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    segment.session_id,
                    segment.kind,
                    segment.rate,
                    segment.start,
                    segment.end,
                    segment.quantity,
                    segment.increment_s,
                    int(segment.clock_hours),
                    segment.label,
                ),
            )

    def add_transfer(self, transfer: Transfer, *, active: bool = True) -> None:
        """Record a transfer as activity (unless it is part of an end), with the cost of its traffic.

        The provider bills the host's side: an upload from here is received there.
        """
        end = transfer.ended if transfer.ended is not None else self.clock.time()
        with self._write() as db:
            db.execute(
                "INSERT INTO transfers (session_id, direction, bytes, files, what, started, ended, state) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    transfer.session_id,
                    transfer.direction,
                    transfer.bytes,
                    transfer.files,
                    transfer.what,
                    transfer.started,
                    end,
                    transfer.state,
                ),
            )
            row = db.execute("SELECT offer FROM sessions WHERE id = ?", (transfer.session_id,)).fetchone()
            if row is None:
                return
            offer = offer_from_dict(json.loads(row["offer"]))
            rate = offer.down_usd_gb if transfer.direction == "up" else offer.up_usd_gb
            known = (transfer.session_id,)
            metered = db.execute("SELECT 1 FROM meters WHERE session_id = ?", known).fetchone()
            if metered is None:  # else the host's own count has it, or will have it
                _traffic(db, transfer.session_id, rate, transfer.bytes, transfer.started, end)
        if active:
            self.touch(transfer.session_id, end)

    def meter(self, session_id: str, received: int, sent: int) -> None:
        """Charge the traffic counted by the host's own interface, which the provider bills.

        Parameters
        ----------
        received, sent
            Bytes since the host started; fewer than before means that it restarted. The first
            call takes the place of what transfers were charged.
        """
        now = self.clock.time()
        with self._write() as db:
            row = db.execute("SELECT offer, created FROM sessions WHERE id = ?", (session_id,)).fetchone()
            if row is None or max(received, sent) > (now - row["created"] + 60.0) * _FASTEST:
                return  # the host is not trusted: counts above any link's capacity are ignored
            offer = offer_from_dict(json.loads(row["offer"]))
            last = db.execute(
                "SELECT received, sent FROM meters WHERE session_id = ?", (session_id,)
            ).fetchone()
            if last is None:
                db.execute("DELETE FROM segments WHERE session_id = ? AND kind = 'bandwidth'", (session_id,))
            before = (0, 0) if last is None else (last["received"], last["sent"])
            rates = (offer.down_usd_gb, offer.up_usd_gb)
            for rate, count, old in zip(rates, (received, sent), before, strict=True):
                _traffic(db, session_id, rate, count - old if count >= old else count, now, now)
            db.execute(
                "INSERT OR REPLACE INTO meters (session_id, received, sent) VALUES (?, ?, ?)",
                (session_id, received, sent),
            )

    def transfers(self, session_id: str) -> list[Transfer]:
        """The session's transfers, oldest first."""
        rows = self._rows("SELECT * FROM transfers WHERE session_id = ? ORDER BY id", (session_id,))
        return [model.Transfer(**dict(row)) for row in rows]

    # -- receipts and failures --------------------------------------------

    def save_receipt(self, receipt: Receipt) -> None:
        """Store `receipt`, replacing the session's earlier one."""
        with self._write() as db:
            db.execute(
                "INSERT OR REPLACE INTO receipts (session_id, ended, data) VALUES (?, ?, ?)",
                (receipt.session_id, receipt.ended, json.dumps(receipt.data())),
            )

    def receipts(self, limit: int = 1000) -> list[Receipt]:
        """All receipts, newest first."""
        rows = self._rows("SELECT data FROM receipts ORDER BY ended DESC LIMIT ?", (limit,))
        return [model.Receipt.from_data(json.loads(row["data"])) for row in rows]

    def receipt(self, session_id: str) -> Receipt | None:
        """The session's receipt, if it has one."""
        rows = self._rows("SELECT data FROM receipts WHERE session_id = ?", (session_id,))
        return model.Receipt.from_data(json.loads(rows[0]["data"])) if rows else None

    def add_failure(self, provider: str, machine_id: str, reason: str) -> None:
        """Record a host's failure; ignored without a machine id."""
        if machine_id:
            with self._write() as db:
                db.execute(
                    "INSERT INTO failures (provider, machine_id, reason, at) VALUES (?, ?, ?, ?)",
                    (provider, machine_id, reason, self.clock.time()),
                )

    def failures(self, *, since: float = 0.0) -> list[Failure]:
        """Failures of hosts after `since`, newest first."""
        rows = self._rows(
            "SELECT provider, machine_id, reason, at FROM failures WHERE at >= ? ORDER BY at DESC", (since,)
        )
        return [model.Failure(**dict(row)) for row in rows]

    def backdate(self, session_id: str, at: float) -> None:
        """Set an ended session's end to `at`: it was confirmed before it could be recorded."""
        with self._write() as db:
            row = db.execute("SELECT ended FROM sessions WHERE id = ?", (session_id,)).fetchone()
            if row is None or row["ended"] is None or row["ended"] <= at:
                return
            db.execute("UPDATE sessions SET ended = ? WHERE id = ?", (at, session_id))
            db.execute(
                'UPDATE segments SET "end" = max(start, ?1) WHERE session_id = ?2 AND "end" > ?1',
                (at, session_id),
            )
        receipt = self.receipt(session_id)
        if receipt is not None:
            receipt.ended, receipt.cost = at, self.cost(session_id)
            if receipt.confirmed is not None:
                receipt.confirmed = at
            self.save_receipt(receipt)

    # -- claims: who works on a session now -------------------------------

    def claim(self, session_id: str, ttl: float) -> bool:
        """Take or renew this process's claim on a session for `ttl` seconds.

        False if another process has it and lives (as far as known) and its time is
        not over.
        """
        now = self.clock.time()
        with self._write() as db:
            row = db.execute("SELECT owner, until FROM claims WHERE session_id = ?", (session_id,)).fetchone()
            if row is not None and row["owner"] != self.owner and self._held(row["owner"], row["until"], now):
                return False
            db.execute(
                "INSERT OR REPLACE INTO claims (session_id, owner, until) VALUES (?, ?, ?)",
                (session_id, self.owner, now + ttl),
            )
        return True

    def release(self, session_id: str) -> None:
        """Release a claim of this process."""
        with self._write() as db:
            db.execute("DELETE FROM claims WHERE session_id = ? AND owner = ?", (session_id, self.owner))

    def claimed(self, session_id: str) -> bool:
        """Whether another live process holds the claim on the session."""
        rows = self._rows("SELECT owner, until FROM claims WHERE session_id = ?", (session_id,))
        return any(
            row["owner"] != self.owner and self._held(row["owner"], row["until"], self.clock.time())
            for row in rows
        )

    def in_hand(self, session_id: str) -> bool:
        """Whether a live process, this one too, holds the claim on the session."""
        rows = self._rows("SELECT owner, until FROM claims WHERE session_id = ?", (session_id,))
        return any(self._held(row["owner"], row["until"], self.clock.time()) for row in rows)

    def _held(self, owner: str, until: float, now: float) -> bool:
        return until > now and self._owner_lives(owner) is not False

    # -- orphans ----------------------------------------------------------

    def providers(self) -> list[str]:
        """Names of all providers that ever got a create call."""
        return [str(row["provider"]) for row in self._rows("SELECT DISTINCT provider FROM intents")]

    def orphans(self, *, gone: bool = False) -> list[Orphan]:
        """Instances with a gpunb label and no session here; with `gone` also the ended ones."""
        where = "" if gone else "WHERE gone IS NULL"
        return [
            model.Orphan(**{**dict(row), "ours": bool(row["ours"])})
            for row in self._rows(f"SELECT * FROM orphans {where} ORDER BY first_seen")
        ]

    def save_orphan(self, orphan: Orphan) -> None:
        """Store an orphan."""
        values: dict[str, Any] = {f.name: getattr(orphan, f.name) for f in fields(model.Orphan)}
        names, marks = ", ".join(values), ", ".join(f":{key}" for key in values)
        with self._write() as db:
            db.execute(f"INSERT OR REPLACE INTO orphans ({names}) VALUES ({marks})", values)

    # -- volumes that nothing uses ------------------------------------------

    def idle_volumes(self) -> list[IdleVolume]:
        """Our volumes that were unused at the last check, by cloud and id."""
        rows = self._rows("SELECT value FROM meta WHERE key LIKE 'volumes:%' ORDER BY key")
        return [model.IdleVolume(**load) for row in rows for load in json.loads(row["value"])]

    def save_idle_volumes(self, provider: str, found: Sequence[IdleVolume]) -> None:
        """Replace the stored idle volumes of one provider."""
        value = json.dumps([asdict(volume) for volume in sorted(found, key=lambda one: one.id)])
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"volumes:{provider}", value))

    # -- what others rent on the same accounts ---------------------------------

    def others(self, provider: str = "%") -> list[OtherInstance]:
        """Billed instances on the accounts (of one provider) that are not ours, as they were last listed."""
        rows = self._rows("SELECT value FROM meta WHERE key LIKE ? ORDER BY key", (f"others:{provider}",))
        return [model.OtherInstance(**load) for row in rows for load in json.loads(row["value"])]

    def agents(self) -> set[str]:
        """The ids of all sessions that agents have rented, also of those that are over."""
        rows = self._rows("SELECT id FROM sessions WHERE renter LIKE ?", (f"%{AGENT_MARK}%",))
        return {str(row["id"]) for row in rows}

    def save_others(self, provider: str, found: Sequence[OtherInstance]) -> None:
        """Replace what is stored about other instances at one provider."""
        value = json.dumps([asdict(instance) for instance in sorted(found, key=lambda one: one.id)])
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"others:{provider}", value))

    # -- what accounts hold ---------------------------------------------------

    def note_funds(self, funds: Funds) -> None:
        """Store an account's current balance."""
        value = json.dumps(funds._asdict())
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"funds:{funds.provider}", value))

    def funds(self) -> list[Funds]:
        """Each account's last known balance, by the cloud's name."""
        from gpunb.sessions.cost.funds import Funds

        rows = self._rows("SELECT value FROM meta WHERE key LIKE 'funds:%' ORDER BY key")
        return [Funds(**json.loads(row["value"])) for row in rows]

    # -- hosts that do not answer -------------------------------------------

    def note_silence(self, session_id: str, why: str) -> None:
        """Record that the session's host did not answer; the first time is kept."""
        since = self.silences().get(session_id, model.Silence(since=self.clock.time())).since
        value = json.dumps({"since": since, "why": why[:500]})
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"silent:{session_id}", value))

    def note_answer(self, session_id: str) -> None:
        """Remove the record of silence: the host has answered."""
        if session_id in self.silences():
            with self._write() as db:
                db.execute("DELETE FROM meta WHERE key = ?", (f"silent:{session_id}",))

    def silences(self) -> dict[str, Silence]:
        """Silences of the hosts that did not answer the last request, by session id."""
        rows = self._rows("SELECT key, value FROM meta WHERE key LIKE 'silent:%'")
        return {row["key"].partition(":")[2]: model.Silence(**json.loads(row["value"])) for row in rows}

    # -- leader: the one supervisor ---------------------------------------

    def lead(self, kind: str, ttl: float) -> bool:
        """Become or stay the supervisor; False while another one is alive.

        A leader whose process is gone is replaced at once, one that can't be checked
        (another machine) when its heartbeat is older than its `ttl` seconds.
        """
        now = self.clock.time()
        with self._write() as db:
            row = db.execute("SELECT owner, beat, ttl FROM leader").fetchone()
            if row is not None and row["owner"] == self.owner:
                db.execute("UPDATE leader SET beat = ?, ttl = ?", (now, ttl))
                return True
            if row is not None and self._held(row["owner"], row["beat"] + row["ttl"], now):
                return False
            db.execute(
                "INSERT OR REPLACE INTO leader (id, owner, kind, since, beat, ttl) VALUES (1, ?, ?, ?, ?, ?)",
                (self.owner, kind, now, now, ttl),
            )
        return True

    def resign(self) -> None:
        """Stop being the supervisor."""
        with self._write() as db:
            db.execute("DELETE FROM leader WHERE owner = ?", (self.owner,))

    def leader(self) -> Leader | None:
        """The supervisor that is alive now, or None."""
        rows = self._rows("SELECT owner, kind, since, beat, ttl FROM leader")
        if not rows:
            return None
        found = model.Leader(**dict(rows[0]))
        now = self.clock.time()
        held = found.owner == self.owner or self._held(found.owner, found.until, now)
        return found if held else None

    # -- what supervisors can't do, and who does it for them ----------------

    def blind(self) -> dict[str, str]:
        """Clouds at which the leader can't end anything, each with its last reason."""
        rows = self._rows("SELECT value FROM meta WHERE key = 'blind'")
        found = json.loads(rows[0]["value"]) if rows else {}
        return {str(name): str(why) for name, why in found.items()}

    def save_blind(self, blind: Mapping[str, str]) -> None:
        """Replace the stored clouds that the leader can't serve."""
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES ('blind', ?)", (json.dumps(dict(blind)),))

    def served(self, name: str) -> bool:
        """Whether a live supervisor other than the leader serves the cloud `name`."""
        rows = self._rows("SELECT owner, until FROM claims WHERE session_id = ?", (f"watch:{name}",))
        return any(self._held(row["owner"], row["until"], self.clock.time()) for row in rows)


def _traffic(  # noqa: PLR0917
    db: sqlite3.Connection, session_id: str, rate: float, count: int, start: float, end: float
) -> None:
    """Charge `count` bytes of traffic; one segment for each hour and rate."""
    if rate <= 0 or count <= 0:
        return
    hour = start - start % _HOUR
    done = db.execute(
        'UPDATE segments SET quantity = quantity + ?, "end" = max("end", ?) '
        "WHERE session_id = ? AND kind = 'bandwidth' AND rate = ? AND start >= ? AND start < ?",
        (count / _GB, end, session_id, rate, hour, hour + _HOUR),
    )
    if done.rowcount == 0:
        db.execute(
            'INSERT INTO segments (session_id, kind, rate, start, "end", quantity) '
            "VALUES (?, 'bandwidth', ?, ?, ?, ?)",
            (session_id, rate, start, end, count / _GB),
        )


def _segment(row: sqlite3.Row) -> Segment:
    values = dict(row)
    values["clock_hours"] = bool(values["clock_hours"])
    return Segment(**values)
