"""25 schedules in each run of the tests, others each time; ``make chaos N=… SEED=…`` plays more."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from gpunb.errors import GpunbError
from gpunb.services import moving
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.lifecycle import ending
from gpunb.sessions.lifecycle.rental import Rental
from gpunb.sessions.model import IntentState, Session, SessionState
from gpunb.sessions.supervisor import host_monitor, one_session, session_ends, sweep
from gpunb.sync.local.free_names import FreeNames
from tests.chaos.schedule import Figures, Schedule, play
from tests.chaos.trouble import Trouble
from tests.support.chance import drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpunb.sync.planning.plan import Item
    from tests.chaos.world import Process

# worse programs are played until they are found, which takes a busy machine long
pytestmark = pytest.mark.timeout(400)
EACH, SAMPLES = 5, 5
MOST = 100


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)  # thousands of faults are thousands of warnings
    yield
    logging.disable(logging.NOTSET)


def together(seeds: range) -> Figures:
    total = Figures()
    for seed in seeds:
        total.add(play(seed))
    return total


def found(what: Callable[[Figures], object], seeds: range = range(MOST)) -> bool:
    """Whether schedules show `what` of a worse program, played until they do: a change of draws moves it."""
    total = Figures()
    for seed in seeds:
        total.add(play(seed))
        if what(total):
            return True
    return False


def a_seed(number: int) -> int:
    """The seed of the sample's schedule `number`."""
    return drawn(f"chaos {number}").randrange(10_000)


# a few of them in the fast tests
@pytest.mark.parametrize("number", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, SAMPLES))])
def test_no_schedule_leaves_a_bill(number: int) -> None:
    first = a_seed(number)
    total = together(range(first, first + EACH))
    assert total.ok, "\n".join([f"make chaos N={EACH} SEED={first}", *total.lines()])
    assert total.schedules == EACH
    assert total.instances.total() > 0


def test_a_seed_plays_the_same_again() -> None:
    first, second = play(7), play(7)
    assert first.lines() == second.lines()
    assert first.steps > 100


# -- what the schedules would say of worse programs ---------------------------


@pytest.mark.slow
def test_a_supervisor_that_ends_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(
        self: sweep.Supervision, listing: ending.Listing, session: Session, why: str, *, save: bool = True
    ) -> Session:
        return session

    monkeypatch.setattr(sweep.Supervision, "_end_now", nothing)
    assert found(lambda total: total.late)


@pytest.mark.slow
def test_a_create_that_is_sent_again_blindly_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(self: Rental, label: str, cause: Exception) -> Session:
        self.ledger.resolve_intent(label, IntentState.REFUSED, "surely not")
        raise_next(self, cause)
        raise AssertionError

    def raise_next(rental: Rental, cause: Exception) -> None:
        from gpunb.errors import Unavailable
        from gpunb.sessions.lifecycle.create_call import NextOffer
        from gpunb.sessions.model import SessionState

        session = rental.ledger.get(rental.id)
        rental.ledger.transition(session, SessionState.REQUESTED, "surely not")
        raise NextOffer(Unavailable("lost", provider=rental.provider.name))

    monkeypatch.setattr(Rental, "_look_up", absent)
    assert found(lambda total: total.doubly and total.false)


@pytest.mark.slow
def test_an_end_that_is_believed_unseen_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpunb.providers.base import Presence

    monkeypatch.setattr(ending, "_presence", lambda listing, session: Presence.GONE)
    monkeypatch.setattr(ending, "_believable", lambda ledger, session, lag: True)
    assert found(lambda total: total.false)


@pytest.mark.slow
def test_an_intent_that_is_forgotten_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # no write-ahead, no orphans: what a launcher without either loses
    monkeypatch.setattr(sweep, "sweep", lambda ledger, listing, timing: [])
    monkeypatch.setattr(Ledger, "intents", lambda self, session_id=None, *, unresolved=False: [])
    assert found(lambda total: total.unknown or total.false)


@pytest.mark.slow
def test_an_end_without_its_files_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object, **__: object) -> list[tuple[str, str]]:
        return []

    monkeypatch.setattr(session_ends, "fetch_saves", nothing)
    assert found(lambda total: total.lost)


@pytest.mark.slow
def test_saves_that_overwrite_each_other_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def its_own(self: FreeNames, folder: str, wanted: str, item: Item) -> tuple[str, bool]:
        return wanted, False

    monkeypatch.setattr(FreeNames, "_free", its_own)
    assert found(lambda total: total.lost)


@pytest.mark.slow
def test_a_move_that_nobody_finishes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object, **__: object) -> None:
        msg = "the process that moves is gone"
        raise GpunbError(msg)

    def rents_and_moves(self: Schedule, process: Process) -> None:
        ready = any(session.state is SessionState.READY for session in process.ledger.sessions())
        with suppress(GpunbError):
            (self._move if ready else self._rent)(process)

    monkeypatch.setattr(moving, "hand_over", dies)
    monkeypatch.setattr(Schedule, "_act", rents_and_moves)  # few die there else
    monkeypatch.setattr(Trouble, "story", lambda self, actor: None)
    short = range(3, MOST, 4)  # of one cloud alone
    assert play(short[0]).ok, "the supervisor finishes it"
    monkeypatch.setattr(one_session.OneSession, "_left_half_way", lambda self, session: False)
    assert found(lambda total: any("its move is broken off" in line for line in total.late), short)


@pytest.mark.slow
def test_a_clock_that_is_not_followed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "follow_clock", lambda self: 0.0)
    monkeypatch.setattr(Ledger, "_follow", lambda self, db: None)
    assert found(lambda total: total.late or total.lost or any("s from now" in line for line in total.broken))


@pytest.mark.slow
def test_a_host_that_is_believed_to_be_busy_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_monitor.HostMonitor, "surely_idle", lambda self, session: False)
    assert found(lambda total: any("idle for" in line for line in total.late))
