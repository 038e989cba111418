"""The ledger's records: sessions, leases, runs, costs and receipts, as plain dataclasses.

Times are Unix seconds, money is US dollars. Nothing here reads or writes.
"""

from __future__ import annotations

from gpunb.sessions.model.clock import SYSTEM_CLOCK, Clock
from gpunb.sessions.model.cost import FORGOTTEN, Cost, Receipt, Segment
from gpunb.sessions.model.group import Group
from gpunb.sessions.model.offers import machine, offer_from_dict, offer_to_dict
from gpunb.sessions.model.records import (
    HOSTS,
    WAITING,
    Event,
    Failure,
    IdleVolume,
    Intent,
    IntentState,
    Leader,
    Orphan,
    OtherInstance,
    RunNote,
    Silence,
    Transfer,
)
from gpunb.sessions.model.session import (
    AGENT_MARK,
    ALLOWED,
    LOUD_TRIES,
    OVER,
    Lease,
    Session,
    SessionState,
    allowed,
)

__all__ = [
    "AGENT_MARK",
    "ALLOWED",
    "FORGOTTEN",
    "HOSTS",
    "LOUD_TRIES",
    "OVER",
    "SYSTEM_CLOCK",
    "WAITING",
    "Clock",
    "Cost",
    "Event",
    "Failure",
    "Group",
    "IdleVolume",
    "Intent",
    "IntentState",
    "Leader",
    "Lease",
    "Orphan",
    "OtherInstance",
    "Receipt",
    "RunNote",
    "Segment",
    "Session",
    "SessionState",
    "Silence",
    "Transfer",
    "allowed",
    "machine",
    "offer_from_dict",
    "offer_to_dict",
]
