"""`rent --count` and the verbs on a group: one question, one lease, one `down`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.rentals.groups import ready_group

from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import Lease, SessionState

if TYPE_CHECKING:
    from pathlib import Path

    from support.machines.terminal import Gpunb


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rent --count 0", "rent --count 0: a group has 2 to 64 machines"),
        ("rent --count -3", "rent --count -3: a group has 2 to 64 machines"),
        ("rent --count 1", "one machine is rented without --count"),
        ("rent --count 65", "a group has 2 to 64 machines"),
        ("rent --count 4 --at-least 5", "rent --at-least 5: must be 1 to 4"),
        ("rent --count 4 --at-least 0", "rent --at-least 0: must be 1 to 4"),
        ("rent --at-least 3", "says how many of a group must come"),
        ("rent --count 2 --host lab", "--host means one machine"),
        ("rent --count 2 --offer x", "--offer means one machine"),
        ("rent --count 2 --name a.0", "end the names of a group's members"),
        (f"rent --count 2 --name {'a' * 30}", "a group's name has 29 characters at most"),
        ("rent --name team.4", "end the names of a group's members"),
    ],
)
def test_what_is_no_group_is_refused_before_anything_is_asked(
    home: Path, gpunb: Gpunb, line: str, said: str
) -> None:
    ran = gpunb(*line.split(), "--yes")
    assert ran.code != 0
    assert said in ran.err
    with Ledger.open() as ledger:
        assert ledger.sessions(alive=False) == []
        assert ledger.groups(alive=False) == []


@pytest.fixture
def team(home: Path) -> None:
    """A group on paper."""
    with Ledger.open() as ledger:
        ledger.lead("detached", 3600.0)
        lease = Lease(deadline=ledger.clock.time() + 3600.0, idle_s=1800.0, budget_usd=6.0)
        ready_group(ledger, lease=lease, usd_h=1.0)


def leases() -> list[Lease]:
    with Ledger.open() as ledger:
        return [member.lease for member in ledger.group("team").members]


def test_a_group_is_extended_as_a_whole(team: None, gpunb: Gpunb) -> None:
    before = leases()[0]
    refused = gpunb("extend", "team.1", "1h", "--yes")
    assert refused.code != 0
    assert "team.1 has the lease of its group" in refused.err
    assert "gpunb extend team" in refused.err
    assert leases() == [before] * 3
    asked = gpunb("extend", "team", "1h")
    assert asked.code != 0
    assert "Give all 3 members of team 1h 00m more for $3.00" in asked.err
    ran = gpunb("extend", "team", "1h", "--idle", "1h", "--yes", "--json")
    assert ran.code == 0, ran.err
    after = leases()
    assert len({lease.mark for lease in after}) == 1
    assert after[0].deadline == pytest.approx((before.deadline or 0.0) + 3600.0)
    assert after[0].idle_s == 3600.0
    assert [lease.budget_usd for lease in after] == [pytest.approx(6.0 + 3 * 1.2)] * 3


def test_names_of_groups_are_taken_and_members_keep_theirs(team: None, gpunb: Gpunb) -> None:
    assert "'team' is taken" in gpunb("rent", "--name", "team", "--yes").err
    assert "'team' is taken" in gpunb("rent", "--name", "team", "--count", "2", "--yes").err
    assert "team.0 is a member of a group" in gpunb("rename", "team.0", "other").err
    with Ledger.open() as ledger:
        assert [one.name for one in ledger.sessions()] == ["team.0", "team.1", "team.2"]
        for name in ("solo",):
            ledger.transition(ledger.one("team.2"), SessionState.ENDING, name)
    shown = gpunb("show", "team")
    assert "team is a group: say which member" in shown.err


@pytest.mark.slow
def test_two_machines_come_and_go_as_one(
    rented_from: None, gpunb: Gpunb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = gpunb("rent", "--count", "2", "--name", "team", "--for", "30m", "--json")
    assert ran.code == 0, ran.err
    made = json.loads(ran.out)
    assert (made["group"], made["wanted"]) == ("team", 2)
    assert [one["name"] for one in made["members"]] == ["team.0", "team.1"]
    assert [one["state"] for one in made["members"]] == ["ready", "ready"]
    assert len({one["instance_id"] for one in made["members"]}) == 2
    listed = json.loads(gpunb("ps", "--json").out)
    assert [(one["name"], one["rank"]) for one in listed] == [("team.0", 0), ("team.1", 1)]
    assert gpunb("exec", "-s", "team.1", "--", "true").code == 0
    down = gpunb("down", "team", "--yes", "--json")
    assert down.code == 0, down.err
    assert [one["name"] for one in json.loads(down.out)] == ["team.0", "team.1"]
    with Ledger.open() as ledger:
        assert ledger.sessions() == []
        assert not ledger.group("team").alive
