"""The steps of a session's start, measured and told."""

from __future__ import annotations

import time

from gpunb.progress import SILENT, STEPS, Steps, step


class Heard:
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
        self.said.append(f"{done:g} of {total} {unit}")


def test_each_step_is_told_with_the_seconds_of_the_one_before() -> None:
    heard = Heard()
    steps = Steps(heard)
    assert step(steps, "host key")
    time.sleep(0.06)
    assert step(steps, "login")
    steps.say("of a layer below")
    steps.advance(1, 2, "s")
    assert not step(steps, "\x1b[31m a host's own word"), "a stranger names no steps"
    steps.end()
    steps.end()
    assert list(steps.took) == ["host key", "login"]
    assert steps.took["host key"] >= 0.05 > steps.took["login"]
    assert heard.said == [
        "checking the host key",
        "logging in (host key: 0.1 s)",
        "of a layer below",
        "1 of 2 s",
    ]
    assert str(steps) == "host key 0.1 s, login 0.0 s; together 0.1 s"


def test_a_login_that_is_tried_again_begins_anew() -> None:
    steps = Steps(SILENT)
    for name in ("host key", "login", "host key"):
        steps.step(name)
    time.sleep(0.01)
    steps.end()
    assert list(steps.took) == ["host key"]


def test_who_measures_nothing_is_told_nothing() -> None:
    assert not any(step(SILENT, name) for name in STEPS)
    assert str(Steps(SILENT)) == ""
