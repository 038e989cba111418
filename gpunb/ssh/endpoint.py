"""The SSH endpoint of a host, and the system ssh's options for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpunb.errors import BadInput
from gpunb.ssh.quoting import quote

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Endpoint", "config_block", "ssh_argv", "ssh_options"]

# Providers fill these in from a stranger's answer, and they end in argv and
# in ssh's config syntax.
_HOST = re.compile(r"[A-Za-z0-9:_][A-Za-z0-9._:%-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]*\$?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


# Weak algorithms that old servers offer, removed from ssh's own list: the rest keeps
# ssh's order, with what newer versions have added (OpenSSH 7.5 and newer).
_NO_OLD = {
    "KexAlgorithms": "-diffie-hellman-group1-*,diffie-hellman-group*-sha1",
    "Ciphers": "-*-cbc,*-cbc@*,arcfour*,blowfish*,cast128*,3des*",
    "MACs": "-hmac-sha1*,hmac-md5*,hmac-ripemd*,umac-64*",
    "HostKeyAlgorithms": "-ssh-rsa,ssh-rsa-cert*,ssh-dss*,ssh-dss-cert*",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The SSH address, user and keys of a host.

    Attributes
    ----------
    key
        The session's private key file.
    known_hosts
        The session's own file of pinned host keys.
    alias
        The name under which the host key is pinned, ``gpunb-<session id>``:
        addresses and ports are reused by other machines, session ids are not.
    proxy
        The command whose input and output lead to the host, in the form of ssh's ``ProxyCommand`` (%h and %p
        stand for host and port); "" if it is reached directly. Only from the user's own ssh configuration.

    Raises
    ------
    BadInput
        A field that could not be given to ssh safely.
    """

    host: str
    port: int
    user: str
    key: Path
    known_hosts: Path
    alias: str
    proxy: str = ""

    def __post_init__(self) -> None:
        fields: list[tuple[str, object, re.Pattern[str]]] = [
            ("host", self.host, _HOST),
            ("user", self.user, _USER),
            ("alias", self.alias, _NAME),
        ]
        for field, value, form in fields:
            if not isinstance(value, str) or not form.fullmatch(value):
                msg = f"{field} {value!r}: must match {form.pattern}"
                raise BadInput(msg)
        port: object = self.port
        if not isinstance(port, int) or not 0 < port < 65536:
            msg = f"port {port!r}: must be a number from 1 to 65535"
            raise BadInput(msg)
        if not self.proxy.isprintable():
            msg = f"proxy {self.proxy!r}: must be one line"
            raise BadInput(msg)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}"


def ssh_options(endpoint: Endpoint, *, tty: bool = False) -> list[str]:
    """Return the system ssh's options for `endpoint`, without the host itself.

    Neither the user's nor the system's configuration is read (``-F none``),
    no agent is asked and none is forwarded, and only the pinned host key is
    accepted.
    """
    argv = ["-F", "none", "-p", str(endpoint.port), "-l", endpoint.user]
    for key, value in _settings(endpoint).items():
        argv += ["-o", f"{key}={value}"]
    argv += ["-t"] if tty else ["-T", "-o", "BatchMode=yes"]
    return argv


def ssh_argv(endpoint: Endpoint, *command: str, tty: bool = False) -> list[str]:
    """Return the system ssh's command for `endpoint`, ready for `subprocess`.

    Parameters
    ----------
    command
        Words of the remote command, each quoted so that it arrives as it is;
        none for a login shell.
    tty
        Ask for a terminal on the host, and allow prompts here.
    """
    argv = ["ssh", *ssh_options(endpoint, tty=tty), "--", endpoint.host]
    return [*argv, quote(command)] if command else argv


def config_block(endpoint: Endpoint, name: str) -> str:
    """Return a ``Host`` block for an `Include` file, for plain ssh and for editors.

    Raises
    ------
    BadInput
        `name` is not one plain word; in a ``Host`` line ``*`` and ``!`` match
        other hosts.
    """
    if not _NAME.fullmatch(name):
        msg = f"name {name!r}: letters, digits, dot, dash and underscore only"
        raise BadInput(msg)
    lines = [f"Host {name}", f"  HostName {endpoint.host.replace('%', '%%')}", f"  Port {endpoint.port}"]
    lines.append(f"  User {endpoint.user}")
    lines += [f"  {key} {value}" for key, value in _settings(endpoint).items()]
    return "\n".join(lines) + "\n"


def _settings(endpoint: Endpoint) -> dict[str, str]:
    return {
        **({"ProxyCommand": endpoint.proxy} if endpoint.proxy else {}),
        "IdentityFile": _path(endpoint.key),
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": _path(endpoint.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": endpoint.alias,
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "PreferredAuthentications": "publickey",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "ForwardX11Trusted": "no",
        "Tunnel": "no",
        "PermitLocalCommand": "no",
        "AddKeysToAgent": "no",
        **_NO_OLD,
        "ConnectTimeout": "20",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "3",
    }


def _path(path: Path) -> str:
    """Quote `path` for ssh_config, and protect it from its % and ~ expansion."""
    text = str(path.absolute())
    if "${" in text or "\n" in text:
        msg = f"path {text!r}: ssh can't be given a path with '${{' or a line break in it"
        raise BadInput(msg, hint="set GPUNB_HOME to a plain path")
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"'
