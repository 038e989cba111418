"""A host key of ours in a container of Fluence: the start command, and what a shell makes of it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.rentals.simulated import PUBLIC_KEY, Simulated, in_process, served

from gpunb.errors import BadInput, NotSupported
from gpunb.providers import CreateSpec, InstanceState
from gpunb.providers.fluence import hostkey
from gpunb.sim.hosts import container
from gpunb.sim.hosts.real import RealHosts
from gpunb.ssh import generate_host_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRIVATE, PUBLIC = generate_host_key()
IMAGE = "docker.io/fluencelabs/debian-ssh-root:11"


@pytest.fixture
def sim(home: Path) -> Simulated:
    return in_process("fluence", config={"host_key": True})


def start(command: str, image: str = IMAGE, **env: str) -> container.Started:
    return container.start(command, image=image, env={"SSH_PUBKEY": PUBLIC_KEY, **env})


class TestBody:
    def test_the_command_is_in_the_body_and_far_below_what_fluence_takes(self, sim: Simulated) -> None:
        made = sim.rent(sim.offer("container"), host_key=PRIVATE)
        command = sim.machine(made).data["settings"]["startup_command"]
        assert command == hostkey.command(PRIVATE)
        assert len(command) < 1400  # of 2048
        assert made.host_key == PUBLIC

    def test_it_is_one_line_that_a_shell_and_a_splitter_read_the_same_way(self) -> None:
        command = hostkey.command(PRIVATE)
        first, flag, script = shlex.split(command)
        assert (first, flag) == ("sh", "-c")
        assert "\n" not in command
        # Kubernetes would read these as variables of its own
        assert "$(" not in command
        assert "$$" not in command
        told = subprocess.run(
            ["sh", "-c", f'sh() {{ printf "%s" "$2"; }}; {command}'],
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout == script

    def test_without_the_option_there_is_no_command(self, home: Path) -> None:
        sim = in_process("fluence")
        made = sim.rent(sim.offer("container"), host_key=PRIVATE)
        assert sim.machine(made).data["settings"]["startup_command"] is None
        assert made.host_key is None

    @pytest.mark.parametrize("kind", ["vm", "bare-metal"])
    def test_machines_take_none(self, sim: Simulated, kind: str) -> None:
        offer = sim.offer(kind)
        assert not sim.provider.takes_host_key(offer, {})
        assert sim.rent(offer, host_key=PRIVATE).host_key is None

    def test_a_start_command_of_the_users_own_is_started_beside_it(self, sim: Simulated) -> None:
        made = sim.rent(sim.offer("container"), host_key=PRIVATE, start_command="serve 'a b'")
        settings = sim.machine(made).data["settings"]
        assert settings["startup_command"] == hostkey.command(PRIVATE)
        assert settings["environment"] == [{"name": hostkey.BESIDE, "value": "serve 'a b'"}]
        assert made.host_key == PUBLIC

    def test_a_key_that_makes_it_too_long_is_refused_before_any_call(self, sim: Simulated) -> None:
        with pytest.raises(BadInput, match=r"start_command .* Fluence takes 2048"):
            sim.rent(sim.offer("container"), host_key=PRIVATE + "A" * 1500)
        assert sim.calls("create") == 0

    def test_onstart_is_refused_as_ever(self, sim: Simulated) -> None:
        with pytest.raises(NotSupported, match="onstart"):
            sim.rent(sim.offer("container"), host_key=PRIVATE, onstart="ls")


@pytest.mark.parametrize(
    ("value", "means"),
    [(True, True), ("true", True), ("1", True), (False, False), ("off", False), ("", False)],
)
def test_the_option_as_toml_and_variables_write_it(value: Any, means: bool) -> None:
    assert hostkey.wanted({"host_key": value}) is means


@pytest.mark.parametrize("value", ["perhaps", 3, ["true"]])
def test_an_option_that_is_neither_is_named(value: Any) -> None:
    with pytest.raises(BadInput, match=r"providers\.fluence\.host_key .* must be true or false"):
        hostkey.wanted({"host_key": value})


class TestWhatTheCommandDoes:
    """Each is really run by a shell; only sshd and the file system's root are stand-ins."""

    def test_sshd_shows_our_key_to_the_owner_of_the_public_key_alone(self) -> None:
        found = start(hostkey.command(PRIVATE), GREETING="a b")
        assert found.listens, found.output
        assert found.host_key == PRIVATE
        assert found.public_keys == [PUBLIC_KEY]
        assert found.env["GREETING"] == "a b"
        assert hostkey.started(found.output)
        assert hostkey.why_stopped(found.output[:0]) == ""

    @pytest.mark.parametrize(
        ("good", "bad"),
        [
            ("umask 077", "umask 022"),  # sshd takes no key that others can read
            ("HostKey=/run/gpunb/host_key", "HostKey=/run/gpunb/other"),
            (" -D ", " "),  # in the background: the container ends
            ("exec $s", "exec sshd"),
            ('-----BEGIN OPENSSH PRIVATE KEY-----"', '-----BEGIN OPENSSH PRIVATE KEY-----"; "'),
        ],
    )
    def test_a_wrong_command_starts_no_server(self, good: str, bad: str) -> None:
        command = hostkey.command(PRIVATE)
        assert good in command
        assert not start(command.replace(good, bad)).listens

    def test_what_is_started_beside_it_runs_and_its_end_ends_nothing(self) -> None:
        beside = "echo it is \"'a b'\" >&2; exit 3"
        found = start(hostkey.command(PRIVATE), **{hostkey.BESIDE: beside})
        assert found.listens, found.output
        assert "it is 'a b'" in found.output
        assert hostkey.started([line for line in found.output if "sshd" in line])

    def test_a_command_that_authorises_nobody_lets_nobody_in(self) -> None:
        command = hostkey.command(PRIVATE).replace(".ssh/authorized_keys", ".ssh/authorised_keys")
        assert start(command).public_keys == []

    def test_another_key_file_is_another_key(self) -> None:
        other = generate_host_key()[0]
        assert start(hostkey.command(other)).host_key == other != PRIVATE

    def test_an_image_without_sshd_is_told_and_ends(self) -> None:
        for image in ("debian:12", "docker.io/library/python:3.12"):
            found = start(hostkey.command(PRIVATE), image)
            assert not found.listens
            assert not hostkey.started(found.output)
            assert hostkey.why_stopped(found.output) == "this image has no sshd"

    def test_a_cloud_that_sets_no_public_key_is_told(self) -> None:
        found = start(hostkey.command(PRIVATE), SSH_PUBKEY="")
        assert not found.listens
        assert hostkey.why_stopped(found.output) == "Fluence set no SSH_PUBKEY"

    @pytest.mark.skipif(
        shutil.which("sshd", path="/usr/sbin:/usr/bin") is None, reason="needs OpenSSH's sshd"
    )
    def test_openssh_itself_takes_the_options_and_has_no_other_host_key(self, tmp_path: Path) -> None:
        words = shlex.split(shlex.split(hostkey.command(PRIVATE))[2].rpartition("exec $s ")[2])
        (tmp_path / "key").write_text(PRIVATE, "utf-8")
        (tmp_path / "key").chmod(0o600)
        words = [word.replace("/run/gpunb/host_key", str(tmp_path / "key")) for word in words]
        sshd = str(shutil.which("sshd", path="/usr/sbin:/usr/bin"))
        told = subprocess.run([sshd, "-T", *words], capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stderr
        lines = told.stdout.splitlines()
        assert [line for line in lines if line.startswith("hostkey ")] == [f"hostkey {tmp_path / 'key'}"]
        assert "passwordauthentication no" in lines
        assert "permituserenvironment yes" in lines
        assert "subsystem sftp internal-sftp" in lines


class TestLog:
    @pytest.fixture
    def real(self, home: Path) -> Iterator[Simulated]:
        with served("fluence", hosts=RealHosts(home / "hosts"), boot_s=0.2) as sim:
            sim.provider.config.options["host_key"] = True
            yield sim

    def test_a_command_that_gave_up_is_a_failure_that_is_still_billed(self, real: Simulated) -> None:
        spec = CreateSpec(label="g-1", public_key=PUBLIC_KEY, host_key=PRIVATE, image="docker.io/debian:12")
        made = real.provider.create(real.offer("container"), spec)
        real.cloud.wait_for_hosts()
        for _ in range(100):
            found = real.provider.get(made.id)
            if found.state is not InstanceState.CREATING:
                break
            time.sleep(0.1)
        assert found.state is InstanceState.FAILED
        assert "host_key" in found.remedy
        assert not real.provider.ended(found)  # ACTIVE, as Fluence sees it
        assert len(real.cloud.billed_now()) == 1
        # what the list says of it has no log beside it
        assert {one.state for one in real.provider.instances()} == {InstanceState.CREATING}

    def test_once_the_log_says_that_sshd_is_up_it_is_not_asked_again(self, real: Simulated) -> None:
        made = real.rent(real.offer("container"), host_key=PRIVATE)
        real.cloud.wait_for_hosts()
        for _ in range(200):
            if real.provider.get(made.id).state is InstanceState.RUNNING:
                break
            time.sleep(0.1)
        asked = real.calls("logs")
        assert asked >= 1
        assert real.provider.get(made.id).state is InstanceState.RUNNING
        assert real.calls("logs") == asked

    def test_a_log_that_cannot_be_read_decides_nothing(self, sim: Simulated) -> None:
        made = sim.rent(sim.offer("container"), host_key=PRIVATE)
        sim.clock.advance(300)
        sim.cloud.faults.add("error-before", "logs", times=None)
        assert sim.provider.get(made.id).state is InstanceState.RUNNING
