"""``rent`` with ports, scripts, a template, a private image: what reaches the machine, what stays here."""

from __future__ import annotations

import base64
import json
import socket
import sys
import time
import urllib.request
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from support.registry import registry
from support.rentals.clouds import simulated

from gpunb import paths
from gpunb.sessions.ledger.sessions import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.machines.terminal import Gpunb

    from gpunb.sim.serving.runner import Simulation

PASSWORD = "tok-4f1c77aa93-of-the-registry"
RENT = ("rent", "--cloud", "vast", "--for", "1h", "--yes")


@pytest.fixture
def clouds(gpunb: Gpunb) -> Iterator[Simulation]:
    """Vast and Fluence on paper: what is refused is refused before a machine."""
    del gpunb
    with simulated(["vast", "fluence", "deepinfra", "sesterce"], real=False) as simulation:
        yield simulation


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.slow
def test_all_of_it_reaches_the_machine_and_the_password_nothing_else(
    gpunb: Gpunb, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"
    docker.mkdir()
    auth = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    (docker / "config.json").write_text(json.dumps({"auths": {"ghcr.io": {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(docker))
    script, port = tmp_path / "start.sh", free_port()
    script.write_text(
        f"cd ~ && mkdir -p site && echo from the machine >site/index.html && cd site\n"
        f"setsid {sys.executable} -m http.server {port} >/dev/null 2>&1 &\n"
    )
    with simulated(["vast"]) as simulation:
        ran = gpunb(
            *RENT, "--name", "web", "--template", "PyTorch (Vast)", "--registry-login", "ghcr.io", "-v", "-v",
            "--port", str(port), "--port", "9999/udp", "--onstart", str(script),
            "--entrypoint", "touch ~/entry", "--hostname", "web-1",
        )  # fmt: skip
        assert ran.code == 0, ran.err
        (machine,) = simulation["vast"].machines.values()
        assert machine.data["image_login"] == f"-u me -p {PASSWORD} ghcr.io"
        assert machine.data["env"]["-h"] == "web-1"
        assert machine.data["image"] == "vastai/pytorch:@vastai-automatic-tag"
        assert f"{port}/tcp, 9999/udp" in ran.err + ran.out, "said beside the price"
        link = f"http://127.0.0.1:{port}"
        assert link in ran.out
        shown = gpunb("show", "web")
        assert link in shown.out
        assert "9999/udp" in shown.out
        (row,) = gpunb("ps", "--json").json
        assert row["ports"][f"{port}/tcp"] == f"127.0.0.1:{port}"
        assert row["ports"]["6006/tcp"], "the template's own"
        until = time.monotonic() + 20.0
        while True:
            try:
                with urllib.request.urlopen(f"{link}/index.html", timeout=5) as answer:
                    assert answer.read() == b"from the machine\n"
                break
            except OSError:
                assert time.monotonic() < until, "nothing answers at the address that was shown"
                time.sleep(0.2)
        there = gpunb("exec", "--", "sh", "-c", f"ls ~; echo $VAST_TCP_PORT_{port}")
        assert {"template-was-here", "entry", str(port)} <= set(there.out.split())
        assert gpunb("down", "--yes").code == 0
        kept = [file for file in home.rglob("*") if file.is_file() and file.stat().st_size < 10_000_000]
        said = [file for file in kept if PASSWORD.encode() in file.read_bytes()]
        assert said == [], "in no ledger, log or key file"
        assert PASSWORD not in ran.out + ran.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--port", "0"], "port '0' must be 1 to 65535"),
        (["--port", "8000/sctp"], "port '8000/sctp' must be"),
        ([word for n in range(64) for word in ("--port", str(9000 + n))], "more than the 64"),
        (["--hostname", "-x"], "must be 1 to 63 letters, digits and -"),
        (["--hostname", "a.b"], "must be 1 to 63 letters, digits and -"),
        (["--onstart", "/nowhere.sh"], "can't be read: No such file"),
        (["--template", "no such"], "template 'no such': Vast.ai has none of that name"),
        (["--template", "f" * 32], "none of that hash"),
        (["--registry-login", "me:secret@ghcr.io"], "takes no password"),
        (["--registry-login", "ghcr.io"], "docker has no login"),
        (["--registry-login", "me@ghcr.io"], "no terminal to ask for the password of me at ghcr.io"),
        (["--image", "pytorch/pytorch:2.9.0-cuda14.1-cudnn9-runtime"], "its driver runs CUDA up to 1"),
        (
            ["--gpu", "RTX 5090", "--image", "nvidia/cuda:12.4.1-devel-ubuntu22.04"],
            "needs CUDA 12.8 or later",
        ),
        (["--image", "x/y:1-arm64"], "its processor is amd64, and the image is for arm64"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_is_rented(
    gpunb: Gpunb,
    clouds: Simulation,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: list[str],
    says: str,
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    ran = gpunb(*RENT, *words)
    assert ran.code == 2, ran.out + ran.err
    assert says in ran.err
    assert "nothing was rented" in ran.err
    assert "secret@" not in ran.err
    assert clouds["vast"].machines == {}
    with Ledger.open() as ledger:
        assert ledger.sessions(alive=False) == []


@pytest.mark.parametrize(
    ("cloud", "words", "says"),
    [
        ("deepinfra", ["--port", "8000"], "DeepInfra opens no further ports"),
        ("deepinfra", ["--template", "a" * 32], "DeepInfra has no templates"),
        ("deepinfra", ["--hostname", "me"], "DeepInfra does not let you choose the machine's own name"),
        ("sesterce", ["--entrypoint", "serve"], "Sesterce can't run the image's own entrypoint"),
        ("fluence", ["--type", "vm", "--port", "8000"], "a vm of Fluence has no ports to open"),
        (
            "fluence",
            [word for n in range(10) for word in ("--port", str(9000 + n))],
            "Fluence opens 10 ports",
        ),
        ("fluence", ["--onstart", "SCRIPT"], "Fluence runs no script of yours"),
        ("sesterce", ["--type", "container", "--onstart", "SCRIPT"], "runs no first-boot script there"),
    ],
)
def test_a_cloud_that_can_not_is_named(
    gpunb: Gpunb, clouds: Simulation, tmp_path: Path, cloud: str, words: list[str], says: str
) -> None:
    script = tmp_path / "start.sh"
    script.write_text("true\n")
    line = [str(script) if word == "SCRIPT" else word for word in words]
    ran = gpunb("rent", "--cloud", cloud, "--for", "1h", "--yes", *line)
    assert ran.code == 2, ran.out + ran.err
    assert says in ran.err
    assert clouds[cloud].machines == {}


def test_the_images_own_entrypoint_is_read_from_its_registry(gpunb: Gpunb, clouds: Simulation) -> None:
    config = {"Entrypoint": ["/opt/serve.sh"], "Cmd": ["it's"], "WorkingDir": "/srv"}
    with registry() as there:
        image = there.add("me/serve", "1", config, sizes=[40_000_000_000])
        asked = gpunb("rent", "--cloud", "vast", "--for", "1h", "--image", image, "--entrypoint", "auto")
        assert "cd /srv && /opt/serve.sh 'it'\"'\"'s'" in " ".join(asked.err.split()), "seen before the yes"
        assert asked.code == 2
        there.wrong = {"/v2/": 404}
        refused = gpunb(*RENT, "--image", image, "--entrypoint", "auto")
        assert refused.code == 2
        assert "rent --entrypoint auto: me/serve:1 at 127.0.0.1" in refused.err
        assert "type the command" in refused.err
        assert "nothing was rented" in refused.err
    refused = gpunb(*RENT, "--entrypoint", "auto")
    assert "it needs --image, whose entrypoint can then be read" in refused.err
    refused = gpunb(*RENT, "--image", "me/x:1", "--entrypoint", "auto")
    assert "while simulated clouds are in use, registry-1.docker.io is not asked" in refused.err
    assert clouds["vast"].machines == {}


@pytest.mark.slow
def test_an_entrypoint_that_was_read_runs_and_the_images_size_gives_the_time(gpunb: Gpunb) -> None:
    config = {"Cmd": ["touch", "the entry"], "WorkingDir": "/tmp"}
    with registry() as there, simulated(["vast"]) as simulation:
        image = there.add("me/serve", "1", config, sizes=[40_000_000_000])
        ran = gpunb(*RENT, "--name", "web", "--image", image, "--entrypoint", "auto")
        assert ran.code == 0, ran.err
        (machine,) = simulation["vast"].machines.values()
        assert "(cd /tmp && touch 'the entry') >>/var/log/entrypoint.log" in machine.spec.onstart
        with Ledger.open() as ledger:
            (intent,) = ledger.intents()
        assert intent.summary["boot_s"] > 1000.0, "40 GB take longer than the usual image's 15 minutes"
        there.wrong = {"/": 500}
        assert gpunb("down", "--yes").code == 0
        ran = gpunb(*RENT, "--name", "again", "--image", image)
        assert ran.code == 0, "a registry that is down keeps nobody from renting"
        assert gpunb("down", "--yes").code == 0


def test_only_hosts_with_ports_to_give_are_asked_about(gpunb: Gpunb, clouds: Simulation) -> None:
    from gpunb.providers import CreateSpec, OfferQuery
    from gpunb.sim.ending import provider

    vast: Any = provider("vast", clouds.description()["vast"])
    offers = vast.search(OfferQuery())
    shut = [one for one in offers if one.raw["direct_port_count"] == 0]
    spec = CreateSpec(label="", public_key="", ports=["8000"])
    assert {vast.unfit(one, spec) for one in shut} == {"its host has 0 ports to open"}
    assert any(not vast.unfit(one, spec) for one in offers)
    ran = gpunb(*RENT, "--offer", shut[0].id, "--port", "8000")
    assert ran.code == 2
    assert "its host has 0 ports to open (1)" in ran.err
    vast.close()


def test_a_password_comes_from_where_it_is_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from gpunb.providers import keys
    from gpunb.providers.machine import registries

    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert registries.find("ghcr.io", "me") is None
    paths.private_dir(home / "keys")
    paths.write_private(keys.key_file("registry-ghcr.io"), f"{PASSWORD}1\n")
    found = registries.find("ghcr.io", "me")
    assert found is not None
    assert (found[0], found[1].key.get_secret_value()) == ("me", f"{PASSWORD}1")
    monkeypatch.setenv(registries.VARIABLE, f"{PASSWORD}2")
    found = registries.find("ghcr.io", "me")
    assert found is not None
    assert found[1].key.get_secret_value() == f"{PASSWORD}2"
    monkeypatch.delenv(registries.VARIABLE)
    hub = base64.b64encode(f"you:{PASSWORD}3".encode()).decode()
    (tmp_path / "config.json").write_text(
        json.dumps({"auths": {"https://index.docker.io/v1/": {"auth": hub}}})
    )
    found = registries.find("docker.io", "")
    assert found is not None
    assert (found[0], found[1].key.get_secret_value()) == ("you", f"{PASSWORD}3")
    assert registries.find("docker.io", "another") is None
    for odd in ("{", "[]", '{"auths": 3}', '{"auths": {"docker.io": {"auth": "%%"}}}'):
        (tmp_path / "config.json").write_text(odd)
        assert registries.find("docker.io", "") is None


@pytest.mark.parametrize(
    ("image", "cuda"),
    [
        ("nvidia/cuda:12.8.1-devel-ubuntu22.04", 12.8),
        ("docker.io/nvidia/cuda:11.8.0-base", 11.8),
        ("pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime", 12.4),
        ("me/x:cu121", 12.1),
        ("me/x:2.7-cu128-py311", 12.8),
        ("vastai/pytorch:2.6.0-cuda-12.6.3", 12.6),
        ("vastai/pytorch:@vastai-automatic-tag", None),
        ("ubuntu:22.04", None),
        ("me/document12:1", None),
        ("me/cucumber:12.4", None),
    ],
)
def test_the_cuda_that_an_image_names(image: str, cuda: float | None) -> None:
    from gpunb.providers.machine.images import cuda_of

    assert cuda_of(image) == cuda


@pytest.mark.parametrize("cloud", ["local", "fluence", "vast"])
def test_a_port_that_only_one_cloud_knows_is_refused_elsewhere(cloud: str) -> None:
    from gpunb.providers import CreateSpec, provider_class
    from gpunb.providers.base import Provider

    made = provider_class(cloud)
    spec = CreateSpec(label="", public_key="", ports=("70000/tcp",))
    offer: Any = SimpleNamespace(kind="container", raw={})
    why = Provider.unfit(made.__new__(made), offer, spec)
    assert why == ("" if cloud == "vast" else f"{made.title} opens ports from 1 to 65535")
