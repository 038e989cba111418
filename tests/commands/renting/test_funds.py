"""What an account holds, in the question before a rental and at every verb after it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support.rentals.clouds import simulated

if TYPE_CHECKING:
    from support.machines.terminal import Gpunb

pytestmark = pytest.mark.slow


def test_the_question_says_what_the_account_can_not_pay(gpunb: Gpunb) -> None:
    with simulated(("vast", "deepinfra"), real=False) as simulation:
        (account,) = simulation["vast"].accounts.values()
        lines = ["rent", "--cloud", "vast", "--for", "10h"]
        asked = gpunb(*lines)
        assert (asked.code, "NOT ENOUGH MONEY" in asked.err) == (2, False), asked.err
        account.deposit = 0.2
        asked = gpunb(*lines)
        assert asked.code == 2
        assert "NOT ENOUGH MONEY: the account at Vast.ai holds $0.20, enough for" in asked.err
        assert "where no payment method is saved it deletes them with their data" in asked.err
        account.deposit = 0.0
        refused = gpunb(*lines, "--yes")
        assert refused.code == 1
        assert "the account at Vast.ai holds $0.00" in refused.err
        assert "nothing was rented" in refused.err
        both = gpunb("rent", "--cloud", "all", "--for", "10h")
        assert both.code == 2
        assert "its offers are left out" in both.out + both.err
        assert "on deepinfra" in both.err
        assert simulation["vast"].machines == {}


def test_the_leases_of_what_runs_count(gpunb: Gpunb) -> None:
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Lease, Session

    with simulated(("vast",), real=False) as simulation, Ledger.open() as ledger:
        ledger.lead("detached", 3600.0)
        one = Session(id="idone", name="one", provider="vast", label="gpunb-x-idone", usd_h=10.0)
        one.lease = Lease(deadline=time.time() + 10 * 3600.0)
        one = ledger.add_session(one)
        for state in ("creating", "booting", "reachable", "ready"):
            one = ledger.transition(one, type(one.state)(state), "", instance_id="7")
        (account,) = simulation["vast"].accounts.values()
        account.deposit = 50.0
        asked = gpunb("rent", "--cloud", "vast", "--for", "1h")
        assert "holds $50.00 and the leases of what runs there take $100.00" in asked.err, asked.err
        assert "the account at Vast.ai holds $50.00, and the leases there take $100.00" in gpunb("ps").out
