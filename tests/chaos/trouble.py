"""What the clouds and hosts of a schedule suffer from, and for how long that excuses a late end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gpunb.sessions.model import SessionState
from gpunb.sim.cloud import Phase
from gpunb.sim.faults import ANSWER_KINDS

if TYPE_CHECKING:
    from gpunb.sessions.model import Session
    from gpunb.sim import Machine
    from tests.chaos.stage import Actor
    from tests.chaos.world import World

ENDPOINTS = ("create", "list", "get", "destroy", "*")
AT_CREATE = (
    "offer-gone",
    "double-buy",
    "stuck-loading",
    "wrong-image",
    "never-starts",
    "key-late",
    "list-lag",
)
AFFLICTIONS = ("host-offline", "price-increase", "destroy-lag", "destroy-ignored", "contract-end")
SEEN_S = 75.0  # a list, and the tick before it
SHORT_S = 3600.0  # more than any lease here has
NEAR_S = 1500.0  # the end of a lease, in which files are brought back
PATIENCE_S = 60.0  # how long a call, or its second try, waits for an answer that does not come
OFTEN_S = 300.0  # the longest pause between two calls that end one instance


class Trouble:
    """Adds faults at random moments, in one process that does nothing else."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.stage.random
        self.happened: Counter[str] = Counter()
        self.outages: dict[str, float] = {}
        self.healed: dict[str, float] = {}
        self.cut: dict[str, float] = {}  # machine id -> when the end of its contract moved
        self.cleared: dict[str, float] = {}  # cloud -> when clients could be made for it again

    def story(self, actor: Actor) -> None:
        """Do something bad, wait, and again."""
        while True:
            often = [self._answers, self._create]
            rare = [self._outage, self._machine, self._host, self._poison, self._client]
            rare += [self._outbid, self._queue, self._set_clock]
            self.random.choice([*often, *often, *rare])()
            self._heal()
            self.world.stage.sleep(self.random.choice([2.0, 20.0, 90.0]))

    def end(self) -> None:
        """Everything is well again."""
        for actor in self.world.stage.actors:
            if actor.name == "trouble":
                self.world.stage.kill(actor)
        for cloud in self.world.clouds.values():
            cloud.faults.clear()
        self.world.agent_fails.clear()
        self.world.away_until.clear()
        self.world.frozen_until.clear()
        self.world.poison_until.clear()
        self.cleared = {name: self._unusable(name) for name in self.world.clouds}
        self.world.unusable_until.clear()
        for _, machine in self.world.machines():
            if machine.troubles.pop("destroy-ignored", None):
                self.healed[machine.id] = self.world.stage.now
            if machine.troubles.pop("stuck-loading", None) and machine.phase is Phase.BOOTING:
                machine.ready_at = self.world.stage.now + 60.0
                self.healed[machine.id] = machine.ready_at + OFTEN_S  # cancelled while it could not be ended

    def _cloud(self) -> str:
        return self.random.choice(list(self.world.clouds))

    def _answers(self) -> None:
        kind = self.random.choice([one for one in ANSWER_KINDS if one != "quota"])
        endpoint = self.random.choice(ENDPOINTS)
        more = {"times": self.random.randint(1, 3), "after": self.random.choice([0, 0, 1, 5])}
        self.world.clouds[self._cloud()].faults.add(kind, endpoint, **more)

    def _create(self) -> None:
        kind = self.random.choice(AT_CREATE)
        more = {"seconds": self.random.choice([20.0, 90.0])} if kind in {"list-lag", "key-late"} else {}
        self.world.clouds[self._cloud()].faults.add(kind, "create", **more)

    def _outage(self) -> None:
        name = self._cloud()
        seconds = self.random.choice([30.0, 200.0])
        kind = self.random.choice(["gateway", "error-before", "timeout-before", "rate-limit", "quota"])
        self.world.clouds[name].faults.add(kind, "*", times=None)
        self.outages[name] = self.world.stage.now + seconds

    def _heal(self) -> None:
        now = self.world.stage.now
        for name, until in list(self.outages.items()):
            if until <= now:
                del self.outages[name]
                faults = self.world.clouds[name].faults
                faults._waiting[:] = [one for one in faults._waiting if one.times is not None]

    def _machine(self) -> None:
        running = [(name, one) for name, one in self.world.machines() if one.alive]
        if not running:
            return
        name, machine = self.random.choice(running)
        cloud = self.world.clouds[name]
        kind = self.random.choice((*AFFLICTIONS, "vanishes"))
        if kind == "vanishes":
            with cloud.lock:
                cloud.end(machine)
            self.world.ended_outside.add(machine.id)
        else:
            more = {"factor": 1.5}
            if kind == "host-offline":
                more["seconds"] = self.random.choice([30.0, 300.0, 1e9])
            elif kind == "contract-end":  # told in advance, or not
                more["seconds"] = self.random.choice([0.0, 950.0, 1300.0])
            cloud.afflict(kind, machine.id, **more)
            if kind == "contract-end":
                self.cut[machine.id] = self.world.stage.now
        self.happened[kind] += 1

    def take(self, name: str, machine_id: str) -> None:
        """The cloud takes this machine, if it runs: outbid where it is on a bid, else it is gone."""
        cloud = self.world.clouds[name]
        machine = cloud.machines.get(machine_id)
        if machine is None or machine.phase is not Phase.RUNNING:
            return
        if name == "vast" and machine.data["is_bid"]:
            cloud.afflict("outbid", machine.id, seconds=self.random.choice([400.0, 1e9]))
        else:
            with cloud.lock:
                cloud.end(machine)
            self.world.ended_outside.add(machine.id)
        self.happened["taken"] += 1

    def _outbid(self) -> None:
        """Of what runs on a bid, whichever ends next."""
        cloud = self.world.clouds.get("vast")
        bids = [one for one in cloud.machines.values() if one.data["is_bid"]] if cloud is not None else []
        ends = {one.instance_id: one.lease.deadline or 0.0 for one in self.world.observer.sessions()}
        up = [one for one in bids if one.phase is Phase.RUNNING and one.id in ends]
        if cloud is None or not up:
            return
        machine = min(up, key=lambda one: ends[one.id])
        cloud.afflict("outbid", machine.id, seconds=self.random.choice([40.0, 400.0, 1e9]))
        left = self.world.true(ends[machine.id]) - self.world.stage.now
        self.happened["outbid at the deadline" if left < NEAR_S else "outbid"] += 1

    def _queue(self) -> None:
        """Somebody else takes the GPU of what is stopped: the next start is queued."""
        if "vast" in self.world.clouds:
            seconds = self.random.choice([60.0, 900.0, 0.0])
            self.world.clouds["vast"].faults.add("gpu-taken", "state", seconds=seconds)

    def _set_clock(self) -> None:
        """The clock of the users' machine is set, by NTP or by hand."""
        if self.random.random() < 0.5:
            return
        self.happened["clock set"] += 1
        self.world.wall.ahead = self.random.choice([0.0, -10_800.0, 10_800.0, 90.0, -90.0])

    def _poison(self) -> None:
        """A session of which a supervisor's every question raises something that nobody expected."""
        running = [one for _, one in self.world.machines() if one.alive]
        if running:
            self.happened["poisoned session"] += 1
            until = self.world.stage.now + self.random.choice([100.0, 3000.0])
            self.world.poison_until[self.random.choice(running).id] = until

    def _client(self) -> None:
        """A proxy in the supervisor's environment that no client of one cloud can be made with."""
        self.happened["proxy"] += 1
        self.world.unusable_until[self._cloud()] = self.world.stage.now + self.random.choice([30.0, 400.0])

    def _host(self) -> None:
        running = [one for _, one in self.world.machines() if one.alive]
        if not running:
            return
        machine = self.random.choice(running)
        what = self.random.choice(["unreachable", "frozen", "agent-fails", "lies", "steps", "save-fails"])
        self.happened[what] += 1
        now = self.world.stage.now
        if what == "unreachable":
            self.world.away_until[machine.id] = now + self.random.choice([60.0, 1000.0])
        elif what == "frozen":
            self.world.frozen_until[machine.id] = now + self.random.choice([100.0, 1000.0])
        elif what == "agent-fails":
            self.world.agent_fails.add(machine.id)
        elif what == "steps":
            self.world.steps[machine.id] = self.random.choice([-10_800.0, 10_800.0, 3e8])
        elif what == "lies":
            self.world.liars.add(machine.id)
        else:
            self.world.save_fails = not self.world.save_fails

    def hindered(self, name: str, machine: Machine) -> float:
        """Until when its host could not be asked, or its end was in the way of something else."""
        until = max(self.world.away_until.get(machine.id, 0.0), self.world.frozen_until.get(machine.id, 0.0))
        late = [one.at + PATIENCE_S for one in self.world.clouds[name].faults.fired]
        return max([until + 70.0, self._unusable(name) + PATIENCE_S, *late])

    def _unusable(self, name: str) -> float:
        """Until when no client could be made for the cloud `name`; at most now."""
        until = min(self.world.unusable_until.get(name, 0.0), self.world.stage.now)
        return max(until, self.cleared.get(name, 0.0))

    def excuse(self, name: str, machine: Machine, session: Session) -> float:
        """Until when the cloud's own faults excuse that `machine` lives after its lease."""
        cloud = self.world.clouds[name]
        if "destroy-ignored" in machine.troubles or (name == "fluence" and machine.phase is Phase.BOOTING):
            return float("inf")  # Fluence ends nothing that is not ACTIVE
        late = [
            one.at + (PATIENCE_S if one.kind.startswith("timeout") else 0.0)
            for one in cloud.faults.fired
            if one.endpoint not in {"create", "search"}
        ]
        late.append(self.healed.get(machine.id, 0.0))
        # a lease that is cut may be over by then, also that of one whose offer was shown with another end
        late.append(self.cut.get(machine.id, -SEEN_S) + SEEN_S)
        if machine.data.get("offer", {}).get("end_date", float("inf")) < machine.created + SHORT_S:
            late.append(machine.created + SEEN_S)
        late.append(self._unusable(name))
        if name == "fluence":
            late.append(machine.phase_at)  # from then on it can be ended
        last = max(late)
        began, due = self.world.true(session.state_at), self.world.true(session.next_try)
        if session.state is not SessionState.ENDING or not session.tries or last < began - 60.0:
            return last
        return max(last, due)  # a call to end it met a fault, and the next one is due then
