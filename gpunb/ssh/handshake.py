"""The SSH handshake: from an endpoint to a logged-in transport, or a clear error."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from gpunb.errors import AuthRefused, Incompatible, Unreachable
from gpunb.progress import SILENT, Progress, step
from gpunb.ssh import hostkeys
from gpunb.ssh.channel import BILLED, Guard, reason
from gpunb.ssh.tcp_socket import Busy, ProxyWire, Wire, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    import paramiko

    from gpunb.ssh.endpoint import Endpoint

__all__ = ["handshake", "host_keys"]

# In order of preference. Only what OpenSSH 9 offers by default and today's
# advice allows: no CBC, no SHA-1, no MD5, no DSA; AES-GCM first, it needs no
# separate MAC. Names that the installed paramiko does not know fall away.
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
_MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
_KEX = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group14-sha256",
)
_KEYS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
_OLD_PUBKEYS = ["ssh-rsa", "ssh-dss", "ssh-rsa-cert-v01@openssh.com"]


class _NoServer(Unreachable):
    """The peer is no SSH server."""


def handshake(
    endpoint: Endpoint,
    *,
    timeout: float,
    window: int,
    packet: int,
    key: str = "",
    progress: Progress = SILENT,
) -> tuple[Wire, paramiko.Transport]:
    """Connect, check the host key and log in, within `timeout` seconds; raises like `Connection.open`."""
    # without a handler, paramiko's own error lines would end on the user's screen
    logging.getLogger("paramiko").addHandler(_QUIET)
    deadline = time.monotonic() + timeout
    login = _load_key(endpoint) if not key else _from_text(key)
    known = hostkeys.pinned(endpoint.known_hosts, endpoint.alias)
    skip: list[str] = []
    while True:
        left = max(0.1, deadline - time.monotonic())
        wire = connect(endpoint, timeout=left, skip=skip)
        # an address that accepts but sends nothing must not use up the time of the others
        soon = min(deadline, time.monotonic() + left / 3) if wire.others else deadline
        try:
            transport = _over(
                wire,
                endpoint,
                login,
                known,
                soon=soon,
                deadline=deadline,
                window=window,
                packet=packet,
                progress=progress,
            )
        except (_NoServer, Busy):
            if not wire.others:
                raise
            skip.append(wire.address)
        else:
            return wire, transport


def host_keys(endpoint: Endpoint, *, timeout: float = 20.0) -> Iterator[str]:
    """Yield the public lines of the host's keys, one type after the other, without logging in.

    Raises
    ------
    Unreachable
        No SSH server could be talked to.
    """
    from gpunb.ssh.transport import Transport

    logging.getLogger("paramiko").addHandler(_QUIET)
    deadline = time.monotonic() + timeout
    seen: set[str] = set()
    for kind in _KEYS:
        wire, transport = connect(endpoint, timeout=max(0.1, deadline - time.monotonic())), None
        try:
            with Guard(lambda err: Unreachable(f"no SSH at {endpoint}: {reason(err)}")):
                transport = Transport(wire, disabled_algorithms={"pubkeys": _OLD_PUBKEYS})
                _restrict(transport, [])
                options = transport.get_security_options()
                if kind not in options.key_types:  # the installed paramiko does not have it
                    continue
                options.key_types = [kind]
                _exchange_keys(endpoint, transport, deadline)
                key = transport.get_remote_server_key()
                line = f"{key.get_name()} {key.get_base64()}"
        except Incompatible:  # the host has no key of this kind
            continue
        finally:
            if transport is not None:
                transport.close()
            wire.close()
        if line not in seen:  # RSA's goes by two names
            seen.add(line)
            yield line


def _over(
    wire: Wire,
    endpoint: Endpoint,
    login: paramiko.PKey,
    known: list[str],
    *,
    soon: float,
    deadline: float,
    window: int,
    packet: int,
    progress: Progress,
) -> paramiko.Transport:
    """Create a logged-in transport over `wire`; `wire` is closed on failure."""
    from gpunb.ssh.transport import Transport

    transport = None

    def broken(err: Exception) -> Unreachable:
        return Unreachable(f"no SSH at {endpoint}: {reason(err)}")

    try:
        with Guard(broken):
            step(progress, "host key")
            transport = Transport(
                wire,
                default_window_size=window,
                default_max_packet_size=packet,
                disabled_algorithms={"pubkeys": _OLD_PUBKEYS},
            )
            _restrict(transport, known)
            _exchange_keys(endpoint, transport, soon)
            shown = transport.get_remote_server_key()
            line = f"{shown.get_name()} {shown.get_base64()}"
            is_pinned = hostkeys.check(endpoint.known_hosts, endpoint.alias, line)
            step(progress, "login")
            _log_in(endpoint, transport, login, deadline)
            if not is_pinned:
                hostkeys.pin(endpoint.known_hosts, endpoint.alias, line)
    except BaseException as err:
        if transport is not None:
            transport.close()
            if transport.is_alive():
                wire.abort()
                transport.join(2.0)
        why = wire.why() if isinstance(wire, ProxyWire) and isinstance(err, Unreachable) else ""
        wire.close()
        if why:
            msg = f"{endpoint} can't be reached by `{endpoint.proxy}`: {why}"
            raise Unreachable(msg) from err
        raise
    return transport


_QUIET = logging.NullHandler()


def _load_key(endpoint: Endpoint) -> paramiko.PKey:
    from gpunb.ssh.paramiko_import import paramiko

    try:
        return paramiko.PKey.from_path(endpoint.key)
    except FileNotFoundError as err:
        msg = f"the session's private key {endpoint.key} is not there"
        raise AuthRefused(msg, bill="the instance may still run and be billed") from err
    except Exception as err:
        msg = f"the session's private key {endpoint.key} can't be read: {reason(err)}"
        raise AuthRefused(msg, bill="the instance may still run and be billed") from err


def _from_text(key: str) -> paramiko.PKey:
    import io

    from gpunb.ssh.paramiko_import import paramiko

    return paramiko.Ed25519Key.from_private_key(io.StringIO(key))


def _restrict(transport: paramiko.Transport, known: list[str]) -> None:
    """Allow modern algorithms only, and ask for the pinned key's type first."""
    options = transport.get_security_options()
    options.ciphers = [c for c in _CIPHERS if c in options.ciphers]
    options.digests = [m for m in _MACS if m in options.digests]
    options.kex = [k for k in _KEX if k in options.kex]
    types = {line.split()[0] for line in known}
    if "ssh-rsa" in types:
        types |= {"rsa-sha2-512", "rsa-sha2-256"}
    usable = [k for k in _KEYS if k in options.key_types]
    options.key_types = sorted(usable, key=lambda k: k not in types)


def _exchange_keys(endpoint: Endpoint, transport: paramiko.Transport, deadline: float) -> None:
    from gpunb.ssh.paramiko_import import paramiko

    left = max(0.1, deadline - time.monotonic())
    transport.banner_timeout = left
    transport.handshake_timeout = left
    done = threading.Event()
    transport.start_client(event=done)
    ended = done.wait(left + 0.5)
    if ended and transport.is_active():
        return
    err = transport.get_exception()
    if isinstance(err, paramiko.ssh_exception.IncompatiblePeer):
        msg = f"{endpoint} speaks only outdated SSH algorithms: {err}"
        raise Incompatible(msg, bill=BILLED, hint="use an image with OpenSSH 7.4 or newer") from err
    kind: type[Unreachable] = _NoServer
    if not ended or isinstance(err, TimeoutError):
        why = "it accepts connections but does not speak SSH in time (still booting?)"
    elif err is None or isinstance(err.__context__ or err, EOFError | ConnectionError):
        why = "it closed the connection before the login (still booting, or too many connections)"
        kind = Busy
    elif "banner" in str(err):
        why = "it accepts connections but does not speak SSH (still booting, or not an SSH port)"
    else:
        why, kind = reason(err), Unreachable
    msg = f"no SSH at {endpoint}: {why}"
    raise kind(msg) from err


def _log_in(endpoint: Endpoint, transport: paramiko.Transport, key: paramiko.PKey, deadline: float) -> None:
    from gpunb.ssh.paramiko_import import paramiko

    transport.auth_timeout = max(0.1, deadline - time.monotonic())
    problem: paramiko.AuthenticationException | None = None
    further: list[str] = []
    try:
        further = transport.auth_publickey(endpoint.user, key)
        if transport.is_authenticated():
            return
    except paramiko.AuthenticationException as err:
        problem = err
        if not transport.is_active() or time.monotonic() >= deadline:
            raise _broke_off(endpoint, err) from err
    except Exception as err:
        raise _broke_off(endpoint, err) from err
    wants = ", ".join(str(name)[:40] for name in further[:8])
    what = f"; it wants {wants} too" if further else ""
    msg = f"{endpoint} does not take the session's key{what}"
    raise AuthRefused(
        msg,
        bill="the instance may run and be billed",
        hint="the provider may still be putting the key there; check the user name and the image otherwise",
    ) from problem


def _broke_off(endpoint: Endpoint, err: Exception) -> Unreachable:
    return Unreachable(f"{endpoint} broke off during the login: {reason(err)}")
