"""The record of an instance on disk: states, billed times and bill."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from gpunb.providers.base import Instance, InstanceState, UsageLine
from gpunb.providers.local.files import read_json, write_json
from gpunb.providers.local.launcher import ADDRESS, running

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Record"]

_BOOT_S = 45.0  # seconds: a create that has not ended by then has died


@dataclass(slots=True, kw_only=True)
class Record:
    """One instance's ``state.json``.

    Attributes
    ----------
    phase
        What was last asked for: "creating", "running", "stopped" or "ending".
    spans
        ``[start, end]`` of each time it was running, Unix; the last end is
        None while it runs. A crashed host is rented on until it is stopped or
        destroyed, as a machine whose system crashed is.
    """

    id: str
    label: str
    phase: str
    user: str
    port: int = 0
    created: float = 0.0
    usd_h: float = 0.0
    disk_usd_gb_h: float = 0.0
    disk_gb: float = 0.0
    image: str | None = None
    onstart: str = ""
    env: dict[str, str] = field(default_factory=dict)
    ports: list[str] = field(default_factory=list)
    public_keys: list[str] = field(default_factory=list)
    deadline: float | None = None
    host_key: str = ""
    spans: list[list[float | None]] = field(default_factory=list)

    @classmethod
    def load(cls, directory: Path) -> Record | None:
        """Read the record in `directory`; None if there is none.

        Raises
        ------
        ValueError
            It is damaged; the message says how.
        OSError
            It can't be read.
        """
        raw = read_json(directory / "state.json")
        if raw is None:
            return None
        known = {one.name for one in fields(cls)}
        try:
            return cls(**{name: value for name, value in raw.items() if name in known})
        except TypeError as err:
            msg = str(err).partition("()")[2].strip() or str(err)
            raise ValueError(msg) from err

    def save(self, directory: Path) -> None:
        """Write the record, in one step."""
        write_json(directory / "state.json", asdict(self))

    def turn(self, phase: str, at: float | None = None) -> None:
        """Change to `phase`, and begin or end a billed span."""
        now = time.time() if at is None else at
        open_span = bool(self.spans) and self.spans[-1][1] is None
        if phase == "running" and not open_span:
            self.spans.append([now, None])
        elif phase in {"stopped", "ending"} and open_span:
            self.spans[-1][1] = now
        self.phase = phase

    def view(self, directory: Path, provider: str) -> Instance:
        """Return the instance as it is now."""
        host = running(directory) if self.phase in {"creating", "running"} else None
        state, message = InstanceState.OFFLINE, "its host process has ended; start it again or destroy it"
        if host is not None:
            state, message = InstanceState.RUNNING, ""
        elif self.phase == "creating":
            if time.time() - self.created < _BOOT_S:
                state, message = InstanceState.CREATING, "its SSH server is starting"
            else:
                state, message = InstanceState.FAILED, "its creation was interrupted; destroy it"
        elif self.phase == "stopped":
            state, message = InstanceState.STOPPED, ""
        elif self.phase == "ending":
            state, message = InstanceState.ENDING, "its end has begun; if it stays so, destroy it again"
        port = host.port if host else self.port
        disk = self.disk_usd_gb_h * self.disk_gb
        return Instance(
            provider=provider,
            id=self.id,
            label=self.label,
            state=state,
            raw_state=self.phase,
            message=message,
            kind="container",
            host=ADDRESS if port else "",
            port=port,
            user=self.user,
            host_key=(host.host_key if host else self.host_key) or None,
            usd_h=self.usd_h + disk,
            ports={name: f"{ADDRESS}:{name.partition('/')[0]}" for name in self.ports},
            stopped_usd_h=disk,
            created=self.created,
            raw={"directory": str(directory), "image": self.image, "deadline": self.deadline},
        )

    def usage(self, until: float | None = None) -> list[UsageLine]:
        """Return the cost so far: a line for each time it ran, and one for its disk."""
        now = time.time() if until is None else until
        lines = []
        for start, end in self.spans:
            begin, finish = float(start or 0.0), now if end is None else end
            usd = max(finish - begin, 0.0) / 3600.0 * self.usd_h
            lines.append(UsageLine(instance_id=self.id, kind="gpu", usd=usd, start=begin, end=end))
        if self.disk_gb and self.disk_usd_gb_h:
            usd = max(now - self.created, 0.0) / 3600.0 * self.disk_gb * self.disk_usd_gb_h
            lines.append(UsageLine(instance_id=self.id, kind="disk", usd=usd, start=self.created, end=until))
        return lines

    def archive(self) -> dict[str, Any]:
        """Return what is kept after the end: the costs, no keys and no environment."""
        return {
            "id": self.id,
            "label": self.label,
            "created": self.created,
            "ended": time.time(),
            "usage": [asdict(line) for line in self.usage(time.time())],
        }
