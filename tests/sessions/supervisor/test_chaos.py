"""Random users, faults and deaths under a virtual clock; `GPUNB_CHAOS=1000` runs that many."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.errors import GpunbError, OfferGone, OutcomeUnknown, Unavailable
from gpunb.sessions.cost import lease
from gpunb.sessions.model import IntentState, Session, SessionState
from gpunb.sessions.supervisor.sweep import Supervision
from tests.sessions.scripted import Crash, Script, raising

if TYPE_CHECKING:
    from conftest import World

S = SessionState
TICK = 15.0


def watch(world: World, **more: Any) -> Supervision:
    return Supervision(world.ledger, lambda name: world.cloud, host=world.host, tick_s=TICK, **more)


class Chaos:
    """Random users, faults and deaths under a virtual clock; the cloud keeps the truth."""

    SLACK_S = 300.0 + 2 * TICK  # the longest pause between two destroy calls, and two looks

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.random = world, random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.outage_until = 0.0

    def run(self) -> None:
        for _ in range(self.random.randint(3, 8)):
            self.faults()
            self.die_in(self.random.choice([self.rent, self.rent, self.look, self.end, self.extend]))
            for _ in range(self.random.randint(0, 20)):
                self.die_in(self.look)
                self.world.clock.sleep(TICK)
            self.check_known()
        self.world.cloud.script = Script(boot_s=5.0)
        self.world.host.hook = lambda step: None
        watcher = watch(self.world)
        for _ in range(1200):
            watcher.tick()
            self.world.clock.sleep(TICK)
            if not self.world.ledger.sessions() and not self.world.cloud.billed():
                break
        assert self.world.cloud.billed() == [], "alive past its lease"
        assert self.world.ledger.sessions() == []
        self.check_leases()

    def faults(self) -> None:
        now, pick = self.world.clock.now, self.random
        script = Script(boot_s=pick.choice([2.0, 60.0, 300.0]), list_lag_s=pick.choice([0.0, 0.0, 60.0]))
        lost: list[BaseException] = [
            OutcomeUnknown("timeout", provider="scripted"),
            Unavailable("500", provider="scripted"),
            OfferGone("taken", provider="scripted"),
            KeyboardInterrupt(),
        ]
        if pick.random() < 0.4:
            script.create_after = [raising(pick.choice([lost[0], lost[1], lost[3]]))]
        elif pick.random() < 0.3:
            script.create_before = [raising(pick.choice(lost))]
        if pick.random() < 0.3:
            script.destroy_ignored = pick.randint(1, 3)
        if pick.random() < 0.2:
            script.never_boots = {"o1"}
        if pick.random() < 0.2:
            script.list_fails_until = now + pick.choice([30.0, 400.0])
            script.get_fails_until = script.list_fails_until
            self.outage_until = max(self.outage_until, script.list_fails_until)
        if pick.random() < 0.1:
            script.twice = True
        self.world.cloud.script = script

    def die_in(self, story: Any) -> None:
        doom = self.random.randint(1, 60) if self.random.random() < 0.6 else 10**9
        steps = 0

        def step(*_: Any) -> None:
            nonlocal steps
            steps += 1
            if steps >= doom:
                raise Crash

        cloud, ledger = self.world.cloud, self.world.ledger
        with pytest.MonkeyPatch.context() as patch:
            for target, names in ((ledger, ("_write",)), (cloud, ("create", "destroy", "instances", "get"))):
                for name in names:
                    patch.setattr(target, name, stepped(getattr(target, name), step))
            self.world.host.hook = lambda name: None if name == "shutdown" else step()
            try:
                story()
            except Crash:
                self.counts["crashes"] += 1
            except (GpunbError, KeyboardInterrupt):
                self.counts["errors"] += 1
        self.world.host.hook = lambda name: None
        if steps >= doom or self.random.random() < 0.1:
            self.world.restart()

    def rent(self) -> None:
        self.counts["rents"] += 1
        hours = self.random.choice([0.25, 0.5, 1.0])
        self.world.rent(self.world.cloud.offer("o1"), self.world.cloud.offer("o2"), hours=hours)

    def look(self) -> None:
        watch(self.world).tick()

    def _some(self) -> Session | None:
        live = self.world.ledger.sessions()
        return self.random.choice(live) if live else None

    def end(self) -> None:
        session = self._some()
        if session is not None:
            self.world.down(session)

    def extend(self) -> None:
        session = self._some()
        if session is not None:
            lease.extend(self.world.ledger, session, hours=0.25, host=self.world.host)

    def check_known(self) -> None:
        """Billed and unknown: in no live session, under no open intent, and no orphan that a sweep finds."""
        ledger = self.world.ledger
        ids = {one.instance_id for one in ledger.sessions()}
        labels = {
            one.label for one in ledger.intents() if one.state in {IntentState.SENT, IntentState.ABSENT}
        }
        orphans = {one.instance_id for one in ledger.orphans()}
        mark = f"gpunb-{ledger.installation[:8]}-"
        for machine in self.world.cloud.billed():
            known = machine.id in ids | orphans or machine.label in labels
            twin = self.counts_of(machine.label) > 1  # made twice by one call: a sweep finds it
            assert known or (twin and machine.label.startswith(mark)), f"billed and unknown: {machine}"

    def counts_of(self, label: str) -> int:
        return sum(one.label == label for one in self.world.cloud.machines.values())

    def check_leases(self) -> None:
        """No machine outlived its session's lease by more than the slack (outages excepted)."""
        deadlines = {
            one.label: session.lease.deadline or 0.0
            for session in self.world.ledger.sessions(alive=False)
            for one in self.world.ledger.intents(session.id)
        }
        for machine in self.world.cloud.machines.values():
            assert machine.label in deadlines, "created without an intent"
            latest = max(deadlines[machine.label], self.outage_until) + self.SLACK_S + 700.0
            assert machine.ended is not None
            assert machine.ended <= latest, machine


def stepped(real: Any, step: Any) -> Any:
    def wrapped(*args: Any, **more: Any) -> Any:
        step()
        out = real(*args, **more)
        if not hasattr(out, "__enter__"):
            step()
        return out

    return wrapped


@pytest.mark.parametrize("seed", range(int(os.environ.get("GPUNB_CHAOS", "40"))))
def test_random_deaths_and_faults_leave_no_bill(world: World, seed: int) -> None:
    Chaos(world, seed).run()
