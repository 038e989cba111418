"""What was spent when: days, runs, and the clouds' own figures beside ours."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from gpunb.errors import Unavailable
from gpunb.providers.base import UsageLine
from gpunb.sessions import lifecycle
from gpunb.sessions.cost import spending
from gpunb.sessions.model import RunNote, Transfer

if TYPE_CHECKING:
    from conftest import World

HOUR = 3600.0


def test_a_session_over_midnight_is_split_by_day(world: World) -> None:
    noon = dt.datetime(2027, 5, 3, 12, 0).astimezone()
    world.clock.now = noon.timestamp()
    world.clock.limit = world.clock.now + 10 * 86400
    session = world.rent(hours=48, idle_s=float("inf"))
    world.clock.now = (noon + dt.timedelta(hours=30)).timestamp()
    world.down(session)
    days = dict(spending.by_day(world.ledger, world.ledger.sessions(alive=False)))
    assert list(days) == ["2027-05-04", "2027-05-03"]
    assert days["2027-05-03"].total == pytest.approx(12 * 2.0, abs=0.02)
    assert days["2027-05-04"].total == pytest.approx(18 * 2.0, abs=0.02)
    assert sum(one.total for one in days.values()) == pytest.approx(world.ledger.cost(session.id).total)


def test_only_what_was_spent_since_then_counts_and_is_not_compared(world: World) -> None:
    session = world.rent(hours=48, idle_s=float("inf"))
    world.clock.sleep(10 * HOUR)
    world.cloud.script.usage = 19.0
    (row,) = spending.spent(world.ledger, since=world.clock.now - 2 * HOUR)
    assert row.cost.total == pytest.approx(4.0, abs=0.01)
    assert not row.whole
    assert spending.ask_clouds(world.ledger, [row], lambda name: world.cloud) == []
    assert (row.provider_usd, row.difference) == (19.0, None)
    (whole,) = spending.spent(world.ledger)
    spending.ask_clouds(world.ledger, [whole], lambda name: world.cloud)
    assert whole.difference == pytest.approx(19.0 - world.ledger.cost(session.id).total)


def test_sessions_that_ended_before_are_left_out(world: World) -> None:
    world.down(world.rent(hours=1))
    world.clock.sleep(5 * HOUR)
    assert spending.spent(world.ledger, since=world.clock.now - HOUR) == []
    assert len(spending.spent(world.ledger)) == 1


def test_a_late_figure_of_the_cloud_finds_its_way_into_the_receipt(world: World) -> None:
    # Vast's charges come an hour after the end
    session = world.rent(hours=1)
    world.clock.sleep(HOUR / 2)
    receipt = world.down(session)
    assert receipt.provider_usd is None
    world.cloud.script.usage = 1.07
    rows = spending.spent(world.ledger)
    spending.ask_clouds(world.ledger, rows, lambda name: world.cloud)
    kept = world.ledger.receipt(session.id)
    assert kept is not None
    assert kept.provider_usd == 1.07


def test_a_cloud_that_does_not_answer_is_told_and_the_rest_is_shown(world: World) -> None:
    world.rent(hours=1)
    rows = spending.spent(world.ledger)

    def down(name: str) -> object:
        raise Unavailable("503", provider=name)

    assert spending.ask_clouds(world.ledger, rows, down) == [("scripted", "503")]  # type: ignore[arg-type]
    assert rows[0].provider_usd is None


def test_every_host_that_one_rent_tried_is_in_the_clouds_figure(world: World) -> None:
    world.cloud.script.never_boots = {"o1"}
    session = world.rent(world.cloud.offer("o1"), world.cloud.offer("o2"), hours=1, boot_s=60.0)
    asked: list[str] = []

    def usage(ident: str) -> list[UsageLine]:
        asked.append(ident)
        return [UsageLine(instance_id=ident, kind="gpu", usd=0.5)]

    world.cloud.usage = usage  # type: ignore[method-assign]
    rows = spending.spent(world.ledger)
    spending.ask_clouds(world.ledger, rows, lambda name: world.cloud)
    assert sorted(asked) == ["i1", "i2"]
    assert rows[0].provider_usd == 1.0
    assert session.instance_id == "i2"


def test_what_the_machine_cost_while_a_run_executed(world: World) -> None:
    session = world.rent(world.cloud.offer(disk_usd_gb_h=0.01), disk_gb=100, hours=10)
    world.clock.sleep(HOUR)
    begin = world.clock.now
    world.ledger.add_run(RunNote(id="aaaaaaaa", session_id=session.id, started=begin))
    world.ledger.add_transfer(
        Transfer(session_id=session.id, direction="up", bytes=10**9, started=begin, ended=begin + 5)
    )
    world.clock.sleep(HOUR / 2)
    world.ledger.finish_run("aaaaaaaa", "ok")
    world.clock.sleep(HOUR)
    (run,) = world.ledger.runs(session.id)
    usd = spending.of_run(world.ledger.segments(session.id), run, world.clock.now)
    assert usd == pytest.approx((2.0 + 1.0) / 2)


def test_a_run_that_nobody_saw_end_ends_with_its_session(world: World) -> None:
    session = world.rent(hours=1)
    begin = world.clock.now
    world.ledger.add_run(RunNote(id="aaaaaaaa", session_id=session.id, started=begin))
    world.clock.sleep(HOUR / 4)
    lifecycle.down(world.ledger, world.cloud, session, host=world.host)
    world.clock.sleep(100 * HOUR)
    (run,) = world.ledger.runs(session.id)
    over = world.ledger.get(session.id).ended
    assert over is not None
    assert spending.of_run(world.ledger.segments(session.id), run, over) == pytest.approx(0.5, abs=0.02)
