"""The choice of ranks, what each is dealt, and writes of several runs in one commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.rentals.ledgers import ready

from gpunb.errors import BadInput, WrongState
from gpunb.services.ranks.dealing import deal
from gpunb.services.ranks.members import Member, Members
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import RunNote, Session

if TYPE_CHECKING:
    from pathlib import Path


def members(count: int = 4, lost: tuple[tuple[int, str], ...] = ()) -> Members:
    gone = {rank for rank, _ in lost}
    there = [rank for rank in range(count) if rank not in gone]
    sessions = [Session(id=f"s{rank}", name=f"team.{rank}", provider="local", label="l") for rank in there]
    made = tuple(Member(rank, session) for rank, session in zip(there, sessions, strict=True))
    return Members("team", made, count, lost)


@pytest.mark.parametrize(
    ("text", "ranks"),
    [(None, (0, 1, 2, 3)), ("0,2-3", (0, 2, 3)), ("3, 1", (1, 3)), ("2-2", (2,)), ("1,1-2", (1, 2))],
)
def test_ranks_are_chosen(text: str | None, ranks: tuple[int, ...]) -> None:
    assert members().chosen(text).ranks == ranks


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("7", "--rank 7: team has no rank 7; it has 0-3"),
        ("2-5", "team has no rank 4-5; it has 0-3"),
        ("x", "'x' is not a rank"),
        ("", "'' is not a rank"),
        ("-1", "'-1' is not a rank"),
        ("3-1", "'3-1' is not a range of ranks"),
        ("0-99999999999", "is not a range of ranks"),
        ("²", "is not a rank"),
    ],
)
def test_a_rank_that_is_not_there_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        members().chosen(text)


def test_a_lost_member_is_named_and_can_be_left_out() -> None:
    team = members(lost=((1, "gone"),))
    assert team.chosen("0,2-3").ranks == (0, 2, 3)
    for text in (None, "0-1"):
        with pytest.raises(WrongState, match=r"team: \[1\] is gone; nothing was run") as caught:
            team.chosen(text)
        assert caught.value.hint == "--rank 0,2-3 leaves it out"
    assert team.environment(team.members[1]) == {"GPUNB_RANK": "2", "GPUNB_SIZE": "4"}


@given(st.lists(st.integers(), max_size=30), st.integers(1, 9), st.sampled_from([list, tuple, np.array]))
def test_what_is_dealt_is_all_of_it_in_order_and_equal(items, count, kind):
    parts = deal("x", kind(items), count)
    assert len(parts) == count
    assert [item for part in parts for item in part] == items
    sizes = [len(part) for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1
    assert all(type(part) is type(kind(items)) for part in parts)


def test_arrays_go_along_their_first_axis_and_tables_by_rows() -> None:
    pandas = pytest.importorskip("pandas")
    assert [part.shape for part in deal("x", np.zeros((5, 2)), 2)] == [(3, 2), (2, 2)]
    table = pandas.DataFrame({"a": range(5)}, index=list("vwxyz"))
    assert [list(part.index) for part in deal("x", table, 2)] == [["v", "w", "x"], ["y", "z"]]
    assert deal("x", range(0, 10, 2), 2) == [range(0, 6, 2), range(6, 10, 2)]
    for odd in ("text", {}, {1}, 5, np.float64(1), np.array(3)):
        with pytest.raises(BadInput, match="can't be dealt out"):
            deal("x", odd, 2)


def test_what_is_written_together_is_committed_together(home: Path) -> None:
    with Ledger.open() as ledger, Ledger.open() as other:
        session = ready(ledger)
        with ledger.together():
            for name in "ab":
                ledger.add_run(RunNote(id=name, session_id=session.id, kind="cell", name=name))
            assert other.runs(session.id) == []
        assert {run.id for run in other.runs(session.id)} == {"a", "b"}
        with pytest.raises(KeyError), ledger.together():
            ledger.add_run(RunNote(id="c", session_id=session.id, kind="cell", name="c"))
            raise KeyError
        ledger.add_run(RunNote(id="d", session_id=session.id, kind="cell", name="d"))
        assert {run.id for run in other.runs(session.id)} == {"a", "b", "d"}
