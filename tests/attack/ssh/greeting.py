"""Before the keys are exchanged: what the host offers, floods with and leaves out."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

from gpunb.ssh import Connection
from tests.attack.frame import Escaped, Place, case
from tests.attack.hostile.liars import EVIL, HELLO, endpoint, greeted, hold, kexinit, packet, raw

if TYPE_CHECKING:
    from collections.abc import Callable


def reach(place: Place, talk: Callable[[socket.socket], None], timeout: float = 4.0) -> str:
    port = place.use(raw(place, talk))
    Connection.open(endpoint(place, port), timeout=timeout).close()
    raise Escaped("it connected")


def offers(place: Place, **what: str) -> str:
    def talk(client: socket.socket) -> None:
        greeted(client)
        client.sendall(kexinit(**what))
        while client.recv(4096):
            pass

    return reach(place, talk)


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
