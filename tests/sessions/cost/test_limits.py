"""Caps over all sessions: what they refuse before anything is sent, and what they end."""

from __future__ import annotations

import datetime as dt
import math
import threading
from typing import TYPE_CHECKING, Any

import pytest

from gpunb import paths, settings
from gpunb.cli.main import invoke
from gpunb.errors import LimitReached, SettingsError
from gpunb.providers.base import Instance, InstanceState
from gpunb.sessions import lifecycle
from gpunb.sessions.cost import limits, limits_used
from gpunb.sessions.cost.lease import extend
from gpunb.sessions.model import IdleVolume, SessionState
from tests.sessions.scripted import Machine
from tests.sessions.supervisor.test_supervisor import ended, run, ticks, watch

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sessions.conftest import World

NOON = dt.datetime(2027, 1, 15, 12).astimezone().timestamp()


def cap(**values: Any) -> None:
    """Write the user's settings file with these caps."""
    file = paths.config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name} = {value!r}" for name, value in values.items()]
    file.write_text("\n".join(["[limits]", *lines, ""]))


@pytest.fixture
def noon(world: World) -> World:
    """The world at noon of a day in the middle of a month."""
    world.clock.now = NOON
    world.clock.limit = NOON + 40 * 86400.0
    return world


@pytest.mark.parametrize(
    ("caps", "offer", "request_", "words"),
    [
        ({"usd_h": 1.5}, {}, {}, ["limits.usd_h = $1.50", "takes $2.00"]),
        ({"usd_day": 3.0}, {}, {"hours": 2}, ["limits.usd_day = $3.00", "may cost $4.00 more"]),
        ({"usd_month": 3}, {}, {"hours": 2}, ["limits.usd_month = $3.00", "this month"]),
        ({"sessions": 0}, {}, {}, ["limits.sessions = 0"]),
        ({"gpus": 3}, {"gpus": 4}, {}, ["limits.gpus = 3", "takes 4"]),
        ({"max_hours": 1.0}, {}, {"hours": 2}, ["limits.max_hours = 1", "would last 2 hours"]),
        ({"clouds": ["vast"]}, {}, {}, ["limits.clouds = vast", "on scripted"]),
        ({"trust": "datacenter"}, {}, {}, ["limits.trust = datacenter", "is stranger"]),
        ({"usd_day": 0}, {}, {}, ["limits.usd_day = $0.00"]),
    ],
)
def test_what_crosses_a_cap_is_refused_before_the_create(
    noon: World, caps: dict[str, Any], offer: dict[str, Any], request_: dict[str, Any], words: list[str]
) -> None:
    cap(**caps)
    with pytest.raises(LimitReached) as caught:
        noon.rent(noon.cloud.offer(**offer), **request_)
    assert noon.cloud.creates == 0
    for word in words:
        assert word in caught.value.message
    assert "limits shows the caps" in str(caught.value.hint)
    assert "nothing" in (caught.value.bill or ""), "and what it means for the bill"
    (failed,) = noon.ledger.sessions(alive=False)
    assert failed.state is SessionState.FAILED
    assert not noon.ledger.intents(), "no call was recorded as sent"


def test_below_its_caps_a_rental_is_as_ever(noon: World) -> None:
    cap(
        usd_h=4,
        usd_day=8,
        usd_month=8,
        sessions=2,
        gpus=2,
        max_hours=2,
        trust="stranger",
        clouds=["scripted"],
    )
    first = noon.rent(hours=2)
    assert first.state is SessionState.READY
    second = noon.rent(noon.cloud.offer("o2"), hours=1.9)
    assert second.state is SessionState.READY
    with pytest.raises(LimitReached, match=r"limits\.usd_h = \$4\.00 .*\$4\.00 an hour are in use"):
        noon.rent(noon.cloud.offer("o3"), hours=0.1)


def test_free_machines_need_no_cap_of_money(noon: World) -> None:
    cap(usd_h=0, usd_day=0, usd_month=0)
    assert noon.rent(noon.cloud.offer(usd_h=0.0)).state is SessionState.READY


def test_fifty_at_once_stay_below_the_cap_to_the_cent(noon: World) -> None:
    """Each has its own connection to the ledger, as processes do."""
    cap(usd_day=11.0)
    gate, refused = threading.Barrier(50), []

    def one(number: int) -> None:
        ledger = noon.open("life-1")
        request = lifecycle.RentRequest(hours=1)
        try:
            gate.wait(30)
            offer = noon.cloud.offer(f"o{number}")
            lifecycle.rent(ledger, noon.cloud, [offer], request, host=noon.host)
        except LimitReached as err:
            refused.append(err)
        finally:
            ledger.close()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert (noon.cloud.creates, len(refused)) == (5, 45), "five of $2 fit below $11"


def test_an_extension_and_a_start_are_held_by_the_caps(noon: World) -> None:
    cap(usd_day=4.5)
    session = noon.rent(hours=2)
    before = session.lease
    with pytest.raises(LimitReached, match=r"limits\.usd_day"):
        extend(noon.ledger, session, hours=1, budget_usd=20.0, host=noon.host)
    assert noon.ledger.get(session.id).lease == before, "rolled back"
    stopped = lifecycle.stop(noon.ledger, noon.cloud, session, host=noon.host)
    noon.rent(noon.cloud.offer("o2"), hours=1.0)
    with pytest.raises(LimitReached, match=r"limits\.usd_day"):
        lifecycle.start(noon.ledger, noon.cloud, stopped, host=noon.host)
    assert noon.ledger.get(session.id).state is SessionState.STOPPED
    assert noon.cloud.calls.count("start i1") == 0


def test_a_higher_price_and_a_payment_are_held_by_the_caps(noon: World) -> None:
    cap(usd_h=3.0, usd_day=6.0)
    session = noon.rent(hours=2)
    limits.check_price(noon.ledger, session, 2.9)
    with pytest.raises(LimitReached, match=r"limits\.usd_h = \$3\.00"):
        limits.check_price(noon.ledger, session, 3.2)
    limits.admit_payment(noon.ledger, 1.9)
    with pytest.raises(LimitReached, match=r"\$4\.00 are spent or promised for today"):
        limits.admit_payment(noon.ledger, 2.1)


def test_tomorrow_is_another_day(noon: World) -> None:
    cap(usd_day=4.0)
    noon.down(noon.rent(hours=2))
    noon.clock.now = NOON + 11.5 * 3600  # 23:30: of three hours half of one is today's
    session = noon.rent(noon.cloud.offer("o2"), hours=3, budget_usd=6.0)
    found = limits_used.used(noon.ledger, "usd_day")
    assert found.by[session.id] == pytest.approx(1.0, abs=0.1)
    noon.clock.now += 3600.0
    assert limits_used.used(noon.ledger, "usd_day").now < 1.1, "what was before midnight does not count"
    assert limits_used.used(noon.ledger, "usd_month").now > 2.0


def test_spending_that_reaches_a_cap_ends_what_costs_after_its_files(noon: World) -> None:
    cap(usd_day=5.0)
    session = noon.rent(hours=2, save=["out"])
    free = noon.rent(noon.cloud.offer("free", usd_h=0.0), hours=8, idle_s=math.inf)
    run(noon, session, "aaaaaaaa")
    cap(usd_day=1.0)  # lowered while it runs
    assert ended(ticks(noon, watch(noon), 1500)) == []
    assert any("limits.usd_day" in text for _, text in limits.lines(noon.ledger, some(), noon.clock.now)), (
        "and there is a warning before"
    )
    looks = ticks(noon, watch(noon), 600)
    assert (session.name, "limit") in ended(looks)
    assert [path for path, _ in noon.host.fetched] == ["out"], "results first"
    receipt = noon.ledger.receipt(session.id)
    assert receipt is not None
    assert receipt.why == "limit"
    assert limits_used.used(noon.ledger, "usd_day").now <= 1.0, "to the cent"
    assert noon.ledger.get(free.id).state is SessionState.READY, "what costs nothing goes on"


def some() -> settings.LimitsSettings:
    found = limits_used.own()
    assert found is not None
    return found


def test_too_dear_together_ends_the_newest(noon: World) -> None:
    cap(usd_h=4.0)
    old = noon.rent(hours=8)
    noon.clock.sleep(60)
    new = noon.rent(noon.cloud.offer("o2"), hours=8)
    run(noon, old, "aaaaaaaa")
    for machine in noon.cloud.machines.values():
        machine.usd_h = 2.5  # the host asked for more
    looks = ticks(noon, watch(noon, list_s=0.0), 120)
    assert ended(looks) == [(new.name, "limit")]
    assert noon.ledger.get(old.id).state is SessionState.READY


def test_what_others_spend_on_the_account_counts(noon: World) -> None:
    cap(usd_h=5.0, usd_day=20.0)
    noon.cloud.machines["x1"] = Machine(
        "x1", "gpunb-ffffffff-q", noon.clock.now, 0.0, InstanceState.RUNNING, 3.5
    )
    session = noon.rent(noon.cloud.offer(usd_h=1.0), hours=8)
    run(noon, session, "aaaaaaaa")
    ticks(noon, watch(noon, sweep_s=60.0), 3600)
    found = limits_used.used(noon.ledger, "usd_h")
    assert (found.now, found.others) == (4.5, 3.5)
    assert limits_used.used(noon.ledger, "usd_day").others == pytest.approx(3.5, abs=0.2)
    with pytest.raises(LimitReached, match=r"\$3\.50 of it by instances on your accounts"):
        noon.rent(noon.cloud.offer("o2", usd_h=1.0), hours=1)
    noon.cloud.machines["x1"].gone = True
    ticks(noon, watch(noon, sweep_s=60.0), 120)
    assert limits_used.used(noon.ledger, "usd_h").others == 0.0
    assert limits_used.used(noon.ledger, "usd_day").others > 3.0, "it was spent all the same"
    assert not noon.cloud.calls.count("destroy x1")


def test_an_instance_without_a_price_is_nobodys_bill(noon: World) -> None:
    listed = [Instance(provider="scripted", id="x", state=InstanceState.RUNNING)]
    limits_used.note_others(noon.ledger, noon.cloud, listed)
    assert noon.ledger.others() == []


def test_the_last_caps_hold_while_the_file_is_broken(noon: World) -> None:
    cap(usd_day=1.2)
    session = noon.rent(hours=0.5)
    run(noon, session, "aaaaaaaa")
    watcher = watch(noon)
    extend(noon.ledger, session, hours=0.05, host=noon.host)
    watcher.tick()
    paths.config_file().write_text("[limits\nusd_day = 9")
    noon.ledger.update(session.id, lease=lifecycle_lease(noon, 8))
    looks = ticks(noon, watcher, 2400)
    assert (session.name, "limit") in ended(looks)
    assert any("the last ones hold" in line for look in looks for line in look.errors)


def lifecycle_lease(world: World, hours: float) -> Any:
    from gpunb.sessions.model import Lease

    return Lease(deadline=world.clock.now + hours * 3600, idle_s=None, budget_usd=None)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("usd_dya = 3", ["limits.usd_dya", "did you mean 'usd_day'"]),
        ("usd_day = -1", ["limits.usd_day", "-1"]),
        ("usd_day = nan", ["limits.usd_day"]),
        ("sessions = 1.5", ["limits.sessions", "1.5"]),
        ("max_hours = 0", ["limits.max_hours", "0"]),
        ("trust = 'friend'", ["limits.trust", "friend"]),
    ],
)
def test_a_bad_cap_is_an_error_and_not_ignored(noon: World, line: str, words: list[str]) -> None:
    paths.config_file().parent.mkdir(parents=True, exist_ok=True)
    paths.config_file().write_text(f"[limits]\n{line}\n")
    with pytest.raises(SettingsError) as caught:
        noon.rent()
    for word in words:
        assert word in f"{caught.value.message} {caught.value.hint}"
    assert noon.cloud.creates == 0


def test_a_variable_can_lower_a_cap_and_not_raise_it(noon: World, monkeypatch: pytest.MonkeyPatch) -> None:
    cap(usd_day=10.0)
    monkeypatch.setenv("GPUNB_LIMITS__USD_DAY", "3")
    with pytest.raises(LimitReached, match=r"limits\.usd_day = \$3\.00"):
        noon.rent(hours=2)
    monkeypatch.setenv("GPUNB_LIMITS__USD_DAY", "100")
    with pytest.raises(SettingsError, match=r"limits\.usd_day = 100\.0 allows more than your own 10\.0"):
        noon.rent(hours=2)
    assert noon.cloud.creates == 0


def test_a_project_can_lower_a_cap_and_not_raise_it(
    noon: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cap(usd_day=10.0, clouds=["scripted", "vast"])
    project = tmp_path / "project"
    project.mkdir()
    (project / "gpunb.toml").write_text(
        '[limits]\nusd_day = 100\nusd_h = 1\nclouds = ["scripted", "fluence"]\n'
    )
    monkeypatch.chdir(project)
    found = settings.load()
    assert (found.limits.usd_day, found.limits.usd_h) == (10.0, 1.0)
    assert found.limits.clouds == ["scripted", "vast"]
    assert [one.key for one in found.refused] == ["limits.clouds", "limits.usd_day"]
    with pytest.raises(LimitReached, match=r"limits\.usd_h"):
        noon.rent(hours=1)
    assert limits_used.own() is not None
    assert limits_used.own().usd_h is None, "the supervisor knows the user's own"  # type: ignore[union-attr]


def test_a_volume_counts_and_is_held_by_the_caps(noon: World) -> None:
    cap(usd_h=2.5, usd_day=30.0)
    limits.admit_volume(noon.ledger, 1.0)  # $12.00 until midnight
    with pytest.raises(LimitReached, match=r"limits.usd_h = \$2.50"):
        limits.admit_volume(noon.ledger, 2.6)
    noon.ledger.save_idle_volumes(
        "scripted",
        [IdleVolume(provider="scripted", id="v", name="v", size_gb=9, usd_h=1.0, since=NOON - 3600.0)],
    )
    assert limits_used.used(noon.ledger, "usd_h").now == 1.0
    day = limits_used.used(noon.ledger, "usd_day")
    assert (round(day.now, 2), round(day.ahead, 2)) == (1.0, 12.0)
    with pytest.raises(LimitReached, match=r"limits.usd_h = \$2.50"):
        noon.rent(hours=1)
    assert noon.cloud.billed() == []


def test_a_bid_that_wins_has_no_price_to_hold_against_a_cap(noon: World) -> None:
    session = noon.rent(hours=1)
    limits.check_unknown_price(session)
    cap(gpus=4)
    limits.check_unknown_price(session)
    cap(usd_day=30.0)
    with pytest.raises(LimitReached, match="known when it is set"):
        limits.check_unknown_price(session)


def agent_caps(**values: Any) -> None:
    """As `cap`, of what agents rent."""
    cap(**values)
    file = paths.config_file()
    file.write_text(file.read_text().replace("[limits]", "[agent]"))


def test_the_table_shows_the_caps_of_agents(home: Path) -> None:
    del home
    assert set(invoke("limits").data()) == {"limits"}
    agent_caps(usd_day=12.0, sessions=2)
    shown = invoke("limits")
    nothing = {"used": 0.0, "promised": 0.0, "others": 0.0}
    assert shown.data()["agent"]["usd_day"] == {"value": 12.0, **nothing, "left": 12.0}
    assert shown.data()["limits"]["usd_day"] == {"value": None, **nothing, "left": None}
    assert shown.data()["agent"]["confirm"] == {"value": []}, "none once a cap of dollars is set"
    assert "agents' sessions alone" in shown.text()


def test_fifty_agents_at_once_stay_below_their_own_cap_to_the_cent(noon: World) -> None:
    agent_caps(usd_day=12.0)
    ours = noon.rent(hours=9)  # a person's own does not count
    refused: list[str] = []

    def one(number: int) -> None:
        with noon.open(f"agent-{number}") as ledger:
            try:
                lifecycle.rent(
                    ledger,
                    noon.cloud,
                    (noon.cloud.offer(f"a{number}"),),
                    lifecycle.RentRequest(hours=2, renter=f"shell:1 agent:coder-{number}"),
                    host=noon.host,
                )
            except LimitReached as err:
                refused.append(err.message)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    made = [one for one in noon.ledger.sessions() if one.agent]
    assert len(made) == 3, "3 x $4.00"
    assert len(refused) == 47
    assert "agent.usd_day = $12.00" in refused[0]
    assert round(limits_used.used(noon.ledger, "usd_day", by_agents=True).total, 2) <= 12.0
    assert len(noon.cloud.billed()) == 4
    newest = max(made, key=lambda session: session.created)  # a cap of the hourly price ends it first
    noon.ledger.update(newest.id, usd_h=200.0)  # its host asks for more
    agent_caps(usd_day=12.0, usd_h=100.0)
    ends = ended(ticks(noon, watch(noon), 60.0))
    assert [why for _, why in ends] == ["limit"]
    assert noon.ledger.get(ours.id).alive
    assert noon.ledger.receipt(newest.id) is None or noon.ledger.receipt(newest.id).agent  # type: ignore[union-attr]


def test_an_agent_can_not_raise_its_own_caps(noon: World, monkeypatch: pytest.MonkeyPatch) -> None:
    agent_caps(usd_day=1.0)
    monkeypatch.setenv("GPUNB_AGENT__USD_DAY", "1000")
    with pytest.raises(SettingsError, match="can't be set by a variable"):
        settings.load()


@pytest.mark.parametrize(
    ("table", "asks"),
    [({}, 3), ({"usd_day": 1.0}, 0), ({"sessions": 1}, 3), ({"usd_day": 1.0, "confirm": "rent"}, 1)],
)
def test_without_a_cap_of_money_a_person_confirms_all(noon: World, table: dict[str, Any], asks: int) -> None:
    agent_caps(**table)
    assert len(settings.load().agent.confirmed) == asks
