"""The same rental asked for at each door: verb, JupyterLab's dialog, the notebook's picker, Python."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.rentals.supervisors import end_supervisors

from gpunb.errors import GpunbError
from gpunb.offers.pricing import Terms
from gpunb.offers.rank import rank
from gpunb.providers.local import LocalProvider
from gpunb.sessions.ledger.sessions import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.machines.terminal import Gpunb

    from gpunb.notebook.widgets.picker import OfferPicker
    from gpunb.offers import Ranked
    from gpunb.server.hub import Hub

HOURS, DISK = 1.0, 20.0
#: What a session is, as far as the question has named it.
AGREED = ("provider", "gpu", "gpus", "usd_h", "stopped_usd_h", "trust", "disk_gb", "save", "python")


@pytest.fixture
def row(home: Path) -> Ranked:
    """This computer's offer, at a price, ranked as every search does."""
    from gpunb.cli.context import Context
    from gpunb.providers import OfferQuery

    home.mkdir(exist_ok=True)
    own = 'clouds = ["local"]\nidle = "10m"\nsave = ["out"]\n'
    (home / "gpunb.toml").write_text(own + "[providers.local]\nusd_h = 1.5\ndisk_usd_gb_h = 0.01\n")
    with Context("terminal") as context:
        offers = context.provider("local").search(OfferQuery())
    (found,) = rank(offers, Terms(hours=HOURS, disk_gb=DISK))
    return found


class AtTheVerb:
    """``gpunb rent`` without a terminal: its refusal holds the question, ``--yes`` is the answer."""

    def __init__(self, gpunb: Gpunb, row: Ranked) -> None:
        self.gpunb, self.row = gpunb, row
        self.line = ["rent", "--cloud", "local", "--for", "1h"]

    def question(self, **terms: Any) -> str:
        ran = self.gpunb(*self.line, *self._flags(terms))
        assert ran.code == 2
        found = re.search(r"no question can be asked here\. (.*)", ran.err)
        if found is None:
            raise GpunbError(ran.err.splitlines()[-2 if "bill:" in ran.err else -1].removeprefix("error: "))
        return found.group(1)

    def rent(self, **terms: Any) -> None:
        ran = self.gpunb(*self.line, *self._flags(terms), "--yes")
        assert ran.code == 0, ran.err

    @staticmethod
    def _flags(terms: dict[str, Any]) -> list[str]:
        names = {"budget_usd": "--budget"}
        return [word for name, value in terms.items() for word in (names[name], str(value))]


class AtTheServer:
    """What JupyterLab's dialog calls: ``POST confirm``, then ``POST rent`` with its token."""

    def __init__(self, hub: Hub, row: Ranked) -> None:
        self.hub, self.row = hub, row
        hub.keep_offers({"local/1": row})

    def question(self, **terms: Any) -> str:
        return str(self._confirm(terms)["says"])

    def rent(self, **terms: Any) -> None:
        from gpunb.server import acting, schemas

        body = schemas.Rent(offer="local/1", hours=HOURS, **terms, token=self._confirm(terms)["token"])
        job = acting.rent(self.hub, "ann", body)
        assert job.over.wait(90)
        assert job.error is None, job.error

    def _confirm(self, terms: dict[str, Any]) -> dict[str, Any]:
        from gpunb.server import acting

        return acting.confirm(
            self.hub, "ann", {"action": "rent", "offer": "local/1", "hours": HOURS, **terms}
        )


class AtThePicker:
    """What the notebook's picker calls."""

    def __init__(self, picker: OfferPicker, row: Ranked) -> None:
        from gpunb.notebook.widgets.searching import Found

        self.picker = picker
        picker._found = Found(hours=HOURS, disk_gb=DISK, ranked={"local/1": row})

    def question(self, **terms: Any) -> str:
        return str(self._confirm(terms)["says"])

    def rent(self, **terms: Any) -> None:
        self.picker.on_rent("local/1", HOURS, terms.get("budget_usd"), self._confirm(terms)["token"])
        self.picker.wait(90)

    def _confirm(self, terms: dict[str, Any]) -> dict[str, Any]:
        return self.picker.on_confirm("local/1", HOURS, terms.get("budget_usd"))


class AtPython:
    """``gpunb.rent``: the call is the yes, so there is no question, and its refusal comes from the call."""

    def question(self, **terms: Any) -> str:
        self.rent(**terms)
        raise AssertionError("it was not refused")

    def rent(self, **terms: Any) -> None:
        import gpunb

        gpunb.rent(cloud="local", hours=HOURS, **{{"budget_usd": "budget"}[key]: terms[key] for key in terms})


@pytest.fixture
def doors(gpunb: Gpunb, row: Ranked, home: Path, tmp_path: Path) -> Iterator[list[Any]]:
    from gpunb.notebook.widgets.picker import OfferPicker
    from gpunb.server.hub import Hub

    hub, picker = Hub(tmp_path, supervise=False), OfferPicker()
    yield [AtTheVerb(gpunb, row), AtTheServer(hub, row), AtThePicker(picker, row)]
    picker.close()
    hub.stop()
    end_supervisors(home)


@pytest.mark.parametrize("terms", [{}, {"budget_usd": 5.0}], ids=str)
def test_one_question_at_every_door(doors: list[Any], terms: dict[str, Any]) -> None:
    first, *others = [door.question(**terms) for door in doors]
    for word in ("cpu on local", "$1.70 an hour with 20 GB of disk", "$1.70 for 1h 00m", "your own machine"):
        assert word in first
    assert "after 1h 00m or after 10m without work" in first
    assert (
        "$5.00 for gpu, disk and traffic" if terms else "$2.04 for gpu and disk (the default budget)"
    ) in first
    assert "for $1.78 an hour at most" in first
    assert others == [first, first]
    assert LocalProvider().instances() == []


def test_one_refusal_at_every_door(doors: list[Any]) -> None:
    said = []
    for door in [*doors, AtPython()]:
        with pytest.raises(GpunbError, match=r"budget of \$0.50 is too small") as caught:
            door.question(budget_usd=0.5)
        said.append(caught.value.message)
    assert len(set(said)) == 1
    assert LocalProvider().instances() == []


@pytest.mark.slow
def test_one_result_at_every_door(doors: list[Any], gpunb: Gpunb) -> None:
    renters = [*doors, AtPython()]
    for door in renters:
        door.rent(budget_usd=5.0)
    with Ledger.open() as ledger:
        made = ledger.sessions()
        assert [one.state.value for one in made] == ["ready"] * len(renters)
        for name in AGREED:
            assert len({str(getattr(one, name)) for one in made}) == 1, name
        leases = [
            (one.lease.idle_s, one.lease.budget_usd, one.lease.budget_set, one.lease.count_ssh)
            for one in made
        ]
        assert leases == [(600.0, 5.0, True, False)] * len(renters)
        for one in made:
            assert one.lease.deadline is not None
            assert one.lease.deadline - one.created == pytest.approx(HOURS * 3600.0, abs=5)
    assert gpunb("down", "--all", "--yes", "--no-save").code == 0


def test_a_price_that_rose_is_refused_at_every_door(
    doors: list[Any], row: Ranked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cloud bills more than was shown: the machine is ended again, whoever asked for it."""
    real = LocalProvider.get

    def dearer(self: LocalProvider, instance_id: str) -> Any:
        found = real(self, instance_id)
        found.usd_h = 9.0
        return found

    monkeypatch.setattr(LocalProvider, "get", dearer)
    for door in [*doors, AtPython()]:
        with pytest.raises((GpunbError, AssertionError)) as caught:
            door.rent()
        assert "bills $9.00 an hour" in str(caught.value)
        assert LocalProvider().instances() == [], "nothing of it is left"


@pytest.mark.slow
def test_a_yes_holds_what_was_shown_whatever_is_found_since(
    doors: list[Any], row: Ranked, gpunb: Gpunb
) -> None:
    """Between the question and the click another search finds the same offer at another price."""
    from gpunb.server import acting, schemas

    (dear,) = rank([replace(row.offer, usd_h=9.0)], Terms(hours=HOURS, disk_gb=DISK))
    _, server, picker = doors
    token = server._confirm({})["token"]
    server.hub.keep_offers({"local/1": dear})
    job = acting.rent(server.hub, "ann", schemas.Rent(offer="local/1", hours=HOURS, token=token))
    assert job.over.wait(90)
    assert job.error is None, job.error
    token = picker._confirm({})["token"]
    picker.picker._found.ranked = {"local/1": dear}
    picker.picker.on_rent("local/1", HOURS, None, token)
    picker.picker.wait(90)
    with Ledger.open() as ledger:
        assert [round(one.usd_h, 2) for one in ledger.sessions()] == [1.7, 1.7]
        assert [one.lease.budget_usd for one in ledger.sessions()] == [pytest.approx(2.04)] * 2
    assert gpunb("down", "--all", "--yes", "--no-save").code == 0
