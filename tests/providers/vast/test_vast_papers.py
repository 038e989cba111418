"""Vast's invoices and audit log, and whose money a key spends."""

from __future__ import annotations

import pytest

from gpunb.errors import BadAnswer, ProviderError
from gpunb.providers.features import Papers
from gpunb.providers.vast.papers import _unix
from gpunb.sim.money import Account


def test_invoices_of_all_pages_with_what_came_in_above_0(w):
    account = w.cloud.accounts[w.cloud.key]
    account.held = {str(number): 0.01 for number in range(150)}
    now = w.cloud.clock.now()
    found = w.provider.invoices(since=now - 60, until=now + 60)
    assert len(found) == 151
    assert len({one.id for one in found}) == 151
    assert (found[0].kind, found[0].usd, found[0].source) == ("credit", 100.0, "stripe")
    assert {(one.kind, one.usd) for one in found[1:]} == {("reserved", -0.01)}
    assert w.provider.invoices(since=now + 30, until=now + 60) == []
    assert isinstance(w.provider, Papers)


def test_a_refusal_with_200_and_an_empty_list_is_not_an_empty_list(w):
    with pytest.raises(BadAnswer, match="Invalid date range"):
        w.provider._pages("/api/v1/invoices/", "results", what="invoices")
    w.cloud.faults.add("wrong-shape", "invoices")
    with pytest.raises(BadAnswer, match="results"):
        w.provider.invoices(since=0, until=2e9)
    w.cloud.faults.add("wrong-shape", "audit-logs")
    with pytest.raises(BadAnswer):
        w.provider.audit_log(since=0)


def test_the_audit_log_tells_what_was_changed_and_no_argument(w):
    began = w.cloud.clock.now()
    w.wait(100)
    instance = w.rent(env={"TOKEN": "not-to-be-shown"})
    w.wait(100)
    w.provider.rename(instance.id, "gpunb-other")
    found = w.provider.audit_log(since=began)
    calls = [one.what for one in found]
    assert calls.index(f"PUT /api/v0/instances/{instance.id}/") < next(
        at for at, one in enumerate(calls) if one.startswith("PUT /api/v0/asks/")
    ), "the newest first"
    assert not any("bundles" in one for one in calls), "a search changes nothing"
    assert "not-to-be-shown" not in repr(found)
    assert [one for one in w.provider.audit_log(since=began + 150) if "asks" in one.what] == []


@pytest.mark.parametrize(
    ("given", "at"),
    [
        (None, None),
        (1730419200.5, 1730419200.5),
        ("1730419200", 1730419200.0),
        ("2024-11-01T00:00:00Z", 1730419200.0),
        ("2024-11-01 01:00:00+01:00", 1730419200.0),
        ("2024-11-01T00:00:00", 1730419200.0),
    ],
)
def test_a_moment_in_each_way_that_vast_writes_one(given, at):
    assert _unix(given, "vast") == at


def test_a_moment_that_is_none_is_named():
    with pytest.raises(BadAnswer, match="created_at is 'yesterday'"):
        _unix("yesterday", "vast")


def test_a_key_is_told_whose_money_it_spends(w):
    assert w.provider.check().spends_from == "the credit of account 4711"
    parent = w.cloud.accounts[w.cloud.key]
    data = {"id": 815, "email": "sub@example.org", "parent": parent}
    w.cloud.accounts["sub"] = Account("sub", user="sub", deposit=7.0, data=data)
    told = w.another("sub").check()
    assert told.spends_from == "its own credit, as sub-account 815 of account 4711"
    assert told.balance_usd == 7.0


def test_a_key_that_may_not_read_them_is_told_what_it_lacks(w):
    account = w.cloud.accounts[w.cloud.key]
    w.cloud.owners["narrow"] = account
    w.cloud.scopes["narrow"] = (frozenset({"misc"}), None)
    narrow = w.another("narrow")
    with pytest.raises(ProviderError, match="billing_read"):
        narrow.invoices(since=0, until=2e9)
    with pytest.raises(ProviderError, match="user_read"):
        narrow.audit_log(since=0)
