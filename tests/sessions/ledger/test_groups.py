"""Groups in the ledger: one name space, ranks, one activity, one cost, and files without groups."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from gpunb.errors import BadInput, SessionAmbiguous, SessionNotFound
from gpunb.sessions.ledger import migrations
from gpunb.sessions.ledger.sessions import Ledger, valid_name
from gpunb.sessions.model import Group, Intent, IntentState, Lease, Segment, Session, SessionState
from tests.support.rentals.groups import add_group, ready_group
from tests.support.rentals.ledgers import add, ready

if TYPE_CHECKING:
    from pathlib import Path


def end(ledger: Ledger, session: Session) -> None:
    session = ledger.get(session.id)
    if session.state is SessionState.READY:
        session = ledger.transition(session, SessionState.ENDING)
    ledger.transition(session, SessionState.FAILED)


def test_a_group_comes_back_with_its_members(ledger: Ledger, file: Path) -> None:
    made = add_group(ledger, count=12, at_least=10)
    assert [(one.name, one.rank, one.group) for one in made.members[:3]] == [
        ("team.0", 0, "team"),
        ("team.1", 1, "team"),
        ("team.2", 2, "team"),
    ]
    assert (made.wanted, made.at_least, made.formed, made.alive) == (12, 10, None, True)
    assert {one.state for one in made.members} == {SessionState.REQUESTED}
    with Ledger.open(file) as other:
        assert other.group("team") == made
        assert [one.rank for one in other.group("team").members] == list(range(12))
        assert all(other.claimed(one.id) for one in made.members) is (other.owner != ledger.owner)
    ledger.form_group(made.id)
    first = ledger.group("team").formed
    ledger.form_group(made.id)
    assert first is not None
    assert ledger.group("team").formed == first


def test_members_are_sessions_and_the_group_is_none(ledger: Ledger) -> None:
    group = ready_group(ledger)
    assert ledger.one("team.1").id == group.members[1].id
    for ask in (ledger.one, ledger.find, ledger.look_up):
        with pytest.raises(SessionAmbiguous, match=r"team is a group: say which member, team\.0 \(ready\)"):
            ask("team")
    assert ledger.find_group("nope") is None
    with pytest.raises(SessionNotFound, match="no group 'nope'"):
        ledger.group("nope")
    found = ledger.group_of(group.members[2])
    assert found is not None
    assert found.name == "team"
    assert ledger.group_of(ready(ledger)) is None


def test_sessions_and_groups_share_one_name_space(ledger: Ledger) -> None:
    add_group(ledger)
    add(ledger, "solo")
    with pytest.raises(BadInput, match="'team' is taken"):
        add(ledger, "team")
    for name in ("team", "solo"):
        with pytest.raises(BadInput, match="is taken by a live session or group"):
            add_group(ledger, name)
    with pytest.raises(BadInput, match="end the names of a group's members"):
        valid_name("team.3")
    assert valid_name("v1.x") == "v1.x"
    assert len(ledger.groups()) == 1  # nothing of what was refused is there
    assert len(ledger.sessions()) == 4
    assert add_group(ledger, "").name == "gpu-1"
    assert add(ledger, "").name == "h100-1"


def test_a_name_is_free_again_and_means_the_latest(ledger: Ledger) -> None:
    old = add_group(ledger)
    for member in old.members:
        end(ledger, member)
    assert ledger.groups() == []
    assert [one.id for one in ledger.groups(alive=False)] == [old.id]
    assert ledger.group("team").id == old.id
    new = add_group(ledger)
    assert ledger.group("team").id == new.id
    end(ledger, new.members[1])
    assert [one.rank for one in ledger.group("team").live] == [0, 2]
    assert len(ledger.group("team").members) == 3


def test_activity_on_one_member_keeps_all(ledger: Ledger) -> None:
    group, other = ready_group(ledger), ready(ledger)
    ledger.touch(group.members[0].id, 5e9)
    assert {one.last_activity for one in ledger.group("team").members} == {5e9}
    assert ledger.get(other.id).last_activity is None
    ledger.touch(other.id, 6e9)
    assert {one.last_activity for one in ledger.group("team").members} == {5e9}


def test_what_all_members_cost_counts_against_the_budget(ledger: Ledger) -> None:
    lease = Lease(budget_usd=10.0, budget_set=True)
    group, other = ready_group(ledger, lease=lease), ready(ledger)
    for one, rate in zip((*group.members, other), (1.0, 2.0, 4.0, 8.0), strict=True):
        ledger.open_segments([Segment(session_id=one.id, kind="gpu", rate=rate, start=0.0)])
    end(ledger, group.members[2])  # what an ended member has cost still counts
    gone = ledger.cost(group.members[2].id, 3600.0)
    costs = ledger.costs(3600.0)
    for member in ledger.group("team").live:
        for cost in (ledger.cost(member.id, 3600.0), costs[member.id]):
            assert cost.total == 1.0 + member.rank
            assert lease.counted(cost) == pytest.approx(3.0 + gone.total)
    assert costs[other.id].total == lease.counted(costs[other.id]) == 8.0
    assert Lease(budget_usd=1.0).counted(costs[group.members[0].id]) == pytest.approx(3.0 + gone.total)


def test_a_lost_answer_of_one_member_is_seen_by_the_others(ledger: Ledger) -> None:
    group = add_group(ledger)
    first, second, _ = group.members
    ledger.begin_create(first, Intent(label=first.label, session_id=first.id, provider="local"))
    assert ledger.lost_in_group(second) == []  # under way, not lost
    ledger.resolve_intent(first.label, IntentState.SENT, "timed out")
    assert [one.id for one in ledger.lost_in_group(second)] == [first.id]
    assert ledger.lost_in_group(first) == []
    assert ledger.lost_in_group(ready(ledger)) == []
    ledger.resolve_intent(first.label, IntentState.ABSENT)
    assert ledger.lost_in_group(second) == []


def test_a_file_from_before_groups_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.parent.mkdir(parents=True)
    before = migrations.MIGRATIONS[:10]
    with closing(sqlite3.connect(file)) as db:
        for script in before:
            db.executescript(script)
        db.execute("INSERT INTO meta VALUES ('installation', 'abcdef0123456789')")
        db.execute(
            "INSERT INTO sessions (id, name, provider, label, state, created, state_at) "
            "VALUES ('a1', 'old.1', 'local', 'l', 'ready', 1.0, 1.0)"
        )
        db.execute(f"PRAGMA application_id = {migrations.APPLICATION_ID}")
        db.execute("PRAGMA user_version = 10")
        db.commit()
    with Ledger.open(file) as ledger:
        old = ledger.one("old.1")  # a name that can't be chosen any more
        assert (old.group_id, old.rank, old.group) == ("", 0, "")
        assert ledger.groups(alive=False) == []
        assert ledger.cost("a1").beside is None
        add_group(ledger)
        assert [one.name for one in ledger.sessions()] == ["old.1", "team.0", "team.1", "team.2"]


def test_nothing_is_recorded_of_what_is_refused_inside(ledger: Ledger) -> None:
    def refuse() -> None:
        raise BadInput("no")

    members = [Session(id=f"m{rank}", name="", provider="local", label=f"l{rank}") for rank in range(3)]
    with pytest.raises(BadInput, match="no"):
        ledger.add_group(Group(id="g", name="g", wanted=3, at_least=3), members, admit=refuse)
    assert ledger.groups(alive=False) == []
    assert ledger.sessions() == []
