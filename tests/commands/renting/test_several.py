"""``stop a b`` and ``start a b``: all are checked first, one question, and one failure holds back none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.rentals.clouds import simulated
from support.rentals.ledgers import ready

from gpunb.cli import several
from gpunb.errors import WrongState
from gpunb.hints import typed
from gpunb.presentation.result import Block, Note
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import SessionState

if TYPE_CHECKING:
    from pathlib import Path

    from support.machines.terminal import Gpunb

    from gpunb.sessions.model import Session


@pytest.fixture
def names(home: Path) -> None:
    """Two that are ready and two that are stopped, on paper."""
    with Ledger.open() as ledger:
        ledger.lead("detached", 3600.0)
        for name in ("one", "two"):
            ledger.update(ready(ledger, name=name, usd_h=1.0).id, stopped_usd_h=0.25)
        for name in ("three", "four"):
            ledger.transition(ready(ledger, name=name, usd_h=1.5), SessionState.STOPPED)


def states() -> dict[str, str]:
    with Ledger.open() as ledger:
        return {one.name: one.state.value for one in ledger.sessions()}


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("stop one nobody", 1, "there is no session 'nobody'"),
        ("stop one tw", 1, "'tw' is only the beginning of one"),
        ("stop one three", 1, "three is stopped: only a ready one can be stopped"),
        ("start three one", 1, "one is ready, not stopped"),
        ("down one nobody", 1, "there is no session 'nobody'"),
    ],
)
def test_each_is_checked_before_the_first_is_touched(
    names: None, gpunb: Gpunb, line: str, code: int, said: str
) -> None:
    before = states()
    ran = gpunb(*line.split(), "--yes")
    assert ran.code == code
    assert said in ran.err
    assert states() == before
    with Ledger.open() as ledger:
        assert not [
            event for one in ledger.sessions() for event in ledger.events(one.id) if event.kind == "stop"
        ]


def test_one_question_has_the_money_of_all(names: None, gpunb: Gpunb) -> None:
    ran = gpunb("stop", "one", "two", "one")
    assert ran.code == 2
    assert "Stop one, two: variables are lost, their disks stay and cost $0.500 an hour in all" in ran.err
    assert "needs a confirmation" in ran.err
    with Ledger.open() as ledger:
        for name in ("three", "four"):
            kept = ledger.find(name)
            ledger.update(kept.id, lease=type(kept.lease)(deadline=ledger.clock.time() + 7200.0))
    ran = gpunb("start", "three", "four")
    assert ran.code == 2
    assert "Start three, four: $3.00 an hour in all, $6.00 for all that their leases have left." in ran.err
    assert "three $1.50 an hour, $3.00 for the 2h 00m that its lease has left; four $1.50" in ran.err


def test_a_failure_says_what_to_type_where_it_is_shown(names: None) -> None:
    with Ledger.open() as ledger:
        sessions = ledger.sessions()[:2]

    def act(session: Session) -> tuple[dict[str, Any], list[Block]]:
        if session.name == "two":
            msg = "two is gone"
            raise WrongState(msg, bill="nothing was changed", hint=typed("ps") + " lists them")
        return {"session": session.name}, [Note("done")]

    data, blocks, failed = several.each("stop", sessions, act)
    assert failed
    assert data == [{"session": "one"}, {"session": "two", "error": "two is gone"}]
    page = "".join(block.html() for block in blocks)
    assert "two: two is gone" in page
    assert "bill: nothing was changed" in page
    assert "next: %gpu ps lists them" in page


@pytest.mark.slow
def test_they_stop_and_start_and_one_failure_holds_back_none(
    gpunb: Gpunb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with simulated(["vast"], speed=60.0) as simulation:
        for name in ("one", "two"):
            ran = gpunb("rent", "--cloud", "vast", "--name", name, "--for", "3h", "--yes")
            assert ran.code == 0, ran.err
        stopped = gpunb("stop", "one", "two", "--yes", "--json")
        assert stopped.code == 0, stopped.err
        assert [(row["session"], row["state"]) for row in stopped.json] == [
            ("one", "stopped"),
            ("two", "stopped"),
        ]
        simulation["vast"].faults.add("gpu-taken", "state", times=1)
        started = gpunb("start", "one", "two", "--yes")
        assert started.code == 1
        assert "one: " in started.out
        assert "bill: " in started.out
        assert "two is ready; it costs $" in started.out
        assert states() == {"one": "stopped", "two": "ready"}
        assert gpunb("down", "--all", "--yes", "--no-save").code == 0
