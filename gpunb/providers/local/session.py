"""SSH channels of a host: a command, a shell, or SFTP."""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import signal as signals
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import asyncssh
from asyncssh.stream import SSHServerStreamSession

from gpunb.providers.local import processes
from gpunb.providers.local.children import Child, Reaper
from gpunb.providers.local.terminal import TerminalSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from asyncssh.channel import SSHChannel

__all__ = ["Link", "Session", "SharedHost"]

log = logging.getLogger("host")


class SharedHost:
    """State that all connections share: the directory, the authorized keys, the environment."""

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        self.directory = directory
        self.id = str(config["id"])
        self.user = str(config["user"])
        self.env: dict[str, str] = dict(config["env"])
        self.onstart = str(config.get("onstart", ""))
        self.reaper = Reaper()
        self.connections: set[asyncssh.SSHServerConnection] = set()

    def cwd(self) -> str:
        """The working directory of commands: its home, or the root if that was deleted, as under sshd."""
        home = self.env["HOME"]
        return home if Path(home).is_dir() else "/"

    def may_log_in(self, key: asyncssh.SSHKey) -> bool:
        """Return whether `key` is in the file, as it is now; lines that are no key are skipped."""
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
        """Run the onstart script of the instance's owner in the background, its output in the log."""

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


class Link:
    """Flow control of one connection: its sessions read no output while its socket is full."""

    def __init__(self) -> None:
        self.sessions: set[Session] = set()
        self.congested = False

    def turn(self, *, congested: bool) -> None:
        """Note that the socket's buffer is full, or has room again."""
        self.congested = congested
        for session in list(self.sessions):
            session.breathe()


class _Sftp(asyncssh.SFTPServer):
    """SFTP server that sends an exit status, without which scp takes a complete copy for a failed one.

    Its times have 32 bits: those of an older or newer file are clamped.
    """

    def exit(self) -> None:
        with contextlib.suppress(OSError):
            self.channel.exit(0)

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        async for name in super().scandir(path):
            _bounded(name.attrs)
            yield name

    def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        return _bounded(_attrs(super().stat(path)))

    def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
        return _bounded(_attrs(super().lstat(path)))

    def fstat(self, file_obj: object) -> asyncssh.SFTPAttrs:
        return _bounded(_attrs(super().fstat(file_obj)))


def _attrs(found: Any) -> asyncssh.SFTPAttrs:
    return found if isinstance(found, asyncssh.SFTPAttrs) else asyncssh.SFTPAttrs.from_local(found)


def _bounded(attrs: asyncssh.SFTPAttrs) -> asyncssh.SFTPAttrs:
    for name in ("atime", "mtime"):
        value = getattr(attrs, name)
        if value is not None:
            setattr(attrs, name, min(max(int(value), 0), 2**32 - 1))
    return attrs


def _sftp(chan: SSHChannel[bytes]) -> asyncssh.SFTPServer:
    return _Sftp(cast("asyncssh.SSHServerChannel[bytes]", chan))


class Session(SSHServerStreamSession[bytes]):
    """One SSH channel: a command, a shell, or (inherited) SFTP."""

    def __init__(self, host: SharedHost, link: Link) -> None:
        super().__init__(None, _sftp, 3)
        self._host = host
        self._link = link
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
        host = self._host
        shell, command = host.env["SHELL"], chan.get_command()
        # no login shell: /etc/profile would replace the PATH that the host was given
        argv = [shell, "-c", command] if command is not None else [shell]
        terminal = None
        if chan.get_terminal_type() is not None:
            terminal = TerminalSpec(chan.get_terminal_size(), chan.get_terminal_modes())
        self._child = Child(write=self._put, finished=self._exit, input_full=self._throttle)
        self._link.sessions.add(self)
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
        host = self._host
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
        """Pause the process's output unless the channel and the connection accept it."""
        if self._child is not None:
            if self._full or self._link.congested:
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
        self._link.sessions.discard(self)
        child, self._child = self._child, None
        self._channel = None
        if child is not None:
            child.release()
        super().connection_lost(exc)
