"""A simulated instance and its phases, in terms common to all clouds."""

from __future__ import annotations

import enum
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from gpunb.sim.faults import Fault
from gpunb.sim.hosts.machines import NOWHERE, Host, HostSpec
from gpunb.sim.money import Account, Bill

__all__ = ["Machine", "Phase"]


class Phase(str, enum.Enum):
    """The phase of a simulated instance, in terms common to all clouds."""

    BOOTING = "booting"
    RUNNING = "running"
    STOPPED = "stopped"
    OUTBID = "outbid"
    OFFLINE = "offline"
    FAILED = "failed"
    ENDING = "ending"
    ENDED = "ended"


@dataclass(slots=True, kw_only=True)
class Machine:
    """One simulated instance.

    Attributes
    ----------
    ready_at
        When it leaves BOOTING; infinite if a fault keeps it there.
    listed_at
        When the list begins to show it.
    end_at
        When ENDING becomes ENDED.
    seen_as
        The phase that is reported while it is ENDING, if that is another one.
    troubles
        Its active faults, by kind.
    data
        Its cloud's own data.
    """

    id: str
    account: Account
    label: str
    created: float
    ready_at: float
    bill: Bill
    phase: Phase = Phase.BOOTING
    phase_at: float = 0.0
    listed_at: float = 0.0
    end_at: float | None = None
    seen_as: Phase | None = None
    spec: HostSpec | None = None
    host: Host | None = None
    booting: Future[Host] | None = None
    troubles: dict[str, Fault] = field(default_factory=dict)
    fail_reason: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether it has neither ended nor failed."""
        return self.phase not in (Phase.ENDED, Phase.FAILED)

    @property
    def shown(self) -> Phase:
        """The phase that its cloud reports."""
        return self.seen_as or self.phase

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of its SSH server; `NOWHERE` if its container never started."""
        if "never-starts" in self.troubles or self.host is None:
            return NOWHERE
        return self.host.address, self.host.port
