"""The host key is one of ours where the cloud takes it, and compared with the cloud's own word elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.rentals.clouds import simulated

from gpunb import paths, ssh
from gpunb.cli.main import invoke
from gpunb.errors import AuthRefused, BadInput, GpunbError, HostKeyChanged
from gpunb.providers.local import launch, terminate
from gpunb.providers.vast import VastProvider
from gpunb.sessions.access import host_access
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sim.hosts import real
from gpunb.ssh import generate_host_key
from tests.support.rentals.supervisors import end_supervisors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow
RENT = ["rent", "--cloud", "vast", "--name", "box", "--for", "30m", "--yes"]


@pytest.fixture
def vast(home: Path) -> Iterator[Any]:
    with simulated(("vast",)) as simulation:
        yield simulation["vast"]
        host_access.close_all()
        end_supervisors(home)


def events(name: str) -> str:
    with Ledger.open() as ledger:
        session = next(one for one in ledger.sessions(alive=False) if one.name == name)
        return " ".join(str(one) for one in ledger.events(session.id))


def test_the_key_in_the_log_is_the_one_that_was_pinned(vast: Any) -> None:
    invoke(RENT)
    assert "its host key is the one in Vast.ai's log" in events("box")
    invoke(["down", "box", "--yes"])


def test_a_host_key_that_is_not_the_one_in_the_log_stops_the_rental(
    vast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = generate_host_key()[1]
    monkeypatch.setattr(VastProvider, "host_keys", lambda *_: [other])
    with pytest.raises(GpunbError, match="another SSH key than the one in Vast"):
        invoke(RENT)
    with Ledger.open() as ledger:
        assert ledger.sessions() == []


def test_without_a_log_the_first_contact_counts_and_the_events_say_so(
    vast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VastProvider, "host_keys", lambda *_: [])
    invoke(RENT)
    assert "its host key was taken at the first contact" in events("box")
    invoke(["down", "box", "--yes"])


# -- a machine that is made anew around its disk -------------------------------------------


def start_with_new_key(monkeypatch: pytest.MonkeyPatch) -> str:
    """Stop the box, and let it have another host key from the next start on; its public line."""
    invoke(["stop", "box", "--yes"])
    text, public = generate_host_key()
    monkeypatch.setattr(real, "launch", lambda *args, **more: launch(*args, **{**more, "host_key": text}))
    return public


def test_a_new_key_that_stands_in_the_clouds_log_is_taken(vast: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    invoke(RENT)
    public = start_with_new_key(monkeypatch)
    monkeypatch.setattr(VastProvider, "host_keys", lambda *_: [generate_host_key()[1], public])
    invoke(["start", "box", "--yes"])
    assert f"the one in Vast.ai's log: {ssh.keys.fingerprint(public)}" in events("box")
    assert invoke(["exec", "box", "--", "true"]).exit_code == 0
    invoke(["down", "box", "--yes"])


@pytest.mark.parametrize("log", ["silent", "another"])
def test_a_new_key_that_nobody_vouches_for_waits_for_the_user(
    vast: Any, monkeypatch: pytest.MonkeyPatch, log: str
) -> None:
    invoke(RENT)
    public = start_with_new_key(monkeypatch)
    key = ssh.keys.fingerprint(public)
    others = [] if log == "silent" else [generate_host_key()[1]]
    monkeypatch.setattr(VastProvider, "host_keys", lambda *_: others)
    with pytest.raises(HostKeyChanged, match="another SSH key since it was started again") as caught:
        invoke(["start", "box", "--yes"])
    assert key in caught.value.message
    assert ("log of it shows yet other keys" in caught.value.message) == bool(others)
    assert f"trust box --host-key {key}" in str(caught.value.hint)
    assert "$" in str(caught.value.bill)  # it runs, and what it costs
    stranger = ssh.keys.fingerprint(generate_host_key()[1])
    with pytest.raises(HostKeyChanged, match="nothing was changed") as caught:
        invoke(["trust", "box", "--host-key", stranger])
    assert key in caught.value.message
    for odd in ("SHA256:short", "MD5:aa:bb", "x"):
        with pytest.raises(BadInput, match="--host-key"):
            invoke(["trust", "box", "--host-key", odd])
    told = invoke(["trust", "box", "--host-key", key if log == "silent" else public]).data()
    assert told["state"] == "ready"
    assert "by the word of the user" in events("box")
    assert invoke(["exec", "box", "--", "true"]).exit_code == 0
    invoke(["down", "box", "--yes"])
    assert vast.billed_now() == []


def test_a_key_that_was_taken_before_is_not_said_to_be_on_its_way(vast: Any) -> None:
    invoke(RENT)
    host_access.close_all()
    folder = vast.hosts.root / only_machine(vast).host.handle
    (folder / "authorized_keys").write_text("")
    with pytest.raises(AuthRefused, match="does not take the session's key") as caught:
        invoke(["exec", "box", "--", "true"])
    assert "it accepted the key before" in str(caught.value.hint)
    assert "id_ed25519.pub" in str(caught.value.hint)
    invoke(["down", "box", "--no-save", "--yes"])
    assert vast.billed_now() == []


# -- a key of ours, injected -----------------------------------------------------------

INJECTED = {"deepinfra": [], "sesterce": ["--type", "vm"], "fluence": ["--type", "container"]}


def rent(cloud: str, *more: str) -> Any:
    words = ["rent", "--cloud", cloud, *INJECTED[cloud], "--name", "box", "--for", "30m", "--yes", *more]
    return invoke(words)


def with_option() -> None:
    paths.private_dir(paths.config_file().parent)
    paths.config_file().write_text("[providers.fluence]\nhost_key = true\n", "utf-8")


@pytest.fixture(params=list(INJECTED))
def injected(request: pytest.FixtureRequest, home: Path) -> Iterator[tuple[str, Any]]:
    """A cloud that takes a host key, by name, with real hosts."""
    name = request.param
    if name == "fluence":
        with_option()
    with simulated((name,)) as simulation:
        cloud: Any = simulation[name]
        if name == "sesterce":  # where no cloud-init runs, no key can be injected
            for _, row in cloud.offers.values():
                row["cloudInitAvailable"] = row["deploymentType"] != "container"
        yield name, cloud
        host_access.close_all()
        end_supervisors(home)


@pytest.fixture
def contacts(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What was pinned when each first contact began."""
    found: list[list[str]] = []
    wait = host_access.HostAccess.wait

    def spied(self: host_access.HostAccess, session: Any, **more: Any) -> None:
        found.append(self.pinned(session))
        wait(self, session, **more)

    monkeypatch.setattr(host_access.HostAccess, "wait", spied)
    return found


def only_machine(cloud: Any) -> Any:
    (machine,) = cloud.machines.values()
    return machine


def test_our_key_is_pinned_before_the_first_contact(
    injected: tuple[str, Any], contacts: list[list[str]]
) -> None:
    name, cloud = injected
    rent(name)
    assert contacts == [[only_machine(cloud).host.host_public]]
    assert "its host key is the one that was known before" in events("box")
    invoke(["down", "box", "--yes"])
    assert cloud.billed_now() == []


def test_our_key_stays_pinned_if_the_answer_of_the_create_is_lost(
    injected: tuple[str, Any], contacts: list[list[str]]
) -> None:
    name, cloud = injected
    cloud.faults.add("drop-after", "create")
    rent(name)
    assert contacts == [[only_machine(cloud).host.host_public]]
    invoke(["down", "box", "--yes"])
    assert cloud.billed_now() == []


def test_nothing_is_pinned_where_no_key_can_be_given_though_the_answer_is_lost(
    home: Path, contacts: list[list[str]]
) -> None:
    with simulated(("sesterce",)) as simulation:
        cloud: Any = simulation["sesterce"]
        for _, row in cloud.offers.values():
            row["cloudInitAvailable"] = False
        cloud.faults.add("drop-after", "create")
        rent("sesterce")
        assert contacts == [[]]
        invoke(["down", "box", "--yes"])
        assert cloud.billed_now() == []
        host_access.close_all()
        end_supervisors(home)


def test_a_host_that_shows_another_key_at_the_first_contact_stops_everything(
    injected: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, cloud = injected
    other = generate_host_key()[0]
    monkeypatch.setattr(real, "launch", lambda *args, **more: launch(*args, **{**more, "host_key": other}))
    with pytest.raises(HostKeyChanged, match="does not show the SSH key that gpunb gave it") as caught:
        rent(name)
    assert "confirmed: nothing is rented" in str(caught.value.bill)
    assert len(cloud.machines) == 1  # no other offer was tried
    assert cloud.billed_now() == []
    with Ledger.open() as ledger:
        assert ledger.sessions() == []


def test_a_host_that_shows_another_key_later_is_not_logged_in_to(injected: tuple[str, Any]) -> None:
    name, cloud = injected
    rent(name)
    host_access.close_all()
    host = only_machine(cloud).host
    folder = cloud.hosts.root / host.handle
    keys = (folder / "authorized_keys").read_text("utf-8").splitlines()
    terminate(folder)
    other, public = generate_host_key()
    launch(folder, authorized_keys=keys, host_key=other, port=host.port, user=host.user)
    with pytest.raises(HostKeyChanged, match="did not log in and sent nothing") as caught:
        invoke(["exec", "-s", "box", "--", "true"])
    assert ssh.keys.fingerprint(public) in caught.value.message
    invoke(["down", "box", "--yes"])
    assert cloud.billed_now() == []


# -- Fluence's start command ----------------------------------------------------------------


@pytest.fixture
def fluence(home: Path) -> Iterator[Any]:
    with simulated(("fluence",)) as simulation:
        yield simulation["fluence"]
        host_access.close_all()
        end_supervisors(home)


def test_without_the_option_fluence_gets_no_command_and_the_first_contact_counts(
    fluence: Any, contacts: list[list[str]]
) -> None:
    rent("fluence")
    assert only_machine(fluence).data["settings"]["startup_command"] is None
    assert contacts == [[]]
    assert "its host key was taken at the first contact" in events("box")
    invoke(["down", "box", "--yes"])


def test_the_command_hands_the_containers_variables_to_logins(fluence: Any) -> None:
    with_option()
    rent("fluence", "--env", 'GREETING=it\'s $HOME, "twice"')
    with Ledger.open() as ledger:
        (session,) = ledger.sessions()
    said = host_access.connection(session).run("printenv GREETING")
    assert said.out == b'it\'s $HOME, "twice"\n'
    invoke(["down", "box", "--yes"])


def test_an_image_without_sshd_ends_confirmed_and_the_error_names_the_option(fluence: Any) -> None:
    with_option()
    with pytest.raises(
        GpunbError, match="this image has no sshd, and the option host_key of fluence"
    ) as caught:
        rent("fluence", "--image", "docker.io/library/debian:12")
    assert "host_key = false under [providers.fluence]" in str(caught.value.hint)
    assert "confirmed: nothing is rented" in str(caught.value.bill)
    assert len(fluence.machines) == 1  # the next offer's container would have the same image
    assert fluence.billed_now() == []
    with Ledger.open() as ledger:
        assert ledger.sessions() == []
