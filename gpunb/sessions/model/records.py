"""Records beside sessions and runs: intents, events, transfers, failures, orphans, volumes, the leader."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Event",
    "Failure",
    "IdleVolume",
    "Intent",
    "IntentState",
    "Leader",
    "Orphan",
    "Silence",
    "Transfer",
]


class IntentState(str, enum.Enum):
    """The outcome of a create call."""

    SENT = "sent"  # committed before the call; the answer is not known (yet)
    ANSWERED = "answered"  # the id is known, from the answer or by the label
    REFUSED = "refused"  # the provider refused, and nothing was changed
    ABSENT = "absent"  # the answer was lost, and the lists agree that nothing was rented
    GONE = "gone"  # its instance is confirmed to be gone


@dataclass(slots=True, kw_only=True)
class Intent:
    """A create call, recorded before it was sent. `label` is unique."""

    label: str
    session_id: str
    provider: str
    offer_id: str = ""
    state: IntentState = IntentState.SENT
    instance_id: str = ""
    sent: float = 0.0
    resolved: float | None = None
    detail: str = ""
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Event:
    """An entry of a session's history, in the order it was committed."""

    id: int
    session_id: str
    at: float
    pid: int
    kind: str  # "transition", or what was done: "destroy", "stop", "save", "adopt", …
    old: str = ""
    new: str = ""
    detail: str = ""


@dataclass(slots=True, kw_only=True)
class Silence:
    """A host that does not answer: since when (Unix seconds), and the last error."""

    since: float
    why: str = ""


@dataclass(slots=True, kw_only=True)
class Transfer:
    """A transfer of files or variables. `direction` is seen from here: "up" goes to the host."""

    session_id: str
    direction: str
    bytes: int
    started: float
    ended: float | None = None
    files: int = 0
    what: str = ""
    state: str = "ok"
    id: int = 0


@dataclass(slots=True, kw_only=True)
class Failure:
    """A host's earlier failure; offers on that host rank lower."""

    provider: str
    machine_id: str
    reason: str
    at: float


@dataclass(slots=True, kw_only=True)
class Orphan:
    """An instance with a gpunb label that belongs to no session here.

    `ours` tells whether the label carries this installation's id: only those are
    ended, the others are shown.
    """

    provider: str
    instance_id: str
    label: str
    ours: bool
    first_seen: float
    usd_h: float = 0.0
    tries: int = 0
    next_try: float = 0.0
    gone: float | None = None
    detail: str = ""


@dataclass(slots=True, kw_only=True)
class IdleVolume:
    """An unused volume that this installation made; `since` is when it was first seen unused."""

    provider: str
    id: str
    name: str
    size_gb: float
    usd_h: float | None
    since: float


@dataclass(slots=True, kw_only=True)
class OtherInstance:
    """A billed instance on one of the accounts that no session has; `first` to `last` is when it was seen.

    Attributes
    ----------
    gone
        When it was no longer listed; None while it is.
    """

    provider: str
    id: str
    usd_h: float
    first: float
    last: float
    gone: float | None = None


@dataclass(slots=True, kw_only=True)
class Leader:
    """The current supervisor process: its owner mark, kind and last heartbeat."""

    owner: str
    kind: str  # "detached" or "server"
    since: float
    beat: float
    ttl: float

    @property
    def until(self) -> float:
        """When another process may take over, Unix seconds."""
        return self.beat + self.ttl
