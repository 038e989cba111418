"""A process that dies at any step: the next one knows every bill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gpunb.sessions.model import SessionState
from tests.sessions.scripted import Crash, raising, timed_out

if TYPE_CHECKING:
    from tests.sessions.conftest import World

S = SessionState


class Doom:
    """Dies at the n-th step: a commit, a provider's call, or a step on the host."""

    def __init__(self, world: World, at: int) -> None:
        self.at, self.steps, self.dead = at, 0, False
        self.world = world

    def step(self, *_: Any) -> None:
        if self.dead:
            raise Crash
        self.steps += 1
        if self.steps == self.at:
            self.dead = True
            raise Crash

    def arm(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ledger, cloud = self.world.ledger, self.world.cloud
        for target, names in (
            (ledger, ("_write",)),
            (cloud, ("create", "destroy", "instances", "get")),
        ):
            for name in names:
                monkeypatch.setattr(target, name, self._doomed(getattr(target, name)))
        # the shutdown is asked for by a thread of its own
        self.world.host.hook = lambda name: None if name == "shutdown" else self.step()

    def _doomed(self, real: Any) -> Any:
        def wrapped(*args: Any, **more: Any) -> Any:
            self.step()  # before its effect
            out = real(*args, **more)
            if not hasattr(out, "__enter__"):
                self.step()  # after it
            return out

        return wrapped


def run_story(world: World) -> None:
    session = world.rent(world.cloud.offer("o1"), world.cloud.offer("o2"), boot_s=20.0)
    world.down(session)


@pytest.mark.parametrize("scene", ["plain", "bad-host", "lost-answer", "deaf-destroy"])
def test_death_at_every_step_and_resume(world: World, monkeypatch: pytest.MonkeyPatch, scene: str) -> None:
    """Whatever the step, the next process knows every bill, and ends what was half done."""
    at, finished = 0, False
    while not finished:
        at += 1
        assert at < 400
        script = type(world.cloud.script)()
        world.cloud.script = script
        if scene == "bad-host":
            script.never_boots = {"o1"}
        elif scene == "lost-answer":
            script.create_after = [raising(timed_out())]
            script.list_lag_s = 20.0
        elif scene == "deaf-destroy":
            script.destroy_ignored = 1
        before = world.cloud.creates
        with monkeypatch.context() as patch:
            doom = Doom(world, at)
            doom.arm(patch)
            try:
                run_story(world)
                finished = True
            except Crash:
                pass
        world.host.hook = lambda step: None
        world.restart()
        assert world.unknown_bills() == [], f"death at step {at}"
        assert len(world.cloud.billed()) <= 1, f"doubly rented after death at step {at}"
        made = world.cloud.creates - before
        for session in world.ledger.sessions():
            after = world.resume(session)
            if after.alive:
                assert after.state is S.READY
                assert after.lease.deadline is not None
                world.down(after, save=False)
        assert world.cloud.creates - before == made, "resume never rents"
        assert world.cloud.billed() == [], f"death at step {at}"
    assert at > 25
