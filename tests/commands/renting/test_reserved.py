"""Reserved machines: rented on demand, then paid for in advance, on the simulated Vast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.rentals.clouds import simulated

from gpunb.services import reservations
from gpunb.sessions.ledger.sessions import Ledger
from tests.commands.renting.test_cloud_verbs import pretend_session, rented
from tests.support.rentals.vast_cloud import world

if TYPE_CHECKING:
    from support.machines.terminal import Gpunb

RENT = ("rent", "--cloud", "vast", "--reserved", "--name", "month", "--yes")


@pytest.mark.parametrize(
    ("days", "back"),
    # Vast's own example: $1 an hour, $576 for a month
    [(0, 576.0), (15, 216.0), (30, 0.0)],
)
def test_an_early_end_gives_back_what_vasts_page_says(days: int, back: float) -> None:
    w = world(balance=1000.0)
    instance = w.rent()
    w.running(instance)
    data = w.cloud.machines[instance.id].data
    data.update(gpu_usd_h=1.0, disk_usd_h=0.0)
    data["offer"].update(credit_discount_max=0.4, end_date=w.cloud.clock.now() + 1e8)
    w.cloud.machines[instance.id].bill.close(w.cloud.clock.now())
    (account,) = w.cloud.accounts.values()
    before = account.balance(w.cloud.clock.now())
    plan = reservations.for_hours(1.0, 720.0)
    assert (plan.usd, plan.rate) == (576.0, 0.2)
    said = w.provider.prepay(instance.id, plan.usd)
    assert (said["discount_rate"], said["timescale"]) == (0.2, 1.0)
    assert account.balance(w.cloud.clock.now()) == pytest.approx(before - 576.0, abs=0.01)
    w.wait(days * 86_400)
    left = w.provider.deposit(instance.id)["balance"]
    assert left == pytest.approx(576.0 * (1 - days / 30), abs=0.05)
    w.provider.destroy(instance.id)
    w.wait(120)
    w.cloud.settle()
    assert account.balance(w.cloud.clock.now()) == pytest.approx(before - 576.0 + back, abs=0.1)


def test_what_an_amount_buys() -> None:
    assert reservations.for_hours(2.0, 2160.0).usd == pytest.approx(2 * 2160 * 0.7)
    assert reservations.for_hours(2.0, 2160.0, most=0.25).usd == pytest.approx(2 * 2160 * 0.75)
    assert reservations.for_hours(2.0, 100.0).rate == 0.0
    for hours in (100.0, 720.0, 1000.0, 2160.0, 4320.0):
        plan = reservations.for_hours(1.7, hours)
        again = reservations.for_amount(1.7, plan.usd)
        assert (again.rate, again.hours) == (plan.rate, pytest.approx(hours, abs=0.1))


@pytest.mark.slow
def test_reserved_means_it(gpunb: Gpunb) -> None:
    with simulated(["vast"], balance=50.0) as simulation:
        short = gpunb(*RENT, "--for", "2h")
        assert short.code == 2
        assert "a reservation is for a month (30d) or more" in short.err
        poor = gpunb(*RENT, "--for", "30d", "--max-price", "2")
        assert poor.code == 1
        assert "has $50.00 on the account" in poor.err
        assert "nothing was rented" in poor.err
        assert simulation["vast"].machines == {}
        simulation["vast"].accounts[simulation["vast"].key].deposit = 20_000.0
        ran = gpunb(*RENT, "--for", "30d")
        assert ran.code == 0, ran.err
        assert "in advance" in ran.out + ran.err
        (machine,) = simulation["vast"].machines.values()
        assert machine.data["discount"] == 0.2
        price = machine.data["gpu_usd_h"]
        assert machine.data["deposit"] == pytest.approx(price * 720 * 0.8, rel=0.01)
        assert machine.bill.usd_h() == pytest.approx(price * 0.8 + machine.data["disk_usd_h"], rel=0.01)
        with Ledger.open() as ledger:
            session = ledger.find("month")
            assert session.lease.idle_s is None, "what is paid for is not ended for want of work"
            assert reservations.paid(ledger, session) == pytest.approx(price * 720 * 0.8, rel=0.01)
        assert "paid in advance" in gpunb("down", "month").err
        shown = gpunb("vast", "prepay", "month", "--json").json
        assert shown["deposit_usd"] == pytest.approx(machine.data["deposit"], rel=0.01)
        assert [plan["about_rate"] for plan in shown["plans"]] == [0.2, 0.3, 0.3]
        assert gpunb("down", "month", "--yes").code == 0
        assert simulation["vast"].accounts[simulation["vast"].key].held == {}


@pytest.mark.slow
def test_prepay_pays_once_and_says_what_is_not_known(gpunb: Gpunb) -> None:
    with simulated(["vast", "fluence"], real=False, balance=20_000.0) as simulation:
        simulation["vast"].limiter.enabled = False  # each verb here is a process of its own elsewhere
        cloud, made, _ = rented(simulation, "vast")
        pretend_session("vast", "one", made.id)
        machine = simulation["vast"].machines[made.id]
        ran = gpunb("vast", "prepay", "one", "100", "--json", "--yes")
        assert ran.code == 0, ran.err
        assert (ran.json["usd"], machine.data["deposit"]) == (100.0, 100.0)
        assert "not both" in gpunb("vast", "prepay", "one", "5", "--for", "30d", "--yes").err
        simulation["vast"].faults.add("error-after", "prepay")
        lost = gpunb("vast", "prepay", "one", "7", "--yes")
        assert lost.code == 1
        assert "$7.00 may have been paid into one" in lost.err
        assert "gpunb vast prepay one shows what it holds" in lost.err
        assert simulation["vast"].deposit_left(machine, machine.created) == pytest.approx(107.0, abs=0.5)
        with Ledger.open() as ledger:
            assert reservations.paid(ledger, ledger.find("one")) == 100.0
        pretend_session("fluence", "two", "4711")
        assert "Fluence can't take money in advance" in gpunb("vast", "prepay", "two", "5", "--yes").err
        cloud.close()
