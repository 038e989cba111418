"""`offers` at both doors with what strangers may put into an offer, wrong keys, and nothing found."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from support.rentals.clouds import known, simulated

from gpunb.cli.main import invoke
from gpunb.sim.serving.runner import Simulation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.machines.terminal import Gpunb

HOSTILE = {
    "html": "<img src=x onerror=alert(1)><script>alert(2)</script>",
    "escapes": "\x1b]0;owned\x07\x1b[2J\x1b[31mRTX\x1b[0m\r\n\x9b31m\u202eevil",
    "markup": "[bold red]RTX[/bold red] [link=http://x]here[/link]",
    "megabyte": "A" * 1_000_000,
    "lines": "RTX\nsession: rent me\nbill: nothing\n",
}


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    with Simulation(("vast", "deepinfra"), speed=20.0) as simulation:
        yield simulation


@pytest.fixture
def clouds(gpunb: Gpunb, running: Simulation) -> Iterator[Simulation]:
    cloud: Any = running["vast"]
    before = copy.deepcopy(cloud.offers)
    with known(running):
        yield running
    cloud.offers = before


@pytest.fixture
def own(gpunb: Gpunb) -> Iterator[Simulation]:
    """Clouds that nobody else sees, to be spoiled."""
    with simulated(("vast", "deepinfra"), real=False) as simulation:
        yield simulation


def first_row(clouds: Simulation) -> dict[str, Any]:
    cloud: Any = clouds["vast"]
    return next(row for row in cloud.offers.values() if row["rentable"] and row["verification"] == "verified")


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("field", ["gpu_name", "geolocation", "cpu_name"])
def test_a_hostile_text_is_harmless_at_both_doors(
    gpunb: Gpunb, clouds: Simulation, kind: str, field: str
) -> None:
    first_row(clouds)[field] = HOSTILE[kind]
    ran = gpunb("offers", "--cloud", "vast", "-n", "1000", "--why")
    assert ran.code == 0, ran.err[:500]
    shown = ran.out + ran.err
    assert len(shown) < 500_000
    assert not any(sign in shown for sign in ("\x1b", "\x9b", "\x07", "\u202e", "\r"))
    html = invoke("offers --cloud vast -n 1000 --why").html()
    assert len(html) < 3_000_000
    for tag in ("<img", "<script", "<a "):
        assert tag not in html
    assert "\x1b" not in html
    as_json = gpunb("offers", "--cloud", "vast", "-n", "1000", "--json")
    assert as_json.json["matched"] > 10, "one bad offer takes no other with it"
    assert "\x1b" not in as_json.out


@pytest.mark.parametrize(
    "value", [-1, 1e300, "NaN", None, [], {"$": 1}, 10**400, True], ids=lambda value: str(value)[:8]
)
@pytest.mark.parametrize(
    "field", ["dph_base", "num_gpus", "gpu_ram", "storage_cost", "inet_down", "disk_space"]
)
def test_an_absurd_number_spoils_no_search(
    clouds: Simulation, gpunb: Gpunb, monkeypatch: pytest.MonkeyPatch, field: str, value: object
) -> None:
    from gpunb.providers.vast import VastProvider

    answered = VastProvider.search_rows

    def odd(self: VastProvider, wanted: dict[str, Any]) -> list[Any]:
        first, *others = answered(self, wanted)
        return [{**first, field: value}, *others]

    monkeypatch.setattr(VastProvider, "search_rows", odd)
    found = invoke(["offers", "--cloud", "vast", "-n", "1000", "--json"]).data()
    assert found["matched"] > 10
    assert found["failed"] == []
    for one in found["offers"]:
        assert 0 <= one["usd_h"] < 1e5
        assert 0 <= one["total_usd"] < 1e6


def test_a_wrong_key_is_named_as_that_and_the_other_cloud_still_answers(
    gpunb: Gpunb, own: Simulation
) -> None:
    vast: Any = own["vast"]
    vast.accounts.clear()
    own["deepinfra"].accounts.clear()
    ran = gpunb("doctor")
    line = next(line for line in ran.out.splitlines() if "cloud vast" in line)
    assert "key" in line
    rent = gpunb("rent", "--cloud", "vast", "--yes")
    assert rent.code == 1
    assert "key" in rent.err
    assert "nothing" in rent.err
    assert "gpunb login vast" in rent.err, "404 from Vast is a wrong key, and the next step is to log in"


def test_a_cloud_that_is_down_is_named_and_holds_nobody_back(gpunb: Gpunb, own: Simulation) -> None:
    own["vast"].faults.add("gateway", "*", times=None)
    ran = gpunb("offers", "--cloud", "vast,deepinfra")
    assert ran.code == 0
    assert "vast:" in ran.out
    assert "deepinfra" in ran.out


def test_an_empty_result_says_which_filter_emptied_it_and_what_is_near(
    gpunb: Gpunb, clouds: Simulation
) -> None:
    ran = gpunb("offers", "--gpu", "H100", "--max-price", "0.10", "--cloud", "vast,deepinfra")
    assert ran.code == 0
    text = " ".join(ran.out.split())
    assert "2 offers do not match --max-price 0.10" in text
    assert "without --max-price 0.10" in text
    assert "the nearest has price $" in text
    typo = gpunb("offers", "--gpu", "H1OO", "--cloud", "vast")
    assert "did you mean H100" in " ".join(typo.out.split())


def test_a_query_error_points_at_the_character(gpunb: Gpunb) -> None:
    ran = gpunb("offers", "gpu = = H100")
    lines = ran.err.splitlines()
    at = next(index for index, line in enumerate(lines) if line.endswith("gpu = = H100"))
    assert lines[at + 1].index("^") == lines[at].index("= H100")


def test_the_query_s_own_limit_counts_unless_another_is_typed(gpunb: Gpunb, clouds: Simulation) -> None:
    assert len(gpunb("offers", "limit 20", "--cloud", "vast", "--json").json["offers"]) == 20
    assert len(gpunb("offers", "limit 20", "-n", "3", "--cloud", "vast", "--json").json["offers"]) == 3
    assert len(gpunb("offers", "--cloud", "vast", "--json").json["offers"]) == 15


def test_an_id_may_be_shortened_as_it_is_shown() -> None:
    from gpunb.cli.offer_options import short_ids

    ids = [
        "9000131",
        "vm:72be58a5-2dc9-4eaf-adda",
        "1b88d2bc-5014-4a88-896c/FR",
        "1b88d2bc-5014-4a88-896c/US",
    ]
    short = short_ids(ids)
    assert short["9000131"] == "9000131"
    assert short["vm:72be58a5-2dc9-4eaf-adda"] == "vm:72be5…"
    assert len(set(short.values())) == len(ids)
