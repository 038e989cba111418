"""Slim and odd machines of one's own: each with a real sshd, rented, used and left as it was."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.machines import own_hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.machines.terminal import Gpunb

pytestmark = pytest.mark.slow
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount of its own, so root")


@pytest.fixture
def odd(
    gpunb: Gpunb, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., own_hosts.OwnHost]]:
    """Makes a machine, whose sshd has the settings `extra`, and lists it."""
    if not own_hosts.available():
        pytest.skip("needs OpenSSH's ssh, sshd and sftp-server")
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as stack:

        def make(extra: str = "", **more: object) -> own_hosts.OwnHost:
            host = own_hosts.OwnHost(tmp_path / "lab3", extra=extra, **more)  # type: ignore[arg-type]
            stack.callback(host.stop)
            home.mkdir(parents=True, exist_ok=True)
            (home / "gpunb.toml").write_text(host.settings())
            return host

        yield make
        from gpunb.sessions.access import host_access

        host_access.close_all()


def used(gpunb: Gpunb, lab: own_hosts.OwnHost, *, python: str = sys.executable) -> None:
    """Rent it, run a job, move a file each way, end it; `authorized_keys` is as before."""
    before = lab.keys.read_bytes()
    rented = gpunb("rent", "--host", "lab3", "--name", "lab", "--for", "30m", "--yes", "--python", python)
    assert rented.code == 0, rented.err
    ran = gpunb("run", "lab", "--shell", "echo from the job; echo $HOME")
    assert ran.code == 0, ran.err
    assert ran.out.split() == ["from", "the", "job", str(lab.home)]
    here = lab.root.parent / "sent"
    here.mkdir()
    (here / "a").write_bytes(b"\0\xff" * 50_000)
    sent = gpunb("sync", "sent", "lab:sent")
    assert sent.code == 0, sent.err
    assert (lab.home / "sent/a").read_bytes() == (here / "a").read_bytes()
    ended = gpunb("down", "lab", "--yes")
    assert ended.code == 0, ended.err
    assert lab.keys.read_bytes() == before
    assert not (lab.home / ".gpunb").exists()
    assert not own_hosts.marked(f"GPUNB_FOLDER={lab.home}")


def test_a_login_shell_that_prints_and_is_slow(gpunb: Gpunb, odd: Callable[..., own_hosts.OwnHost]) -> None:
    lab = odd()
    lab.bashrc("echo Welcome to lab3; echo and to stderr >&2; sleep 2\ncd /\n")
    used(gpunb, lab)


def test_no_sftp_and_two_sessions_a_connection(gpunb: Gpunb, odd: Callable[..., own_hosts.OwnHost]) -> None:
    used(gpunb, odd("MaxSessions 2", sftp=False))


def test_only_ipv6(gpunb: Gpunb, odd: Callable[..., own_hosts.OwnHost]) -> None:
    import socket
    import threading

    lab = odd()
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    lab.sshd.stop()
    lab.sshd.port = listener.getsockname()[1]
    lab.sshd._listener = listener
    args = (listener, lab.root / "sshd_config")
    threading.Thread(target=lab.sshd._serve, args=args, daemon=True).start()
    lab.configure(HostName="::1")
    lab.known_hosts.write_text(f"[::1]:{lab.sshd.port} {lab.sshd.host_line}\n")
    used(gpunb, lab)


def test_another_port_after_a_restart(gpunb: Gpunb, odd: Callable[..., own_hosts.OwnHost]) -> None:
    from gpunb.sessions.access import host_access
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.lifecycle.catching_up import refresh

    lab = odd()
    before = lab.keys.read_bytes()
    rented = gpunb(
        "rent", "--host", "lab3", "--name", "lab", "--for", "30m", "--yes", "--python", sys.executable
    )
    assert rented.code == 0, rented.err
    host_access.close_all()
    lab.sshd.stop()
    lab.sshd.start()
    lab.configure()  # the user writes the new port into the ssh configuration
    with Ledger.open() as ledger:  # as the supervisor does at each look
        cloud = lab.provider()
        assert refresh(ledger, cloud, ledger.one("lab")).port == lab.sshd.port
    again = gpunb("exec", "lab", "--", "echo", "here again")
    assert again.out.strip() == "here again", again.err
    assert gpunb("down", "lab", "--yes").code == 0
    assert lab.keys.read_bytes() == before


def _login_shell(lab: own_hosts.OwnHost, shell: str) -> None:
    """Give the machine's account another login shell and home: an /etc/passwd that only its sshd sees."""
    mine = lab.root / "passwd"
    others = [one for one in Path("/etc/passwd").read_text().splitlines() if not one.startswith("root:")]
    mine.write_text("\n".join([f"root:x:0:0:root:{lab.home}:{shell}", *others]) + "\n")
    program = lab.root / "sshd"
    inner = f'mount --bind {mine} /etc/passwd && exec /usr/sbin/sshd "$@"'
    program.write_text(f"#!/bin/sh\nexec unshare -m sh -c '{inner}' sshd \"$@\"\n")
    program.chmod(0o755)
    lab.sshd.program = str(program)


@root
@pytest.mark.parametrize("shell", ["csh", "tcsh", "zsh", "dash", "fish"])
def test_other_login_shells(gpunb: Gpunb, odd: Callable[..., own_hosts.OwnHost], shell: str) -> None:
    where = shutil.which(shell)
    if where is None:
        pytest.skip(f"no {shell} here")
    lab = odd()
    _login_shell(lab, where)
    (lab.home / ".cshrc").write_text("echo from csh\n")
    (lab.home / ".zshenv").write_text("echo from zsh\n")
    used(gpunb, lab)


@root
def test_a_home_that_can_only_be_read(gpunb: Gpunb, odd: Callable[..., own_hosts.OwnHost]) -> None:
    lab = odd()
    before = own_hosts.snapshot(lab.home)
    subprocess.run(["mount", "--bind", lab.home, lab.home], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", lab.home], check=True)
        refused = gpunb("rent", "--host", "lab3", "--name", "lab", "--yes")
        assert refused.code != 0
        assert "can't be written" in refused.err
        assert own_hosts.snapshot(lab.home) == before
    finally:
        subprocess.run(["umount", lab.home], check=True)
    assert not own_hosts.marked(f"GPUNB_FOLDER={lab.home}")


def test_no_python_is_said_before_anything_is_left(
    gpunb: Gpunb, odd: Callable[..., own_hosts.OwnHost]
) -> None:
    lab = odd()
    before = lab.keys.read_bytes()
    programs = lab.root / "programs"
    programs.mkdir()
    for folder in ("/usr/bin", "/bin"):
        for one in sorted(os.listdir(folder)):
            if "python" not in one and not (programs / one).exists():
                (programs / one).symlink_to(f"{folder}/{one}")
    lab.bashrc(f"export PATH={programs}\n")
    checked = gpunb("hosts", "check", "lab3")
    assert "has no Python 3.8 or newer" in checked.out
    refused = gpunb("rent", "--host", "lab3", "--name", "lab", "--yes")
    assert refused.code != 0
    assert "no Python 3.8 or newer" in refused.err
    assert lab.keys.read_bytes() == before
    assert not (lab.home / ".gpunb").exists()
