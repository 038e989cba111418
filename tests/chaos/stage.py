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
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

from gpunb.sim import Clock

if TYPE_CHECKING:
    from collections.abc import Collection

Story = Callable[["Actor"], None]
START = 1_800_000_000.0
LIMIT_S = 3 * 86400.0


class Crash(BaseException):
    """The process dies here: no effect of its own follows."""


class Life:
    """What the threads of one process share.

    Attributes
    ----------
    doom, ctrl_c
        The numbers of the steps at which it dies, and at which Ctrl-C is pressed.
    """

    def __init__(self, doom: int, ctrl_c: int) -> None:
        self.doom, self.ctrl_c = doom, ctrl_c
        self.steps = 0
        self.dead = self.crashed = False
        self.threads: list[Actor] = []


class Actor:
    """A thread of a process of the schedule.

    Attributes
    ----------
    failure
        An error that no process should end with.
    """

    def __init__(self, stage: Stage, name: str, story: Story, life: Life) -> None:
        self.name, self.life = name, life
        self.wake = stage.now
        self.over = False
        self.failure: BaseException | None = None
        self._stage, self._story = stage, story
        self.go = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._live, name=name, daemon=True)
        life.threads.append(self)

    def _live(self) -> None:
        self.go.acquire()
        try:
            if not self.life.dead:
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
        return self._begin(Actor(self, name, story, Life(doom, ctrl_c)), after)

    def helper(self, story: Story) -> Actor:
        """Another thread of the process that runs now."""
        assert self._current is not None
        return self._begin(Actor(self, self._current.name, story, self._current.life), 0.0)

    def _begin(self, actor: Actor, after: float) -> Actor:
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
        life = actor.life
        if life.dead:
            raise Crash
        self.steps += 1
        life.steps += 1
        if life.steps == life.doom:
            self.crashes[kind] += 1
            life.crashed = True
            self.say(f"dies {kind}")
            self.kill(actor)
            raise Crash
        if life.steps >= life.ctrl_c > 0 and actor is life.threads[0]:
            life.ctrl_c = 0
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
        if actor.life.dead:
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
        """SIGKILL: all threads of its process die where they stand."""
        actor.life.dead = True
        for one in actor.life.threads:
            one.wake = self.now

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


class WallClock(StageClock):
    """The clock of the users' machine, which can be set, over a count that nobody sets."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.ahead = 0.0

    def time(self) -> float:
        """What it shows."""
        return self._stage.now + self.ahead

    def steady(self) -> tuple[str, float]:
        """The boot, and seconds since then."""
        return "boot", self._stage.now - START


class StageExecutor(Executor):
    """Threads of one process, on the stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def submit(self, fn: Any, /, *args: Any, **more: Any) -> Future[Any]:
        """Begin a helper."""
        done: Future[Any] = Future()

        def story(actor: Actor) -> None:
            try:
                done.set_result(fn(*args, **more))
            except Exception as err:  # noqa: BLE001 - whoever waits is told
                done.set_exception(err)

        self._stage.helper(story)
        return done

    def wait(self, futures: Collection[Future[Any]], seconds: float) -> None:
        """As `concurrent.futures.wait`, in the stage's time."""
        end, pause = self._stage.now + seconds, 0.0
        while not all(one.done() for one in futures) and self._stage.now < end:
            self._stage.sleep(pause)
            pause = min(1.0, pause * 2 + 0.01)
