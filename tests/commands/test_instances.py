"""``ps`` narrowed, ``show --instance``, and a key of the account: instances as their clouds tell of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.rentals.clouds import simulated

from gpunb.providers import CreateSpec, OfferQuery
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import SessionState
from gpunb.sim.ending import provider
from tests.commands.renting.test_cloud_verbs import pretend_session, rented

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.machines.terminal import Gpunb

    from gpunb.sim.serving.runner import Simulation

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEPEP0D2MRGhnXPu7Zf0b1ifjSpVeQNeGqAxC0G3Xo my-laptop"


@pytest.fixture
def clouds(gpunb: Gpunb) -> Iterator[Simulation]:
    del gpunb
    with simulated(["sesterce", "fluence"], real=False) as simulation:
        yield simulation


def test_all_of_an_account_by_kind_state_and_cloud(gpunb: Gpunb, clouds: Simulation) -> None:
    """Sesterce's rows do not tell a virtual machine from bare metal: its own filter does."""
    made = {}
    for kind in ("vm", "container", "bare-metal"):
        one, made[kind], _ = rented(clouds, "sesterce", kinds=[kind])
        one.close()
        one, made[f"{kind}/f"], _ = rented(clouds, "fluence", kinds=[kind])
        one.close()
    ids = {name: one.id for name, one in made.items()}

    def listed(*more: str) -> set[str]:
        return {row["id"] for row in gpunb("ps", "--account", "--json", *more).json}

    assert listed() == set(ids.values())
    for kind in ("vm", "container", "bare-metal"):
        assert listed("--type", kind) == {ids[kind], ids[f"{kind}/f"]}
        assert listed("--type", kind, "--cloud", "sesterce") == {ids[kind]}
    assert listed("--type", "vm,baremetal", "--cloud", "fluence") == {ids["vm/f"], ids["bare-metal/f"]}
    asked = [call.path for call in clouds["fluence"].calls]
    listed("--cloud", "sesterce")
    assert [call.path for call in clouds["fluence"].calls] == asked, "only the cloud that is named is asked"
    assert listed("--state", "ending") == set()
    assert "no instances like that" in gpunb("ps", "--account", "--state", "ending").out
    assert "bare-metal" in gpunb("ps", "--account", "--type", "bare-metal").out


def test_the_sessions_by_cloud_state_and_kind(gpunb: Gpunb, clouds: Simulation) -> None:
    del clouds
    pretend_session("fluence", "one", "1")
    pretend_session("sesterce", "two", "2")
    with Ledger.open() as ledger:
        ledger.update("idone", offer={"kind": "vm"})
        ledger.transition(ledger.find("two"), SessionState.STOPPED)
        ledger.update("idtwo", cloud_state="interrupted")

    def names(*more: str) -> list[str]:
        return [row["name"] for row in gpunb("ps", "--json", *more).json]

    assert set(names()) == {"one", "two"}
    assert names("--cloud", "fluence") == ["one"]
    assert names("--type", "vm") == ["one"]
    assert (
        names("--state", "stopped") == names("--state", "interrupted,ready", "--cloud", "sesterce") == ["two"]
    )
    empty = gpunb("ps", "--cloud", "fluence", "--state", "stopped")
    assert "no session like that; gpunb ps shows the 2 others" in empty.out
    for words, says in (
        (["--state", "stoped"], "ps --state 'stoped': must be one of requested, "),
        (["--type", "lambda"], "ps --type 'lambda': must be one of container, vm, bare-metal"),
        (["--cloud", "nowhere"], "there is no cloud 'nowhere'"),
    ):
        refused = gpunb("ps", *words)
        assert refused.code == 2
        assert says in refused.err


def test_what_is_loud_stays_loud_when_it_is_left_out(gpunb: Gpunb, clouds: Simulation) -> None:
    del clouds
    pretend_session("sesterce", "two", "2")
    with Ledger.open() as ledger:
        two = ledger.transition(ledger.find("two"), SessionState.ENDING)
        ledger.update(two.id, tries=5, next_try=2e9)
    assert "has not confirmed the end of two" in gpunb("ps", "--cloud", "fluence").out


@pytest.mark.parametrize(
    ("cloud", "kind", "image"),
    [
        ("sesterce", "container", "me/x:1"),
        ("sesterce", "vm", "ubuntu24.04_cuda12.4_shade_os"),
        ("fluence", "container", "docker.io/fluencelabs/debian-ssh-root:11"),
    ],
)
def test_what_a_cloud_tells_of_one_machine(
    gpunb: Gpunb, clouds: Simulation, cloud: str, kind: str, image: str
) -> None:
    one: Any = provider(cloud, clouds.description()[cloud])
    offer = next(found for found in one.search(OfferQuery(kinds=[kind])) if found.available)
    wanted = image if image.startswith("me/") else None
    command = "sshd-and-serve" if cloud == "fluence" else ""
    made = one.create(
        offer, CreateSpec(label="gpunb-test", public_key=KEY, image=wanted, start_command=command)
    )
    one.close()
    pretend_session(cloud, "box", made.id)
    told = gpunb("show", "box", "--instance", "--json").json
    assert (told["kind"], told["image"], told["command"]) == (
        kind if cloud == "fluence" or kind == "container" else "",
        image,
        command,
    )
    assert "my-laptop" in told["ssh_key"]
    shown = gpunb("show", "box", "--instance").out
    assert image in shown
    assert "my-laptop" in shown
    assert gpunb("show", "box", "--instance", "--events").code == 2


def test_a_key_of_the_account_logs_in_beside_gpunbs_own(gpunb: Gpunb, clouds: Simulation) -> None:
    one: Any = provider("sesterce", clouds.description()["sesterce"])
    ident = one.add_ssh_key("my-laptop", KEY)
    one.close()
    assert f"ssh:{ident}" in gpunb("keys", "--cloud", "sesterce").out
    line = ("rent", "--cloud", "sesterce", "--for", "1h", "--yes")
    refused = gpunb(*line, "--type", "vm", "--ssh-key", "ssh:66aa00000000000000000099")
    assert refused.code == 2
    assert f"must be the id of a key of the account: {ident} (my-laptop)" in refused.err
    assert "nothing was rented" in refused.err
    refused = gpunb(*line, "--type", "container", "--ssh-key", ident)
    assert refused.code == 2
    assert "Sesterce takes one SSH key there, and that is gpunb's own" in refused.err
    refused = gpunb("rent", "--cloud", "fluence", "--for", "1h", "--yes", "--ssh-key", ident)
    assert refused.code == 2
    assert "Fluence puts no SSH key of the account on a machine by its id" in refused.err
    assert clouds["fluence"].machines == {}
    assert clouds["sesterce"].machines == {}


@pytest.mark.slow
def test_both_keys_are_on_the_machine(gpunb: Gpunb) -> None:
    with simulated(["sesterce"]) as simulation:
        cloud: Any = provider("sesterce", simulation.description()["sesterce"])
        ident = cloud.add_ssh_key("my-laptop", KEY)
        cloud.close()
        ran = gpunb(
            "rent", "--cloud", "sesterce", "--type", "vm", "--for", "1h", "--yes", "--ssh-key", f"ssh:{ident}"
        )
        assert ran.code == 0, ran.err
        assert f"the key {ident} of your" in ran.out + ran.err
        (machine,) = simulation["sesterce"].machines.values()
        keys = list(machine.spec.public_keys)
        assert KEY in keys
        assert any("gpunb" in line for line in keys if line != KEY)
        assert "ubuntu24.04_cuda12.4_shade_os" in gpunb("show").out, "the system that was taken by default"
        assert gpunb("down", "--yes").code == 0
