"""Which session a name means, and which one is meant where none is named."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.rentals.ledgers import add, ready

from gpunb.errors import SessionAmbiguous, SessionNotFound, SessionOver
from gpunb.sessions.access import renter
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import SessionState

TWICE = """
import sys
from gpunb.sessions.access import renter
print(" ".join(renter.marks(notebook=False)))
"""


def test_a_name_that_is_over_means_no_other(ledger: Ledger) -> None:
    old, alive = add(ledger, "train"), ready(ledger, name="train2")
    ledger.transition(old, SessionState.FAILED)
    for name in ("train", old.id):
        assert ledger.find(name).id == old.id
        with pytest.raises(
            SessionOver, match=r"has ended already \(failed\); there is train2 \(ready\)"
        ) as caught:
            ledger.one(name)
        assert caught.value.bill is not None
    again = ready(ledger, name="train")
    assert ledger.one("train").id == ledger.find("train").id == again.id, (
        "a live one of that name comes first"
    )
    for name in ("train2", alive.id):
        assert ledger.one(name).id == alive.id


def test_the_beginning_of_a_name_or_id_is_for_reading(ledger: Ledger) -> None:
    one = ready(ledger, name="train2")
    for size in range(1, 6):
        assert ledger.look_up("train2"[:size]).id == one.id
        with pytest.raises(SessionNotFound, match="only the beginning") as caught:
            ledger.one("train2"[:size])
        assert caught.value.close == ["train2"]
    for size in range(1, 8):
        assert ledger.look_up(one.id[:size]).id == one.id
        with pytest.raises(SessionNotFound):
            ledger.one(one.id[:size])
    with pytest.raises(SessionNotFound) as caught:
        ledger.one("trian2")
    assert caught.value.close == ["train2"], "a slip is named, and not taken"


def test_a_name_that_is_another_sessions_id_is_nobodys(ledger: Ledger) -> None:
    first = ready(ledger, name="one")
    second = ready(ledger, name=first.id)
    with pytest.raises(SessionAmbiguous, match="could mean"):
        ledger.one(first.id)
    assert ledger.one(second.id).id == second.id


def test_what_was_rented_here_is_meant_among_several(ledger: Ledger) -> None:
    ready(ledger, name="other", renter="shell:h/1/1")
    with pytest.raises(SessionAmbiguous, match="which one"):
        ready(ledger, name="third")
        ledger.one(here=["shell:h/2/2"])
    mine = ready(ledger, name="mine", renter="shell:h/2/2 shell:h/3/3")
    assert ledger.one(here=["shell:h/2/2"]).id == mine.id
    assert ledger.one(here=["shell:h/9/9", "shell:h/3/3"]).id == mine.id, "another shell of the same terminal"
    ready(ledger, name="nearer", renter="shell:h/9/9 shell:h/3/3")
    assert ledger.one(here=["shell:h/9/9", "shell:h/3/3"]).name == "nearer", "the nearest shell counts"
    ready(ledger, name="mine2", renter="shell:h/2/2")
    with pytest.raises(SessionAmbiguous) as caught:
        ledger.one(here=["shell:h/2/2"])
    assert caught.value.proposed == "mine2", "of two, the later one is proposed, and none is taken"
    ledger.transition(ledger.find("mine2"), SessionState.ENDING)
    assert ledger.one(here=["shell:h/2/2"]).id == mine.id, "one that ends is not meant"


def test_a_shell_is_known_by_its_process_and_start() -> None:
    (mark, *_), again = renter.marks(notebook=False), renter.marks(notebook=False)
    assert mark == again[0]
    assert f"/{os.getppid()}/" in mark
    run = [sys.executable, "-c", TWICE]
    one, two = (subprocess.run(run, capture_output=True, text=True, check=True).stdout.split() for _ in "12")
    assert one[0] == two[0], "two commands of one process are of one shell"
    assert f"/{os.getpid()}/" in one[0]
    assert one[0] not in renter.marks(notebook=False)
    (own,) = renter.marks(notebook=True)
    assert f"/{os.getpid()}/" in own, "an IPython without a kernel is its own shell"
