"""SSH servers that lie: raw sockets before the keys are agreed, paramiko's server mode after."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

import paramiko
from paramiko.common import (
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_OPEN,
    MSG_GLOBAL_REQUEST,
)

from gpunb.ssh import Connection, Endpoint, generate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.attack.frame import Place


HELLO = b"SSH-2.0-OpenSSH_9.6\r\n"
EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[31mroot\x1b[0m\u202e"
"""Orders to a terminal, among words."""


def byte(number: int) -> bytes:
    return bytes([number])


def endpoint(place: Place, port: int, **changes: Any) -> Endpoint:
    """Where a liar is reached, with a session's own key."""
    folder = place.mine / "session"
    pair = generate(folder, comment="t")
    facts: dict[str, Any] = {
        "host": "127.0.0.1", "port": port, "user": "root", "key": pair.private,
        "known_hosts": folder / "known_hosts", "alias": "gpunb-liar",
    }  # fmt: skip
    return Endpoint(**(facts | changes))


def greeted(client: socket.socket) -> None:
    """Say hello, and hear the client's."""
    client.sendall(HELLO)
    said = b""
    while not said.endswith(b"\n"):
        said += client.recv(1)


def hold(client: socket.socket) -> None:
    """Take what comes, and say nothing."""
    with contextlib.suppress(OSError):
        while client.recv(4096):
            pass


@contextlib.contextmanager
def raw(place: Place, talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server that does `talk` with each client; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    clients: list[socket.socket] = []
    ended = threading.Event()

    def serve(client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError):
            talk(client)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        while not ended.is_set():
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            client.settimeout(60)
            clients.append(client)
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        ended.set()
        thread.join(5)
        listener.close()
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            client.close()


def packet(payload: bytes) -> bytes:
    """A packet as before the first keys."""
    pad = 8 - (len(payload) + 5) % 8
    pad += 8 if pad < 4 else 0
    return struct.pack(">IB", len(payload) + pad + 1, pad) + payload + b"\0" * pad


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def kexinit(
    kex: str = "curve25519-sha256@libssh.org",
    key: str = "ssh-ed25519",
    cipher: str = "aes128-ctr",
    mac: str = "hmac-sha2-256",
    compression: str = "none",
) -> bytes:
    """What a server offers."""
    lists = [kex, key, cipher, cipher, mac, mac, compression, compression, "", ""]
    body = b"".join(string(text.encode()) for text in lists)
    return packet(byte(20) + os.urandom(16) + body + b"\0" + b"\0\0\0\0")


class Host(paramiko.ServerInterface):
    """A server that lets everybody in and does `on_exec` for each command. To be lied in."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.tried: list[str] = []
        self.commands: list[str] = []
        self.transport: paramiko.Transport
        self.on_exec: Callable[[paramiko.Channel, str], None] = lambda channel, _: channel.close()
        self.answers_exec = True
        self.wants: str | None = None
        self.after_login: Callable[[paramiko.Transport], None] | None = None
        self.on_auth: Callable[[paramiko.Transport], None] | None = None

    def get_allowed_auths(self, username: str) -> str:
        return self.wants or "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.tried.append(username)
        if self.on_auth is not None:
            self.on_auth(self.transport)
        if self.wants is not None:
            return paramiko.AUTH_PARTIALLY_SUCCESSFUL
        if self.after_login is not None:
            threading.Thread(target=self._after, daemon=True).start()
        return paramiko.AUTH_SUCCESSFUL

    def _after(self) -> None:
        time.sleep(0.2)
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            assert self.after_login is not None
            self.after_login(self.transport)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_direct_tcpip_request(self, chanid: int, origin: object, destination: object) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        text = command.decode("utf-8", "replace")
        self.commands.append(text)
        self.place.hear(command)
        if not self.answers_exec:
            time.sleep(3600)
        threading.Thread(target=self._run, args=(channel, text), daemon=True).start()
        return True

    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        return False

    def check_port_forward_request(self, address: str, port: int) -> int:
        return port or 2222

    def cancel_port_forward_request(self, address: str, port: int) -> None:
        pass

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        time.sleep(0.05)  # its success goes out first
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self.on_exec(channel, command)


@contextlib.contextmanager
def serving(
    place: Place, host: Host | None = None, key: paramiko.PKey | None = None
) -> Iterator[tuple[int, Host]]:
    """A liar behind a real key exchange; yields its port."""
    host = host or Host(place)
    key = key or new_key()
    lines: list[paramiko.Transport] = []

    def talk(client: socket.socket) -> None:
        transport = paramiko.Transport(client)
        transport.add_server_key(key)
        host.transport = transport
        lines.append(transport)
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            transport.start_server(server=host, event=threading.Event())
        while transport.is_alive():
            transport.join(0.5)

    try:
        with raw(place, talk) as port:
            yield port, host
    finally:
        for transport in lines:
            transport.close()
            transport.join(2)


def new_key() -> paramiko.PKey:
    return paramiko.ECDSAKey.generate()


@contextlib.contextmanager
def connected(place: Place, host: Host | None = None, **more: Any) -> Iterator[tuple[Connection, Host]]:
    """A real connection of gpunb's to a liar."""
    with (
        serving(place, host) as (port, found),
        Connection.open(endpoint(place, port), timeout=15, **more) as line,
    ):
        yield line, found


def message(kind: int, *parts: object) -> paramiko.Message:
    out = paramiko.Message()
    out.add_byte(byte(kind))
    for part in parts:
        if isinstance(part, bool):
            out.add_boolean(part)
        elif isinstance(part, int):
            out.add_int(part)
        elif isinstance(part, (str, bytes)):
            out.add_string(part)
    return out


def send(transport: paramiko.Transport, kind: int, *parts: object) -> None:
    """A message of the liar's own making."""
    transport._send_message(message(kind, *parts))


def open_channel(transport: paramiko.Transport, kind: str, *more: object, number: int = 77) -> None:
    send(transport, MSG_CHANNEL_OPEN, kind, number, 2**21, 2**15, *more)


def data(transport: paramiko.Transport, channel: int, text: bytes, *, stderr: bool = False) -> None:
    if stderr:
        send(transport, MSG_CHANNEL_EXTENDED_DATA, channel, 1, text)
    else:
        send(transport, MSG_CHANNEL_DATA, channel, text)


def request(transport: paramiko.Transport, kind: str, *more: object, reply: bool = False) -> None:
    send(transport, MSG_GLOBAL_REQUEST, kind, reply, *more)
