"""``volumes --create`` and what becomes of a volume that nothing uses, on the simulated clouds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.rentals.clouds import simulated

from gpunb import paths
from gpunb.sessions.cost import volumes
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import Intent, Session, SessionState
from gpunb.sim.ending import provider
from gpunb.units import money_text
from tests.support.rentals.vast_cloud import world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.machines.terminal import Gpunb

    from gpunb.sim.serving.runner import Simulation

pytestmark = pytest.mark.slow


@pytest.fixture
def clouds(gpunb: Gpunb) -> Iterator[Simulation]:
    with simulated(real=False) as simulation:
        yield simulation


@pytest.fixture
def vast(clouds: Simulation) -> Iterator[Any]:
    found = provider("vast", clouds.description()["vast"])
    yield found
    found.close()


def test_one_is_made_where_machines_are_and_named_until_it_is_deleted(gpunb: Gpunb, vast: Any) -> None:
    from gpunb.providers import OfferQuery

    made = gpunb("volumes", "--cloud", "vast", "--create", "data", "--size", "20", "--yes")
    assert made.code == 0, made.err
    assert "an hour" in made.out
    (found,) = vast.volumes()
    month = f"({money_text(found.usd_h * 720)} a month)"
    assert month in made.out, "a month of Vast's has 720 hours"
    with Ledger.open() as ledger:
        assert found.name == volumes.label_for(ledger.installation, "data")
        assert [one.name for one in ledger.idle_volumes()] == ["data"]
    assert found.machine_id in {offer.machine_id for offer in vast.search(OfferQuery())}
    assert "WARNING: volume data" in gpunb("ps").out
    again = gpunb("volumes", "--cloud", "vast", "--create", "data", "--size", "20", "--yes")
    assert again.code == 2
    assert "has a volume data of yours already" in again.err
    assert len(vast.volumes()) == 1
    (row,) = gpunb("volumes", "--json").json
    assert (row["name"], row["ours"], row["size_gb"]) == ("data", True, 20)
    assert row["usd_h"] > 0
    assert gpunb("volumes", "--delete", "data", "--yes").code == 0
    assert vast.volumes() == []
    assert "volume data" not in gpunb("ps").out


def test_beyond_a_cap_none_is_rented(gpunb: Gpunb, vast: Any) -> None:
    """No lease ends a volume: it counts until the end of the day."""
    line = ["volumes", "--cloud", "vast", "--create", "data", "--size", "500", "--yes"]
    file = paths.config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    for cap in ("usd_h = 0.001", "usd_month = 0.000001"):
        file.write_text(f"[limits]\n{cap}\n")
        ran = gpunb(*line)
        assert ran.code == 2, ran.out
        assert f"your cap limits.{cap.split()[0]} = <$0.01 refuses this" in ran.err
        assert "nothing was rented" in ran.err
        assert vast.volumes() == []
    file.write_text("[limits]\nusd_h = 9\n")
    assert gpunb(*line).code == 0
    assert len(vast.volumes()) == 1


def test_at_a_place_that_is_named(gpunb: Gpunb, clouds: Simulation, vast: Any) -> None:
    space = vast.search_volumes(20)[-1]
    line = ["volumes", "--cloud", "vast", "--create", "near", "--size", "20", "--yes", "--where"]
    assert gpunb(*line, space.machine_id).code == 0
    assert vast.volumes()[0].machine_id == space.machine_id
    sesterce: Any = provider("sesterce", clouds.description()["sesterce"])
    region = next(row["regions"][0] for row in sesterce.volume_offers() if row["regions"])
    line = ["volumes", "--cloud", "sesterce", "--create", "far", "--yes", "--size"]
    small = gpunb(*line, "1")
    assert small.code == 2
    assert "must be 10 GB or more there" in small.err
    assert gpunb(*line, "100", "--where", region).code == 0
    assert [one.place for one in sesterce.volumes()] == [region]
    sesterce.close()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["--create", "a-b", "--size", "9"], "letters, digits and _"),
        (["--create", "data"], "--size must say how many GB"),
        (["--create", "data", "--size", "0"], "0"),
        (["--create", "data", "--size", "20", "--cloud", "vast", "--where", "nowhere"], "no cloud has room"),
        (["--create", "data", "--delete", "1"], "takes one of"),
        (["--size", "9"], "are for --create"),
    ],
)
def test_bad_input_rents_nothing(gpunb: Gpunb, clouds: Simulation, line: list[str], words: str) -> None:
    ran = gpunb("volumes", *line, "--yes")
    assert ran.code == 2
    assert words in ran.err


def test_a_lost_answer_is_looked_for(gpunb: Gpunb, clouds: Simulation, vast: Any) -> None:
    clouds["vast"].faults.add("drop-after", "create-volume", times=1)
    made = gpunb("volumes", "--cloud", "vast", "--create", "data", "--size", "20", "--yes", "--json")
    assert made.code == 0, made.err
    assert [one.id for one in vast.volumes()] == [made.json["id"]]


def test_the_sweep_names_ours_only_and_ends_none(home: Any) -> None:
    w = world()
    vast: Any = w.provider
    spaces = vast.search_volumes(20)
    with Ledger.open() as ledger:
        mine = vast.create_volume(spaces[0].id, 20, volumes.label_for(ledger.installation, "mine"))
        w.wait(10)
        vast.create_volume(spaces[1].id, 20, volumes.label_for("ffffffff-other", "theirs"))
        w.wait(10)
        vast.create_volume(spaces[2].id, 20, "by_hand")
        assert len(volumes.idle(ledger, vast)) == 3
        (found,) = volumes.sweep(ledger, vast)
        assert (found.id, found.name) == (mine, "mine")
        since = found.since
        assert [one.since for one in volumes.sweep(ledger, vast)] == [since]
        # rented with it: not each cloud's list tells who uses a volume
        session = ledger.add_session(Session(id="id1", name="one", provider="vast", label="gpunb-x-id1"))
        intent = Intent(label="gpunb-x-id1", session_id="id1", provider="vast", summary={"volumes": [mine]})
        session = ledger.begin_create(session, intent, lease=session.lease)
        assert volumes.sweep(ledger, vast) == []
        assert ledger.idle_volumes() == []
        ledger.transition(session, SessionState.FAILED, "no")
        assert [one.id for one in volumes.sweep(ledger, vast)] == [mine]
    assert len(vast.volumes()) == 3


def test_the_supervisor_sweeps_them(home: Any, gpunb: Gpunb, vast: Any) -> None:
    from gpunb.sessions.supervisor.sweep import Supervision

    with Ledger.open() as ledger:
        vast.create_volume(vast.search_volumes(20)[0].id, 20, volumes.label_for(ledger.installation, "left"))
        session = ledger.add_session(Session(id="id1", name="one", provider="vast", label="gpunb-x-id1"))
        assert ledger.idle_volumes() == []
        looked = Supervision(ledger, lambda _: vast).tick()
        assert looked.errors == []
        assert [one.name for one in ledger.idle_volumes()] == ["left"]
        assert ledger.get(session.id).state is SessionState.FAILED
    assert len(vast.volumes()) == 1
