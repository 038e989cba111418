"""``update``, ``rent --template`` and ``--start-command``: what a container of Fluence is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.rentals.clouds import simulated

from gpunb import paths
from gpunb.providers.fluence import hostkey
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import Intent, Session, SessionState
from gpunb.sim.fluence import plans
from gpunb.sim.fluence.plans import DEFAULT_IMAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.machines.terminal import Gpunb

    from gpunb.sim.serving.runner import Simulation

RENT = ("rent", "--cloud", "fluence", "--type", "container", "--for", "1h", "--yes")


@pytest.fixture
def paper(gpunb: Gpunb) -> Iterator[Simulation]:
    del gpunb
    with simulated(["vast", "fluence", "deepinfra"], real=False) as simulation:
        yield simulation


def settings(simulation: Simulation) -> dict[str, Any]:
    (machine,) = simulation["fluence"].machines.values()
    found: dict[str, Any] = machine.data["settings"]
    return found


def variables(simulation: Simulation) -> dict[str, str]:
    return {row["name"]: row["value"] for row in settings(simulation)["environment"]}


@pytest.mark.slow
def test_a_container_begins_from_a_default_image_and_is_changed_while_it_is_rented(
    gpunb: Gpunb, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = {
        **DEFAULT_IMAGES[0],
        "slug": "serving",
        "expose": [{"port": "22", "protocol": "tcp"}, {"port": "8000", "protocol": "tcp"}],
        "environment": [{"name": "MODEL", "value": "small"}, {"name": "LEVEL", "value": "1"}],
        "startup_command": "echo began $MODEL",
    }
    monkeypatch.setattr("gpunb.sim.fluence.cloud.DEFAULT_IMAGES", [*plans.DEFAULT_IMAGES, serving])
    paths.private_dir(paths.home())
    paths.config_file().write_text("[providers.fluence]\nhost_key = true\n", "utf-8")
    with simulated(["fluence"]) as simulation:
        assert "serving" in gpunb("offers", "--cloud", "fluence", "--templates", "serv").out
        ran = gpunb(*RENT, "--name", "web", "--template", "serving", "-e", "LEVEL=2", "-v", "-v")
        assert ran.code == 0, ran.err
        assert "echo began $MODEL, instead of the image's own command" in ran.out + ran.err
        made = settings(simulation)
        assert {row["port"] for row in made["expose"]} == {"22", "8000"}
        assert variables(simulation) == {
            "MODEL": "small",
            "LEVEL": "2",
            hostkey.BESIDE: "echo began $MODEL",
        }
        assert gpunb("exec", "--", "printenv", "LEVEL").out.strip() == "2"
        assert "began small" in gpunb("logs", "--instance").out
        assert gpunb("exec", "--", "touch", "left").code == 0

        asked = gpunb("update", "web", "--image", "me/other:2")
        assert asked.code != 0
        assert "ALL its files and variables are lost" in asked.err
        ran = gpunb(
            "update",
            "web",
            "--image",
            "docker.io/me/other:2",
            "-e",
            "LEVEL=3",
            "--start-command",
            "echo anew",
            "--yes",
        )
        assert ran.code == 0, ran.err
        assert "ready again" in ran.out
        made = settings(simulation)
        assert made["image"] == "docker.io/me/other:2"
        assert {row["port"] for row in made["expose"]} == {"22", "8000"}, "ports can't be changed"
        assert variables(simulation) == {"LEVEL": "3", hostkey.BESIDE: "echo anew"}
        assert gpunb("exec", "--", "sh", "-c", "echo $LEVEL; ls").out.split() == ["3"], "made anew"
        assert "anew" in gpunb("logs", "--instance").out
        shown = gpunb("show", "web", "--json").json
        assert shown["image"] == "docker.io/me/other:2"
        assert "first contact" not in gpunb("show", "web", "--events").out, "our host key is in it still"
        failed = gpunb("update", "web", "--image", "docker.io/library/debian:12", "--yes")
        assert failed.code == 1
        assert "this image has no sshd" in failed.err
        assert "web goes on and costs" in failed.err
        assert gpunb("ps", "--json").json[0]["state"] == "booting"
        ran = gpunb("update", "web", "--image", "docker.io/me/other:3", "--yes")
        assert ran.code == 0, ran.err
        assert gpunb("exec", "--", "printenv", "LEVEL").out.strip() == "3", "and the rest is as it was"
        assert gpunb("down", "--yes").code == 0
        assert simulation["fluence"].billed_now() == []


@pytest.mark.slow
def test_without_a_host_key_of_ours_the_first_contact_counts_again(gpunb: Gpunb) -> None:
    with simulated(["fluence"]) as simulation:
        assert gpunb(*RENT, "--name", "box").code == 0
        (machine,) = simulation["fluence"].machines.values()
        before = machine.host.host_public
        ran = gpunb("update", "-e", "EPOCHS=3", "--yes")
        assert ran.code == 0, ran.err
        assert machine.host.host_public != before
        assert gpunb("show", "--events").out.count("taken at the first contact") == 2
        assert gpunb("down", "--yes").code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--template", "no-such"], "template 'no-such': Fluence has none of that name"),
        (
            ["--template", "debian-ssh-11", "--type", "vm"],
            "a vm of Fluence has no ports to open and no image",
        ),
        (["--start-command", "x" * 2049], "has 2049 characters; Fluence takes 2048"),
        (["--start-command", "a\nb"], "must be one line"),
    ],
)
def test_what_can_not_be_is_refused(gpunb: Gpunb, paper: Simulation, words: list[str], says: str) -> None:
    line = [word for word in RENT if "--type" not in words or word not in {"--type", "container"}]
    ran = gpunb(*line, *words)
    assert ran.code == 2, ran.out + ran.err
    assert says in ran.err
    assert "bill: nothing was " in ran.err
    assert paper["fluence"].machines == {}


def test_an_update_that_would_forget_the_images_login_is_refused(gpunb: Gpunb, paper: Simulation) -> None:
    with Ledger.open() as ledger:
        ledger.lead("detached", 3600.0)
        session = ledger.add_session(Session(id="box1", name="box", provider="fluence", label="l"))
        intent = Intent(label="l", session_id="box1", provider="fluence", summary={"registry": "ghcr.io"})
        session = ledger.answer_create(ledger.begin_create(session, intent), "4711", [])
        for state in (SessionState.REACHABLE, SessionState.READY):
            session = ledger.transition(session, state, "")
    ran = gpunb("update", "-e", "A=1", "--yes")
    assert ran.code == 2, ran.err
    assert "--registry-login USER@SERVER" in ran.err
    assert "nothing was changed" in ran.err
    assert "names nothing to change" in gpunb("update", "--yes").err
    assert [call.endpoint for call in paper["fluence"].calls] == []


def test_the_cloud_that_knows_the_template_is_taken(gpunb: Gpunb, paper: Simulation) -> None:
    """Rows of several clouds: the name decides which one it can be."""
    ran = gpunb("rent", "--cloud", "vast,fluence", "--for", "1h", "--template", "debian-ssh-12")
    assert "of Fluence" in ran.err or "on fluence" in ran.err, ran.err
    assert " on vast" not in ran.err
    refused = gpunb("rent", "--cloud", "deepinfra", "--for", "1h", "--start-command", "serve", "--yes")
    assert "DeepInfra starts no command of yours instead of the image's" in refused.err
    for cloud in ("vast", "fluence", "deepinfra"):
        assert paper[cloud].machines == {}


def test_a_location_that_is_gone_is_followed_by_the_plans_next(gpunb: Gpunb) -> None:
    """Fluence would choose among a plan's locations itself; gpunb tries one after the other."""
    from support.rentals.simulated import in_process

    from gpunb.errors import OfferGone

    sim = in_process("fluence")
    plan = next(iter(sim.cloud.plans.values()))[1]
    plan["attributes"]["location"] = ["US", "DE"]
    ident = plan["plan"]["id"]
    rows = {one.region: one for one in sim.provider.search(_query()) if one.id.startswith(ident)}
    plan["attributes"]["location"] = ["DE"]
    with pytest.raises(OfferGone, match="US is not available"):
        sim.rent(rows["US"])
    assert sim.machine(sim.rent(rows["DE"])).data["location"] == "DE"
    from gpunb.sessions.lifecycle.agreement import Agreement

    assert Agreement.to(rows["US"], hours=1.0, disk_gb=10.0).differs(rows["DE"]) == ""


def _query() -> Any:
    from gpunb.providers import OfferQuery

    return OfferQuery()
