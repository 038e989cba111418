"""A ledger under a virtual clock, and a scripted cloud to rent from."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gpunb import paths
from gpunb.sessions import lifecycle
from gpunb.sessions.ledger.sessions import Ledger
from tests.sessions.scripted import ScriptedCloud, ScriptedReach, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.providers.base import Offer
    from gpunb.sessions.model import Receipt, Session


@dataclass
class World:
    """One user's side, which can die and come back, and the cloud, which goes on."""

    clock: VirtualClock
    cloud: ScriptedCloud
    host: ScriptedReach
    path: Path
    ledger: Ledger
    lives: int = 1

    def rent(self, *offers: Offer, **request: Any) -> Session:
        return lifecycle.rent(
            self.ledger,
            self.cloud,
            offers or (self.cloud.offer(),),
            lifecycle.RentRequest(**request),
            host=self.host,
        )

    def down(self, session: Session, **more: Any) -> Receipt:
        return lifecycle.down(self.ledger, self.cloud, session, host=self.host, **more)

    def resume(self, session: Session) -> Session:
        return lifecycle.resume(self.ledger, self.cloud, session, host=self.host)

    def restart(self) -> None:
        """The process died; another one opens the ledger and sees that it did."""
        self.ledger.close()
        self.lives += 1
        self.ledger = self.open(f"life-{self.lives}")

    def open(self, owner: str) -> Ledger:
        mine = owner
        return Ledger.open(self.path, clock=self.clock, owner=owner, owner_lives=lambda other: other == mine)

    def unknown_bills(self) -> list[str]:
        """Machines that are billed and in no live session."""
        known = {one.instance_id for one in self.ledger.sessions()}
        labels = {one.label for one in self.ledger.sessions() if not one.instance_id}
        return [m.id for m in self.cloud.billed() if m.id not in known and m.label not in labels]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # each commit waits for a disk
    with tempfile.TemporaryDirectory(prefix="gpunb-world-", dir=in_memory) as folder:
        home = Path(folder) / "home"
        monkeypatch.setenv("GPUNB_HOME", str(home))
        clock = VirtualClock()
        path = home / "ledger.sqlite"
        ledger = Ledger.open(path, clock=clock, owner="life-1", owner_lives=lambda other: other == "life-1")
        world = World(clock, ScriptedCloud(clock), ScriptedReach(clock), path, ledger)
        yield world
        world.ledger.close()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the ledger of a home of its own will be."""
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path / "home"))
    return paths.ledger_file()


@pytest.fixture
def ledger(file: Path) -> Iterator[Ledger]:
    with Ledger.open() as opened:
        yield opened
