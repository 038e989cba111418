from __future__ import annotations

import sys

import pytest

from gpunb.errors import BootstrapFailed
from gpunb.remote import AgentClient, show
from gpunb.remote.bootstrap import agent_version, open_line
from gpunb.ssh.connection import Connection
from tests.remote.conftest import Screen

pytestmark = pytest.mark.slow


def connect(host, **more):
    return AgentClient.connect(host.endpoint(), **{"python": sys.executable, **more})


def wrap_login(host, text: str) -> None:
    """Put `text` before whatever the host's login shell runs, as a .bashrc would."""
    enter = host.root / "enter"
    lines = enter.read_text().split("\n", 1)
    enter.write_text(f"{lines[0]}\n{text}\n{lines[1]}")


def test_the_agent_is_put_there_once(host):
    class Watch:
        said: list[str] = []

        def say(self, message):
            self.said.append(message)

        def advance(self, *_):
            pass

    for _ in range(2):
        connect(host, progress=Watch()).close()
    assert Watch.said == ["putting the agent on the host"]
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
    with pytest.raises(BootstrapFailed, match=r'closed the line.*Please login as the user "ubuntu"'):
        connect(host)


def test_what_a_silent_shell_said_before_is_told(host):
    wrap_login(host, "echo 'press any key'; sleep 30")
    with (
        Connection.open(host.endpoint()) as connection,
        pytest.raises(BootstrapFailed, match="press any key"),
    ):
        open_line(connection, timeout=1.5)


def test_a_python_that_is_not_there(host):
    with pytest.raises(BootstrapFailed, match="no Python") as caught:
        connect(host, python="/no/such/python")
    assert "--python" in caught.value.hint


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
