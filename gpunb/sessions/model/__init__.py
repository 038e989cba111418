"""The ledger's records: sessions, leases, runs, costs and receipts, as plain dataclasses.

Times are Unix seconds, money is US dollars. Nothing here reads or writes. A record's module is imported when
its name is used: to make a dataclass takes a millisecond, and no verb needs all of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpunb.sessions.model.clock import SYSTEM_CLOCK, Clock
    from gpunb.sessions.model.cost import Cost, Segment
    from gpunb.sessions.model.group import Group
    from gpunb.sessions.model.offers import machine, offer_from_dict, offer_to_dict
    from gpunb.sessions.model.receipt import FORGOTTEN, Receipt
    from gpunb.sessions.model.records import (
        Event,
        Failure,
        IdleVolume,
        Intent,
        IntentState,
        Leader,
        Orphan,
        OtherInstance,
        Silence,
        Transfer,
    )
    from gpunb.sessions.model.run_note import HOSTS, WAITING, RunNote
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

_MODULES = {
    "clock": "SYSTEM_CLOCK Clock",
    "cost": "Cost Segment",
    "group": "Group",
    "offers": "machine offer_from_dict offer_to_dict",
    "receipt": "FORGOTTEN Receipt",
    "records": "Event Failure IdleVolume Intent IntentState Leader Orphan OtherInstance Silence Transfer",
    "run_note": "HOSTS WAITING RunNote",
    "session": "AGENT_MARK ALLOWED LOUD_TRIES OVER Lease Session SessionState allowed",
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import the module that has the record."""
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    found = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return found
