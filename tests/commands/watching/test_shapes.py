"""The shapes that all frontends show: right figures, JSON as they stand, clean text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpunb.offers.admit import admit
from gpunb.offers.pricing import Terms
from gpunb.offers.rank import rank
from gpunb.presentation import models, shapes
from gpunb.providers import Offer
from gpunb.sessions.cost.spending import RunCost
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import Lease, RunNote, Segment, Session, SessionState
from tests.offers.rows import many, offer

NOW = 1_800_000_000.0
NASTY = "<script>\x1b[31mx\x1b[0m\u202e\nnext"


class Clock:
    def time(self) -> float:
        return NOW

    def sleep(self, seconds: float) -> None:
        raise AssertionError


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path / "home"))
    with Ledger.open(clock=Clock()) as opened:
        yield opened


def ready(ledger: Ledger, **values: object) -> Session:
    fields = {
        "id": "sabcdefg", "name": "trainer", "provider": "vast", "label": "gpunb-x-sabcdefg",
        "gpu": "H100 SXM", "gpus": 2, "usd_h": 4.0, "stopped_usd_h": 0.1,
        "lease": Lease(deadline=NOW + 7200, idle_s=1800, budget_usd=10.0),
    } | values  # fmt: skip
    session = ledger.add_session(Session(**fields))  # type: ignore[arg-type]
    for state in ("creating", "booting", "reachable", "ready"):
        session = ledger.transition(session, SessionState(state))
    ledger.open_segments(
        [
            Segment(session_id=session.id, kind="gpu", rate=3.9, start=NOW - 1800),
            Segment(session_id=session.id, kind="disk", rate=0.1, start=NOW - 1800),
        ]
    )
    return ledger.update(session.id, ready=NOW - 1000, host="203.0.113.5", port=41022)


def test_a_ready_session(ledger: Ledger) -> None:
    got = shapes.session_shape(ledger, ready(ledger), now=NOW)
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    assert got["cost"] == {
        "gpu": pytest.approx(1.95), "disk": pytest.approx(0.05), "bandwidth": 0.0, "total": pytest.approx(2.0)
    }  # fmt: skip
    assert (got["state"], got["tone"], got["usd_h"], got["runs_active"]) == ("ready", "ok", 4.0, 0)
    assert got["lease"]["idle_ends"] == NOW - 1000 + 1800
    assert (got["lease"]["ends"], got["lease"]["ends_by"]) == (NOW + 800, "idle")
    assert got["lease"]["soon"] is False
    assert got["simulated"] is False
    assert "%%gpu" in got["next"]


def test_a_run_keeps_it_from_being_idle(ledger: Ledger) -> None:
    session = ready(ledger, lease=Lease(deadline=NOW + 300, idle_s=60))
    ledger.add_run(RunNote(id="r1", session_id=session.id, started=NOW - 10))
    got = shapes.session_shape(ledger, session, now=NOW)
    assert got["runs_active"] == 1
    assert got["lease"]["idle_ends"] is None
    assert (got["lease"]["ends_by"], got["lease"]["soon"]) == ("time", True)


def test_money_ends_it_first(ledger: Ledger) -> None:
    session = ready(ledger, lease=Lease(deadline=NOW + 7200, budget_usd=2.5))
    got = shapes.session_shape(ledger, session, now=NOW)["lease"]
    assert got["ends_by"] == "money"
    assert got["ends"] == pytest.approx(NOW + 0.5 / 4.0 * 3600)


def test_a_session_that_is_over_ends_no_more(ledger: Ledger) -> None:
    session = ready(ledger)
    for state in ("ending", "gone"):
        session = ledger.transition(session, SessionState(state))
    got = shapes.session_shape(ledger, session, now=NOW)
    assert (got["usd_h"], got["runs_active"], got["ended"]) == (0.0, 0, NOW)
    assert (got["lease"]["ends"], got["lease"]["ends_by"], got["lease"]["soon"]) == (None, "", False)
    assert shapes.session_shapes(ledger, now=NOW) == []
    assert [one["id"] for one in shapes.session_shapes(ledger, alive=False, now=NOW)] == [session.id]


def test_what_a_bill_in_doubt_says(ledger: Ledger) -> None:
    session = ledger.add_session(Session(id="s1234567", name="", provider="vast", label="gpunb-x", usd_h=2.0))
    session = ledger.transition(ledger.transition(session, SessionState.CREATING), SessionState.UNKNOWN)
    got = shapes.session_shape(ledger, session, now=NOW)
    assert got["tone"] == "bad"
    assert "$2.00/h" in got["detail"]


def test_many_at_once_are_as_one_by_one(ledger: Ledger) -> None:
    made = [ready(ledger, id=f"s{n:07}", name=f"one-{n}", label=f"l{n}") for n in range(5)]
    together = shapes.session_shapes(ledger, now=NOW)
    assert together == [shapes.session_shape(ledger, ledger.get(one.id), now=NOW) for one in made]


def offer_shape(one: Offer, **terms: float) -> models.Offer:
    """An offer as the picker shows it, priced by these terms."""
    return shapes.ranked_shape(rank([one], Terms(**terms))[0])


def test_a_strangers_text_is_cleaned(ledger: Ledger) -> None:
    session = ledger.update(ready(ledger).id, detail=NASTY, gpu=NASTY, host=NASTY)
    row = offer_shape(offer("x", gpu=NASTY, region=NASTY, cpu=NASTY), hours=1)
    run = shapes.run_shape(RunNote(id="r", session_id="s", name=NASTY))
    shown = [shapes.session_shape(ledger, session, now=NOW)[key] for key in ("detail", "gpu", "host")]
    for text in [*shown, row["gpu"], row["region"], row["cpu"], run["name"]]:
        assert text == "<script>x next"


def test_an_offer_and_its_parts() -> None:
    one = offer("7", usd_h=2.0, disk_usd_gb_h=0.001, down_usd_gb=0.01, increment_s=3600.0)
    got = offer_shape(one, hours=1.5, disk_gb=100, down_gb=50)
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    assert got["key"] == "vast/on-demand/7"
    assert got["usd_h"] == pytest.approx(2.1)
    assert got["total_usd"] == pytest.approx(2 * 2.1 + 0.5)
    assert sum(got["parts"].values()) == pytest.approx(got["total_usd"])
    assert "1.5 h" in got["why"]
    assert "\n" not in got["why"]
    assert offer_shape(offer("8", disk_max_gb=float("inf")), hours=1)["disk_gb"] is None


def test_facets_count_every_row_once() -> None:
    good, _ = admit("vast", many(500))
    rows = [offer_shape(one, hours=1) for one in good]
    found = shapes.facets(rows)
    assert set(found) == set(shapes.FACETS)
    for name, values in found.items():
        assert sum(value["count"] for value in values) == len(rows), name
        assert len({value["value"] for value in values}) == len(values)
        assert [value["count"] for value in values] == sorted((v["count"] for v in values), reverse=True)
    assert shapes.facets([]) == {name: [] for name in shapes.FACETS}


def test_a_run_and_what_it_cost(ledger: Ledger) -> None:
    session = ready(ledger)
    note = RunNote(id="run00001", session_id=session.id, kind="job", name="train", started=NOW - 60)
    got = shapes.run_shape(note, RunCost(run=note, session=session, seconds=60, usd=0.07), now=NOW)
    assert got == {
        "id": "run00001", "session": session.id, "session_name": "trainer", "kind": "job", "name": "train",
        "state": "running", "started": NOW - 60, "ended": None, "seconds": 60.0, "usd": 0.07,
        "exit_code": None, "front": "",
    }  # fmt: skip
    note.ended = NOW - 30
    assert shapes.run_shape(note, now=NOW)["seconds"] == 30.0
