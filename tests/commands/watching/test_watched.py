"""Whoever leaves something billed behind makes sure that somebody watches it, or says that nobody does."""

from __future__ import annotations

import importlib
import json
import os
import signal
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from support.rentals.clouds import simulated

from gpunb.cli.command import Verb
from gpunb.cli.registry import VERBS, module_name
from gpunb.providers import Capability, keys, names, provider_class
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import Leader, Session, SessionState
from gpunb.sessions.supervisor import watchers

if TYPE_CHECKING:
    from pathlib import Path

    from support.machines.terminal import Gpunb

S = SessionState


def leader(within: float = 30.0) -> Leader | None:
    """The supervisor, waited for."""
    until = time.monotonic() + within
    with Ledger.open() as ledger:
        while time.monotonic() < until:
            found = ledger.leader()
            if found is not None:
                return found
            time.sleep(0.1)
    return None


def kill_the_supervisor() -> None:
    found = leader()
    assert found is not None
    pid = int(found.owner.split("/")[-3])
    os.kill(pid, signal.SIGKILL)
    for child in watchers._children:
        if child.pid == pid:
            child.wait(10)
    until = time.monotonic() + 10
    while psutil.pid_exists(pid) and time.monotonic() < until:
        time.sleep(0.05)


def live(name: str, provider: str, instance_id: str = "i1") -> Session:
    """A session that the ledger has as ready."""
    with Ledger.open() as ledger:
        session = ledger.add_session(
            Session(id=f"id{name}", name=name, provider=provider, label=f"gpunb-x-{name}", usd_h=1.5)
        )
        for state in (S.CREATING, S.BOOTING, S.REACHABLE, S.READY):
            session = ledger.transition(session, state, instance_id=instance_id)
        return session


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_watches_except_the_one_that_is_the_watch_and_the_one_for_shells(name: str) -> None:
    command = importlib.import_module(module_name(name)).command
    assert isinstance(command, Verb)
    assert command.watches == (name not in {"supervise", "completion"})


@pytest.mark.slow
def test_after_a_kill_any_verb_brings_the_supervisor_back(demo: Gpunb) -> None:
    for line in (
        ["exec", "-s", "demo", "--", "true"],
        ["ps"],
        ["show", "demo"],
        ["extend", "-s", "demo", "1h"],
    ):
        kill_the_supervisor()
        ran = demo(*line)
        assert "no supervisor was alive" in ran.err, (line, ran)
        assert leader() is not None, line
    kill_the_supervisor()
    ran = demo("runs", "--json")  # which says nothing but what was asked for
    assert "supervisor" not in ran.out + ran.err
    assert leader() is not None
    assert demo("down", "demo", "--yes").code == 0


def test_a_supervisor_that_can_not_be_started_is_told(
    gpunb: Gpunb, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = live("fit", "local")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(watchers.subprocess, "Popen", refuse)
    said = " ".join(gpunb("ps").err.split())
    assert "WARNING: nothing watches the leases" in said
    assert "Resource temporarily unavailable" in said
    assert "gpunb supervise" in said
    with Ledger.open() as ledger:
        ledger.transition(session, S.ENDING)


def test_a_log_folder_that_can_not_be_written_keeps_no_supervisor_from_starting(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live("fit", "local")
    (home / "log").write_text("a file stands in its place")
    with Ledger.open() as ledger:
        assert watchers.ensure(ledger, ["true"])
    assert watchers._children.pop().wait(10) == 0


def test_down_without_a_key_ends_nothing_and_names_the_variable(
    gpunb: Gpunb, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_keyring", lambda: None)
    for cloud in filter(lambda name: provider_class(name).needs_key, names()):
        variable = keys.variable(cloud)
        monkeypatch.delenv(variable, raising=False)
        session = live(cloud, cloud)
        with Ledger.open() as ledger:
            ledger.lead("detached", 3600.0)
        began = time.monotonic()
        ran = gpunb("down", cloud, "--yes", "--no-save")
        assert ran.code != 0
        assert variable in ran.err
        assert "nothing was ended" in ran.err
        assert time.monotonic() - began < 10
        with Ledger.open() as ledger:
            assert ledger.get(session.id).state is S.READY
    with Ledger.open() as ledger:
        ledger.save_blind({"vast": "there is no key for Vast.ai"})
    said = " ".join(gpunb("ps").err.split())
    assert "WARNING: nothing watches the leases of vast: the supervisor can't use vast" in said
    assert said.count("nothing watches") == 1


def test_down_with_a_wrong_key_ends_nothing_and_names_the_variable(
    gpunb: Gpunb, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with simulated(real=False):
        monkeypatch.setenv("GPUNB_PROVIDERS__VAST__KEY", "another-accounts-key")
        monkeypatch.setenv("VAST_API_KEY", "another-accounts-key")
        from gpunb.errors import AuthFailed
        from gpunb.providers.vast import VastProvider

        def refuse(*_: object) -> None:
            msg = "Vast.ai answered 401 to GET /api/v0/instances/1/"
            raise AuthFailed(msg, provider="vast")

        monkeypatch.setattr(VastProvider, "instances", refuse)
        session = live("fit", "vast", "1")
        with Ledger.open() as ledger:
            ledger.lead("detached", 3600.0)
        ran = gpunb("down", "fit", "--yes")
        assert ran.code != 0
        assert "VAST_API_KEY" in ran.err
        assert "nothing was ended; fit goes on" in ran.err
        with Ledger.open() as ledger:
            assert ledger.get(session.id).state is S.READY


@pytest.mark.parametrize(
    "error", [KeyError("OWNHOST"), ValueError("Unknown scheme"), OSError(5, "I/O error")]
)
@pytest.mark.parametrize("where", ["__init__", "check", "instances", "volumes"])
def test_doctor_names_a_cloud_that_breaks_and_goes_on(
    gpunb: Gpunb, home: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, where: str
) -> None:
    from gpunb.providers.local import LocalProvider

    def broken(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(LocalProvider, where, broken)
        patch.setattr(LocalProvider, "capabilities", LocalProvider.capabilities | {Capability.VOLUMES})
        ran = gpunb("doctor", "--json")
    assert ran.code != 70, ran.err
    found = [one["finding"] for one in json.loads(ran.out) if one["what"] == "cloud local"]
    assert any(type(error).__name__ in one for one in found)
    assert any(one["what"] == "cloud vast" for one in json.loads(ran.out))


@pytest.mark.parametrize("line", ["volumes", "vast increases", "keys", "offers"])
@pytest.mark.parametrize("where", ["__init__", "what it is asked"])
def test_a_cloud_that_breaks_hides_no_other(
    gpunb: Gpunb, home: Path, monkeypatch: pytest.MonkeyPatch, line: str, where: str
) -> None:
    from gpunb.providers import provider_class

    name = "vast" if line == "vast increases" else "fluence"  # the one cloud whose hosts ask for more
    cloud = provider_class(name)
    asked = {
        "volumes": "volumes",
        "vast increases": "price_increases",
        "keys": "ssh_keys",
        "offers": "search",
    }[line]

    def broken(*_: object) -> None:
        raise KeyError("OWNHOST")

    with simulated(real=False):
        monkeypatch.setattr(cloud, "__init__" if where == "__init__" else asked, broken, raising=False)
        monkeypatch.setattr(cloud, "capabilities", cloud.capabilities | {Capability.VOLUMES})
        ran = gpunb(*line.split(), "--json")
    assert ran.code == 0, ran.err
    assert name in ran.out + ran.err
    assert "OWNHOST" in ran.out + ran.err
    json.loads(ran.out)
