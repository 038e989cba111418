"""One schedule: users, supervisors, faults and deaths that a seed decides, and what came of it."""

from __future__ import annotations

import math
import os
import secrets
import shutil
import tempfile
import traceback
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gpunb.errors import GpunbError, LedgerError, SessionNotFound
from gpunb.providers.base import Capability
from gpunb.sessions import lifecycle
from gpunb.sessions.attempts import chain
from gpunb.sessions.cost import lease
from gpunb.sessions.ledger import sessions as ledger_module
from gpunb.sessions.lifecycle import Timing, run_end
from gpunb.sessions.model import IntentState, RunNote, Session, SessionState
from gpunb.sessions.supervisor.host_monitor import SILENT_S
from gpunb.sessions.supervisor.ledger_memory import RENTED
from gpunb.sessions.supervisor.one_session import MOVE_S
from gpunb.sessions.supervisor.process import LEADER_TTL_S, TICK_S
from gpunb.sessions.supervisor.sweep import Looked, Supervision
from tests.chaos import moves
from tests.chaos.saves import ASKED
from tests.chaos.stage import START, Actor, Crash, StageExecutor
from tests.chaos.trouble import Trouble
from tests.chaos.world import CLOUDS, Process, World
from tests.support.rentals.agreements import anything

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from gpunb.sim import Machine

_S = SessionState
# ticks, a question, and the silence that a host is given where nothing of ours runs
IDLE_LATE_S = 3 * TICK_S + 2 * 60.0 + SILENT_S
HALF_WAY_LATE_S = MOVE_S + 540.0  # ticks, and looks at the clouds; a third of such a machine's lease
CLAIM_S = 120.0
OFTEN_S = 300.0  # the longest pause between two calls that end one instance


@dataclass
class Figures:
    """What schedules did and what was wrong with it; the last six must be 0."""

    schedules: int = 0
    crashes: Counter[str] = field(default_factory=Counter)
    interrupts: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    fronts: int = 0
    starts: int = 0
    rents: int = 0
    ready: int = 0
    moves: int = 0
    moved: int = 0
    next: int = 0
    saved: int = 0
    unsaved: Counter[str] = field(default_factory=Counter)
    instances: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    simulated_h: float = 0.0
    latest_s: float = 0.0
    unknown: list[str] = field(default_factory=list)
    doubly: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)

    BARS = (
        ("unknown", "billed and unknown to the ledger after the next start"),
        ("doubly", "doubly rented"),
        ("late", "alive past lease + 2 ticks"),
        ("false", "said to be over and still billed"),
        ("lost", "ended with something unsaved that could have been saved"),
        ("broken", "ended with an error that is none of gpunb's"),
    )

    @property
    def ok(self) -> bool:
        """Whether nothing was wrong."""
        return not any(getattr(self, name) for name, _ in self.BARS)

    def add(self, other: Figures) -> None:
        """Count `other` in."""
        for name in (
            "schedules",
            "interrupts",
            "fronts",
            "starts",
            "rents",
            "ready",
            "moves",
            "moved",
            "next",
            "saved",
            "steps",
            "simulated_h",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("crashes", "faults", "instances", "unsaved"):
            getattr(self, name).update(getattr(other, name))
        for name, _ in self.BARS:
            getattr(self, name).extend(getattr(other, name))
        self.latest_s = max(self.latest_s, other.latest_s)

    def lines(self) -> list[str]:
        """The figures to read."""
        out = [
            f"schedules                {self.schedules}: {self.steps} steps, {self.simulated_h:.0f} hours",
            f"fronts, starts           {self.fronts}, {self.starts}",
            f"crashes                  {sum(self.crashes.values())}: {_counted(self.crashes)}",
            f"Ctrl-C                   {self.interrupts}",
            f"faults                   {sum(self.faults.values())}: {_counted(self.faults)}",
            f"rents asked, ready       {self.rents}, {self.ready}",
            f"runs begun again         {self.next}",
            f"moves asked, done        {self.moves}, {self.moved}",
            f"saved, excused           {self.saved}, {sum(self.unsaved.values())}: {_counted(self.unsaved)}",
            f"instances created        {sum(self.instances.values())}: {_counted(self.instances)}",
            f"latest end after a lease {self.latest_s:.0f} s beyond what faults excuse",
        ]
        for name, text in self.BARS:
            found = getattr(self, name)
            out.append(f"{text}: {len(found)}")
            out += [f"    {line}" for line in found[:10]]
        return out


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())


class Schedule:
    """Users who rent, end, extend, stop and start; supervisors who are killed; clouds that fail."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        names = list(CLOUDS)
        # every fourth schedule is about one cloud alone
        if seed % 4 == 3:
            names = [names[seed // 4 % len(names)]]
        self.world = World(seed, folder, names)
        self.stage = self.world.stage
        self.random: random.Random = self.stage.random
        self.figures = Figures(schedules=1)
        self.trouble = Trouble(self.world)
        self.users = 0
        self.numbers = Counter[str]()
        self._late: set[str] = set()
        self._in_hand: dict[str, float] = {}  # when a process held a move's new machine last
        self._next: set[str] = set()  # sessions for which a process rents the next machine of a run
        self._deadlines: dict[str, float] = {}
        self.stage.on_time = self._look_at_the_clock

    def _tell(self) -> None:
        """All that happened, in the order of time, for whoever plays this seed alone."""
        lines: list[tuple[float, str]] = list(self.stage.trace)
        for session in self.world.observer.sessions(alive=False):
            for event in self.world.observer.events(session.id):
                change = f"{event.old} -> {event.new}" if event.new else event.kind
                lines.append((event.at, f"  {session.name} ({session.id}): {change} {event.detail}"))
        for name, cloud in self.world.clouds.items():
            lines += [(at.at, f"    {name}: {at.endpoint} {at.path} -> {at.status}") for at in cloud.calls]
            lines += [(at.at, f"    {name}: FAULT {at.kind} at {at.endpoint}") for at in cloud.faults.fired]
        lines.sort(key=lambda pair: pair[0])
        self.figures.story = [f"{at - START:9.1f} {text}" for at, text in lines]

    # -- the play -----------------------------------------------------------

    def run(self) -> Figures:
        """Play it to its end."""
        for _ in range(self.random.randint(1, 4)):
            self._user(self.random.randint(1, 4), after=self.random.uniform(0, 120))
        if self.random.random() < 0.9:
            self.stage.spawn("trouble", self.trouble.story)
        try:
            self.stage.run(lambda: self.users == 0)
            self.trouble.end()
            self._epilogue()
        except Exception as err:  # noqa: BLE001 - the seed is what must be told
            text = "".join(traceback.format_exception(err)[-3:]).strip().replace("\n", " | ")
            self.figures.broken.append(f"seed {self.seed}: {text}")
        finally:
            self.stage.close()
            self._count()
            if not self.figures.ok:
                self._tell()
            self.world.observer.close()
        return self.figures

    def _epilogue(self) -> None:
        """No more faults: whatever is left has to end by itself, once somebody starts gpunb again."""
        for actor in self.stage.actors:
            actor.life.doom = 0
        self.stage.spawn(self._name("start"), self._start)
        left = self.stage.now + 3 * 3600.0
        self.stage.run(lambda: self.stage.now > left or not self.stage.actors)
        self.world.saves.end()
        for name, machine in self.world.billed():
            self._wrong("late", f"{machine.id} at {name} is billed when everything is over")
        for session in self.world.observer.sessions():
            state = f"{session.state.value} ({session.detail})"
            self._wrong("late", f"{session.name} is {state} when everything is over")

    def _name(self, kind: str) -> str:
        self.numbers[kind] += 1
        return f"{kind}-{self.numbers[kind]}"

    def _doom(self, chance: float) -> int:
        # as many die in the first steps as in the long rest
        return int(2 ** self.random.uniform(0, 8.5)) if self.random.random() < chance else 0

    def _start(self, actor: Actor) -> None:
        with self.world.process(actor) as process:
            self._ensure(process)

    def _user(self, acts: int, *, after: float) -> None:
        """A front that does so many things, in one process or, as it dies, in several."""
        self.users += 1
        self.figures.fronts += 1
        rest = [acts]

        def story(actor: Actor) -> None:
            self.figures.starts += 1
            self.stage.say(f"{actor.name} starts")
            try:
                with self.world.process(actor) as process:
                    if self.random.random() < 0.5:
                        self._ensure(process)  # the extension starts
                    while rest[0] > 0:
                        rest[0] -= 1
                        self._act(process)
                        self.stage.sleep(self.random.choice([0.0, 5.0, 60.0, 400.0]))
            except KeyboardInterrupt:
                pass  # between two verbs
            except Crash:
                if actor.life.crashed and rest[0] > 0:
                    self._again(story)
                    return
            self.users -= 1

        self._again(story, after=after)

    def _again(self, story: Callable[[Actor], None], after: float | None = None) -> None:
        pause = self.random.choice([1.0, 30.0, 600.0]) if after is None else after
        ctrl_c = self._doom(0.2)
        self.stage.spawn(self._name("front"), story, after=pause, doom=self._doom(0.5), ctrl_c=ctrl_c)

    # -- the supervisor -----------------------------------------------------

    def _ensure(self, process: Process) -> None:
        """`watchers.ensure`, with a process of the stage."""
        if process.ledger.leader() is not None or not process.ledger.sessions():
            return
        doom = self._doom(0.3) * 4 if self.users else 0
        self.stage.spawn(self._name("supervisor"), self._supervise, after=0.5, doom=doom)

    def _supervise(self, actor: Actor) -> None:
        """`process.run`, on the stage's clock; the next user's verb starts another if it dies."""
        self.stage.say(f"{actor.name} starts")
        try:
            with self.world.process(actor, poisoned=True) as process:
                clouds = StageExecutor(self.stage)
                watch = Supervision(
                    process.ledger,
                    process.provider,
                    host=process.host,
                    pool=clouds,
                    hosts=clouds,
                    clouds=clouds,
                    wait=clouds.wait,
                    tick_s=TICK_S,
                    begin=self._begin,
                )
                checked = False
                while True:
                    looks = self.stage.now
                    with suppress(LedgerError):
                        left = len(process.ledger.sessions())
                        if process.ledger.lead("detached", LEADER_TTL_S):
                            if self.world.watched_since is None:
                                self.world.watched_since = self.stage.now
                            begun = self.stage.now
                            looked = watch.tick()
                            for line in looked.errors:
                                self.stage.say(line)
                            left = looked.sessions + looked.orphans + watch.awaited()
                            if not checked and not watch.blind and not self._trouble_with_lists(looked):
                                checked = True
                                self._check_known(begun)
                        if not left:
                            break
                    self.stage.sleep(max(TICK_S / 5.0, TICK_S - (self.stage.now - looks)))
                process.ledger.resign()
        finally:
            living = [one for one in self.stage.actors if not one.life.dead and one.life is not actor.life]
            if not any(one.name.startswith("supervisor") for one in living):
                self.world.watched_since = None

    def _begin(self, session: Session) -> None:
        """`gpunb.sessions.attempts.starting.start`, with a process of the stage, which may die."""
        if session.id not in self._next:
            self._next.add(session.id)
            doom = self._doom(0.3) if self.users else 0
            self.stage.spawn(
                self._name("next"), lambda actor: self._go_on(actor, session.id), after=0.5, doom=doom
            )

    def _go_on(self, actor: Actor, ident: str) -> None:
        """What `gpunb.services.once.next_machine.go_on` does, with offers and runs of the stage."""
        try:
            with self.world.process(actor) as process, suppress(LedgerError):
                if process.ledger.claim(ident, CLAIM_S):
                    self._next_machine(process, process.ledger.get(ident))
                    process.ledger.release(ident)
        finally:
            self._next.discard(ident)

    def _next_machine(self, process: Process, session: Session) -> None:
        ledger = process.ledger
        if chain.waits_for(ledger, session) is not None:
            return
        try:
            if session.state is _S.REQUESTED:
                lease = chain.settled(ledger, session).lease
                pool = self.world.offers[session.provider]
                offers = self.random.sample(pool, min(len(pool), 2))
                until = lease.deadline or 0.0
                request = lifecycle.RentRequest(
                    hours=(until - ledger.clock.time()) / 3600.0,
                    until=until,
                    budget_usd=math.inf if lease.budget_usd is None else lease.budget_usd,
                    save=session.save,
                    requested=session.id,
                    agreed=anything(offers[0]),
                )
                provider = process.provider(session.provider)
                session = lifecycle.rent(ledger, provider, offers, request, host=process.host)
                if not ledger.claim(session.id, CLAIM_S):
                    return
            if session.state is _S.READY and ledger.run(session.id, session.ends_with) is None:
                self.figures.next += 1
                self._once(process, session, stays=False)
        except GpunbError as err:
            self.stage.say(f"next machine: {type(err).__name__}: {err.message}; {err.bill}")
            if ledger.get(session.id).state is _S.REQUESTED:
                ledger.update(session.id, next_try=ledger.clock.time() + 60.0)

    @staticmethod
    def _trouble_with_lists(looked: Looked) -> bool:
        return any("list can't be had" in line for line in looked.errors)

    # -- what users do ------------------------------------------------------

    def _act(self, process: Process) -> None:
        rare = [self._extend, self._halt, self._halt, self._go, self._resume, self._work, self._ensure]
        rare += [self._move, self._move]
        act = self.random.choice([self._rent] * 5 + [self._down] * 2 + rare)
        self.stage.say(f"{act.__name__[1:]}")
        try:
            act(process)
        except GpunbError as err:
            self.stage.say(f"{act.__name__[1:]}: {type(err).__name__}: {err.message}; {err.bill}")

    def _rent(self, process: Process) -> None:
        self.figures.rents += 1
        names = list(self.world.clouds)
        name = self.random.choice([*names, *[one for one in names if one == "vast"] * 3])  # has all verbs
        pool = self.world.offers[name]
        offers = self.random.sample(pool, min(len(pool), self.random.randint(1, 3)))
        ends_with = self.random.choice(["", ledger_module.new_id()])  # half of them by `once`
        again = {"checkpoint": "out"} if ends_with and self.random.random() < 0.7 else {}
        request = lifecycle.RentRequest(
            name=self.random.choice([None, f"mine-{self.figures.rents}"]),
            hours=self.random.choice([0.5, 1.0] if again else [0.05, 0.2, 0.5]),
            idle_s=self.random.choice([None, 120.0]),
            boot_s=self.random.choice([None, 60.0]),
            disk_gb=self.random.choice([0.0, 30.0]),
            save=self.random.choice(ASKED),
            save_to=str(self.world.saves.folder),
            ends_with=ends_with,
            again=again,
            agreed=anything(offers[0]),  # so that the way from one offer to the next is gone often
        )
        try:
            session = lifecycle.rent(
                process.ledger,
                process.provider(name),
                offers,
                request,
                host=process.host,
                watch=lambda _: self._ensure(process),
            )
        except GpunbError as err:
            if request.name and str(err.bill).startswith(("confirmed:", "nothing was rented")):
                with suppress(SessionNotFound):
                    session = process.ledger.find(request.name)
                    self._check_gone(session.id, f"the error of rent says {err.bill!r}")
            raise
        self.figures.ready += 1
        if session.ends_with:
            self._once(process, session)
        elif self.random.random() < 0.3:
            self._halt(process)

    def _some(self, process: Process, *states: SessionState) -> Session | None:
        found = [one for one in process.ledger.sessions() if not states or one.state in states]
        return self.random.choice(found) if found else None

    def _down(self, process: Process) -> None:
        session = self._some(process)
        if session is not None:
            save = self.random.random() < 0.5
            if not save:
                self.world.saves.waived.add(session.id)
            receipt = lifecycle.down(
                process.ledger, process.provider(session.provider), session, host=process.host, save=save
            )
            if receipt.confirmed is not None:
                self._check_gone(session.id, "its receipt says that it is gone")

    def _extend(self, process: Process) -> None:
        session = self._some(process)
        if session is not None:
            lease.extend(process.ledger, session, hours=0.1, host=process.host)

    def _halt(self, process: Process) -> None:
        ready = [one for one in process.ledger.sessions() if one.state is _S.READY]
        able = [one for one in ready if self.world.provider_can(one.provider, Capability.STOP)]
        if ready:
            session = self.random.choice(able or ready)
            lifecycle.stop(process.ledger, process.provider(session.provider), session, host=process.host)
            if self.random.random() < 0.5:
                self.stage.sleep(self.random.choice([5.0, 60.0]))
                self._go(process)

    def _go(self, process: Process) -> None:
        session = self._some(process, _S.STOPPED)
        if session is not None:
            lifecycle.start(process.ledger, process.provider(session.provider), session, host=process.host)

    def _resume(self, process: Process) -> None:
        session = self._some(process)
        if session is not None:
            lifecycle.resume(process.ledger, process.provider(session.provider), session, host=process.host)

    def _move(self, process: Process) -> None:
        self.figures.moves += 1
        moves.move(self.world, process, lambda _: self._ensure(process))
        self.figures.moved += 1

    def _once(self, process: Process, session: Session, *, stays: bool = True) -> None:
        """Start the run that the session ends with, and leave it, or wait for it and end the session."""
        seconds, run = self.random.choice([5.0, 100.0, 900.0]), session.ends_with
        seconds += 300.0 if session.again else 0.0
        machine = session.instance_id.rpartition(":")[2]
        if session.again:
            self.stage.spawn(
                self._name("taker"),
                lambda _: self.trouble.take(session.provider, machine),
                after=self.random.choice([20.0, 200.0, 1e4]),
            )
            process.ledger.update(session.id, again={**session.again, "there": "proj/out"})
        process.ledger.add_run(RunNote(id=run, session_id=session.id))
        self.world.runs.setdefault(machine, {})[run] = (self.stage.now + seconds, "ok")
        if not stays or self.random.random() < 0.5:
            return
        self.stage.sleep(seconds)
        process.ledger.finish_run(run, "ok")
        if run_end.bring_home(process.ledger, session, process.host, Timing()) == []:
            provider = process.provider(session.provider)
            lifecycle.down(process.ledger, provider, session, host=process.host, save=False, why="run")

    def _work(self, process: Process) -> None:
        """A cell: activity in the ledger and on the host."""
        session = self._some(process, _S.READY)
        if session is None:
            return
        seconds = self.random.choice([5.0, 200.0])
        run = ledger_module.new_id()
        machine = session.instance_id.rpartition(":")[2]
        how = self.random.choice(["ok", "ok", "died"])  # a kernel that crashes
        self.world.runs.setdefault(machine, {})[run] = (self.stage.now + seconds, how)
        process.ledger.add_run(RunNote(id=run, session_id=session.id))
        self.stage.sleep(seconds)
        if self.random.random() < 0.5:  # else it was detached, and the supervisor learns of its end
            process.ledger.finish_run(run, how)

    # -- the checks ---------------------------------------------------------

    def _wrong(self, bar: str, text: str) -> None:
        getattr(self.figures, bar).append(f"seed {self.seed}: {text}")

    def _check_known(self, listed: float) -> None:
        """After a start and its first look with good lists: each bill is in the ledger."""
        ledger = self.world.observer
        sessions = ledger.sessions()
        ids = {(one.provider, one.instance_id) for one in sessions}
        ids |= {(one.provider, one.instance_id) for one in ledger.orphans()}
        labels = {one.label for one in ledger.intents() if one.state is IntentState.SENT}
        alive = {one.id for one in sessions}
        for name, machine in self.world.billed():
            shown = machine.listed_at <= listed
            known = machine.label in labels and machine.label.split("-")[2] in alive
            known |= any(name == cloud and ident.endswith(machine.id) for cloud, ident in ids)
            if shown and not known:
                self._wrong("unknown", f"{machine.id} ({machine.label}) at {name}")

    def _check_gone(self, session_id: str, said: str) -> None:
        for name, machine in self.world.billed():
            if machine.label.split("-")[2] == session_id:
                self._wrong("false", f"{machine.id} ({machine.label}) at {name} is billed, and {said}")

    def _look_at_the_clock(self) -> None:
        """Each time that time passes: nothing is over and billed, nothing outlives its lease."""
        billed = self.world.billed()
        if not billed:
            return
        ledger = self.world.observer
        live = {one.id: one for one in ledger.sessions()}
        for name, machine in billed:
            ident = machine.label.split("-")[2]
            session = live.get(ident)
            if session is None:
                self._stray(name, machine)
                continue
            end = self.world.true(session.lease.deadline or 0.0)
            ahead = self.world.true(session.active_at) - self.stage.now
            if ahead > 1.0:
                self._wrong(
                    "broken", f"{session.name} was active {ahead:.0f} s from now, by its host's clock"
                )
            idle = self._idle_since(name, machine, session)
            if idle > IDLE_LATE_S and machine.id not in self._late:
                self._late.add(machine.id)
                self._wrong("late", f"{machine.id} at {name}: idle for {idle:.0f} s more than it may be")
            alone = self._half_way_since(name, machine, session)
            if alone > HALF_WAY_LATE_S and machine.id not in self._late:
                self._late.add(machine.id)
                self._wrong("late", f"{machine.id} at {name}: its move is broken off since {alone:.0f} s")
            over = self.stage.now - self._excused(name, machine, session)
            self.figures.latest_s = max(self.figures.latest_s, over)
            if over > 2 * TICK_S + 1 and machine.id not in self._late:
                self._late.add(machine.id)
                self._wrong(
                    "late",
                    f"{machine.id} ({machine.label}) at {name}, {session.state.value} since "
                    f"{self.stage.now - self.world.true(session.state_at):.0f} s ({session.detail}): "
                    f"{self.stage.now - end:.0f} s after its lease, {over:.0f} s beyond what is excused",
                )

    def _idle_since(self, name: str, machine: Machine, session: Session) -> float:
        """Seconds since it ought to be taken for idle, whatever its host says; 0 if it is at work."""
        idle_s = session.lease.idle_s
        if idle_s is None or session.state is not _S.READY or self.world.watched_since is None:
            return 0.0
        active = self.world.true(session.active_at)
        for note in self.world.observer.open_runs(session.id):  # what it says of our own runs is believed
            if machine.id in self.world.liars and note.active:
                active = self.stage.now
            elif machine.id not in self.world.liars:
                ends, _ = self.world.runs.get(machine.id, {}).get(note.id, (0.0, ""))
                active = max(active, min(ends, self.stage.now))
        since = max(active + idle_s, self.world.watched_since, self.trouble.hindered(name, machine))
        return max(0.0, self.stage.now - since)

    def _half_way_since(self, name: str, machine: Machine, session: Session) -> float:
        """Seconds since nobody carries on the move for which it was rented; 0 if somebody does, or did."""
        if not session.moves_from or session.state not in RENTED or self.world.watched_since is None:
            return 0.0
        if self.world.observer.in_hand(session.id):
            self._in_hand[session.id] = self.stage.now
        begun = max(self.world.true(session.state_at), self._in_hand.get(session.id, 0.0))
        since = max(begun, self.world.watched_since, self.trouble.hindered(name, machine))
        return max(0.0, self.stage.now - since)

    def _excused(self, name: str, machine: Machine, session: Session) -> float:
        """Until when it may live: its lease, or what no supervisor could have done anything about."""
        if self.world.watched_since is None:
            return float("inf")
        end = self.world.true(session.lease.deadline or 0.0)
        return max(end, self.world.watched_since, self.trouble.excuse(name, machine, session))

    def _stray(self, name: str, machine: Machine) -> None:
        """Billed although its session is over: an answer that came too late for all lists."""
        ledger = self.world.observer
        known = {one.instance_id.rpartition(":")[2] for one in ledger.orphans()}
        if machine.id in known or machine.id in self._late:
            return
        self._late.add(machine.id)
        states = {one.label: one.state.value for one in ledger.intents()}
        said = f"over in the ledger ({states.get(machine.label)})"
        self._wrong("false", f"{machine.id} ({machine.label}) at {name}: {said}")

    def _count(self) -> None:
        figures, stage = self.figures, self.stage
        figures.crashes.update(stage.crashes)
        figures.interrupts += stage.interrupts
        figures.steps += stage.steps
        figures.simulated_h = (stage.now - START) / 3600.0
        for name, cloud in self.world.clouds.items():
            figures.faults.update(one.kind for one in cloud.faults.fired)
            figures.instances[name] += sum(one.label.startswith("gpunb-") for one in cloud.machines.values())
        figures.faults.update(self.trouble.happened)
        figures.saved = len(self.world.saves.saved())
        figures.unsaved.update(self.world.saves.excused.values())
        figures.lost += [f"seed {self.seed}: {line}" for line in self.world.saves.lost]
        figures.doubly += [f"seed {self.seed}: {line}" for line in self.world.doubly]


class _Seeded:
    """`secrets` with a seed, so that a schedule can be played again."""

    def __init__(self, seed: int) -> None:
        import random as module

        self._random = module.Random(seed)

    def choice(self, letters: str) -> str:
        """A letter."""
        return self._random.choice(letters)


@contextmanager
def _home() -> Iterator[Path]:
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # each commit waits for the disk
    folder = tempfile.mkdtemp(prefix="gpunb-chaos-", dir=base)
    before = os.environ.get("GPUNB_HOME")
    os.environ["GPUNB_HOME"] = folder
    try:
        yield Path(folder)
    finally:
        if before is None:
            del os.environ["GPUNB_HOME"]
        else:
            os.environ["GPUNB_HOME"] = before
        shutil.rmtree(folder, ignore_errors=True)


def play(seed: int) -> Figures:
    """Play the schedule of `seed` in a folder of its own."""
    kept = secrets.choice
    secrets.choice = _Seeded(seed).choice  # session ids are drawn by it
    try:
        with _home() as folder:
            return Schedule(seed, folder).run()
    finally:
        secrets.choice = kept
