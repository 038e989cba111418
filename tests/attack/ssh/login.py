"""Who the host is, and how it lets in: at gpunb's own SSH and at the system's."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import paramiko
from paramiko.common import MSG_USERAUTH_BANNER, MSG_USERAUTH_INFO_REQUEST

from gpunb.ssh import Connection, ssh_argv
from gpunb.ssh.hostkeys import pin, pinned
from tests.attack.frame import Escaped, Place, case
from tests.attack.hostile.liars import (
    EVIL,
    Host,
    connected,
    endpoint,
    greeted,
    hold,
    kexinit,
    new_key,
    raw,
    request,
    send,
    serving,
)

if TYPE_CHECKING:
    pass


# -- who it is


@case("another machine answers with another key", "shows another key .* did not log in")
def _(place: Place) -> None:
    port, _ = place.use(serving(place))
    where = endpoint(place, port)
    Connection.open(where, timeout=15).close()
    other, impostor = place.use(serving(place))
    before = where.known_hosts.read_bytes()
    try:
        Connection.open(endpoint(place, other), timeout=15).close()
    finally:
        if impostor.tried:
            raise Escaped("the impostor saw a login")
        if where.known_hosts.read_bytes() != before:
            raise Escaped("the pin was changed")


@case("a key of another type than the pinned one", "shows another key")
def _(place: Place) -> None:
    where = endpoint(place, 1)
    from gpunb.ssh import generate_host_key

    pin(where.known_hosts, where.alias, generate_host_key()[1])
    port, host = place.use(serving(place))
    try:
        Connection.open(endpoint(place, port), timeout=15).close()
    finally:
        if host.tried:
            raise Escaped("it saw a login")


@case("a pin file that somebody damaged", "pinned host keys .* are damaged")
def _(place: Place) -> None:
    port, _ = place.use(serving(place))
    where = endpoint(place, port)
    where.known_hosts.write_text("gpunb-liar nonsense\n")
    Connection.open(where, timeout=5).close()


@case("it announces new keys of its own to be remembered", "^the pin is as it was$")
def _(place: Place) -> str:
    host = Host(place)
    rogue = new_key().asbytes()
    host.after_login = lambda line: request(line, "hostkeys-00@openssh.com", rogue, rogue)
    with connected(place, host) as (line, _):
        before = pinned(line.endpoint.known_hosts, line.endpoint.alias)
        time.sleep(0.6)
        if pinned(line.endpoint.known_hosts, line.endpoint.alias) != before:
            raise Escaped("a key was taken")
    return "the pin is as it was"


# -- the login


@case("it wants a second factor with a hostile name", "does not take the session's key; it wants")
def _(place: Place) -> None:
    host = Host(place)
    host.wants = f"keyboard-interactive,{EVIL}{'x' * 5000}"
    connected(place, host).__enter__()


@case("it asks questions instead of judging the key", "(broke off|does not take)")
def _(place: Place) -> None:
    host = Host(place)

    def ask(line: paramiko.Transport) -> None:
        send(line, MSG_USERAUTH_INFO_REQUEST, "Password", f"{EVIL}your password", "", 1, "Password:", False)
        time.sleep(30)

    host.on_auth = ask
    connected(place, host).__enter__()


@case("it never says whether the key is good", "(broke off|does not take)")
def _(place: Place) -> None:
    host = Host(place)
    host.on_auth = lambda _line: time.sleep(30)
    port, _ = place.use(serving(place, host))
    Connection.open(endpoint(place, port), timeout=3).close()


@case("50 MB of banners before the login", "^in, and no banner was shown$")
def _(place: Place) -> str:
    host = Host(place)

    def shout(line: paramiko.Transport) -> None:
        for _ in range(1600):
            send(line, MSG_USERAUTH_BANNER, EVIL + "A" * 30_000, "")

    host.on_auth = shout
    with connected(place, host):
        return "in, and no banner was shown"


# -- the system's ssh


def system_ssh(place: Place, port: int) -> str:
    where = endpoint(place, port)
    if not where.known_hosts.exists():
        from gpunb.ssh import generate_host_key

        pin(where.known_hosts, where.alias, generate_host_key()[1])
    argv = ssh_argv(where, "true")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode == 0:
        raise Escaped("ssh went in")
    line = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    return f"ssh refused: {line}"


@case("old algorithms, at the system's ssh", "^ssh refused: .*no matching")
def _(place: Place) -> str:
    def talk(client: socket.socket) -> None:
        greeted(client)
        client.sendall(kexinit(kex="diffie-hellman-group14-sha1,diffie-hellman-group1-sha1"))
        hold(client)

    port = place.use(raw(place, talk))
    return system_ssh(place, port)


@case("another key, at the system's ssh", "^ssh refused: Host key verification failed")
def _(place: Place) -> str:
    port, host = place.use(serving(place))
    found = system_ssh(place, port)
    if host.tried:
        raise Escaped("it saw a login")
    return found


@case("a hostile ~/.ssh/config and an agent, at the system's ssh", "^no agent, no display, no proxy$")
def _(place: Place) -> str:
    from tests.support.machines.sshd import Sshd

    sshd = Sshd(place.mine / "sshd").start()
    place.stack.callback(sshd.stop)
    Connection.open(sshd.endpoint(), timeout=20).close()
    agent = place.mine / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(agent))
        listener.listen()
        env = {**os.environ, "SSH_AUTH_SOCK": str(agent), "DISPLAY": ":7"}
        argv = ssh_argv(sshd.endpoint(), "sh", "-c", 'echo "[$SSH_AUTH_SOCK][$DISPLAY]"')
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=30, check=False)
    if done.stdout.strip() != "[][]":
        raise Escaped(f"the host has {done.stdout} {done.stderr}")
    return "no agent, no display, no proxy"
