"""The first ten minutes: which clouds are asked, that a GPU is meant, and what a first user is told next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.rentals.clouds import simulated

from gpunb import settings
from gpunb.cli.registry import CLOUDS, GROUPS, SHOWN
from gpunb.providers import keys, names, provider_class
from gpunb.sessions.ledger.sessions import Ledger
from tests.commands.watching.test_screens import a_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.machines.terminal import Gpunb


KEYED = [name for name in names() if provider_class(name).needs_key]


@pytest.fixture
def clouds(home: Path) -> Iterator[None]:
    """All simulated clouds, on paper."""
    with simulated(real=False):
        yield


def asked(**given: object) -> list[str]:
    return keys.asked(settings.load(given), names())


def test_clouds_with_a_key_are_asked_and_this_computer_only_without_any(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in map(keys.variable, names()):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(keys, "_keyring", lambda: None)  # of a keyring the next test would hear
    assert asked() == ["local"]
    assert asked(clouds=["vast", "auto"]) == ["vast", "local"]
    keys.store("sesterce", "secret-key-of-sesterce")
    monkeypatch.setenv("VAST_API_KEY", "secret-key-of-vast")
    assert asked() == ["sesterce", "vast"]
    assert asked(clouds=["auto", "local"]) == ["sesterce", "vast", "local"]
    assert asked(clouds=["all"]) == names()


def test_without_a_key_the_answer_names_this_computer_and_login(gpunb: Gpunb) -> None:
    for line in (["offers"], ["offers", "--gpu", "H100"], ["rent", "--gpu", "H100"]):
        said = gpunb(*line)
        assert "only this computer is asked" in said.err, line
        assert "gpunb login vast" in said.err
    assert "only this computer" not in gpunb("offers", "--cloud", "local").err


def test_where_nothing_fits_each_reason_is_said_once_and_further_clouds_are_named(gpunb: Gpunb) -> None:
    said = gpunb("rent", "--gpu", "H100").err
    assert said.count("--gpu H100") == 1
    assert "(asked: local)" in said
    first, *others = KEYED
    assert f"next: gpunb login {first} (or {', '.join(others)}) adds a cloud" in said
    keys.store("sesterce", "secret-key-of-sesterce")
    said = gpunb("rent", "--gpu", "H100", "--cloud", "local").err
    others.remove("sesterce")
    line = f"next: --cloud all asks sesterce too; gpunb login {first} (or {', '.join(others)}) adds a cloud"
    assert line in said


def test_who_ends_what_is_not_there_is_not_told_to_rent(gpunb: Gpunb) -> None:
    for line in (["down"], ["down", "nothing"], ["stop"]):
        said = gpunb(*line).err
        assert "nothing is rented from here; gpunb doctor asks the clouds" in said
        assert "gpunb rent" not in said


@pytest.mark.usefixtures("clouds")
def test_a_gpu_is_meant_unless_something_else_is_said(gpunb: Gpunb) -> None:
    found = gpunb("offers", "--json", "-n", "1000").json["offers"]
    assert {one["provider"] for one in found} == set(names()) - {keys.LOCAL, keys.SSH}
    assert all(one["gpus"] for one in found)
    mixed = gpunb("offers", "--json", "-n", "1000", "--cloud", "local,vast").json["offers"]
    assert all(one["gpus"] for one in mixed), "this computer, at no price, would stand before every GPU"
    assert "has no GPU" in gpunb("offers", "--cloud", "local,vast", "--why").out
    (own,) = gpunb("offers", "--json", "--cloud", "local").json["offers"]
    assert own["provider"] == "local"
    plain = gpunb("offers", "--json", "--gpus", "0", "--cloud", "local,sesterce").json["offers"]
    assert plain
    assert not any(one["gpus"] for one in plain)


@pytest.mark.usefixtures("clouds")
@pytest.mark.parametrize(
    "line",
    [
        "exec fit -- nvidia-smi",
        "run -s fit --shell ls",
        "sync -s fit tests :tests",
        "logs -s fit",
        "forward -s fit 6006",
    ],
)
def test_a_stopped_session_is_said_to_be_stopped(gpunb: Gpunb, line: str) -> None:
    from gpunb.sessions.model import SessionState

    with Ledger.open() as ledger:
        session = a_session(ledger, "fit", "RTX 4090", 1, 0.348)
        where = {"host": "127.0.0.1", "port": 9, "stopped_usd_h": 0.003}
        ledger.transition(session, SessionState.STOPPED, "stop", **where)
    said = gpunb(*line.replace("exec fit", "exec -s fit").split())
    assert said.code == 1
    assert "fit is stopped" in said.err
    assert "gpunb start" in said.err
    assert "can't be reached" not in said.err


def test_words_that_people_bring_along(gpunb: Gpunb) -> None:
    for word in ("ls", "list", "status"):
        assert gpunb(word).out == gpunb("ps").out
    for word in ("terminate", "destroy"):
        assert (
            gpunb(word, "nothing-of-that-name", "--yes").err
            == gpunb("down", "nothing-of-that-name", "--yes").err
        )
    assert gpunb("version").out == gpunb("--version").out
    assert gpunb("help", "rent").out == gpunb("rent", "-h").out
    assert gpunb("help").out == gpunb("-h").out
    said = gpunb("kill", "x")
    assert said.code == 2
    assert "gpunb down ends a session, gpunb cancel a run" in said.err


def test_the_help_has_groups_and_every_verb(gpunb: Gpunb) -> None:
    text = gpunb("-h").out
    for group, verbs in GROUPS.items():
        assert f"only on {group}: " in text if group in CLOUDS.values() else f"\n{group}:\n" in text
        for verb, what in verbs.items():
            assert set(verb.split()) <= set(text.split()), verb
            assert (what in text) == (verb in SHOWN), verb
    said = gpunb("rent", "--gpu")
    assert "gpunb rent -h" in said.err
