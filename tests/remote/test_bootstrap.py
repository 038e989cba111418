from __future__ import annotations

import hashlib
import shutil
import sys
import time
import zlib

import pytest

from gpunb.errors import BootstrapFailed
from gpunb.output import show
from gpunb.remote import AgentClient
from gpunb.remote.bootstrap import (
    FIND_PYTHON,
    INSTALL_TIMEOUT,
    READ_STAGE,
    SILENCE,
    agent_version,
    open_line,
    patience,
)
from gpunb.ssh import quote
from gpunb.ssh.connection import Connection
from tests.remote.conftest import Screen, kill_agent, wait_for

pytestmark = pytest.mark.slow


def connect(host, **more):
    return AgentClient.connect(host.endpoint(), **{"python": sys.executable, **more})


def wrap_login(host, text: str) -> None:
    """Put `text` before whatever the host's login shell runs, as a .bashrc would."""
    enter = host.root / "enter"
    lines = enter.read_text().split("\n", 1)
    enter.write_text(f"{lines[0]}\n{text}\n{lines[1]}")


def test_the_agent_is_put_there_once(host):
    class Supervision:
        said: list[str] = []

        def say(self, message):
            self.said.append(message)

        def advance(self, *_):
            pass

    for _ in range(2):
        connect(host, progress=Supervision()).close()
    assert Supervision.said == ["putting the agent on the host"]
    assert [path.name for path in (host.home / ".gpunb" / "agent").iterdir()] == [agent_version()]
    assert (host.home / ".gpunb").stat().st_mode & 0o077 == 0


def test_two_at_once_share_one_agent(host):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        clients = list(pool.map(lambda _: connect(host), range(4)))
    assert len({client.info.pid for client in clients}) == 1
    for client in clients:
        client.close()


def test_banners_and_slow_shells_are_read_over(host):
    wrap_login(host, "printf 'Welcome!\\nno newline at the end'; sleep 0.5; echo warning >&2")
    with connect(host) as client:
        screen = Screen()
        show(client.run_cell("print('hi')"), screen)
        assert screen.text() == "hi\n"


def test_endless_noise_is_given_up(host):
    wrap_login(host, "yes")
    with pytest.raises(BootstrapFailed, match="not one of ours"):
        connect(host)


def test_a_shell_that_closes_says_its_words(host):
    wrap_login(host, "echo 'account is locked' >&2; exit 5")
    with pytest.raises(BootstrapFailed, match="account is locked"):
        connect(host)


def test_an_image_that_lets_nobody_in_says_why(host):
    """Cloud images let root's key in only to print this, on standard output."""
    wrap_login(host, 'echo \'Please login as the user "ubuntu" rather than the user "root".\'; exit 142')
    with pytest.raises(BootstrapFailed, match=r'closed the connection.*Please login as the user "ubuntu"'):
        connect(host)


def test_what_a_silent_shell_said_before_is_told(host):
    asked = host.home / "asked"
    wrap_login(host, f"echo 'press any key'; touch {asked}; sleep 30")
    with Connection.open(host.endpoint()) as connection:
        begin = connection.channel
        connection.channel = lambda *args, **more: (begin(*args, **more), wait_for(asked.exists, 60.0))[0]
        with pytest.raises(BootstrapFailed, match="press any key"):
            open_line(connection, timeout=1.5)


def test_a_host_that_was_slow_to_log_in_has_longer_to_answer(host):
    with Connection.open(host.endpoint()) as connection:
        assert connection.opened_s > 0.0
        for opened_s, least in ((0.1, SILENCE), (4.0, 120.0), (10**6, INSTALL_TIMEOUT)):
            connection.opened_s = opened_s
            assert patience(connection) == least
        waits = []
        begin = connection.channel

        def listened(*args, **more):
            channel = begin(*args, **more)
            keep = channel.settimeout
            channel.settimeout = lambda seconds: (waits.append(seconds), keep(seconds))
            return channel

        connection.channel, connection.opened_s = listened, 4.0
        channel, _ = open_line(connection, python=sys.executable)
        channel.close()
    assert 100.0 < waits[0] <= 120.0


def test_a_python_that_is_not_there(host):
    with pytest.raises(BootstrapFailed, match="/no/such/python is not there") as caught:
        connect(host, python="/no/such/python")
    assert "--python" in caught.value.hint


def test_a_tilde_in_the_python_is_the_host_s_home(host):
    with pytest.raises(BootstrapFailed, match=f"{host.home}/nothing/python3 is not there"):
        connect(host, python="~/nothing/python3")
    bin_folder = host.home / "venv/bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (bin_folder / "python3").chmod(0o755)
    with connect(host, python="~/venv/bin/python3") as client:
        assert client.info.home == str(host.home)


@pytest.mark.parametrize("shell", ["tcsh", "csh", "zsh", "fish", "dash", "busybox sh"])
def test_whatever_the_login_shell_is(host, shell):
    # openai/codex#19302, stablyai/orca#8714: csh takes no quoted word of several lines
    path = shutil.which(shell.split()[0])
    if path is None:
        pytest.skip(f"no {shell} here")
    enter = host.root / "enter"
    enter.write_text(
        enter.read_text().replace("exec /bin/sh -c", f"exec {path} {shell.partition(' ')[2]} -c")
    )
    with connect(host) as client:
        screen = Screen()
        show(client.run_cell("print('here')"), screen)
        assert screen.text() == "here\n"


def test_what_the_login_shell_is_given_has_no_line_ends():
    assert "\n" not in FIND_PYTHON + READ_STAGE
    assert "eval" not in quote([FIND_PYTHON, READ_STAGE])  # nor what fish, or csh, would read otherwise


@pytest.mark.parametrize("start", ["exec sleep 60", "exit 3"], ids=["another program", "exit"])
def test_start_up_files_that_let_no_command_through_are_named(host, start):
    # vscode-remote-release#1818: tmux, zsh or exit in .bashrc
    wrap_login(host, start)
    with pytest.raises(BootstrapFailed) as caught:
        open_line(Connection.open(host.endpoint()), timeout=3.0)
    assert "start-up files" in (caught.value.hint or "")


@pytest.mark.parametrize("start", ["exit 3", "echo This account is currently not available.; exit 1"])
def test_start_up_files_are_named_however_soon_they_end_it(host, monkeypatch, start):
    # nothing could be sent any more: that error hid what the host had said
    real = Connection.channel

    def ended(self, command, **more):
        channel = real(self, command, **more)
        while not channel.over:
            time.sleep(0.01)
        return channel

    monkeypatch.setattr(Connection, "channel", ended)
    wrap_login(host, start)
    with pytest.raises(BootstrapFailed, match="closed the connection before the agent was up") as caught:
        open_line(Connection.open(host.endpoint()))
    assert "start-up files" in (caught.value.hint or "")
    assert start[5:20] in str(caught.value) or start == "exit 3"


def test_the_agent_is_found_when_its_socket_s_folder_changes_or_goes(host):
    # vscode-remote-release#6997: systemd takes /run/user/UID away; #17: TMPDIR set on the host in mid-session
    (host.root / "run").mkdir(mode=0o700)
    host.set_env(XDG_RUNTIME_DIR=str(host.root / "run"))
    with connect(host) as client:
        show(client.run_cell("x = 41"), Screen())
        pid = client.info.pid
    for step in ("another", "gone", "back"):
        if step == "another":
            (host.root / "other").mkdir(mode=0o700)
            host.set_env(XDG_RUNTIME_DIR=str(host.root / "other"), TMPDIR=str(host.root))
        elif step == "gone":
            shutil.rmtree(host.root / "run")
        else:
            host.set_env(XDG_RUNTIME_DIR=str(host.root / "run"))
            (host.root / "run").mkdir(mode=0o700, exist_ok=True)
        with connect(host, trust="own") as client:
            assert client.info.pid == pid, step
            screen = Screen()
            show(client.run_cell("print(x + 1)"), screen)
            assert screen.text() == "42\n"
            screen = Screen()
            show(client.run_job(shell="echo job"), screen)
            assert screen.text() == "job\n"


def test_a_home_without_locks(host):
    # apptainer/singularity#174, tox-dev/filelock#6: NFS and Lustre without flock
    folder = host.root / "nolocks"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import errno, fcntl\n"
        "def flock(*_):\n    raise OSError(errno.ENOLCK, 'No locks available')\n"
        "fcntl.flock = flock\n"
    )
    host.set_env(PYTHONPATH=str(folder))
    with connect(host) as client, connect(host) as other:
        assert client.info.pid == other.info.pid
        screen = Screen()
        show(client.run_job(shell="echo job"), screen)
        assert screen.text() == "job\n"
        kill_agent(host)
        screen = Screen()
        show(client.run_cell("print('again')"), screen)
        assert screen.text() == "again\n"


def test_an_agent_that_can_not_start_says_why(host, monkeypatch):
    (host.home / ".gpunb").mkdir(mode=0o700)
    (host.home / ".gpunb/runs").write_text("in the way")
    monkeypatch.setattr("gpunb.remote.bootstrap._payload", quick_to_give_up())
    with pytest.raises(BootstrapFailed, match=r"did not start within 2 s: .*Error") as caught:
        connect(host)
    assert "agent.out" in (caught.value.hint or "")


def quick_to_give_up():
    """The agent's archive with a relay that waits two seconds only."""
    import gpunb.remote.bootstrap as module

    def patched():
        _, data = module.__dict__["_kept"]
        archive = zlib.decompress(data).replace(b"START_TIMEOUT = 40.0", b"START_TIMEOUT = 2.00")
        return hashlib.sha256(archive).hexdigest()[:16], zlib.compress(archive)

    module.__dict__["_kept"] = module._payload()
    return patched


def test_a_home_that_cannot_be_written(host):
    (host.home / ".gpunb").write_text("a file in the way")
    with pytest.raises(BootstrapFailed, match="can't write"):
        connect(host)


def test_a_damaged_archive_is_not_installed(host, monkeypatch):
    from gpunb.remote import bootstrap

    version, archive = bootstrap._payload()
    import zlib

    monkeypatch.setattr(
        bootstrap, "_payload", lambda: (version, zlib.compress(zlib.decompress(archive) + b"x"))
    )
    with pytest.raises(BootstrapFailed, match="checksum"):
        connect(host)
    assert not (host.home / ".gpunb" / "agent" / version).exists()


def test_line_reader_survives_hostile_json(host):
    with Connection.open(host.endpoint()) as connection:
        from gpunb.remote.bootstrap import LineReader

        channel = connection.channel(
            "printf 'n0nce ready {\"a\":%s\\n' $(head -c 100000 /dev/zero | tr '\\0' '[')"
        )
        kind, more = LineReader(channel).next("n0nce", 30)
        assert kind == "ready"
        assert "text" in more
