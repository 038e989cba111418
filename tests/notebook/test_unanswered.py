"""What a cell on the host asks, where nobody can answer."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.machines.kernel import Notebook

pytestmark = pytest.mark.slow

QUESTIONS = ["name = input('name? ')", "from getpass import getpass\ngetpass()", "breakpoint()\nprint(1)"]


def gpunb(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gpunb", *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=90,
    )


def running() -> list[dict[str, object]]:
    (found,) = json.loads(gpunb("ps", "--json").stdout)
    runs: list[dict[str, object]] = found["running"]
    return runs


def test_a_front_end_that_cannot_ask_gets_the_error_of_a_kernel_here(rented: Notebook) -> None:
    # jupyter/notebook and nbconvert#288, mljar/mercury#186: nbclient, papermill and Voila can't ask
    for code in QUESTIONS:
        here = rented.run(code, asks=False)
        there = rented.run(f"%%gpu\n{code}", asks=False)
        assert there.status == here.status, there.error
        assert here.ename in there.error
        if "breakpoint" not in code:  # pdb takes it for the end of its input, here and there
            assert here.ename == "StdinNotImplementedError"
    rented.run("%%gpu\n1/0", asks=False)
    assert rented.run("%%gpu\n%debug", asks=False, seconds=30).status in {"ok", "error"}, "it does not hang"
    after = rented.run("%%gpu\nprint('next')", asks=False)
    assert after.text.endswith("next\n")
    assert running() == []


def test_one_that_is_not_answered_is_shown_as_waiting_and_keeps_nobody_who_looks(rented: Notebook) -> None:
    started = rented.run("%%gpu -d\nname = input('name? ')\nprint('hello', name)", asks=False)
    assert started.status == "ok", started.error
    until = time.monotonic() + 60
    while not (found := running()) or found[0]["state"] != "waiting for input":
        assert time.monotonic() < until, found
        time.sleep(0.5)
    run = str(found[0]["id"])
    listed = gpunb("runs")
    assert "waiting for input" in listed.stdout
    for words in (["attach", run], ["attach"]):
        left = gpunb(*words)
        assert left.returncode == 1, left
        assert "waits for an answer to 'name?', and no answer can be given here" in left.stderr
        assert "unexpected" not in left.stderr
        assert "gpunb cancel" in left.stderr
    assert running(), "whoever only looked has not answered"
    answered = rented.run(f"%gpu attach {run}", answer="Ada")
    assert answered.text.endswith("hello Ada\n"), answered
    assert running() == []
