"""The SSH server of one host (asyncssh), on 127.0.0.1 only."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import errno
import logging
import os
import signal as signals
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import asyncssh
from asyncssh.stream import SSHServerStreamSession

from gpunb.providers.local import processes
from gpunb.providers.local.children import Child, Reaper, TerminalSpec
from gpunb.providers.local.files import read_json, write_json, write_text
from gpunb.providers.local.launcher import ADDRESS, remove_runtime_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncssh.channel import SSHChannel

__all__ = ["serve"]

log = logging.getLogger("host")

_WINDOW = 2 * 1024 * 1024  # bytes a client may send ahead on one channel
_PACKET = 128 * 1024
_LOOK_S = 5.0
_WILDCARDS = {"", "*", "0.0.0.0", "::", "localhost", "127.0.0.1"}  # noqa: S104  (none of them is bound)

# AES first in hardware; ChaCha20 is left out because OpenSSH would prefer it,
# and it is several times slower here.
_CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr"]


class _Host:
    """What all connections share: the directory, who may log in, the environment."""

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        self.directory = directory
        self.id = str(config["id"])
        self.user = str(config["user"])
        self.env: dict[str, str] = dict(config["env"])
        self.onstart = str(config.get("onstart", ""))
        self.reaper = Reaper()
        self.connections: set[asyncssh.SSHServerConnection] = set()

    def cwd(self) -> str:
        home = self.env["HOME"]
        return home if Path(home).is_dir() else "/"

    def may_log_in(self, key: asyncssh.SSHKey) -> bool:
        """Whether `key` is in the file, as it is now; lines that are no key are passed over."""
        try:
            text = (self.directory / "authorized_keys").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        for line in text.splitlines():
            words = line.split()
            with contextlib.suppress(IndexError, binascii.Error, ValueError):
                if base64.b64decode(words[1], validate=True) == key.public_data:
                    return True
        return False

    def run_onstart(self) -> None:
        """The script of the instance's owner, in the background, its output in the log."""

        def write(data: bytes, _stderr: bool) -> None:  # noqa: FBT001  (the Child's callback)
            for line in data.decode("utf-8", "replace").splitlines():
                log.info("onstart: %s", line[:2000])

        child = Child(
            write=write,
            finished=lambda code: log.info("onstart ended with exit code %d", code),
            input_full=lambda _full: None,
        )
        argv = [self.env["SHELL"], "-c", self.onstart]
        try:
            child.start(argv, cwd=self.cwd(), env=self.env, reaper=self.reaper)
        except OSError as err:
            log.warning("onstart can't be run: %s", err)
        else:
            child.feed_end()


class _Server(asyncssh.SSHServer):
    """One connection: public keys only, forwards to and from this machine."""

    def __init__(self, host: _Host) -> None:
        self.host = host
        self.connection: asyncssh.SSHServerConnection | None = None
        self.sessions: set[_Session] = set()
        self.congested = False
        self._right_user = False

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.connection = conn
        self.host.connections.add(conn)
        # asyncssh leaves these two to fill its buffer without end when a client with a
        # large window is slow; asyncio calls them at the marks of the socket's buffer
        conn.pause_writing = self._pause  # type: ignore[method-assign]
        conn.resume_writing = self._resume  # type: ignore[method-assign]

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

    def session_requested(self) -> _Session:
        return _Session(self)

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

    def _pause(self) -> None:
        self.congested = True
        for session in self.sessions:
            session.breathe()

    def _resume(self) -> None:
        self.congested = False
        for session in list(self.sessions):
            session.breathe()


class _Sftp(asyncssh.SFTPServer):
    """SFTP that ends with an exit status, without which scp takes a whole copy for a failed one."""

    def exit(self) -> None:
        with contextlib.suppress(OSError):
            self.channel.exit(0)


def _sftp(chan: SSHChannel[bytes]) -> asyncssh.SFTPServer:
    return _Sftp(cast("asyncssh.SSHServerChannel[bytes]", chan))


class _Session(SSHServerStreamSession[bytes]):
    """One channel: a command, a shell, or (inherited) SFTP."""

    def __init__(self, server: _Server) -> None:
        super().__init__(None, _sftp, 3)
        self._server = server
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._child: Child | None = None
        self._full = False

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:  # type: ignore[override]
        super().connection_made(chan)
        self._channel = chan

    def pty_requested(self, *_terminal: object) -> bool:
        return True

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, _command: str) -> bool:
        return True

    def session_started(self) -> None:
        chan = self._channel
        if chan is None or chan.get_subsystem() is not None:
            super().session_started()
            return
        host = self._server.host
        shell, command = host.env["SHELL"], chan.get_command()
        # no login shell: /etc/profile would replace the PATH that the host was given
        argv = [shell, "-c", command] if command is not None else [shell]
        terminal = None
        if chan.get_terminal_type() is not None:
            terminal = TerminalSpec(chan.get_terminal_size(), chan.get_terminal_modes())
        self._child = Child(write=self._put, finished=self._exit, input_full=self._throttle)
        self._server.sessions.add(self)
        try:
            self._child.start(
                argv, cwd=host.cwd(), env=self._environment(chan), reaper=host.reaper, terminal=terminal
            )
        except (OSError, ValueError) as err:
            log.warning("a command can't be run: %s", err)
            chan.write_stderr(f"the host can't run this: {err}\n".encode())
            chan.exit(255)
            return
        self.breathe()

    def _environment(self, chan: asyncssh.SSHServerChannel[bytes]) -> dict[str, str]:
        host = self._server.host
        env = dict(host.env)
        env |= {
            name: value
            for name, value in chan.get_environment().items()
            if name.isidentifier() and "\0" not in value and name != processes.MARK
        }
        peer = chan.get_extra_info("peername") or ("", 0)
        own = chan.get_extra_info("sockname") or ("", 0)
        # what sshd sets; bash reads ~/.bashrc for commands because of it, as on a real host
        env["SSH_CLIENT"] = f"{peer[0]} {peer[1]} {own[1]}"
        env["SSH_CONNECTION"] = f"{peer[0]} {peer[1]} {own[0]} {own[1]}"
        term = chan.get_terminal_type()
        if term is not None:
            env["TERM"] = term or "dumb"
        return env

    def _put(self, data: bytes, stderr: bool) -> None:  # noqa: FBT001  (the Child's callback)
        if self._channel is not None:
            with contextlib.suppress(BrokenPipeError):
                self._channel.write(data, asyncssh.EXTENDED_DATA_STDERR if stderr else None)

    def _exit(self, code: int) -> None:
        chan = self._channel
        if chan is None:
            return
        chan.write_eof()
        if code >= 0:
            chan.exit(code)
        else:
            with contextlib.suppress(ValueError):
                name = signals.Signals(-code).name.removeprefix("SIG")
                chan.exit_with_signal(name)
                return
            chan.exit(128 - code)

    def _throttle(self, full: bool) -> None:  # noqa: FBT001  (the Child's callback)
        if self._channel is not None:
            if full:
                self._channel.pause_reading()
            else:
                self._channel.resume_reading()

    def breathe(self) -> None:
        """Read the process's output only while the channel and the connection take it."""
        if self._child is not None:
            if self._full or self._server.congested:
                self._child.pause()
            else:
                self._child.resume()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._full = True
        self.breathe()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._full = False
        self.breathe()

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        if self._child is None:
            super().data_received(data, datatype)
        else:
            self._child.feed(data)

    def eof_received(self) -> bool:
        if self._child is None:
            return bool(super().eof_received())
        self._child.feed_end()
        return True

    def signal_received(self, signal: str) -> None:
        number = getattr(signals, f"SIG{signal}", None)
        if self._child is not None and isinstance(number, int):
            self._child.signal(number)

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self._child is not None:
            self._child.resize((width, height, pixwidth, pixheight))

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.sessions.discard(self)
        child, self._child = self._child, None
        self._channel = None
        if child is not None:
            child.release()
        super().connection_lost(exc)


def _host_key(directory: Path) -> asyncssh.SSHKey:
    path = directory / "host_key"
    if not path.exists():
        made = asyncssh.generate_private_key("ssh-ed25519")
        write_text(path, made.export_private_key("openssh").decode())
    return asyncssh.import_private_key(path.read_bytes())


async def serve(directory: Path, config: Mapping[str, Any], answer: Callable[[dict[str, Any]], None]) -> int:
    """Serve until SIGTERM, or until the directory is another host's or gone."""
    host = _Host(directory, config)
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
        # nobody will ever ask us to end: the folder that we were listed by was deleted
        processes.end(host.id, host_pid=os.getpid())
        remove_runtime_dir(host.env)
    return 0


async def _until(ending: asyncio.Event, directory: Path) -> bool:
    """Wait for the end; True if it came because the directory no longer is this process's."""
    while True:
        try:
            await asyncio.wait_for(ending.wait(), _LOOK_S)
        except asyncio.TimeoutError:  # another class than the builtin before Python 3.11
            try:
                seen = read_json(directory / "running.json")
            except (OSError, ValueError):
                continue  # unreadable is not gone
            if seen is None or seen.get("pid") != os.getpid():
                return True
        else:
            return False
