"""The API over all simulated clouds: searched, rented from, cancelled, joined, and all of them down."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.sim.cloud import Phase
from gpunb.sim.serving import runner
from tests.support.machines.jupyter import Client, Jupyter, until
from tests.support.rentals.clouds import simulated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpunb.sim.serving.runner import Simulation

pytestmark = pytest.mark.slow
CLOUDS = set(runner.CLOUDS)


@pytest.fixture
def clouds(home: Path) -> Iterator[Simulation]:
    home.mkdir(parents=True, exist_ok=True)
    with simulated(real=False) as found:
        yield found


@pytest.fixture
def client(clouds: Simulation, jupyter: Jupyter) -> Client:
    return jupyter.client()


def rented(clouds: Simulation, name: str) -> list[Any]:
    """What the cloud itself bills now."""
    return [one for one in clouds[name].machines.values() if one.phase is not Phase.ENDED]


def test_offers_of_all_clouds_with_facets(client: Client) -> None:
    found = client.post("/offers", {"hours": 2, "disk_gb": 50})
    assert {one["provider"] for one in found["offers"]} == CLOUDS
    assert found["failed"] == []
    assert found["matched"] == len(found["offers"])
    for name, values in found["facets"].items():
        assert sum(one["count"] for one in values) == len(found["offers"]), name
    narrow = client.post("/offers", {"hours": 2, "query": "vram >= 80", "clouds": ["vast"], "limit": 3})
    assert {one["provider"] for one in narrow["offers"]} == {"vast"}
    assert all(one["vram_gb"] >= 80 for one in narrow["offers"])
    assert client.get("/status")["simulated"] is True
    for rental, hours in (("spot", 2), ("reserved", 720)):
        of_it = client.post("/offers", {"hours": hours, "rental": rental, "clouds": ["vast"]})["offers"]
        assert of_it
        assert {one["key"].split("/")[1] for one in of_it} == {rental}


def test_clouds_that_are_down_are_named_each(client: Client, clouds: Simulation) -> None:
    for served in clouds.served.values():
        served.cloud.faults.add("gateway", "*", times=None)
    found = client.post("/offers", {"hours": 1, "clouds": sorted(CLOUDS)})
    assert found["offers"] == []
    assert {one["provider"] for one in found["failed"]} == CLOUDS
    for one in found["failed"]:
        assert one["message"]
        assert one["login"] is False
    assert client.get("/sessions") == {"sessions": []}
    assert client.get("/status")["api"] == 1


def test_without_any_key_the_way_to_log_in_is_offered(jupyter: Jupyter) -> None:
    from gpunb.sim.serving.runner import Simulation

    with Simulation() as clouds:
        keyless(jupyter, clouds)
        client = jupyter.client()
        found = client.post("/offers", {"hours": 1, "clouds": ["all"]})
        shown = {one["provider"] for one in found["offers"]}
        refused = {one["provider"]: one for one in found["failed"]}
        assert (shown | set(refused)) - {"local"} == CLOUDS
        assert all(one["login"] and one["hint"] for one in refused.values()), refused
        # some clouds show what they have to anybody
        for name in shown - {"local"}:
            key = next(one["key"] for one in found["offers"] if one["provider"] == name)
            error = client.post("/confirm", {"action": "rent", "offer": key, "hours": 1}, 409)
            assert (error["reason"], error["bill"]) == ("AuthFailed", "nothing was rented")
            assert f"gpunb login {name}" in error["hint"]
        status = client.get("/status")["clouds"]
        assert {one["name"] for one in status if not one["key"]} == CLOUDS
        assert all(one["login"] for one in status if not one["key"])


def keyless(jupyter: Jupyter, clouds: Simulation) -> None:
    """The settings know where the clouds are, and no key."""
    jupyter.home.mkdir(parents=True, exist_ok=True)
    rows = {name: served.url + served.cloud.base_path for name, served in clouds.served.items()}
    text = "".join(f'[providers.{name}]\nbase_url = "{url}"\n' for name, url in rows.items())
    (jupyter.home / "gpunb.toml").write_text(text)


def test_login_checks_the_key_keeps_it_and_never_shows_it(jupyter: Jupyter, tmp_path: Path) -> None:
    from gpunb.sim.serving.runner import Simulation

    with Simulation(["vast"]) as cloud:
        served = cloud.served["vast"]
        keyless(jupyter, cloud)
        client = jupyter.client()
        error = client.post("/login", {"provider": "vast", "key": "a-wrong-key-000"}, 409)
        assert (error["reason"], error["bill"]) == ("AuthFailed", "nothing was kept")
        assert "a-wrong-key-000" not in str(error)
        done = client.post("/login", {"provider": "vast", "key": served.cloud.key})
        assert served.cloud.key not in str(done)
        assert {one["name"]: one["key"] for one in client.get("/status")["clouds"]}["vast"] is True
        assert client.post("/offers", {"hours": 1, "clouds": ["vast"]})["offers"]
    assert served.cloud.key not in jupyter.said()
    for file in (jupyter.home / "log").glob("*"):
        assert served.cloud.key not in file.read_text()


def test_cancel_of_a_rent_leads_to_a_confirmed_end(
    client: Client, clouds: Simulation, jupyter: Jupyter
) -> None:
    events = jupyter.events()
    clouds["vast"].faults.add("stuck-loading")
    job = client.rent("slow", clouds=["vast"], query="gpus >= 1")
    until(lambda: rented(clouds, "vast"))
    session = until(lambda: client.get(f"/jobs/{job['id']}")["job"]["session"])
    events.until("session", lambda data: data["id"] == session and data["state"] == "booting")
    assert client.ask("DELETE", f"/jobs/{job['id']}").json()["job"]["state"] in {"cancelling", "cancelled"}
    done = client.wait(job, "cancelled")
    assert "confirmed: nothing is rented" in done["error"]["bill"]
    assert rented(clouds, "vast") == []
    events.until("removed", lambda data: data["id"] == session)
    assert client.get("/sessions", all="1")["sessions"][0]["state"] in {"failed", "gone"}


def test_two_tabs_that_click_down_at_once_share_one_job(
    client: Client, clouds: Simulation, jupyter: Jupyter
) -> None:
    clouds["vast"].faults.add("never-starts")
    client.rent("twice", clouds=["vast"], query="gpus >= 1")
    session = until(
        lambda: [one for one in client.get("/sessions")["sessions"] if one["state"] == "booting"]
    )[0]["id"]
    tabs = [jupyter.client(), jupyter.client()]
    tokens = [tab.confirmed("down", session=session, save=True) for tab in tabs]
    jobs: list[Any] = [None, None]
    gate = threading.Barrier(2)

    def click(number: int) -> None:
        gate.wait()
        body = {"save": True, "token": tokens[number]}
        jobs[number] = tabs[number].post(f"/sessions/{session}/down", body, 202)["job"]

    threads = [threading.Thread(target=click, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert jobs[0]["id"] == jobs[1]["id"]
    done = client.wait(jobs[0])
    assert done["result"]["confirmed"] is not None
    assert rented(clouds, "vast") == []


def test_an_offer_that_is_gone_is_told_and_nothing_is_rented(client: Client, clouds: Simulation) -> None:
    clouds["vast"].faults.add("offer-gone")
    done = client.wait(client.rent(clouds=["vast"], query="gpus >= 1"), "failed")
    assert done["error"]["reason"] == "OfferGone"
    assert rented(clouds, "vast") == []
