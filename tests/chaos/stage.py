"""Processes that take turns under one virtual clock: everything that happens, a seed decides.

Each process is a thread, but only one runs at a time: at every step (a request, an answer, a
commit, a sleep) the stage may let another go on, kill the one that stands there, or press its
Ctrl-C. Time passes only when all of them sleep.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable

from gpunb.sim import Clock

Story = Callable[["Actor"], None]
START = 1_800_000_000.0
LIMIT_S = 3 * 86400.0


class Crash(BaseException):
    """The process dies here: no effect of its own follows."""


class Actor:
    """A process of the schedule.

    Attributes
    ----------
    doom, ctrl_c
        The numbers of the steps at which it dies, and at which Ctrl-C is pressed.
    failure
        An error that no process should end with.
    """

    def __init__(self, stage: Stage, name: str, story: Story, doom: int, ctrl_c: int) -> None:
        self.name, self.doom, self.ctrl_c = name, doom, ctrl_c
        self.steps = 0
        self.wake = stage.now
        self.dead = self.over = self.crashed = False
        self.failure: BaseException | None = None
        self._stage, self._story = stage, story
        self.go = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._live, name=name, daemon=True)

    def _live(self) -> None:
        self.go.acquire()
        try:
            if not self.dead:
                self._story(self)
        except Crash:
            pass
        except BaseException as err:  # noqa: BLE001 - told by the schedule
            self.failure = err
        self.over = True
        self._stage.back.release()


class Stage:
    """The clock, the processes, and who is next."""

    SWITCH = 0.25

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = START
        self.actors: list[Actor] = []
        self.back = threading.Semaphore(0)
        self.crashes: Counter[str] = Counter()
        self.interrupts = 0
        self.steps = 0
        self.trace: list[tuple[float, str]] = []
        self.on_time: Callable[[], None] = lambda: None
        self._current: Actor | None = None

    def spawn(self, name: str, story: Story, *, after: float = 0.0, doom: int = 0, ctrl_c: int = 0) -> Actor:
        """A new process that begins `after` seconds from now."""
        actor = Actor(self, name, story, doom, ctrl_c)
        actor.wake = self.now + after
        self.actors.append(actor)
        actor.thread.start()
        return actor

    @property
    def me(self) -> Actor | None:
        """The process that runs here; None in the schedule's own thread, or a helper's."""
        actor = self._current
        return actor if actor is not None and actor.thread is threading.current_thread() else None

    def say(self, text: str) -> None:
        """A line of the story."""
        who = self._current.name if self._current is not None else "the stage"
        self.trace.append((self.now, f"{who}: {text}"))

    def step(self, kind: str) -> None:
        """An effect is about to happen, or has just happened."""
        actor = self.me
        if actor is None:
            return
        if actor.dead:
            raise Crash
        self.steps += 1
        actor.steps += 1
        if actor.steps == actor.doom:
            self.crashes[kind] += 1
            actor.dead = actor.crashed = True
            self.say(f"dies {kind}")
            raise Crash
        if actor.steps == actor.ctrl_c:
            self.interrupts += 1
            self.say(f"Ctrl-C {kind}")
            raise KeyboardInterrupt
        if self.random.random() < self.SWITCH:
            self._leave(actor)

    def sleep(self, seconds: float) -> None:
        """Wait; others may go on meanwhile."""
        actor = self.me
        if actor is None:
            self.now += seconds
            return
        self.step("sleep")
        actor.wake = self.now + max(seconds, 1e-3)
        self._leave(actor)

    def _leave(self, actor: Actor) -> None:
        self.back.release()
        actor.go.acquire()
        if actor.dead:
            raise Crash

    def run(self, done: Callable[[], bool]) -> None:
        """Let the processes live until `done`, or none is left."""
        while not done():
            living = [one for one in self.actors if not one.over]
            ready = [one for one in living if one.wake <= self.now]
            if ready:
                self._turn(self.random.choice(ready))
                continue
            if not living:
                return
            self.now = min(one.wake for one in living)
            assert self.now < START + LIMIT_S, f"a loop that does not end: {[one.name for one in living]}"
            self.on_time()

    def _turn(self, actor: Actor) -> None:
        self._current = actor
        actor.go.release()
        self.back.acquire()
        self._current = None
        if actor.over:
            actor.thread.join()
            self.actors.remove(actor)
            if actor.failure is not None:
                raise actor.failure

    def kill(self, actor: Actor) -> None:
        """SIGKILL from outside: it dies where it stands."""
        actor.dead = True
        actor.wake = self.now

    def close(self) -> None:
        """End all that still live."""
        for actor in list(self.actors):
            self.kill(actor)
            while not actor.over:
                actor.go.release()
                self.back.acquire()
            actor.thread.join()
        self.actors.clear()


class StageClock(Clock):
    """The simulated clouds' clock: waiting lets the other processes go on."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(speed=0.0, start=START)
        self._stage = stage

    def now(self) -> float:
        """The stage's time."""
        return self._stage.now

    def advance(self, seconds: float) -> None:
        """A process waits."""
        self._stage.sleep(seconds)

    # the ledger's words for the same
    time = now
    sleep = advance
