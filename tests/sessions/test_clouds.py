"""What each cloud's own habits mean for the supervisor, on the simulated clouds."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.providers.base import Instance, Provider
from gpunb.sessions import lifecycle
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import SessionState
from gpunb.sessions.supervisor.sweep import Supervision
from gpunb.sim.cloud import Phase
from gpunb.sim.serving.runner import CLOUDS
from tests.sessions.scripted import ScriptedCloud, ScriptedReach, VirtualClock
from tests.support.rentals.simulated import PUBLIC_KEY, Simulated, in_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import World

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
    watch: Supervision

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
        yield Rented(sim, ledger, host, Supervision(ledger, provider, host=host, tick_s=TICK))


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


@pytest.mark.parametrize("rented", CLOUDS, indirect=True)
def test_what_is_counted_is_never_less_than_the_bill(rented: Rented) -> None:
    session = rented.rent(hours=2)
    rented.ticks(3000)
    lifecycle.down(rented.ledger, rented.sim.provider, session, host=rented.host)
    rented.sim.clock.advance(600)
    counted = rented.ledger.cost(session.id).total
    billed = rented.sim.bill(session.instance_id)
    assert billed - 0.01 <= counted
    assert counted <= session.offer["usd_h"] * (2.0 if rented.sim.cloud.name == "fluence" else 1.02)


@pytest.mark.parametrize("rented", ["vast"], indirect=True)
def test_charges_that_come_late_are_not_billed_yet(rented: Rented) -> None:
    from gpunb.sessions.cost import spending

    rented.sim.cloud.charges_late_s = 3600.0
    session = rented.rent(hours=2)
    rented.ticks(600)
    receipt = lifecycle.down(rented.ledger, rented.sim.provider, session, host=rented.host)
    assert (receipt.provider_usd, receipt.not_billed) == (None, True)
    rented.sim.clock.advance(4 * 3600)
    (row,) = spending.spent(rented.ledger)
    spending.ask_clouds(rented.ledger, [row], lambda _: rented.sim.provider)
    kept = rented.ledger.receipt(session.id)
    assert kept is not None
    assert not kept.not_billed
    assert kept.provider_usd == pytest.approx(rented.sim.bill(session.instance_id))


def test_an_account_that_can_not_pay_the_leases_is_warned_of(rented: Rented) -> None:
    from gpunb.sessions.cost import funds

    session = rented.rent(hours=4)
    account = rented.sim.machine(session.instance_id).account
    rented.ticks(30)
    known = rented.sim.cloud.name == "vast"
    assert len(rented.ledger.funds()) == known, "the others have no call that tells"
    if not known:
        return
    now = rented.ledger.clock.time()
    assert funds.lines(rented.ledger, rented.ledger.sessions(), now) == []
    account.deposit -= account.balance(now) - session.usd_h
    rented.ticks(300)
    now = rented.ledger.clock.time()
    ((cloud, text),) = funds.lines(rented.ledger, rented.ledger.sessions(), now)
    assert cloud == "vast"
    assert "in about 54m Vast.ai stops all instances" in text or "in about 55m Vast.ai stops" in text
    assert "where no payment method is saved it deletes them with their data" in text
    account.deposit += 100
    rented.ticks(315)
    assert funds.lines(rented.ledger, rented.ledger.sessions(), rented.ledger.clock.time()) == []


class Killed(BaseException):
    """The process that rents is gone."""


def test_the_supervisor_brings_up_what_a_killed_rental_left(
    rented: Rented, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fluence's list has no port and no login: only the detail has them
    from gpunb.sessions.lifecycle import rental

    def killed(*_args: Any, **_more: Any) -> None:
        raise Killed

    monkeypatch.setattr(rental, "bring_up", killed)
    with pytest.raises(Killed):
        rented.rent(hours=2)
    (left,) = rented.ledger.sessions()
    assert left.state is S.BOOTING
    rented.ticks(900)
    after = rented.ledger.get(left.id)
    address = rented.sim.machine(after.instance_id).address
    assert (after.state, (after.host, after.port)) == (S.READY, address)
    rented.ticks(300)
    assert rented.ledger.get(left.id).user == after.user == rented.sim.provider.get(after.instance_id).user


class Named(ScriptedCloud):
    """A second scripted cloud, under another name, that may hang."""

    name = "second"
    title = "Second Cloud"

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.gate = threading.Event()
        self.gate.set()

    def instances(self) -> list[Instance]:
        assert self.gate.wait(60)
        return super().instances()

    def destroy(self, instance_id: str) -> None:
        assert self.gate.wait(60)
        super().destroy(instance_id)


def test_a_cloud_that_does_not_answer_holds_up_no_end_at_another(world: World) -> None:
    second = Named(world.clock)
    clouds: dict[str, ScriptedCloud] = {"scripted": world.cloud, "second": second}
    world.rent(hours=0.5)
    lifecycle.rent(world.ledger, second, [second.offer()], lifecycle.RentRequest(hours=0.5), host=world.host)
    world.clock.sleep(1801)
    second.gate.clear()
    with ThreadPoolExecutor(4) as pool:
        watcher = Supervision(world.ledger, clouds.__getitem__, host=world.host, clouds=pool, tick_s=0.3)
        looked = watcher.tick()
        assert world.cloud.billed() == []
        assert len(second.billed()) == 1
        assert looked.errors == ["second: it has not answered yet; its sessions wait for that"]
        assert looked.ended == [("h100-1", "deadline")]
        watcher.tick()
        second.gate.set()
        for _ in range(4):
            world.clock.sleep(TICK)
            watcher.tick()
    assert second.billed() == []
    assert world.ledger.sessions() == []


def test_a_host_that_says_nothing_holds_up_no_end_of_others(world: World) -> None:
    # the host is a stranger: it may take the connection and be silent, on purpose
    frozen = world.rent(hours=10, idle_s=600)
    world.clock.sleep(300)
    other = world.rent(hours=0.5)
    gate = threading.Event()
    asked = threading.Event()

    def hook(step: str) -> None:
        if step == "pulse":
            asked.set()
            assert gate.wait(60)

    world.host.hook = hook
    with ThreadPoolExecutor(2) as hosts:
        watcher = Supervision(world.ledger, lambda name: world.cloud, host=world.host, hosts=hosts)
        watcher.tick()
        assert asked.wait(30)
        world.clock.sleep(1801)
        assert watcher.tick().ended == [(other.name, "deadline")]
        assert [one.label for one in world.cloud.billed()] == [frozen.label]
        gate.set()
    # asked before its idle time was over: that answer proves nothing, the next one does
    assert world.ledger.get(frozen.id).state is S.READY
    watcher = Supervision(world.ledger, lambda name: world.cloud, host=world.host)
    assert watcher.tick().ended == [(frozen.name, "idle")]
