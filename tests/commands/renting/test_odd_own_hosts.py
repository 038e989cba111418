"""Slim and odd machines of one's own: each with a real sshd, rented, used and left as it was."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import odd_disk
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


def used(
    gpunb: Gpunb,
    lab: own_hosts.OwnHost,
    *,
    python: str = sys.executable,
    ask: Callable[[Gpunb], None] = lambda _: None,
) -> None:
    """Rent it, run a job, move a file there, `ask`, end it; `authorized_keys` is as before."""
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
    ask(gpunb)
    ended = gpunb("down", "lab", "--yes")
    assert ended.code == 0, ended.err
    assert lab.keys.read_bytes() == before
    assert not (lab.home / ".gpunb").exists()
    assert not own_hosts.marked(f"GPUNB_FOLDER={lab.home}")


def test_a_login_shell_that_prints_and_is_slow(gpunb: Gpunb, odd: Callable[..., own_hosts.OwnHost]) -> None:
    lab = odd()
    lab.bashrc("echo Welcome to lab3; echo and to stderr >&2; sleep 0.7\ncd /\n")
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


def _mounted(lab: own_hosts.OwnHost, *commands: str) -> None:
    """Let the machine's sshd run where these mounts are, and nothing else of this machine."""
    program = lab.root / "sshd"
    inner = " && ".join([*commands, 'exec /usr/sbin/sshd "$@"'])
    program.write_text(f'#!/bin/sh\nexec unshare -m sh -c {shlex.quote(inner)} sshd "$@"\n')
    program.chmod(0o755)
    lab.sshd.program = str(program)


def _login_shell(lab: own_hosts.OwnHost, shell: str) -> str:
    """The mount that gives the machine's account another login shell and home."""
    mine = lab.root / "passwd"
    others = [one for one in Path("/etc/passwd").read_text().splitlines() if not one.startswith("root:")]
    mine.write_text("\n".join([f"root:x:0:0:root:{lab.home}:{shell}", *others]) + "\n")
    return f"mount --bind {mine} /etc/passwd"


@root
@pytest.mark.parametrize("shell", ["csh", "zsh", "fish"])
def test_other_login_shells(gpunb: Gpunb, odd: Callable[..., own_hosts.OwnHost], shell: str) -> None:
    where = shutil.which(shell)
    if where is None:
        pytest.skip(f"no {shell} here")
    lab = odd()
    _mounted(lab, _login_shell(lab, where))
    (lab.home / ".cshrc").write_text("echo from csh\n")
    (lab.home / ".zshenv").write_text("echo from zsh\n")
    (lab.home / ".config/fish").mkdir(parents=True)
    (lab.home / ".config/fish/config.fish").write_text("echo from fish\n")
    used(gpunb, lab)


@root
def test_busybox_and_nothing_of_gnu(gpunb: Gpunb, odd: Callable[..., own_hosts.OwnHost]) -> None:
    """What Alpine has: its shell, its tools and no bash. Its C library is another matter (see below)."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("no busybox here")
    lab = odd()
    tools = lab.root / "tools"
    tools.mkdir()
    subprocess.run([busybox, "--install", "-s", tools], check=True)
    (tools / "ash.sh").write_text(f'#!/bin/sh\nPATH={tools}; export PATH; exec {tools}/ash "$@"\n')
    (tools / "ash.sh").chmod(0o755)
    _mounted(lab, _login_shell(lab, str(tools / "ash.sh")), f"mount --bind {busybox} /bin/bash")
    used(gpunb, lab)


@root
@pytest.mark.skipif(Path(sys.prefix).is_relative_to("/tmp"), reason="this Python is in /tmp itself")
def test_tmp_without_exec(gpunb: Gpunb, odd: Callable[..., own_hosts.OwnHost]) -> None:
    lab = odd()
    mine = f"mount --bind {lab.root} {lab.root} && mount -o remount,bind,exec {lab.root}"
    temporary = " && ".join(
        f"mount --bind {one} {one} && mount -o remount,bind,noexec {one}" for one in ("/tmp", "/var/tmp")
    )
    _mounted(lab, temporary, mine)
    refusal = f'cp /bin/true "$f"; chmod 755 "$f"; "$f" 2>{lab.root}/refused; rm -f "$f"'
    lab.bashrc(f"f=$(mktemp /tmp/gpunb-XXXXXX)\n{refusal}\n")
    used(gpunb, lab)
    assert "Permission denied" in (lab.root / "refused").read_text(), "the mount refuses nothing"


@pytest.mark.parametrize("wrong_s", [3 * 3600, -3 * 3600])
def test_a_clock_that_is_three_hours_off(
    gpunb: Gpunb, odd: Callable[..., own_hosts.OwnHost], wrong_s: int
) -> None:
    lab = odd()
    python = _wrong_clock(lab, wrong_s)
    shown = f'#!/bin/sh\n[ "$*" = +%s ] && exec echo $(($(/bin/date +%s) + {wrong_s}))\nexec /bin/date "$@"\n'
    (lab.root / "date").write_text(shown)
    (lab.root / "date").chmod(0o755)
    lab.bashrc(f"PATH={lab.root}:$PATH\n")
    used(gpunb, lab, python=python, ask=_times_are_ours)


def _wrong_clock(lab: own_hosts.OwnHost, wrong_s: int) -> str:
    """A Python whose programs read another time, those with -I too; what a disk's files say is right."""
    venv.create(lab.root / "venv", symlinks=True)
    (packages,) = (lab.root / "venv").glob("lib/python*/site-packages")
    here = [one for one in sys.path if "site-packages" in one]
    wrong = f"import time; time.time = lambda real=time.time: real() + {wrong_s}"
    (packages / "clock.pth").write_text("\n".join([*here, wrong, ""]))
    return str(lab.root / "venv/bin/python")


def _times_are_ours(gpunb: Gpunb) -> None:
    """What is shown of a run, and how long the session lives, is by the clock here."""
    now = time.time()
    (run, *_) = json.loads(gpunb("runs", "lab", "--json").out)
    (job, *_) = json.loads(gpunb("runs", "lab", "--jobs", "--json").out)
    times = {name: run[name] for name in ("started", "ended")}
    times |= {f"job {name}": job[name] for name in ("created", "started", "ended")}
    (session,) = json.loads(gpunb("ps", "--json").out)
    times |= {"ready": session["created"], "deadline": session["lease"]["deadline"] - 1800}
    assert times == {name: pytest.approx(now, abs=600) for name in times}


def _without_locks(lab: own_hosts.OwnHost) -> str:
    """A Python whose programs get no flock(2), as on a mount without a lock server."""
    venv.create(lab.root / "venv", symlinks=True)
    (packages,) = (lab.root / "venv").glob("lib/python*/site-packages")
    here = [one for one in sys.path if "site-packages" in one]
    (packages / "unlocked.py").write_text(UNLOCKED)
    (packages / "unlocked.pth").write_text("\n".join([*here, "import unlocked", ""]))
    return str(lab.root / "venv/bin/python")


UNLOCKED = """
import errno, fcntl

def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")

fcntl.flock = flock
"""
WRITES = """
import os, sqlite3
kept = open("kept", "w+"); kept.write("still here"); kept.flush(); os.remove("kept")
with sqlite3.connect("rows.db", isolation_level=None) as rows:
    rows.execute("create table numbers (n)")
    rows.executemany("insert into numbers values (?)", [(n,) for n in range(100)])
kept.seek(0)
print(kept.read(), *rows.execute("select sum(n) from numbers").fetchone())
hidden = [name for name in os.listdir() if name.startswith(".fuse_hidden")]
print(len(hidden), "hidden")
"""


def test_a_home_on_nfs(gpunb: Gpunb, odd: Callable[..., own_hosts.OwnHost]) -> None:
    """No locks, times in seconds, removed files that stay while they are open: those of the agent, too."""
    if not odd_disk.usable():
        pytest.skip("no FUSE here")
    lab = odd()
    python = _without_locks(lab)
    with odd_disk.odd_disk(odd_disk.NFS, lab.root, over=lab.home):
        used(gpunb, lab, python=python, ask=lambda gpunb: _writes(gpunb, lab))
        assert not list(lab.home.rglob(".fuse_hidden*"))


def _writes(gpunb: Gpunb, lab: own_hosts.OwnHost) -> None:
    said = gpunb("cell", "lab", "-c", WRITES)
    assert said.out == "still here 4950\n1 hidden\n", said.err
    (agent,) = lab.home.glob(".gpunb/s/*/agent.json")
    os.kill(json.loads(agent.read_text())["pid"], signal.SIGKILL)
    again = gpunb("cell", "lab", "-c", "print(len(hidden), 'is known')")
    assert again.out == "1 is known\n", again.err
    (last, first, *_) = json.loads(gpunb("runs", "lab", "--json").out)
    for run, text in ((first, said.out), (last, again.out)):
        assert gpunb("logs", run["id"]).out == text, "the journals are whole"


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


def _without_python(lab: own_hosts.OwnHost) -> None:
    programs = lab.root / "programs"
    programs.mkdir()
    for folder in ("/usr/bin", "/bin"):
        for one in sorted(os.listdir(folder)):
            if "python" not in one and not (programs / one).exists():
                (programs / one).symlink_to(f"{folder}/{one}")
    lab.bashrc(f"export PATH={programs}\n")


def test_no_python_is_said_before_anything_is_left(
    gpunb: Gpunb, odd: Callable[..., own_hosts.OwnHost]
) -> None:
    lab = odd()
    before = lab.keys.read_bytes()
    _without_python(lab)
    checked = gpunb("hosts", "check", "lab3")
    assert "has no Python 3.8 or newer" in checked.out
    refused = gpunb("rent", "--host", "lab3", "--name", "lab", "--yes")
    assert refused.code != 0
    assert "no Python 3.8 or newer" in refused.err
    assert "--python static brings one there" in refused.err
    assert lab.keys.read_bytes() == before
    assert not (lab.home / ".gpunb").exists()


def test_a_python_is_brought_where_there_is_none(
    gpunb: Gpunb, odd: Callable[..., own_hosts.OwnHost], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is sent is a copy of this one; the real one comes by uv, of which the refusal is tried."""
    from gpunb.remote import static_python

    lab = odd()
    _without_python(lab)
    before = own_hosts.snapshot(lab.home)
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", "http://127.0.0.1:9")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    refused = gpunb("rent", "--host", "lab3", "--name", "lab", "--yes", "--python", "static")
    assert refused.code != 0
    assert "can't be fetched here" in refused.err
    assert "UV_PYTHON_INSTALL_MIRROR names a mirror" in refused.err
    assert own_hosts.snapshot(lab.home) == before

    system = f"linux-{os.uname().machine}-gnu"
    kept = static_python.folder(system)
    base, name = Path(sys.base_prefix), f"python3.{sys.version_info.minor}"
    (kept / "bin").mkdir(parents=True)
    shutil.copy(base / "bin" / name, kept / "bin/python3")
    useless = shutil.ignore_patterns(
        "test", "site-packages", "__pycache__", "idlelib", "config-*", "ensurepip"
    )
    shutil.copytree(base / "lib" / name, kept / "lib" / name, ignore=useless)
    packages = kept / "lib" / name / "site-packages"
    packages.mkdir()
    (packages / "here.pth").write_text("\n".join(one for one in sys.path if "site-packages" in one))
    used(gpunb, lab, python="static", ask=_runs_its_own)


def _runs_its_own(gpunb: Gpunb) -> None:
    said = gpunb("cell", "lab", "-c", "import sys; print(sys.base_prefix)")
    assert "/.gpunb/s/" in said.out, said.err
