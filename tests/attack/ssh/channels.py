"""What the host asks of us on the line, and what it makes of our commands."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import paramiko

from gpunb.ssh import forward
from tests.attack.frame import Escaped, Place, case
from tests.attack.hostile.liars import (
    EVIL,
    Host,
    connected,
    data,
    endpoint,
    hold,
    open_channel,
    raw,
    request,
    send,
)

if TYPE_CHECKING:
    pass


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


@case("it never answers that it runs the command", "(did not answer in time|is broken)")
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
        waiting = len(channel._raw.in_stderr_buffer)
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
