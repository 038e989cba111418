"""What somebody at a keyboard sees: the question before money is spent, Ctrl-C, the spinner."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from gpunb.providers.local import LocalProvider

if TYPE_CHECKING:
    from pathlib import Path

    from support.machines.terminal import Gpunb

pytestmark = pytest.mark.slow


class Terminal:
    """``gpunb …`` with a pseudo terminal as its own."""

    def __init__(self, *args: str) -> None:
        self.ours, theirs = pty.openpty()
        self.child = subprocess.Popen(
            [sys.executable, "-m", "gpunb", *args],
            stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
        )  # fmt: skip
        os.close(theirs)
        self.seen = ""

    def wait(self, text: str, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end, f"{text!r} did not come: {self.seen[-1000:]!r}"
            if not self._read():
                break
        assert text in self.seen, self.seen

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def end(self, seconds: float = 60.0) -> int:
        end = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < end, self.seen[-1000:]
        code = self.child.wait(30)
        os.close(self.ours)
        return code

    def _read(self) -> bool:
        ready, _, _ = select.select([self.ours], [], [], 0.2)
        if not ready:
            return True
        data = b""
        with contextlib.suppress(OSError):
            data = os.read(self.ours, 65536)
        self.seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode("utf-8", "replace"))
        return bool(data)


@pytest.fixture
def priced(home: Path) -> None:
    home.mkdir(exist_ok=True)
    (home / "gpunb.toml").write_text("[providers.local]\nusd_h = 1.5\n")


def test_rent_asks_before_it_costs_and_no_means_no(gpunb: Gpunb, priced: None) -> None:
    terminal = Terminal("rent", "--name", "paid", "--for", "2h")
    terminal.wait("Rent it?")
    assert "$1.50 an hour" in terminal.seen
    assert "$3.00" in terminal.seen
    terminal.type("n\n")
    assert terminal.end() == 1
    assert "nothing was rented" in terminal.seen
    assert LocalProvider().instances() == []
    assert gpunb("ps", "--all", "--json").json == []


def test_yes_means_yes_and_down_asks_again(gpunb: Gpunb, priced: None) -> None:
    terminal = Terminal("rent", "--name", "paid", "--budget", "5")
    terminal.wait("Rent it?")
    terminal.type("y\n")
    assert terminal.end() == 0, terminal.seen
    assert "paid is ready" in terminal.seen
    (session,) = gpunb("ps", "--json").json
    assert session["usd_h"] == 1.5
    assert session["lease"]["budget_usd"] == 5
    terminal = Terminal("down")
    terminal.wait("Continue?")
    terminal.type("n\n")
    assert terminal.end() == 1
    assert gpunb("ps", "--json").json[0]["state"] == "ready"
    terminal = Terminal("down")
    terminal.wait("Continue?")
    terminal.type("y\n")
    assert terminal.end() == 0, terminal.seen
    assert "receipt: paid" in terminal.seen


def test_budget_below_an_hours_price(gpunb: Gpunb, priced: None) -> None:
    refused = gpunb("rent", "--budget", "1", "--yes")
    assert refused.code == 2
    assert "$1.00" in refused.err
    assert LocalProvider().instances() == []


def test_ctrl_c_at_the_question_and_while_renting(gpunb: Gpunb, priced: None) -> None:
    terminal = Terminal("rent", "--name", "paid")
    terminal.wait("Rent it?")
    for _ in range(20):  # readline misses a signal between its prompt and its wait
        time.sleep(0.5)
        terminal._read()
        if "interrupted" in terminal.seen or terminal.child.poll() is not None:
            break  # on a busy machine it may be on its way out for longer than this
        os.killpg(terminal.child.pid, signal.SIGINT)
    assert terminal.end() == 130
    assert LocalProvider().instances() == []
    terminal = Terminal("rent", "--name", "paid", "--yes")
    terminal.wait("rent")
    end = time.monotonic() + 30
    while not LocalProvider().instances():
        assert time.monotonic() < end
        time.sleep(0.01)
    os.killpg(terminal.child.pid, signal.SIGINT)
    code = terminal.end()
    if code == 0:  # it was ready before the signal came
        assert gpunb("down", "--yes").code == 0
    else:
        assert code == 130, terminal.seen
        assert "bill: confirmed" in terminal.seen
    assert LocalProvider().instances() == []
