"""What an error says of the bill: only after a verb that can touch one, and of what runs on."""

from __future__ import annotations

import importlib
import json
import shlex
from typing import TYPE_CHECKING

import pytest
from support.rentals.ledgers import ready

from gpunb.cli.main import invoke
from gpunb.cli.registry import VERBS, module_name, split
from gpunb.errors import BadInput, GpunbError, Unreachable
from gpunb.sessions.access import host_access
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import SessionState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.machines.terminal import Gpunb

    from gpunb.cli.command import Verb

#: Those that rent, end, pay, or use up something that is billed.
TOUCH = {
    "vast bid": "nothing was changed",
    "down": "nothing was ended",
    "extend": "nothing was changed",
    "vast increases": "nothing was changed",
    "vast prepay": "nothing was paid",
    "once": "nothing was rented",
    "move": "nothing was rented",
    "reboot": "nothing was rebooted",
    "rent": "nothing was rented",
    "vast snapshot": "nothing was pushed",
    "start": "nothing was started",
    "stop": "nothing was stopped",
    "supervise": "nothing was ended",
    "sync": "nothing was moved",
    "update": "nothing was changed",
    "volumes": "nothing was changed",
}


def command(name: str) -> Verb:
    found: Verb = importlib.import_module(module_name(name)).command
    return found


def example(name: str) -> list[str]:
    """The words of a verb's first example."""
    return shlex.split(command(name).example.splitlines()[0])


def of_a_session() -> Iterator[str]:
    for name in VERBS:
        if any("--session" in one.opts for one in command(name).params):
            yield name


def bills(shown: str) -> list[str]:
    return [line.removeprefix("bill: ") for line in shown.splitlines() if line.startswith("bill: ")]


@pytest.mark.parametrize("name", VERBS)
def test_an_option_that_is_not_there(gpunb: Gpunb, name: str) -> None:
    said = gpunb(*name.split(), "--no-such-option")
    assert said.code == 2
    assert bills(said.err) == ([TOUCH[name]] if name in TOUCH else [])
    told = json.loads(gpunb(*name.split(), "--no-such-option", "--json").out)["error"]
    assert told["bill"] == TOUCH.get(name)


@pytest.mark.parametrize("name", list(of_a_session()))
def test_a_session_that_is_not_there(
    gpunb: Gpunb, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = gpunb(*name.split(), "--session", "nosuch", *split(example(name))[1])
    assert said.code != 0
    assert said.err.startswith("error: ")
    assert bool(bills(said.err)) == (name in TOUCH)


def test_a_name_that_breaks_the_rule_is_no_matter_of_the_bill(gpunb: Gpunb) -> None:
    with Ledger.open() as ledger:
        ready(ledger, name="demo")
        ledger.lead("detached", 3600.0)
    renamed = gpunb("rename", "Bad_Name!")
    assert "can't be a session's name" in renamed.err
    assert bills(renamed.err) == []
    rented = gpunb("rent", "--name", "Bad_Name!", "--yes")
    assert "can't be a session's name" in rented.err
    assert bills(rented.err) == ["nothing was rented"]


def test_what_a_notebook_is_told(home: Path) -> None:
    for line, bill in (("rename 'Bad_Name!'", None), ("rent --name 'Bad_Name!'", "nothing was rented")):
        with pytest.raises(GpunbError) as caught:
            invoke(line)
        assert caught.value.bill == bill


def test_a_machine_that_runs_on_is_told_after_every_verb(
    gpunb: Gpunb, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger.open() as ledger:
        ready(ledger, name="demo")
        ledger.lead("detached", 3600.0)

    def unreachable(*_: object, **__: object) -> None:
        msg = "no SSH at demo"
        raise Unreachable(msg)

    monkeypatch.setattr(host_access, "agent", unreachable)
    assert "demo is billed" in bills(gpunb("restart", "demo", "--yes").err)[0]


def test_a_stopped_machine_s_disk_is_told_after_every_verb(gpunb: Gpunb) -> None:
    with Ledger.open() as ledger:
        session = ready(ledger, name="demo", stopped_usd_h=0.02)
        ledger.transition(session, SessionState.STOPPED)
        ledger.lead("detached", 3600.0)
    said = gpunb("restart", "demo", "--yes")
    assert "its disk costs" in bills(said.err)[0]


def test_after_a_yes_nothing_is_promised(gpunb: Gpunb, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad input that shows when something was done already says nothing of the bill by itself."""
    from gpunb.sessions.cost import lease

    with Ledger.open() as ledger:
        ready(ledger, name="demo")
        ledger.lead("detached", 3600.0)

    def late(*_: object, **__: object) -> None:
        msg = "the lease is odd"
        raise BadInput(msg)

    monkeypatch.setattr(lease, "extend", late)
    said = gpunb("extend", "demo", "1h", "--yes")
    assert "the lease is odd" in said.err
    assert bills(said.err) == []
