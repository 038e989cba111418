"""What ``import gpunb`` costs, and names that are packages as well as calls."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gpunb

ORDERS = {
    "call first": "gpunb.sessions",
    "package first": "__import__('gpunb.sessions.ledger.sessions')",
    "from gpunb": "__import__('gpunb', fromlist=['sessions']).sessions",
    "python api first": "__import__('gpunb.python_api')",
}


def fresh(code: str) -> str:
    """What a new interpreter prints that has imported nothing but gpunb."""
    done = subprocess.run(
        [sys.executable, "-c", f"import gpunb, sys\n{code}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_takes_nothing_along() -> None:
    loaded = fresh("print(sorted(name for name in sys.modules if name.startswith('gpunb')))")
    assert loaded == "['gpunb', 'gpunb._moved']"


def test_the_names_are_there_before_their_modules_are() -> None:
    assert (
        fresh("print(set(gpunb.__all__) <= set(dir(gpunb)), 'gpunb.python_api' in sys.modules)")
        == "True False"
    )


@pytest.mark.parametrize("first", ORDERS.values(), ids=ORDERS)
def test_sessions_and_offers_are_packages_and_calls(first: str) -> None:
    said = fresh(
        f"{first}\n"
        "from gpunb.sessions.model import Session as record\n"
        "import gpunb.sessions.lifecycle as lifecycle, gpunb.offers.rank as rank\n"
        "from gpunb import offers, sessions\n"
        "print(callable(gpunb.sessions), callable(gpunb.offers))\n"
        "print(sessions.lifecycle is lifecycle, offers.rank is rank)"
    )
    assert said == "True True\nTrue True"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'rents'"):
        gpunb.rents  # noqa: B018


def test_every_method_that_waits_has_its_twin() -> None:
    """One rule, so that nobody has to look it up: the same call with ``_async`` behind it."""
    waits = {
        gpunb.Session: {"down", "exec", "extend", "forward", "get", "pip", "put", "run", "run_cell", "sync"},
        gpunb.Job: {"cancel", "logs", "wait"},
    }
    for kind, names in waits.items():
        methods = {name for name, one in vars(kind).items() if callable(one) and not name.startswith("_")}
        assert methods - {"function"} == names | {f"{name}_async" for name in names}
