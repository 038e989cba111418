"""The ledger's schema as a list of migrations: version n is the result of the first n scripts.

A script that has been released is never edited; a change is a new script.
"""

from __future__ import annotations

import sqlite3

__all__ = ["APPLICATION_ID", "MIGRATIONS", "statements"]

APPLICATION_ID = 0x67706E62  # "gpnb"

_V1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE sessions (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  provider TEXT NOT NULL,
  label TEXT NOT NULL,
  state TEXT NOT NULL,
  detail TEXT NOT NULL DEFAULT '',
  instance_id TEXT NOT NULL DEFAULT '',
  cloud_state TEXT NOT NULL DEFAULT '',
  seen INTEGER NOT NULL DEFAULT 0,
  host TEXT NOT NULL DEFAULT '',
  port INTEGER NOT NULL DEFAULT 0,
  user TEXT NOT NULL DEFAULT '',
  created REAL NOT NULL,
  state_at REAL NOT NULL,
  ready REAL,
  ended REAL,
  deadline REAL,
  idle_s REAL,
  budget_usd REAL,
  budget_set INTEGER NOT NULL DEFAULT 0,
  armed TEXT NOT NULL DEFAULT '',
  last_activity REAL,
  usd_h REAL NOT NULL DEFAULT 0,
  stopped_usd_h REAL NOT NULL DEFAULT 0,
  gpu TEXT NOT NULL DEFAULT '',
  gpus INTEGER NOT NULL DEFAULT 0,
  trust TEXT NOT NULL DEFAULT 'stranger',
  image TEXT NOT NULL DEFAULT '',
  disk_gb REAL NOT NULL DEFAULT 0,
  python TEXT NOT NULL DEFAULT '',
  offer TEXT NOT NULL DEFAULT '{}',
  save TEXT NOT NULL DEFAULT '[]',
  save_to TEXT NOT NULL DEFAULT '',
  tries INTEGER NOT NULL DEFAULT 0,
  next_try REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE UNIQUE INDEX sessions_live_name ON sessions (name) WHERE state NOT IN ('gone', 'failed');
CREATE INDEX sessions_live ON sessions (created) WHERE state NOT IN ('gone', 'failed');
CREATE INDEX sessions_instance ON sessions (provider, instance_id);

CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  session_id TEXT NOT NULL,
  at REAL NOT NULL,
  pid INTEGER NOT NULL,
  kind TEXT NOT NULL,
  old TEXT NOT NULL DEFAULT '',
  new TEXT NOT NULL DEFAULT '',
  detail TEXT NOT NULL DEFAULT ''
);
CREATE INDEX events_session ON events (session_id, id);

CREATE TABLE intents (
  label TEXT PRIMARY KEY,
  session_id TEXT NOT NULL,
  provider TEXT NOT NULL,
  offer_id TEXT NOT NULL DEFAULT '',
  state TEXT NOT NULL,
  instance_id TEXT NOT NULL DEFAULT '',
  sent REAL NOT NULL,
  resolved REAL,
  detail TEXT NOT NULL DEFAULT '',
  summary TEXT NOT NULL DEFAULT '{}'
) WITHOUT ROWID;
CREATE INDEX intents_session ON intents (session_id);

CREATE TABLE segments (
  id INTEGER PRIMARY KEY,
  session_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  rate REAL NOT NULL,
  start REAL NOT NULL,
  "end" REAL,
  quantity REAL NOT NULL DEFAULT 0,
  increment_s REAL NOT NULL DEFAULT 0,
  clock_hours INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX segments_session ON segments (session_id);
CREATE UNIQUE INDEX segments_open ON segments (session_id, kind) WHERE "end" IS NULL;

CREATE TABLE runs (
  id TEXT NOT NULL,
  session_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL DEFAULT '',
  started REAL NOT NULL,
  ended REAL,
  state TEXT NOT NULL,
  front TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (session_id, id)
) WITHOUT ROWID;
CREATE INDEX runs_started ON runs (started);
CREATE INDEX runs_id ON runs (id);

CREATE TABLE transfers (
  id INTEGER PRIMARY KEY,
  session_id TEXT NOT NULL,
  direction TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  files INTEGER NOT NULL DEFAULT 0,
  what TEXT NOT NULL DEFAULT '',
  started REAL NOT NULL,
  ended REAL,
  state TEXT NOT NULL DEFAULT 'ok'
);
CREATE INDEX transfers_session ON transfers (session_id);

CREATE TABLE receipts (
  session_id TEXT PRIMARY KEY,
  ended REAL NOT NULL,
  data TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE failures (
  id INTEGER PRIMARY KEY,
  provider TEXT NOT NULL,
  machine_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  at REAL NOT NULL
);
CREATE INDEX failures_machine ON failures (provider, machine_id);

CREATE TABLE claims (
  session_id TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  until REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE orphans (
  provider TEXT NOT NULL,
  instance_id TEXT NOT NULL,
  label TEXT NOT NULL,
  ours INTEGER NOT NULL,
  first_seen REAL NOT NULL,
  usd_h REAL NOT NULL DEFAULT 0,
  tries INTEGER NOT NULL DEFAULT 0,
  next_try REAL NOT NULL DEFAULT 0,
  gone REAL,
  detail TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (provider, instance_id)
) WITHOUT ROWID;

CREATE TABLE leader (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  owner TEXT NOT NULL,
  kind TEXT NOT NULL,
  since REAL NOT NULL,
  beat REAL NOT NULL,
  ttl REAL NOT NULL
);
"""

# Which create call a cost belongs to: a second machine pays its first hour of the clock again.
_V2 = """
ALTER TABLE segments ADD COLUMN label TEXT NOT NULL DEFAULT '';
"""

# Whether logins at the host's terminals count as activity (--count-ssh).
_V3 = """
ALTER TABLE sessions ADD COLUMN count_ssh INTEGER NOT NULL DEFAULT 0;
"""

# What the host's interface has counted up to the last time that it was asked.
_V4 = """
CREATE TABLE meters (
  session_id TEXT PRIMARY KEY,
  received INTEGER NOT NULL,
  sent INTEGER NOT NULL
) WITHOUT ROWID;
"""

# Which notebook or shell rented it (gpunb.sessions.access.renter).
_V5 = """
ALTER TABLE sessions ADD COLUMN renter TEXT NOT NULL DEFAULT '';
"""

# The supervisor compares the runs without a known end with the host's report at every tick.
_V6 = """
CREATE INDEX runs_open ON runs (session_id) WHERE ended IS NULL;
"""

# Which ports are open to the world, and where.
_V7 = """
ALTER TABLE sessions ADD COLUMN ports TEXT NOT NULL DEFAULT '{}';
"""

# The run whose end ends the session (`once`), whoever is there to see it.
_V8 = """
ALTER TABLE sessions ADD COLUMN ends_with TEXT NOT NULL DEFAULT '';
"""

# The session that this one is to take the place of (`move`); "" again once it has.
_V9 = """
ALTER TABLE sessions ADD COLUMN moves_from TEXT NOT NULL DEFAULT '';
"""

# How a run goes on when its machine is taken (`once --checkpoint`), and on which machine it did: at most one.
_V10 = """
ALTER TABLE sessions ADD COLUMN again TEXT NOT NULL DEFAULT '{}';
ALTER TABLE sessions ADD COLUMN follows TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX sessions_follows ON sessions (follows) WHERE follows != '';
"""

# Groups: sessions that are rented, limited and ended together, each with its rank (`rent --count`).
_V11 = """
CREATE TABLE groups (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  wanted INTEGER NOT NULL,
  at_least INTEGER NOT NULL,
  created REAL NOT NULL,
  formed REAL
) WITHOUT ROWID;
ALTER TABLE sessions ADD COLUMN group_id TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX sessions_rank ON sessions (group_id, rank) WHERE group_id != '';
"""

MIGRATIONS: tuple[str, ...] = (_V1, _V2, _V3, _V4, _V5, _V6, _V7, _V8, _V9, _V10, _V11)


def statements(script: str) -> list[str]:
    """Split `script` into its statements.

    ``executescript`` commits first, so it can't run inside our transaction.
    """
    out: list[str] = []
    held = ""
    for line in script.splitlines(keepends=True):
        held += line
        if sqlite3.complete_statement(held):
            out.append(held.strip())
            held = ""
    return [found for found in out if found]
