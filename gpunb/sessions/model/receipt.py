"""The receipt of a session that has ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from gpunb.sessions.model.cost import Cost

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FORGOTTEN", "Receipt"]

FORGOTTEN = (
    "forgotten"  # the event, and the beginning of the reason, of an end that its machine never confirmed
)


@dataclass(slots=True, kw_only=True)
class Receipt:
    """The record of a session's cost, runs, saved files and end.

    Attributes
    ----------
    confirmed
        When the provider confirmed that the instance is gone; None if it has not yet.
    provider_usd
        The cost by the provider's own figure, where it has one.
    not_billed
        Whether the provider has such figures, and had charged nothing for it yet.
    contradicts
        The assumption about its billing that `provider_usd` contradicts (`gpunb.sessions.cost.bills`).
    runs
        ``{"kind", "name", "state", "seconds"}`` of each run.
    saved, unsaved
        Paths brought back, and (path, reason) of what could not be, or was left there by a rule.
    brought
        Of each path what came: ``{"path", "to", "files", "bytes", "beside", "held", "left"}``; see
        `gpunb.sync.bring.Brought`.
    check
        The start check's result (`gpunb.sessions.start_check.StartCheck`); None without one.
    why
        What ended it: "down", "deadline", "idle", "budget", "limit", "cancelled", "boot failed", ….
    agent
        The agent that rented it; "" for a person.
    """

    session_id: str
    name: str
    provider: str
    instance_id: str = ""
    gpu: str = ""
    gpus: int = 0
    started: float = 0.0
    ended: float = 0.0
    confirmed: float | None = None
    cost: Cost = field(default_factory=Cost)
    provider_usd: float | None = None
    not_billed: bool = False
    contradicts: str = ""
    runs: list[dict[str, Any]] = field(default_factory=list)
    saved: list[str] = field(default_factory=list)
    unsaved: list[tuple[str, str]] = field(default_factory=list)
    brought: list[dict[str, Any]] = field(default_factory=list)
    check: dict[str, Any] | None = None
    why: str = ""
    agent: str = ""

    @property
    def seconds(self) -> float:
        """Seconds from the create call to the end."""
        return max(0.0, self.ended - self.started)

    def data(self) -> dict[str, Any]:
        """The receipt as plain values, for JSON and the ledger."""
        out = asdict(self)
        out["cost"] = self.cost.data()
        out["unsaved"] = [list(pair) for pair in self.unsaved]
        return out

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Receipt:
        """Rebuild the receipt from `data`; unknown keys are left out."""
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in data.items() if key in known}
        cost = values.get("cost") or {}
        values["cost"] = Cost(
            gpu=cost.get("gpu", 0.0), disk=cost.get("disk", 0.0), bandwidth=cost.get("bandwidth", 0.0)
        )
        values["unsaved"] = [(pair[0], pair[1]) for pair in values.get("unsaved", ())]
        return cls(**values)
