"""Runs as the ledger knows them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HOSTS", "WAITING", "RunNote"]

# a run that waits for the answer to an `input()`
WAITING = "waiting for input"
# the `front` of a run that only its host knows of
HOSTS = "host"


@dataclass(slots=True, kw_only=True)
class RunNote:
    """A run as the ledger knows it; its output is on the host.

    `state` is the agent's word ("queued", "running", "ok", "error", …), or `WAITING`; `front`
    says where it was started ("notebook", "terminal", …; `HOSTS` if only the host lists it).
    """

    id: str
    session_id: str
    kind: str = "cell"
    name: str = ""
    started: float = 0.0
    ended: float | None = None
    state: str = "running"
    front: str = ""

    @property
    def active(self) -> bool:
        """Whether the run is activity: started by us, not over, and not waiting for an answer."""
        return self.ended is None and self.front != HOSTS and self.state != WAITING
