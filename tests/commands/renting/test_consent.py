"""What costs or ends something is done after a yes: every verb that asks, without anybody to answer."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from support.rentals.clouds import simulated

from gpunb.cli.registry import VERBS, split
from gpunb.sessions.ledger.process_id import started
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import Lease, SessionState
from tests.commands.renting.test_cloud_verbs import pretend_session, rented
from tests.commands.test_names import command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.machines.terminal import Gpunb

    from gpunb.sim.serving.runner import Simulation

#: Verbs that change something and don't ask: what they do costs nothing more, ends no session and loses no
#: file unless the words on the line say so (cancel RUN, sync --delete, logout CLOUD).
UNASKED = {
    "on", "off", "run", "exec", "cancel", "sync", "put", "get", "pip", "forward", "ssh", "code", "rename",
    "trust", "cell", "login", "logout", "supervise", "hosts", "notify", "skill",
}  # fmt: skip

ASKS = [name for name in VERBS if command(name).asks]

#: A line of each that would do it, and what nobody said yes to.
LINES: dict[str, list[list[str]]] = {
    "rent": [
        ["rent", "--cloud", "vast", "--gpu", "4090", "--for", "1h"],
        ["rent", "--cloud", "vast", "--spot"],
        ["rent", "--cloud", "vast", "--spot", "--bid", "20"],
    ],
    "once": [["once", "-m", "this", "--cloud", "vast", "--gpu", "4090", "--for", "1h"]],
    "down": [["down", "one"], ["down", "--all"], ["down", "one", "--no-save"]],
    "move": [["move", "one", "--gpu", "4090"]],
    "stop": [["stop", "one"], ["stop", "one", "spot"]],
    "start": [["start", "halted"]],
    "reboot": [["reboot", "one"], ["reboot", "one", "--recycle"]],
    "update": [["update", "boxed", "--image", "me/x:2"], ["update", "boxed", "-e", "EPOCHS=3"]],
    "vast snapshot": [["vast", "snapshot", "one", "me/x", "--registry-login", "me@ghcr.io"]],
    "keys": [
        ["keys", "--cloud", "vast", "--revoke", "api:APIKEY"],
        ["keys", "one", "--revoke", "machine:KEY"],
    ],
    "vast variables": [
        ["vast", "variables", "--set", "TOKEN"],
        ["vast", "variables", "--delete", "KEPT"],
    ],
    "restart": [["restart", "one"]],
    "extend": [
        ["extend", "one", "2h"],
        ["extend", "one"],
        ["extend", "one", "--budget", "50"],
        ["extend", "one", "--budget", "none"],
        ["extend", "one", "--idle", "never"],
    ],
    "vast bid": [["vast", "bid", "spot", "3.5"], ["vast", "bid", "spot", "win"]],
    "vast prepay": [["vast", "prepay", "one", "20"], ["vast", "prepay", "one", "--for", "30d"]],
    "vast increases": [
        ["vast", "increases", "--accept", "INCREASE"],
        ["vast", "increases", "--refuse", "INCREASE"],
    ],
    "volumes": [
        ["volumes", "--cloud", "vast", "--create", "data", "--size", "20"],
        ["volumes", "--cloud", "vast", "--delete", "scratch"],
        ["volumes", "--cloud", "vast", "--clone", "scratch"],
    ],
}


def test_every_verb_says_whether_it_reads_asks_or_neither() -> None:
    for name in VERBS:
        kinds = (command(name).reads, command(name).asks, name in UNASKED)
        assert sum(kinds) == 1, f"{name} must read (reads=True), ask (asks=True) or be listed here"
    assert set(LINES) == set(ASKS), "each verb that asks has a line here"


@pytest.fixture
def clouds(stage: tuple[Simulation, Path], gpunb: Gpunb, monkeypatch: pytest.MonkeyPatch) -> Simulation:
    """The simulated Vast, in the home where it is known."""
    simulation, home = stage
    monkeypatch.setenv("GPUNB_HOME", str(home))
    return simulation


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Simulation, Path]]:
    """The simulated Vast on paper, with a machine of each kind and a volume; and its home."""
    home = tmp_path_factory.mktemp("consent") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUNB_HOME", str(home))
        with simulated(["vast", "fluence"], real=False) as simulation:
            pretend_session("fluence", "boxed", "4711")
            cloud, one, _ = rented(simulation, "vast")
            pretend_session("vast", "one", one.id)
            cloud.close()
            cloud, spot, _ = rented(simulation, "vast", rental="spot")
            pretend_session("vast", "spot", spot.id, "spot")
            pretend_session("vast", "halted", one.id)
            with Ledger.open() as ledger:
                ledger.transition(ledger.find("halted"), SessionState.STOPPED)
                for kept in ledger.sessions():
                    lease = Lease(deadline=kept.created + 7200.0, idle_s=1800.0, budget_usd=5.0)
                    ledger.update(kept.id, lease=lease, stopped_usd_h=0.004)
            cloud.create_volume(cloud.search_volumes(20)[0].id, size_gb=20, name="scratch")
            cloud.create_scoped_key("for another program")
            cloud.set_env_var("KEPT", SecretStr("1"))
            simulation["vast"].afflict("price-increase", one.id, factor=1.5)
            cloud.close()
            yield simulation, home


def words(line: list[str], clouds: Simulation) -> list[str]:
    (increase,) = [m.data["increase"][0] for m in clouds["vast"].machines.values() if "increase" in m.data]
    account = clouds["vast"].accounts[clouds["vast"].key]
    one = next(iter(clouds["vast"].machines.values()))
    known = {
        "INCREASE": str(increase),
        "api:APIKEY": f"api:{account.data['api_keys'][0]['id']}",
        "machine:KEY": f"machine:{next(iter(one.data['key_ids']))}",
    }
    return [known.get(word, word) for word in line]


def everything(clouds: Simulation) -> Any:
    """What the cloud has and bills, and what the ledger says."""
    from gpunb.sim.ending import provider

    cloud: Any = clouds["vast"]
    machines = {
        ident: (
            one.phase,
            one.end_at,
            one.data["gpu_usd_h"],
            one.data.get("increase"),
            one.data.get("deposit"),
        )
        for ident, one in cloud.machines.items()
    }
    listed: Any = provider("vast", clouds.description()["vast"])
    volumes = [one.id for one in listed.volumes()]
    kept = clouds["vast"].accounts[clouds["vast"].key].data
    volumes += [
        str(kept["secrets"]),
        str(kept["api_keys"]),
        str([m.data["key_ids"] for m in cloud.machines.values()]),
    ]
    listed.close()
    with Ledger.open() as ledger:
        sessions = [(one, len(ledger.events(one.id))) for one in ledger.sessions(alive=False)]
    asked = [call.endpoint for call in clouds["fluence"].calls]
    return machines, volumes, sessions, asked


@pytest.mark.parametrize("line", [line for name in ASKS for line in LINES[name]], ids=" ".join)
def test_silence_is_no_yes(gpunb: Gpunb, clouds: Simulation, line: list[str]) -> None:
    before, typed = everything(clouds), words(line, clouds)
    for more in ([], ["--json"]):
        ran = gpunb(*typed, *more)
        said = ran.err + ran.out
        assert ran.code == 2, said
        assert "this needs a confirmation, and no question can be asked here" in said
        assert f"gpunb {' '.join([*typed, *more])} --yes says yes beforehand" in said
        assert ("\nbill: " in said or '"bill": "' in said) == bool(
            getattr(command(split(line)[0]), "undone", "")
        )
    assert everything(clouds) == before


@pytest.mark.parametrize("answer", ["n\n", "y\n", ""])
@pytest.mark.parametrize("name", ["rent", "volumes"])
def test_a_pipe_is_no_person(clouds: Simulation, name: str, answer: str) -> None:
    before = everything(clouds)
    line = [sys.executable, "-m", "gpunb", *LINES[name][0]]
    done = subprocess.run(line, input=answer, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert "needs a confirmation" in done.stderr
    assert everything(clouds) == before


def test_the_question_names_the_money(gpunb: Gpunb, clouds: Simulation) -> None:
    for line, words_ in (
        (
            ["rent", "--cloud", "vast", "--gpu", "4090", "--for", "1h"],
            [
                "an hour with 20 GB",
                "for 1h 00m",
                "default budget",
                "traffic comes on top",
                "a GB received",
                "without work",
                "stranger",
            ],
        ),
        (["down", "one"], ["one on vast", "so far", "files that are only there"]),
        (["stop", "one"], ["its disk stays", "an hour until it is down"]),
        (["stop", "one", "spot"], ["Stop one, spot", "$0.008 an hour in all until they are down"]),
        (["start", "halted"], ["$1.00 an hour"]),
        (["extend", "one", "2h"], ["2h 00m more for $2.00", "raise its default budget from", "$0.40 of it"]),
        (
            ["volumes", "--cloud", "vast", "--create", "data", "--size", "20"],
            ["20 GB", "a month", "No lease ends it"],
        ),
    ):
        said = gpunb(*line).err
        for word in words_:
            assert word in said, (line, word, said)


def test_what_costs_nothing_and_ends_nothing_is_not_asked(gpunb: Gpunb, clouds: Simulation) -> None:
    with Ledger.open() as ledger:
        before = ledger.find("halted")
        assert gpunb("extend", "halted", "--idle", "10m").code == 0, "an earlier end is no risk"
        assert ledger.find("halted").lease.idle_s == 600
        ledger.update(before.id, lease=before.lease)


def test_the_next_offer_is_not_what_was_agreed_to(gpunb: Gpunb, clouds: Simulation) -> None:
    """The offer that ``--yes`` was said to is gone, and the next one costs more: nobody can be asked."""
    line = ["rent", "--cloud", "vast", "--gpu", "4090", "--for", "1h", "--yes"]
    machines = set(clouds["vast"].machines)
    clouds["vast"].faults.add("offer-gone", "create", times=1)
    ran = gpunb(*line)
    assert ran.code == 1, ran.err
    for word in (
        "the next is",
        "RTX 4090",
        "not what was agreed to",
        "it costs",
        "bill: nothing was rented",
    ):
        assert word in ran.err
    assert "--max-price USD agrees to more beforehand" in ran.err
    assert set(clouds["vast"].machines) == machines, "no create was sent for another one"


def test_an_offer_is_named_whole_where_nobody_looks(gpunb: Gpunb, clouds: Simulation) -> None:
    offers = gpunb("offers", "--cloud", "vast", "--json").json
    ident = str((offers["offers"] if isinstance(offers, dict) else offers)[0]["id"])
    refused = gpunb("rent", "--cloud", "vast", "--offer", ident[:-1], "--yes")
    assert refused.code == 2
    assert "beginning" in refused.err or "begins" in refused.err
    asked = gpunb("rent", "--cloud", "vast", "--offer", ident)
    assert "needs a confirmation" in asked.err


def test_a_terminal_asks_which_and_proposes_its_own(clouds: Simulation) -> None:
    from tests.commands.test_terminal import Terminal

    with Ledger.open() as ledger:
        before = ledger.find("spot")
        ledger.update(before.id, renter="nobody")
    terminal = Terminal("stop")
    terminal.wait("which one?")
    terminal.type("spot\n")
    terminal.wait("stop spot?")
    terminal.type("\n")
    assert terminal.end() == 1
    terminal = Terminal("down")
    terminal.wait("which one?")
    terminal.type("spo\n")
    assert terminal.end() == 1
    assert "there is no session 'spo'" in terminal.seen, "whole names here too"
    with Ledger.open() as ledger:
        mine = f"shell:{platform.node()}/{os.getpid()}/{started(os.getpid())}"  # the parent of what is typed
        ledger.update(before.id, renter=mine)
    terminal = Terminal("down")
    terminal.wait("Continue?")
    assert "End spot for good" in terminal.seen, "the one that this shell has rented"
    terminal.type("n\n")
    assert terminal.end() == 1


def test_a_yes_is_for_its_own_question() -> None:
    """After a yes to one question, a no to the next one in the same call is a no."""
    from gpunb.services.confirmations import Question
    from gpunb.services.workspace import Workspace

    class Scripted(Workspace):
        answers = [True, False]
        can_ask = True

        def put(self, question: Question) -> bool:
            return self.answers.pop(0)

    with Scripted() as work:
        assert work.confirm(Question(text="Rent it."), yes=False)
        assert not work.confirm(Question(text="Rent a second one."), yes=False)
        assert work.agreed, "something may have been done after the first"
