from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpunb.errors import BadInput
from gpunb.ssh import Connection, Endpoint, config_block, generate_host_key, hostkeys, quote, ssh_argv

if TYPE_CHECKING:
    from tests.support.machines.sshd import Sshd


def _endpoint(**changes: Any) -> Endpoint:
    fields: dict[str, Any] = {
        "host": "192.0.2.1",
        "port": 22,
        "user": "root",
        "key": Path("/k/id"),
        "known_hosts": Path("/k/known hosts"),
        "alias": "gpunb-a",
    }
    return Endpoint(**(fields | changes))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", "-oProxyCommand=touch /tmp/x"),
        ("host", "a b"),
        ("host", ""),
        ("host", None),
        ("host", "a\nProxyCommand x"),
        ("user", "-x"),
        ("user", "a;b"),
        ("alias", "*"),
        ("alias", "a b"),
        ("port", 0),
        ("port", 65536),
        ("port", "22"),
    ],
)
def test_what_could_not_be_given_to_ssh_is_refused(field: str, value: object) -> None:
    with pytest.raises(BadInput, match=f"^{field} "):
        _endpoint(**{field: value})


def test_paths_that_ssh_would_expand_are_refused() -> None:
    with pytest.raises(BadInput, match="GPUNB_HOME"):
        ssh_argv(_endpoint(key=Path("/k/${HOME}/id")))


@settings(deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20), min_size=1, max_size=4
    )
)
def test_words_arrive_as_they_are(words: list[str]) -> None:
    command = quote(["printf", "%s\\0", "--", *words])
    out = subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout
    assert out.decode().split("\0")[-len(words) - 1 : -1] == words


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh", "tcsh", "csh", "fish", "busybox sh"])
def test_words_arrive_whatever_the_login_shell_is(shell: str) -> None:
    name, *options = shell.split()
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {shell} here")
    odd = ["it's $HOME !x", "!!", "a\nb\n", "\\", "a\\\\b", "x\\'y", "[!a]*", "\\041"]
    plain = ["=ls", "%self", "%1", "~root", "^a^b", "{a,b}", "`id`", "$(id)", "", "@ x", "é\udcff"]
    plain += ["a=b", "#", "%s\\r"]
    for words in (odd, plain, [*plain, *odd]):
        command = quote(["printf", "%s\\0", "--", *words])
        argv = [path, *options, *(["-f"] if "csh" in shell else []), "-c", command]
        done = subprocess.run(argv, capture_output=True, check=False)
        assert os.fsdecode(done.stdout).split("\0")[:-1] in (words, ["--", *words]), done.stderr


def test_no_words_and_nul_are_refused() -> None:
    with pytest.raises(BadInput):
        quote([])
    with pytest.raises(BadInput):
        quote(["a\0b"])


@pytest.mark.skipif(shutil.which("ssh") is None, reason="needs the system's ssh")
class TestSystemSsh:
    def test_it_agrees_with_our_pin(self, sshd: Sshd) -> None:
        with Connection.open(sshd.endpoint()):
            pass
        words = ["a b", "$HOME", "*", "'", '"', "-x", "\n"]
        argv = ssh_argv(sshd.endpoint(), "printf", "%s|", *words)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stdout) == (0, "".join(f"{w}|" for w in words)), done.stderr

    def test_it_refuses_without_a_pin_and_with_another(self, sshd: Sshd) -> None:
        argv = ssh_argv(sshd.endpoint(), "true")
        assert subprocess.run(argv, capture_output=True, timeout=30, check=False).returncode == 255
        endpoint = sshd.endpoint()
        hostkeys.pin(endpoint.known_hosts, endpoint.alias, generate_host_key()[1])
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 255
        assert "IDENTIFICATION HAS CHANGED" in done.stderr

    def test_odd_paths_and_the_config_block(self, sshd: Sshd, tmp_path: Path) -> None:
        odd = tmp_path / "a b%d \"q\" 'p' \\x"
        odd.mkdir()
        key = odd / "key"
        shutil.copy(sshd.key.private, key)
        endpoint = dataclasses.replace(sshd.endpoint(), key=key, known_hosts=odd / "known")
        with Connection.open(endpoint):
            pass
        done = subprocess.run(ssh_argv(endpoint, "echo", "in"), capture_output=True, timeout=30, check=False)
        assert done.stdout == b"in\n", done.stderr
        config = tmp_path / "config"
        config.write_text(config_block(endpoint, "mygpu"))
        done = subprocess.run(
            ["ssh", "-F", config, "mygpu", "echo", "in"], capture_output=True, timeout=30, check=False
        )
        assert done.stdout == b"in\n", done.stderr
        with pytest.raises(BadInput):
            config_block(endpoint, "*")
