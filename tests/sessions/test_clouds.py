"""What each cloud's own habits mean for the supervisor, on the simulated clouds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.providers.base import Provider
from gpunb.sessions import lifecycle
from gpunb.sessions.ledger import Ledger
from gpunb.sessions.model import SessionState
from gpunb.sessions.watching import Watch
from gpunb.sim.cloud import Phase
from tests.sessions.scripted import ScriptedReach
from tests.support.simulated import PUBLIC_KEY, Simulated, in_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

S = SessionState
TICK = 15.0


class PaperReach(ScriptedReach):
    """A host that answers at once; its keys are what the clouds accept."""

    def prepare(self, session_id: str, label: str) -> str:
        return PUBLIC_KEY


@dataclass
class Rented:
    """A simulated cloud, a ledger on its clock, and a supervisor."""

    sim: Simulated
    ledger: Ledger
    host: PaperReach
    watch: Watch

    def rent(self, **request: Any) -> Any:
        return lifecycle.rent(
            self.ledger,
            self.sim.provider,
            [self.sim.offer()],
            lifecycle.RentRequest(**request),
            host=self.host,
        )

    def ticks(self, seconds: float) -> None:
        for _ in range(int(seconds / TICK)):
            self.watch.tick()
            self.sim.clock.advance(TICK)


class LedgerClock:
    """The cloud's clock in the ledger's words."""

    def __init__(self, sim: Simulated) -> None:
        self.time = sim.clock.now
        self.sleep = sim.clock.advance


@pytest.fixture(params=["vast", "deepinfra", "fluence", "sesterce"])
def rented(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rented]:
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path / "home"))
    sim = in_process(request.param, offers=6)
    clock = LedgerClock(sim)
    host = PaperReach(clock)  # type: ignore[arg-type]

    def provider(name: str) -> Provider:
        assert name == request.param
        found: Provider = sim.provider
        return found

    with Ledger.open(clock=clock) as ledger:
        yield Rented(sim, ledger, host, Watch(ledger, provider, host=host, tick_s=TICK))


def test_a_machine_that_failed_and_is_listed_for_good_is_over(rented: Rented) -> None:
    # DeepInfra and Fluence list what failed for ever: that is no reason to end it for ever
    session = rented.rent(hours=0.5)
    cloud = rented.sim.cloud
    with cloud.lock:
        cloud.change(rented.sim.machine(session.instance_id), Phase.FAILED, cloud.clock.now())
    rented.ticks(1800 + 600)
    assert rented.ledger.sessions() == []
    assert rented.ledger.orphans() == []
    assert cloud.billed_now() == []


def test_a_deadline_is_kept_within_two_looks(rented: Rented) -> None:
    session = rented.rent(hours=0.5)
    rented.ticks(1800 + 2 * TICK)
    assert rented.sim.cloud.billed_now() == []
    rented.ticks(120)
    assert rented.ledger.get(session.id).state is S.GONE


def test_what_died_while_it_ran_is_seen(rented: Rented) -> None:
    session = rented.rent(hours=0.5)
    machine = rented.sim.machine(session.instance_id)
    with rented.sim.cloud.lock:
        rented.sim.cloud.end(machine)
    rented.ticks(400)
    assert rented.ledger.get(session.id).state is S.GONE
    assert rented.ledger.sessions() == []
