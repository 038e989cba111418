"""When a session ends by itself, what is left, and what it cost until then."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.errors import BadInput, Unreachable, WrongState
from gpunb.providers.base import Instance, Offer
from gpunb.sessions.access.activity import moving
from gpunb.sessions.cost import lease
from gpunb.sessions.cost.totals import cost_of, rates, slug
from gpunb.sessions.model import Cost, Lease, Segment, Session, SessionState, offer_from_dict, offer_to_dict

if TYPE_CHECKING:
    from conftest import World

OFFER = Offer(provider="p", id="o", usd_h=3.0)
HOUR = 3600.0


def test_defaults_are_two_hours_half_an_hour_and_a_fifth_more() -> None:
    made = lease.lease_for(OFFER, now=1000.0)
    assert made == Lease(deadline=1000.0 + 2 * HOUR, idle_s=1800.0, budget_usd=pytest.approx(7.2))
    free = lease.lease_for(Offer(provider="p", id="o"), now=0.0)
    assert free.budget_usd is None
    assert lease.lease_for(OFFER, now=0.0, idle_s=math.inf).idle_s is None
    assert lease.lease_for(OFFER, now=0.0, budget_usd=math.inf).budget_usd is None
    assert lease.lease_for(OFFER, now=0.0, budget_usd=4.0).budget_set


def test_clock_hours_do_not_end_a_rental_early() -> None:
    # Fluence: 2 hours from half past touch three hours of the clock
    offer = Offer(provider="p", id="o", usd_h=1.0, clock_hours=True)
    made = lease.lease_for(offer, now=0.0, hours=2)
    assert made.budget_usd is not None
    segment = Segment(session_id="s", kind="gpu", rate=1.0, start=1800.0, clock_hours=True)
    assert cost_of([segment], 1800.0 + 2 * HOUR).gpu == 3.0 < made.budget_usd


def test_a_short_rental_may_have_a_short_budget() -> None:
    assert lease.lease_for(OFFER, now=0.0, hours=0.5, budget_usd=1.5).budget_usd == 1.5
    with pytest.raises(BadInput, match=r"budget of \$1.40 is too small.*30m of it costs"):
        lease.lease_for(OFFER, now=0.0, hours=0.5, budget_usd=1.4)
    with pytest.raises(BadInput, match="at least 60 s"):
        lease.lease_for(OFFER, now=0.0, idle_s=math.nan)


def session(**more: Any) -> Session:
    values: dict[str, Any] = {
        "lease": Lease(deadline=10_000.0, idle_s=1800.0, budget_usd=10.0, budget_set=True),
        "ready": 1000.0,
        "last_activity": 1000.0,
        "usd_h": 2.0,
        "state": SessionState.READY,
    }
    return Session(id="s", name="n", provider="p", label="l", **{**values, **more})


def test_what_is_due() -> None:
    assert lease.due(session(), Cost(gpu=1.0), 2000.0) is None

    def why(one: Session, cost: Cost, now: float) -> str:
        found = lease.due(one, cost, now)
        assert found is not None
        return found.why

    assert why(session(), Cost(), 10_000.0) == "deadline"
    assert why(session(), Cost(gpu=9.0, disk=0.5, bandwidth=0.5), 2000.0) == "budget"
    assert why(session(), Cost(), 2800.0) == "idle"
    # a stopped one can't be idle, but its disk is billed
    stopped = session(state=SessionState.STOPPED)
    assert lease.due(stopped, Cost(), 9000.0) is None
    assert why(stopped, Cost(disk=10.0), 9000.0) == "budget"
    # jupyter/notebook#3896: never right after a long run
    assert lease.due(session(last_activity=9000.0), Cost(), 9999.0) is None


def test_a_budget_that_nobody_set_counts_no_traffic() -> None:
    unasked = Lease(deadline=10_000.0, budget_usd=10.0)
    one, cost = session(lease=unasked), Cost(gpu=1.0, disk=0.5, bandwidth=20.0)
    assert lease.due(one, cost, 2000.0) is None, "traffic alone must not end a job that nobody gave a budget"
    found = lease.standing(one, cost, 2000.0)
    assert found.budget_left_usd == 8.5
    for word in ("$21.50", "$20.00 of it for traffic", "default budget of $10.00", "extend n --budget USD"):
        assert word in found.traffic
    assert found.warning == "", "its end is not near"
    over = lease.due(one, Cost(gpu=9.0, disk=1.0), 2000.0)
    assert over is not None, "gpu and disk do"
    assert over.why == "budget"
    asked = session(lease=Lease(deadline=10_000.0, budget_usd=10.0, budget_set=True))
    assert lease.due(asked, cost, 2000.0) is not None, "a budget that was asked for is for all of it"


def test_standing_names_what_comes_first() -> None:
    found = lease.standing(session(), Cost(gpu=1.0), 2000.0)
    assert (found.why, found.ends_at) == ("idle", 2800.0)
    assert found.idle_left_s == 800.0
    assert found.budget_left_usd == 9.0
    assert found.warning == ""
    assert "gpunb extend" in lease.standing(session(), Cost(), 2700.0).warning
    rich = session(lease=Lease(deadline=1e6, budget_usd=3.0))
    near = lease.standing(rich, Cost(gpu=2.9), 2000.0)
    assert near.why == "budget"
    assert "its budget is nearly over" in near.warning
    assert lease.standing(session(lease=Lease()), Cost(), 0.0).ends_at is None


def test_extend_adds_to_what_is_left(world: World) -> None:
    made = world.rent(hours=1)
    old = made.lease
    assert old.deadline is not None
    assert old.budget_usd is not None
    more = lease.extend(world.ledger, made, hours=2, host=world.host)
    assert more.lease.deadline == old.deadline + 2 * HOUR
    assert more.lease.budget_usd == pytest.approx(old.budget_usd + 2 * 2.0 * 1.2)
    assert world.host.armed[-1] == (made.id, more.lease.deadline, 1800.0)
    assert more.armed == more.lease.mark
    world.clock.sleep(5 * HOUR)  # its time is over, and nobody came to end it
    again = lease.extend(world.ledger, more, hours=1, host=world.host)
    assert again.lease.deadline == world.clock.now + HOUR


def test_extend_leaves_a_budget_that_the_user_chose(world: World) -> None:
    made = world.rent(hours=1, budget_usd=3.0)
    assert lease.extend(world.ledger, made, hours=2, host=world.host).lease.budget_usd == 3.0
    assert lease.extend(world.ledger, made, budget_usd=9.0, host=world.host).lease.budget_usd == 9.0
    assert lease.extend(world.ledger, made, budget_usd=math.inf, host=world.host).lease.budget_usd is None


def test_extend_refuses_what_makes_no_sense(world: World) -> None:
    made = world.rent()
    world.clock.sleep(HOUR)
    with pytest.raises(BadInput, match="lease of -1 h: it must end in the future"):
        lease.extend(world.ledger, made, hours=-1, host=world.host)
    with pytest.raises(BadInput, match=r"\$2.0\d are spent already"):
        lease.extend(world.ledger, made, budget_usd=1.0, host=world.host)
    with pytest.raises(BadInput, match="say what to extend"):
        lease.extend(world.ledger, made, host=world.host)
    with pytest.raises(BadInput, match="lease of 9000 h"):
        lease.extend(world.ledger, made, hours=9000, host=world.host)
    assert world.ledger.get(made.id).lease == made.lease
    world.down(made)
    with pytest.raises(WrongState, match="is gone: its lease can't be extended"):
        lease.extend(world.ledger, made, hours=1, host=world.host)


def test_extend_of_a_host_that_is_away_holds_here_and_says_so(world: World) -> None:
    made = world.rent()

    def hook(step: str) -> None:
        raise Unreachable("no route")

    world.host.hook = hook
    with pytest.raises(Unreachable, match="has its new lease, but its host could not be told"):
        lease.extend(world.ledger, made, hours=1, host=world.host)
    now = world.ledger.get(made.id)
    assert now.lease.deadline == (made.lease.deadline or 0) + HOUR
    assert now.armed != now.lease.mark  # so the supervisor tells it


def test_a_transfer_that_moves_is_activity(world: World) -> None:
    made = world.rent(world.cloud.offer(down_usd_gb=0.5))
    world.clock.sleep(600)
    with moving(world.ledger, made, "up", "data", host=world.host, beat_s=0.01) as transfer:
        begun = world.ledger.get(made.id).last_activity
        assert begun == world.clock.now
        world.clock.sleep(3000)
        seen = threading.Event()
        for _ in range(500):
            if world.host.touched and world.ledger.get(made.id).last_activity == world.clock.now:
                seen.set()
                break
            threading.Event().wait(0.01)
        assert seen.is_set()
        transfer.bytes = 2 * 10**9
    assert world.ledger.cost(made.id).bandwidth == pytest.approx(1.0)
    with pytest.raises(RuntimeError), moving(world.ledger, made, "up", host=world.host):
        raise RuntimeError
    assert [one.state for one in world.ledger.transfers(made.id)] == ["ok", "failed"]


# -- money -------------------------------------------------------------------


def test_started_steps_count_whole() -> None:
    def gpu(**more: Any) -> float:
        return cost_of([Segment(session_id="s", kind="gpu", rate=3600.0, start=0.0, **more)], 100.5).gpu

    assert gpu() == pytest.approx(100.5)
    assert gpu(increment_s=1.0) == pytest.approx(101.0)
    assert gpu(increment_s=60.0) == pytest.approx(120.0)
    assert gpu(end=59.0, increment_s=60.0) == pytest.approx(60.0)
    assert gpu(clock_hours=True) == 3600.0


@pytest.mark.parametrize(
    ("spans", "hours"),
    [
        ([(0, 1)], 1),
        ([(0, HOUR)], 1),
        ([(0, HOUR + 1)], 2),
        ([(HOUR - 1, HOUR + 1)], 2),
        ([(0, 60), (120, 180)], 1),  # stopped and started inside one hour: paid once
        ([(0, 60), (HOUR + 5, HOUR + 6)], 2),
        ([(10, 10)], 1),
    ],
)
def test_hours_of_the_clock(spans: list[tuple[float, float]], hours: int) -> None:
    segments = [
        Segment(session_id="s", kind="gpu", rate=1.0, start=start, end=end, clock_hours=True, id=number)
        for number, (start, end) in enumerate(spans)
    ]
    assert cost_of(segments, 1e6).gpu == hours


def test_another_machine_pays_the_hour_again() -> None:
    segments = [
        Segment(
            session_id="s", kind="gpu", rate=1.0, start=0, end=60, clock_hours=True, label="gpunb-s", id=1
        ),
        Segment(
            session_id="s", kind="gpu", rate=1.0, start=60, end=90, clock_hours=True, label="gpunb-s-2", id=2
        ),
    ]
    assert cost_of(segments, 1e6).gpu == 2


def test_the_instances_price_comes_before_the_offers() -> None:
    offer = Offer(provider="p", id="o", usd_h=2.0, disk_usd_gb_h=0.001, disk_included_gb=50)
    assert rates(offer, 150) == (2.0, pytest.approx(0.1))
    said = Instance(provider="p", id="i", usd_h=2.5, stopped_usd_h=0.3)
    assert rates(offer, 150, said) == (pytest.approx(2.2), 0.3)
    assert rates(offer, 150, Instance(provider="p", id="i")) == (2.0, pytest.approx(0.1))


@pytest.mark.parametrize(
    ("gpu", "word"),
    [
        ("H100 SXM", "h100"),
        ("RTX 4090", "rtx4090"),
        ("", "local"),
        ("A100 PCIE 80GB", "a100"),
        ("日本", "local"),
    ],
)
def test_names_come_from_the_gpu(gpu: str, word: str) -> None:
    assert slug(Offer(provider="local", id="o", gpu=gpu)) == word


def test_an_offer_goes_to_the_ledger_and_back() -> None:
    offer = Offer(provider="p", id="o", usd_h=1.0, raw={"a": [1, {"b": 2}]}, cuda=12.4)
    assert offer_from_dict(offer_to_dict(offer)) == offer
    huge = Offer(provider="p", id="o", raw={"text": "x" * 100_000})
    assert "raw" not in offer_to_dict(huge)
    assert offer_from_dict({"unknown": 1}).id == ""
