"""``cost`` and ``receipts`` as people type them, on a local machine with a price."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import keyring
import pytest
from keyring.backends.fail import Keyring as NoKeyring
from support.rentals.clouds import simulated

from gpunb.sim.money import Account

if TYPE_CHECKING:
    from pathlib import Path

    from support.machines.terminal import Gpunb

pytestmark = pytest.mark.slow


def test_nothing_was_spent(gpunb: Gpunb) -> None:
    assert "nothing was spent" in gpunb("cost").out
    assert "no receipts yet" in gpunb("receipts").out
    assert json.loads(gpunb("cost", "--json").out)["rows"] == []


def test_cost_by_everything_and_the_receipt(
    gpunb: Gpunb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GPUNB_PROVIDERS__LOCAL__USD_H", "36")
    assert gpunb("rent", "--name", "paid", "--for", "1h", "--yes").code == 0
    script = tmp_path / "train.py"
    script.write_text("import time; time.sleep(1)")
    ran = gpunb("run", str(script))
    assert ran.code == 0, ran.err
    live = json.loads(gpunb("cost", "--json").out)
    assert live["rows"][0]["session"] == "paid"
    assert 0.01 <= live["total"]["total"] < 1.0
    asked = json.loads(gpunb("cost", "--ask", "--json").out)["rows"][0]
    assert asked["provider_usd"] > 0
    assert abs(asked["difference_usd"]) < 0.2
    shown = gpunb("receipts", "paid")
    assert shown.code != 0
    assert "has no receipt: it is ready" in shown.err
    assert gpunb("down", "--yes").code == 0

    by_run = json.loads(gpunb("cost", "--by", "run", "-s", "paid", "--json").out)["rows"]
    assert len(by_run) >= 1
    assert by_run[0]["usd"] == pytest.approx(by_run[0]["seconds"] * 36 / 3600, rel=0.05)
    (cloud,) = json.loads(gpunb("cost", "--by", "cloud", "--json").out)["rows"]
    assert cloud["provider"] == "local"
    assert cloud["sessions"] == 1
    assert cloud["provider_usd"] > 0
    (day,) = json.loads(gpunb("cost", "--by", "day", "--json").out)["rows"]
    assert day["cost"]["gpu"] == pytest.approx(cloud["cost"]["gpu"], abs=0.02)
    text = gpunb("cost").out
    for word in ("paid", "local", "billed", "difference", "total"):
        assert word in text

    assert "confirmed" in gpunb("receipts").out
    whole = gpunb("receipts", "paid").out
    assert "receipt: paid" in whole
    assert "counted here" in whole or "(the same)" in whole


def test_words_that_are_none(gpunb: Gpunb) -> None:
    assert "--by" in gpunb("cost", "--by", "week").err
    assert "there is no session 'nobody'" in gpunb("receipts", "nobody").err
    assert "there is no session 'nobody'" in gpunb("cost", "-s", "nobody").err


def test_invoices_and_the_audit_log_of_a_simulated_account(gpunb: Gpunb) -> None:
    with simulated(("vast", "sesterce"), real=False, active=True) as simulation:
        cloud = simulation["vast"]
        assert gpunb("volumes", "--create", "kept", "--size", "10", "--cloud", "vast", "--yes").code == 0
        ran = gpunb("cost", "--invoices", "--since", "7d", "--json")
        assert ran.code == 0, ran.err
        assert ran.json["accounts"] == [
            {"provider": "vast", "user": "sim@example.org", "spends_from": "the credit of account 4711"}
        ]
        (paid,) = ran.json["invoices"]
        assert (paid["kind"], paid["usd"]) == ("credit", 100.0)
        assert "PUT /api/v0/volumes/" in [one["what"] for one in ran.json["audit"]]
        assert cloud.key not in ran.out
        text = gpunb("cost", "--invoices").out
        assert "spends the credit of account 4711" in text
        assert "$100" in text
        assert "no invoices and no audit log by API: Sesterce" in text
        # what the key may not read is said, and hides nothing else
        cloud.scopes[cloud.key] = (frozenset({"billing_read"}), None)
        narrow = gpunb("cost", "--invoices")
        assert narrow.code == 0
        assert "the audit log could not be asked" in narrow.out
        assert "$100" in narrow.out


def test_a_sub_account_is_told_that_it_spends_its_own_credit(
    gpunb: Gpunb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "get_keyring", NoKeyring)
    monkeypatch.delenv("VAST_API_KEY", raising=False)
    with simulated(("vast",), real=False, active=False) as simulation:
        cloud = simulation["vast"]
        parent = cloud.accounts[cloud.key]
        data = {"id": 815, "email": "sub@example.org", "parent": parent}
        cloud.accounts["sub-key"] = Account("sub-key", user="sub", deposit=7.0, data=data)
        monkeypatch.setenv("GPUNB_PROVIDERS__VAST__BASE_URL", simulation.description()["vast"]["base_url"])
        monkeypatch.setattr("sys.stdin", io.StringIO("sub-key\n"))
        ran = gpunb("login", "vast", "--stdin", "--json")
        assert ran.code == 0, ran.err
        assert ran.json["user"] == "sub@example.org"
        assert ran.json["balance_usd"] == 7.0
        assert ran.json["spends_from"] == "its own credit, as sub-account 815 of account 4711"
        assert "sub-account 815 of account 4711" in " ".join(gpunb("doctor").out.split())


@pytest.mark.parametrize("more", [("--ask",), ("--by", "day"), ("-s", "x")])
def test_invoices_are_of_accounts_not_of_sessions(gpunb: Gpunb, more: tuple[str, ...]) -> None:
    ran = gpunb("cost", "--invoices", *more)
    assert ran.code == 2
    assert "--invoices: shows accounts" in ran.err
