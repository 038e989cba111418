"""Renting from Python: what is refused, what the block's end does, and what stays when a save fails."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

import gpunb
from gpunb.errors import BadInput, RemoteCellError, SessionNotFound, SessionOver, SyncError, WrongState
from tests.support.machines import own_hosts

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "budget of 0": ({"budget": 0}, r"budget of \$0.00 is too small"),
    "negative budget": ({"budget": -1}, r"rent: budget=-1 must be an amount"),
    "a truth as budget": ({"budget": True}, r"rent: budget=True must be an amount"),
    "hours of 0": ({"hours": 0}, r"rent: hours=0 must be a number of hours above 0"),
    "hours without a unit": ({"hours": "2"}, r"rent: hours='2': '2' is not a length of time"),
    "idle without a unit": ({"idle": 900}, r"rent: idle=900 must be a text with a unit"),
    "an unknown filter": ({"gpuu": "L4"}, r"rent: there is no filter 'gpuu'"),
    "a filter of no use": ({"spot": "yes"}, r"rent: spot='yes' must be True or False"),
    "nothing fits": ({"gpu": "H100"}, "no offer fits"),
    "a bad name": ({"name": "a b"}, "a b"),
    "pip of two lines": ({"pip": "a\nb"}, "pip='a.nb' must be a requirement of one line"),
    "an environment that is none": ({"env": {"A": 1}}, "env=.*must map names"),
    "requirements that are not there": ({"requirements": "no.txt"}, "'no.txt' can't be read"),
    "an offer that is not there": ({"offer": "nope"}, "'nope' is not among"),
    "a bid without spot": ({"bid": 1.0}, "only interruptible machines take bids"),
}


@pytest.mark.parametrize(("terms", "says"), REFUSED.values(), ids=REFUSED)
def test_what_breaks_a_rule_rents_nothing(work: Path, terms: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        gpunb.rent(cloud=own_hosts.CLOUD, **terms)
    assert gpunb.sessions() == []
    assert own_hosts.instances() == []


def test_offers_show_themselves(work: Path) -> None:
    found = gpunb.offers(cloud=own_hosts.CLOUD, hours=dt.timedelta(hours=3))
    (one,) = found
    assert (one.provider, one.trust, one.usd_h, found.matched) == (own_hosts.CLOUD, "own", 0.0, 1)
    assert "<table" in found._repr_html_()
    assert list(found.to_dataframe()["id"]) == [one.id]
    assert gpunb.offers(cloud=own_hosts.CLOUD, gpu="H100") == []
    with pytest.raises(BadInput, match="limit=0 must be a number from 1 up"):
        gpunb.offers(limit=0)


def test_the_block_ends_the_session_results_first(work: Path) -> None:
    (offer,) = gpunb.offers(cloud=own_hosts.CLOUD)
    with gpunb.rent(
        offer=offer, cloud=own_hosts.CLOUD, hours="30m", idle="never", save="out", name="fit"
    ) as s:
        assert gpunb.session().id == gpunb.session("fit").id == gpunb.sessions()["fit"].id == s.id
        assert "fit" in s._repr_html_()
        assert "fit" in gpunb.sessions()._repr_html_()
        assert list(gpunb.sessions().to_dataframe()["name"]) == ["fit"]
        lease = s.record.lease
        assert lease.idle_s is None
        assert lease.deadline is not None
        assert s.record.armed == lease.mark, "the host has the lease before the call returns"
        s.exec("sh", "-c", "mkdir -p out; echo 0.9 > out/accuracy").check()
    assert (work / "out" / "accuracy").read_text() == "0.9\n"
    assert own_hosts.instances() == []
    receipt = s.down()
    assert (receipt.confirmed is not None, receipt.why, receipt.saved) == (True, "down", ["out"])
    assert s.state == "gone"
    assert gpunb.sessions() == []
    with pytest.raises(SessionNotFound, match="no live session is called 'fit'"):
        gpunb.sessions()["fit"]
    for call in (lambda: s.run_cell("1"), lambda: s.exec("true"), lambda: s.put(x=1), lambda: s.forward(80)):
        with pytest.raises(SessionOver, match="session fit has ended already"):
            call()
    with pytest.raises(WrongState, match="its lease can't be extended"):
        s.extend()


def test_an_error_in_the_block_ends_it_too(work: Path) -> None:
    s = gpunb.rent(cloud=own_hosts.CLOUD, hours=0.5)
    with pytest.raises(RemoteCellError, match="ZeroDivisionError") as caught, s:
        s.run_cell("def half(x):\n    return x / 0\nhalf(1)")
    assert "half(1)" in str(caught.value.__cause__), "the host's traceback is shown with it"
    assert own_hosts.instances() == []
    assert s.state == "gone"


def test_a_save_that_fails_destroys_nothing(work: Path) -> None:
    s = gpunb.rent(cloud=own_hosts.CLOUD, hours=0.5, save="gone/away")
    with pytest.raises(SyncError, match="could not bring back") as caught, s:
        raise KeyError("what the block raised")
    assert "nothing was ended" in str(caught.value)
    assert isinstance(caught.value.__context__, KeyError)
    assert s.state == "ready"
    assert len(own_hosts.instances()) == 1
    assert s.down(save=False).confirmed
    assert own_hosts.instances() == []


def test_all_of_it_awaited(work: Path) -> None:
    async def train() -> list[str]:
        async with await gpunb.rent_async(cloud=own_hosts.CLOUD, hours=0.5) as s:
            cell, done = await asyncio.gather(s.run_cell_async("print(1)"), s.exec_async("echo", "2"))
            return [cell.stdout, done.stdout]

    assert asyncio.run(train()) == ["1\n", "2\n"]
    assert own_hosts.instances() == []
