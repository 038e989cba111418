"""A host's SSH server that lies, against gpunb's own SSH and the system's."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import paramiko
from paramiko.common import MSG_USERAUTH_BANNER, MSG_USERAUTH_INFO_REQUEST

from gpunb.ssh import Connection, forward, ssh_argv
from gpunb.ssh.hostkeys import pin, pinned
from tests.attack.frame import Escaped, Place, case
from tests.attack.liars import (
    Host,
    connected,
    data,
    endpoint,
    kexinit,
    new_key,
    open_channel,
    packet,
    raw,
    request,
    send,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Callable

HELLO = b"SSH-2.0-OpenSSH_9.6\r\n"
EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[31mroot\x1b[0m\u202e"


def reach(place: Place, talk: Callable[[socket.socket], None], timeout: float = 4.0) -> str:
    port = place.use(raw(place, talk))
    Connection.open(endpoint(place, port), timeout=timeout).close()
    raise Escaped("it connected")


def greeted(client: socket.socket) -> None:
    client.sendall(HELLO)
    place_line = b""
    while not place_line.endswith(b"\n"):
        place_line += client.recv(1)


def offers(place: Place, **what: str) -> str:
    def talk(client: socket.socket) -> None:
        greeted(client)
        client.sendall(kexinit(**what))
        while client.recv(4096):
            pass

    return reach(place, talk)


def hold(client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while client.recv(4096):
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


# -- algorithms


@case("only a key exchange of 1996", "only outdated SSH algorithms: .*kex")
def _(place: Place) -> str:
    return offers(place, kex="diffie-hellman-group1-sha1,diffie-hellman-group14-sha1")


@case("only CBC and RC4", "only outdated SSH algorithms: .*cipher")
def _(place: Place) -> str:
    return offers(place, cipher="aes128-cbc,3des-cbc,arcfour,none")


@case("only MACs of MD5 and SHA-1", "only outdated SSH algorithms: .*(mac|hmac)")
def _(place: Place) -> str:
    return offers(place, mac="hmac-md5,hmac-sha1,none", cipher="aes128-ctr")


@case("only host keys signed with SHA-1, or DSA", "only outdated SSH algorithms: .*host key")
def _(place: Place) -> str:
    return offers(place, key="ssh-rsa,ssh-dss")


@case("only compressed packets (a bomb's fuse)", "only outdated SSH algorithms: .*compression")
def _(place: Place) -> str:
    return offers(place, compression="zlib,zlib@openssh.com")


@case("old algorithms, at the system's ssh", "^ssh refused: .*no matching")
def _(place: Place) -> str:
    def talk(client: socket.socket) -> None:
        greeted(client)
        client.sendall(kexinit(kex="diffie-hellman-group14-sha1,diffie-hellman-group1-sha1"))
        hold(client)

    port = place.use(raw(place, talk))
    return system_ssh(place, port)


# -- before the keys


@case("a version line that never ends", "no SSH at")
def _(place: Place) -> str:
    def talk(client: socket.socket) -> None:
        while True:
            client.sendall(b"SSH-2.0-" + b"A" * 2**20)

    return reach(place, talk, 10)


@case("a flood of lines before the version", "no SSH at")
def _(place: Place) -> str:
    def talk(client: socket.socket) -> None:
        while True:
            client.sendall(f"{EVIL}buy gpus\r\n".encode() * 10_000)

    return reach(place, talk, 10)


@case("a version line of one byte a second", "no SSH at .*in time")
def _(place: Place) -> str:
    def talk(client: socket.socket) -> None:
        for letter in HELLO * 10:
            client.sendall(bytes([letter]))
            time.sleep(0.4)

    return reach(place, talk, 3)


@case("it accepts and says nothing", "no SSH at")
def _(place: Place) -> str:
    return reach(place, hold, 2)


@case("it says its version and hangs", "no SSH at")
def _(place: Place) -> str:
    def talk(client: socket.socket) -> None:
        greeted(client)
        hold(client)

    return reach(place, talk, 2)


@case("SSH of 1995, with terminal escapes in its version", "outdated SSH algorithms")
def _(place: Place) -> str:
    def talk(client: socket.socket) -> None:
        client.sendall(b"SSH-1.5\x1b]0;x\x07\x1b[2J-" + EVIL.encode() + b"\r\n")
        hold(client)

    return reach(place, talk)


@case("a web server on the port", "no SSH at .*(does not speak SSH|closed)")
def _(place: Place) -> str:
    def talk(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        client.recv(100)

    return reach(place, talk)


@case("a packet of 4 GB announced, then fed", "no SSH at .*announced a packet of")
def _(place: Place) -> str:
    def talk(client: socket.socket) -> None:
        greeted(client)
        client.sendall(b"\xff\xff\xff\xfc" + b"\4\x14\0\0")
        while True:
            client.sendall(b"A" * 2**20)

    return reach(place, talk, 10)


@case("a packet of no bytes", "no SSH at")
def _(place: Place) -> str:
    def talk(client: socket.socket) -> None:
        greeted(client)
        client.sendall(b"\0" * 64)
        hold(client)

    return reach(place, talk)


@case("random bytes for the key exchange", "no SSH at")
def _(place: Place) -> str:
    def talk(client: socket.socket) -> None:
        greeted(client)
        client.sendall(packet(b"\x14" + os.urandom(400)))
        hold(client)

    return reach(place, talk)


@case("lists that claim to be 4 GB long", "(no SSH at|outdated)")
def _(place: Place) -> str:
    def talk(client: socket.socket) -> None:
        greeted(client)
        client.sendall(packet(b"\x14" + b"\0" * 16 + b"\xff\xff\xff\xff" * 10))
        hold(client)

    return reach(place, talk)


@case("a goodbye with terminal escapes", "no SSH at")
def _(place: Place) -> str:
    def talk(client: socket.socket) -> None:
        greeted(client)
        text = EVIL.encode()
        client.sendall(packet(b"\x01\0\0\0\2" + len(text).to_bytes(4, "big") + text + b"\0\0\0\0"))
        hold(client)

    return reach(place, talk)


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


@case("a hostile ~/.ssh/config and an agent, at the system's ssh", "^no agent, no display, no proxy$")
def _(place: Place) -> str:
    from tests.support.sshd import Sshd

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


@case("another key, at the system's ssh", "^ssh refused: Host key verification failed")
def _(place: Place) -> str:
    port, host = place.use(serving(place))
    found = system_ssh(place, port)
    if host.tried:
        raise Escaped("it saw a login")
    return found


# -- what it asks of us


def refused(place: Place, kind: str, *more: object) -> str:
    host = Host(place)
    host.after_login = lambda line: open_channel(line, kind, *more)
    with connected(place, host) as (line, _):
        time.sleep(0.7)
        if line.transport._channels.values():
            raise Escaped(f"a channel {kind} is open")
        if not line.alive():
            return "the line was cut"
    return "refused, and the line lives"


@case("it opens an X11 channel to us", "^refused")
def _(place: Place) -> str:
    return refused(place, "x11", "127.0.0.1", 6000)


@case("it opens a channel to our SSH agent", "^refused")
def _(place: Place) -> str:
    return refused(place, "auth-agent@openssh.com")


@case("it opens a forward that we did not ask for", "^refused")
def _(place: Place) -> str:
    return refused(place, "forwarded-tcpip", "127.0.0.1", 22, "6.6.6.6", 1)


@case("it opens a connection from here into our network", "^refused")
def _(place: Place) -> str:
    return refused(place, "direct-tcpip", "127.0.0.1", 22, "6.6.6.6", 1)


@case("it opens a session on our machine", "^refused")
def _(place: Place) -> str:
    return refused(place, "session")


@case("through a forward of ours it asks for another port, 500 times", "^nobody came to the other port$")
def _(place: Place) -> str:
    came: list[int] = []
    secret = place.use(raw(place, lambda client: came.append(1)))
    host = Host(place)
    with connected(place, host) as (line, _):
        forward.reverse(line, "127.0.0.1", secret, listen=8888)
        with contextlib.suppress(EOFError, OSError):  # hung up on before all were asked
            for number in range(500):
                open_channel(
                    host.transport, "forwarded-tcpip", "127.0.0.1", secret, "x", 1, number=1000 + number
                )
        time.sleep(0.5)
        if came:
            raise Escaped("it reached a port that was not forwarded")
    return "nobody came to the other port"


@case("a flood of clients through our forward", "^at most a bounded number at once: True$")
def _(place: Place) -> str:
    here: set[int] = set()
    most = [0]
    lock = threading.Lock()

    def talk(client: socket.socket) -> None:
        with lock:
            here.add(id(client))
            most[0] = max(most[0], len(here))
        try:
            hold(client)
        finally:
            with lock:
                here.discard(id(client))

    target = place.use(raw(place, talk))
    host = Host(place)
    with connected(place, host) as (line, _):
        forward.reverse(line, "127.0.0.1", target, listen=8888)
        for number in range(600):
            open_channel(host.transport, "forwarded-tcpip", "127.0.0.1", 8888, "x", 1, number=1000 + number)
        time.sleep(1.0)
        threads = threading.active_count()
    return f"at most a bounded number at once: {most[0] <= 200 and threads < 1500}"


@case("it never answers a request for a forward", "refuses to listen .*no answer")
def _(place: Place) -> None:
    host = Host(place)
    host.check_port_forward_request = lambda *_: time.sleep(60) or 0  # type: ignore[method-assign, func-returns-value]
    before, forward._ANSWER_S = forward._ANSWER_S, 2.0
    try:
        with connected(place, host) as (line, _):
            forward.reverse(line, "127.0.0.1", 1, listen=8888)
    finally:
        forward._ANSWER_S = before


@case("20,000 requests that want an answer", "^the line lives: .*")
def _(place: Place) -> str:
    host = Host(place)

    def flood(line: paramiko.Transport) -> None:
        for _ in range(20_000):
            request(line, "evil@example.com", EVIL, reply=True)

    host.after_login = flood
    host.on_exec = lambda channel, _: (channel.sendall(b"ok"), channel.send_exit_status(0), channel.close())
    with connected(place, host) as (line, _):
        return f"the line lives: {line.run('true', timeout=50).out.decode()}"


# -- its commands


@case("it never answers that it runs the command", "(refused to start a command|is broken)")
def _(place: Place) -> None:
    host = Host(place)
    host.answers_exec = False
    with connected(place, host) as (line, _):
        line.channel("true", timeout=2)


@case("more output than the window allows", "(is broken|broke while)")
def _(place: Place) -> None:
    host = Host(place)

    def flood(channel: paramiko.Channel, _: str) -> None:
        while True:
            data(host.transport, channel.remote_chanid, b"A" * 30_000)

    host.on_exec = flood
    with connected(place, host) as (line, _):
        channel = line.channel("yes", window=2**20)
        until = time.monotonic() + 30
        while line.alive() and time.monotonic() < until:
            time.sleep(0.05)
        if line.alive():
            raise Escaped("it may send what it wants")
        channel.close()
        line.run("true", timeout=5)


@case("endless output of a short command", "printed more than")
def _(place: Place) -> None:
    host = Host(place)

    def flood(channel: paramiko.Channel, _: str) -> None:
        while True:
            channel.sendall(b"A" * 2**16)

    host.on_exec = flood
    with connected(place, host) as (line, _):
        line.run("rsync --version", timeout=50)


@case("endless errors of a command whose errors nobody reads", "(is broken|broke while)")
def _(place: Place) -> None:
    host = Host(place)

    def flood(channel: paramiko.Channel, _: str) -> None:
        for _ in range(10_000):
            data(host.transport, channel.remote_chanid, b"E" * 30_000, stderr=True)

    host.on_exec = flood
    with connected(place, host) as (line, _):
        channel = line.channel("agent", window=2**20)
        until = time.monotonic() + 20
        while line.alive() and time.monotonic() < until:
            time.sleep(0.05)
        waiting = len(channel.in_stderr_buffer)
        if line.alive() or waiting > 3 * 2**20:
            raise Escaped(f"{waiting} bytes are kept")
        line.run("true", timeout=5)


@case("it takes no input and ends nothing", "did not end within")
def _(place: Place) -> None:
    host = Host(place)
    host.on_exec = lambda channel, _: time.sleep(60)
    with connected(place, host) as (line, _):
        line.run("cat", input=b"x" * 2**23, timeout=2)


@case("it closes without an exit code", "(broke while|ended by a signal)")
def _(place: Place) -> str:
    host = Host(place)
    host.on_exec = lambda channel, _: channel.close()
    with connected(place, host) as (line, _):
        done = line.run("true", timeout=5)
        return f"ended by a signal: code {done.code}"


@case("windows and packets of absurd size", "^the line lives: ok$")
def _(place: Place) -> str:
    host = Host(place)

    def answer(channel: paramiko.Channel, _: str) -> None:
        for _ in range(1000):
            send(host.transport, 93, channel.remote_chanid, 0xFFFFFFFF)
        channel.sendall(b"ok")
        channel.send_exit_status(0)
        channel.close()

    host.on_exec = answer
    with connected(place, host) as (line, _):
        return f"the line lives: {line.run('true', input=b'x' * 2**20, timeout=20).out.decode()}"


@case("data for channels that do not exist", "(is broken|broke while|refused)")
def _(place: Place) -> None:
    host = Host(place)
    host.after_login = lambda line: [data(line, number, b"x" * 1000) for number in range(50, 60)]
    with connected(place, host) as (line, _):
        until = time.monotonic() + 10
        while line.alive() and time.monotonic() < until:
            time.sleep(0.05)
        line.run("true", timeout=5)


@case("an address that is an option of ssh's", "^host '-oProxyCommand=")
def _(place: Place) -> None:
    endpoint(place, 22, host=f"-oProxyCommand=touch {place.touched}")


@case("a user that is an option, a port that is a word", "^user ")
def _(place: Place) -> None:
    endpoint(place, 22, user=f"-oProxyCommand=touch {place.touched}")
