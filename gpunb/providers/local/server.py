"""The SSH server of one host (asyncssh), on 127.0.0.1 only."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal as signals
from typing import TYPE_CHECKING, Any

import asyncssh

from gpunb.paths import write_private
from gpunb.providers.local import processes
from gpunb.providers.local.environment import remove_runtime_dir
from gpunb.providers.local.files import read_json, write_json
from gpunb.providers.local.launcher import ADDRESS
from gpunb.providers.local.session import Link, Session, SharedHost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["serve"]

log = logging.getLogger("host")

_WINDOW = 2 * 1024 * 1024  # bytes that a client may send ahead on one channel
_PACKET = 128 * 1024
_LOOK_S = 5.0
_WILDCARDS = {"", "*", "0.0.0.0", "::", "localhost", "127.0.0.1"}  # noqa: S104  (none of them is bound)

# AES first in hardware; ChaCha20 is left out because OpenSSH would prefer it,
# and it is several times slower here.
_CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr"]


class _Server(asyncssh.SSHServer):
    """One connection: public keys only, forwards to and from this machine."""

    def __init__(self, host: SharedHost) -> None:
        self.host = host
        self.connection: asyncssh.SSHServerConnection | None = None
        self.link = Link()
        self._right_user = False

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.connection = conn
        self.host.connections.add(conn)
        # asyncssh has these two fill its buffer without limit when a client with a
        # large window is slow; asyncio calls them at the limits of the socket's buffer
        conn.pause_writing = lambda: self.link.turn(congested=True)  # type: ignore[method-assign]
        conn.resume_writing = lambda: self.link.turn(congested=False)  # type: ignore[method-assign]

    def connection_lost(self, exc: Exception | None) -> None:
        if self.connection is not None:
            self.host.connections.discard(self.connection)
        if exc is not None:
            log.info("connection lost: %s", exc)

    def begin_auth(self, username: str) -> bool:
        self._right_user = username == self.host.user
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        allowed = self._right_user and self.host.may_log_in(key)
        log.info("%s key %s for %r", "took" if allowed else "refused", key.get_fingerprint(), username[:64])
        return allowed

    def session_requested(self) -> Session:
        return Session(self.host, self.link)

    def connection_requested(self, *_where: object) -> bool:
        return True

    def unix_connection_requested(self, _path: str) -> bool:
        return True

    def unix_server_requested(self, _path: str) -> bool:
        return True

    async def server_requested(self, listen_host: str, listen_port: int) -> asyncssh.SSHListener | bool:
        """Listen for ``ssh -R``; like sshd's GatewayPorts no, on the loopback whatever was asked."""
        if listen_host not in _WILDCARDS or self.connection is None:
            return False
        return await self.connection.forward_local_port(ADDRESS, listen_port, listen_host, listen_port)


def _host_key(directory: Path) -> asyncssh.SSHKey:
    path = directory / "host_key"
    if not path.exists():
        made = asyncssh.generate_private_key("ssh-ed25519")
        write_private(path, made.export_private_key("openssh").decode())
    return asyncssh.import_private_key(path.read_bytes())


async def serve(directory: Path, config: Mapping[str, Any], answer: Callable[[dict[str, Any]], None]) -> int:
    """Serve until SIGTERM, or until the directory is another host's or gone."""
    host = SharedHost(directory, config)
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    for number in (signals.SIGTERM, signals.SIGINT):
        loop.add_signal_handler(number, ending.set)
    loop.add_signal_handler(signals.SIGHUP, lambda: None)  # a handler is not inherited, SIG_IGN would be
    host.reaper.install()
    try:
        key = _host_key(directory)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as err:
        answer({"error": f"host_key can't be used: {err} (an unencrypted private key in OpenSSH format is)"})
        return 1
    try:
        acceptor = await asyncssh.listen(
            ADDRESS,
            int(config["port"]),
            server_factory=lambda: _Server(host),
            server_host_keys=[key],
            encoding=None,
            line_editor=False,
            window=_WINDOW,
            max_pktsize=_PACKET,
            compression_algs=None,
            encryption_algs=_CIPHERS,
            agent_forwarding=False,
            gss_host=None,
            login_timeout=30,
            server_version="gpunb_local",
        )
    except OSError as err:
        taken = err.errno == errno.EADDRINUSE
        answer({"error": f"port {config['port']}: {err.strerror or err}", "taken": taken})
        return 1
    port = acceptor.get_port()
    public = key.export_public_key("openssh").decode().strip()
    me = {
        "id": host.id,
        "pid": os.getpid(),
        "token": processes.token(os.getpid()),
        "port": port,
        "user": host.user,
        "host_key": " ".join(public.split()[:2]),
    }
    write_json(directory / "running.json", me)
    log.info("listening on %s:%d, process %d", ADDRESS, port, os.getpid())
    if host.onstart:
        host.run_onstart()
    answer({"port": port})
    orphaned = await _until(ending, directory)
    log.info("ending: %s", "the folder is gone" if orphaned else "asked to")
    acceptor.close()
    for connection in list(host.connections):
        connection.abort()
    if orphaned:
        # no request to end can reach this process: the folder that lists it was deleted
        processes.end(host.id, host_pid=os.getpid())
        remove_runtime_dir(host.env)
    return 0


async def _until(ending: asyncio.Event, directory: Path) -> bool:
    """Wait for the end; return True if the directory is no longer this process's."""
    while True:
        try:
            await asyncio.wait_for(ending.wait(), _LOOK_S)
        except asyncio.TimeoutError:  # another class than the builtin before Python 3.11
            try:
                seen = read_json(directory / "running.json")
            except (OSError, ValueError):
                continue  # unreadable does not mean gone
            if seen is None or seen.get("pid") != os.getpid():
                return True
        else:
            return False
