"""``rent --save-template``: kept at Vast, changed under the same name, and rented from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.rentals.clouds import simulated

from gpunb.providers import CreateSpec, OfferQuery
from gpunb.sim.ending import provider

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.machines.terminal import Gpunb

    from gpunb.sim.serving.runner import Simulation


@pytest.fixture
def clouds(home: Path) -> Iterator[Simulation]:
    with simulated(["vast", "deepinfra"], real=False) as simulation:
        yield simulation


LINE = [
    "rent", "--save-template", "mine", "--image", "me/x:1.2", "--env", "A=b 'c'", "--port", "8000", "--port",
    "9000/udp", "--hostname", "web", "--disk", "40",
]  # fmt: skip


def test_it_is_kept_changed_and_begun_from(gpunb: Gpunb, clouds: Simulation, tmp_path: Path) -> None:
    script = tmp_path / "start.sh"
    script.write_text("echo mine\n")
    kept = gpunb(*LINE, "--onstart", str(script), "--entrypoint", "serve")
    assert kept.code == 0, kept.err
    assert "kept the template mine at Vast.ai; nothing was rented" in kept.out
    assert "no secret belongs there" in kept.out
    cloud: Any = clouds["vast"]
    assert cloud.machines == {}
    (row,) = cloud.accounts[cloud.key].data["templates"]
    assert row["hash_id"] in kept.out
    assert (row["image"], row["tag"], row["recommended_disk_space"]) == ("me/x", "1.2", 40)
    assert row["private"] is True
    assert row["onstart"].startswith("echo mine\n(serve)")
    (shown,) = gpunb("offers", "--templates", "mine", "--json").json
    assert shown["image"] == "me/x:1.2"

    changed = gpunb("rent", "--save-template", "mine", "--image", "host:5000/x", "--json").json
    assert changed["changed"] is True
    assert changed["template"] != row["hash_id"]
    (row,) = cloud.accounts[cloud.key].data["templates"]
    assert (row["image"], row["tag"], row["env"]) == ("host:5000/x", None, "")

    gpunb(*LINE)
    vast: Any = provider("vast", clouds.description()["vast"])
    found = vast.template("mine")
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl t"
    spec = CreateSpec(label="gpunb-t", public_key=key, disk_gb=20, template=found.id, image=found.image)
    made = vast.create(vast.search(OfferQuery())[0], spec)
    env = cloud.machines[made.id].data["env"]
    assert env == {"A": "b 'c'", "-p 8000:8000": "1", "-p 9000:9000/udp": "1", "-h": "web"}
    vast.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpu", "H100"], "--gpu would have no effect"),
        (["--spot", "--name", "x"], "would have no effect"),
        (["--entrypoint", "auto"], "it is read when a machine is rented"),
        (["--port", "0"], "port '0' must be 1 to 65535"),
        (["--env", f"A={'x' * 300}"], "at most 256 printable ones"),
        (["--cloud", "deepinfra"], "DeepInfra can't keep templates; Vast.ai can"),
    ],
)
def test_what_it_can_not_keep_is_refused(
    gpunb: Gpunb, clouds: Simulation, words: list[str], said: str
) -> None:
    ran = gpunb("rent", "--save-template", "mine", *words)
    assert ran.code in {1, 2}
    assert said in ran.err
    cloud: Any = clouds["vast"]
    assert not cloud.accounts[cloud.key].data.get("templates")


def test_a_name_that_is_none(gpunb: Gpunb, clouds: Simulation) -> None:
    ran = gpunb("rent", "--save-template", "x" * 101)
    assert ran.code == 2
    assert "must be a name of 1 to 100 characters" in ran.err
