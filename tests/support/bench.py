"""Two hosts on this machine and every engine between them and here: both ends can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpunb.sync import sync
from gpunb.sync.fs.filesystem import HostsFileSystem
from gpunb.sync.stream.sync_session import SyncOptions, by_agents

if TYPE_CHECKING:
    from pathlib import Path

    from gpunb.remote import AgentClient
    from gpunb.ssh import Connection
    from gpunb.sync import SyncReport


class Hosts(HostsFileSystem):
    """The first host as a filesystem."""

    protocol = "gpunb-engines"
    cachable = False

    def __init__(self, connection: Connection, **options: Any) -> None:
        super().__init__(connection=connection, **options)
        self.connection = connection

    def connect(self, host: str) -> Connection:
        return self.connection


@dataclass
class Bench:
    """Two hosts on this machine: what is there and what is here can be compared."""

    one: AgentClient
    two: AgentClient
    fs: Hosts

    def report(self, engine: str, direction: Any, source: Path, target: Path, **options: Any) -> SyncReport:
        return sync(
            self.one.connection,
            str(source),
            str(target),
            direction=direction,
            engine=engine,  # type: ignore[arg-type]
            agent=self.one if engine == "stream" else None,
            **options,
        )

    def sync(self, engine: str, direction: Any, source: Path, target: Path, **options: Any) -> list[str]:
        found = self.report(engine, direction, source, target, **options)
        found.check()
        return found.plan.notes

    def between(self, source: Path, target: Path, **options: Any) -> list[str]:
        found = by_agents(self.one, str(source), self.two, str(target), SyncOptions(**options))
        found.check()
        return found.plan.notes

    def put(self, source: Path, target: Path) -> list[str]:
        self.fs.put(f"{source}/", f"box/{target}/", recursive=True)
        return []

    def get(self, source: Path, target: Path) -> list[str]:
        self.fs.get(f"box/{source}/", f"{target}/", recursive=True)
        return []
