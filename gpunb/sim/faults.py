"""Fault injection: faults added by command, by a test or from a scenario file.

A fault has a kind (`KINDS`), the endpoint that it hits, and a count. The gate
before each app injects the kinds that any endpoint can have; the cloud itself
takes the others at the moment at which they would happen.
"""

from __future__ import annotations

import fnmatch
import json
import random
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ANSWER_KINDS", "KINDS", "Fault", "Faults", "Fired"]

#: Injected by the gate, for any endpoint.
ANSWER_KINDS: dict[str, str] = {
    "timeout-before": "no answer, and nothing was done",
    "timeout-after": "it was done, and the answer never comes",
    "drop-after": "it was done, and the connection is cut",
    "error-before": "500, and nothing was done",
    "error-after": "500, although it was done",
    "rate-limit": "429 with Retry-After (retry_after, seconds)",
    "rate-limit-bare": "429 without Retry-After",
    "quota": "429: the day's quota is used up",
    "wrong-shape": "200 with an answer of another shape",
    "not-json": "200 with a page of HTML",
    "gateway": "502 with a page of HTML, and nothing was done",
}

#: Injected by the cloud, where they happen.
CLOUD_KINDS: dict[str, str] = {
    "offer-gone": "the offer is taken between search and create",
    "double-buy": "two buys of one offer are both accepted; the second fails later",
    "stuck-loading": "the new instance does not leave its first state (seconds; for ever without)",
    "wrong-image": "the image can't be pulled",
    "never-starts": "the instance runs, its container (and SSH) never starts",
    "gpu-missing": "the machine has one GPU less than offered",
    "gpu-other": "the machine has another GPU model than offered",
    "gpu-half-memory": "its GPUs have half the memory",
    "gpu-old-driver": "its driver is too old for the image",
    "gpu-dead": "nvidia-smi shows its GPUs, and none can allocate memory",
    "gpu-lost": "nvidia-smi fails there",
    "key-late": "the SSH key is applied some time after the host is up (seconds)",
    "gpu-taken": "at a start somebody else has the GPU: it is queued (seconds; for ever without)",
    "contract-end": "the host's offer ends (in seconds): the machine is stopped, and deleted 48 hours later",
    "outbid": "another bid takes the GPU (seconds; for ever without); the disk is still billed",
    "host-offline": "the host loses its network or power (seconds; for ever without)",
    "price-increase": "the price goes up (factor)",
    "list-lag": "a new instance is missing in the list for some time (seconds, default 60)",
    "destroy-lag": "what is destroyed is listed as before for some time (seconds, default 30)",
    "destroy-ignored": "destroy answers success and does nothing",
    "zero-balance": "the account's money is used up (card=False: Vast.ai deletes what is not paid)",
}

#: Of them those that a machine has from its first moment on, under the surface.
HOST_KINDS = ("gpu-missing", "gpu-other", "gpu-half-memory", "gpu-old-driver", "gpu-dead", "gpu-lost")

KINDS: dict[str, str] = {**ANSWER_KINDS, **CLOUD_KINDS}


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault to inject.

    Attributes
    ----------
    kind
        One of `KINDS`.
    endpoint
        The endpoint's name ("search", "create", "list", "get", "destroy", …),
        "METHOD /path", or a shell pattern of either.
    times
        How often; None for ever.
    after
        How many matching calls pass unharmed first.
    chance
        Probability of each matching call to be hit.
    params
        What the kind needs ("retry_after", "seconds", "factor", "instance").
    """

    kind: str
    endpoint: str = "*"
    times: int | None = 1
    after: int = 0
    chance: float = 1.0
    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            msg = f"there is no fault kind {self.kind!r}; known are {', '.join(sorted(KINDS))}"
            raise ValueError(msg)
        if self.times is not None and self.times < 1:
            msg = f"fault {self.kind}: times {self.times!r} must be 1 or more, or none for ever"
            raise ValueError(msg)
        if not 0.0 <= self.chance <= 1.0:
            msg = f"fault {self.kind}: chance {self.chance!r} must be between 0 and 1"
            raise ValueError(msg)

    def number(self, name: str, default: float) -> float:
        """Return the parameter `name` as a number."""
        return float(self.params.get(name, default))


@dataclass(frozen=True, slots=True)
class Fired:
    """A fault that has happened."""

    kind: str
    endpoint: str
    at: float


class Faults:
    """The pending faults, and those that have happened.

    Parameters
    ----------
    rng
        Where chances come from; seeded by the cloud, so a run can be repeated.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random(0)  # noqa: S311 - a simulation
        self._waiting: list[Fault] = []
        self.fired: list[Fired] = []

    def add(self, kind: str, endpoint: str = "*", **more: Any) -> Fault:
        """Add a fault; keywords that `Fault` does not know become its params."""
        known = {name: more.pop(name) for name in ("times", "after", "chance") if name in more}
        params = {**more.pop("params", {}), **more}
        fault = Fault(kind=kind, endpoint=endpoint, params=params, **known)
        self._waiting.append(fault)
        return fault

    def load(self, scenario: Path | Iterable[Mapping[str, Any]]) -> list[Fault]:
        """Add the faults of a scenario: a JSON list of objects with the fields of `Fault`."""
        rows = json.loads(scenario.read_text("utf-8")) if isinstance(scenario, Path) else list(scenario)
        if not isinstance(rows, list):
            msg = f"a scenario is a JSON list of faults, not {type(rows).__name__}"
            raise ValueError(msg)  # noqa: TRY004 - bad content, not a bad call
        return [self.add(**row) for row in rows]

    def clear(self) -> None:
        """Remove the pending faults."""
        self._waiting.clear()

    def waiting(self) -> list[dict[str, Any]]:
        """Return the pending faults as plain data."""
        return [asdict(fault) for fault in self._waiting]

    def take(self, kind: str, endpoint: str, at: float, *, where: str = "") -> Fault | None:
        """Take the fault of `kind` that hits this call, and count it down; None without one.

        `where` is the call's other name ("POST /v1/containers").
        """
        for fault in self._waiting:
            if fault.kind != kind:
                continue
            if not any(fnmatch.fnmatchcase(name, fault.endpoint) for name in (endpoint, where) if name):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            if fault.chance < 1.0 and self._rng.random() >= fault.chance:
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times == 0:
                    self._waiting.remove(fault)
            self.fired.append(Fired(kind, endpoint, at))
            return fault
        return None
