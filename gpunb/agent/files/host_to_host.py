"""Direct file transfer between two hosts, controlled by the client's plan.

The receiving host's ``files`` admits a key for a minute: an entry in its
``authorized_keys`` that is restricted to one command, ``direct FOLDER``, which
only copies the received bytes to a socket in FOLDER. On that socket listens a
``files`` process of the same client, which tells it what comes next and where it
goes. So a holder of the key can send bytes of files that were requested, and can
name no path. The sending host's ``files`` connects by the system's ssh.

Frames beyond those of `file_frames`, from the client:

    g, r  as G and R, but the answer goes to the other host
    w     number, then for each small file what W has, without the content
    d     a range of a large file that comes next, to be written into its part

and to the client, beyond X: Y (bytes still come) and B (the other host's connection broke).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import select
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

from ..shared import file_content
from ..shared import file_frames as wire
from ..shared.file_frames import HERE, NO, TAKE

if TYPE_CHECKING:
    from collections.abc import Callable

MARK = "gpunb-direct:"
SILENT_S = 60.0  # below the client's own limit
DIAL_S = 10.0
ACCEPT_S = 10.0
BEAT_S = 5.0
WORDS = 300
_BUFFER = 1 << 20
_TOKEN = re.compile(r"[0-9a-f]{32}")
_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/]{32,}={0,2}")
_PLAIN = re.compile(r"[A-Za-z0-9_./-]+")


class Broken(Exception):
    """The connection from the other host is broken."""


class Door:
    """A temporary key in ``authorized_keys``, restricted to one command.

    Raises
    ------
    OSError
        The file of keys can't be written.
    """

    def __init__(self, key: str, seconds: int) -> None:
        if not _KEY.fullmatch(key):
            raise OSError(0, "not a key")
        self.path = os.path.realpath(os.path.expanduser("~/.ssh/authorized_keys"))
        if not os.path.isfile(self.path):
            raise OSError(0, "it has no ~/.ssh/authorized_keys")
        self.folder = private_folder()
        above = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        command = " ".join(map(shlex.quote, (sys.executable, "-E", "-s", above, "direct", self.folder)))
        if set(command) & set('"\\\n'):
            shutil.rmtree(self.folder, ignore_errors=True)
            raise OSError(0, "its Python's path has a quote in it")
        ends = time.time() + seconds
        self.mark = MARK + secrets.token_hex(8) + ":%d" % ends
        until = time.strftime("%Y%m%d%H%M%S", time.localtime(ends))
        line = 'restrict,expiry-time="%s",command="%s" %s %s\n' % (until, command, key, self.mark)
        try:
            edit_keys(self.path, "", line)
        except OSError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def close(self) -> None:
        """Revoke the key. Open connections stay."""
        shutil.rmtree(self.folder, ignore_errors=True)
        edit_keys(self.path, self.mark, "")


def edit_keys(path: str, mark: str, line: str) -> None:
    """Add `line` to a file of keys; remove the line that ends in `mark`, and expired ones of ours."""
    above = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a home on NFS may have no locks
            fcntl.flock(above, fcntl.LOCK_EX)
        with open(path, "rb") as file:
            old = file.read()
            facts = os.fstat(file.fileno())
        kept = [one for one in old.splitlines(True) if not _goes(one, mark.encode())]
        if line:
            if kept and not kept[-1].endswith(b"\n"):
                kept[-1] += b"\n"
            kept.append(line.encode())
        new = b"".join(kept)
        if new == old:
            return
        beside = "%s.gpunb-%d" % (path, os.getpid())
        try:
            fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                file_content.write_at(fd, new, 0)
                if (os.geteuid(), os.getegid()) != (facts.st_uid, facts.st_gid):
                    os.fchown(fd, facts.st_uid, facts.st_gid)
                os.fchmod(fd, facts.st_mode & 0o7777)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.replace(beside, path)
        except OSError:  # a bind-mounted file can only be written in place
            with contextlib.suppress(OSError):
                os.unlink(beside)
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                file_content.write_at(fd, new, 0)
                os.ftruncate(fd, len(new))
            finally:
                os.close(fd)
    finally:
        os.close(above)


def _goes(line: bytes, mark: bytes) -> bool:
    last = line.split()[-1:] or [b""]
    if not last[0].startswith(MARK.encode()):
        return False
    ends = last[0].rpartition(b":")[2]
    return last[0] == mark or (ends.isdigit() and int(ends) < time.time())


def private_folder() -> str:
    """Make a folder of mode 0700, in memory if the system has a place for it."""
    memory = "/dev/shm"  # noqa: S108 - the name in it is a new one
    usable = os.path.isdir(memory) and os.access(memory, os.W_OK | os.X_OK)
    return tempfile.mkdtemp(prefix="gpunb-direct-", dir=memory if usable else None)


class Direct:
    """The part of the `Server` for direct transfers."""

    if TYPE_CHECKING:
        sink: int
        out: list[bytes]
        waiting: int
        get: Callable[[memoryview], None]
        range: Callable[[memoryview], None]
        send: Callable[..., None]
        flush: Callable[[], None]
        failed: Callable[[int, int, str], None]
        write_one: Callable[[bytes, int, int, Any], str]
        tell_unkept: Callable[[], None]

    door: Door | None = None
    listener: socket.socket | None = None
    inlet: socket.socket | None = None
    outlet: socket.socket | None = None
    ssh: subprocess.Popen[bytes] | None = None
    beat = 0.0

    def direct_handlers(self) -> dict[int, Any]:
        """The handlers of the frames for direct transfers."""
        return {
            ord("g"): lambda body: self.aside(self.get, body),
            ord("r"): lambda body: self.aside(self.range, body),
            ord("w"): lambda body: self.taking(self.take_small, body),
            ord("d"): lambda body: self.taking(self.take_range, body),
        }

    def end_direct(self) -> None:
        """Close all sockets and connections of the direct transfer."""
        with contextlib.suppress(OSError):
            self.do_dismiss()
        for one in (self.listener, self.inlet, self.outlet):
            if one is not None:
                one.close()
        if self.ssh is not None:
            self.ssh.kill()
            self.ssh.wait()

    # -- the host that receives

    def do_admit(self, key: str, seconds: int) -> dict[str, Any]:
        """Admit a key for so many seconds; return the folder for its sockets."""
        self.do_dismiss()
        self.door = Door(key, seconds)
        return {"folder": self.door.folder}

    def do_dismiss(self) -> dict[str, Any]:
        """Revoke the key."""
        door, self.door = self.door, None
        if door is not None:
            door.close()
        return {}

    def do_listen(self, folder: str, token: str) -> dict[str, Any]:
        """Listen for the one connection that knows `token`."""
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(folder, token))
        self.listener.listen(1)
        return {}

    def do_accept(self) -> dict[str, Any]:
        """Accept that connection and stop listening."""
        listener, self.listener = self.listener, None
        if listener is None:
            return {"error": "nothing listens"}
        with listener:
            listener.settimeout(ACCEPT_S)
            name = listener.getsockname()
            self.inlet, _ = listener.accept()
            os.unlink(name)
        self.inlet.settimeout(SILENT_S)
        return {}

    def taking(self, handler: Callable[[memoryview], None], body: memoryview) -> None:
        """Receive content from the other host, or report that none will come."""
        try:
            handler(body)
        except (Broken, ValueError, IndexError, struct.error) as err:
            if self.inlet is not None:
                self.inlet.close()
                self.inlet = None
            self.send(b"B", str(err)[:WORDS].encode("utf-8", "replace"))

    def take_small(self, body: memoryview) -> None:
        """Receive small files, checked against the sizes that the client announced."""
        (number,) = struct.unpack_from(">I", body)
        items, at = [], 4
        while at < len(body):
            named, mode, seconds, nanos, size = wire.GIVE.unpack_from(body, at)
            at += wire.GIVE.size + named
            items.append((bytes(body[at - named : at]), mode, seconds * wire.NS + nanos, size))
        most = sum(item[3] for item in items) + WORDS * len(items) + wire.MOST_NEWER
        kind, size = self._head(most + 1)
        if kind != ord("S"):
            raise Broken("a frame of kind %d instead of files" % kind)
        data = memoryview(wire.unsqueeze(self._pull(size), most))
        at = 0
        for index, (path, mode, listed, due) in enumerate(items):
            state, size, seconds, nanos = wire.CONTENT.unpack_from(data, at)
            at += wire.CONTENT.size + size
            content = data[at - size : at]
            newer = state == wire.NEWER and size <= wire.SMALL
            mtime = seconds * wire.NS + nanos if newer else listed
            if state == wire.REFUSED:
                self.failed(number, index, bytes(content).decode("utf-8", "replace")[:WORDS])
            elif len(content) != due and not newer:
                msg = "more, or less, of a file than was asked for"
                raise Broken(msg)
            else:
                why = self.write_one(path, mode, mtime, content)
                if why:
                    self.failed(number, index, why)
        if at != len(data):
            msg = "more files than were asked for"
            raise Broken(msg)
        self.tell_unkept()

    def take_range(self, body: memoryview) -> None:
        """Receive a range of a large file, and write no byte outside of it."""
        number, at, end, named = TAKE.unpack_from(body)
        path = bytes(body[TAKE.size : TAKE.size + named])
        fd, why = -1, ""
        try:
            if path:
                try:
                    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
                except OSError as err:
                    why = err.strerror or str(err)
            while True:
                kind, size = self._head(wire.PIECE + 1)
                data = self._pull(size)
                if kind == ord("R"):
                    why = why or bytes(data[:WORDS]).decode("utf-8", "replace")
                    if not why and at != end:
                        msg = "less of a file than was asked for"
                        raise Broken(msg)
                    break
                if kind != ord("P") or not size:
                    raise Broken("a frame of kind %d in a file" % kind)
                piece = wire.unsqueeze(data, wire.PIECE)
                if at + len(piece) > end:
                    msg = "more of a file than was asked for"
                    raise Broken(msg)
                if fd >= 0 and not why:
                    try:
                        file_content.write_at(fd, piece, at)
                    except OSError as err:
                        why = err.strerror or str(err)
                at += len(piece)
                self._still()
        finally:
            if fd >= 0:
                os.close(fd)
        if why and path:
            self.failed(number, -1, why)

    def _still(self) -> None:
        """Report progress to the client now and then: a slow connection is not a broken one."""
        now = time.monotonic()
        if now - self.beat > BEAT_S:
            self.beat = now
            self.send(b"Y")
            self.flush()

    def _head(self, most: int) -> tuple[int, int]:
        size, kind = wire.FRAME.unpack(self._pull(wire.FRAME.size))
        if size > most:
            raise Broken("a frame of %d bytes" % size)
        return kind, size

    def _pull(self, size: int) -> memoryview:
        if self.inlet is None:
            msg = "it is closed"
            raise Broken(msg)
        result = memoryview(bytearray(size))
        at = 0
        while at < size:
            try:
                got = self.inlet.recv_into(result[at:])
            except OSError as err:
                raise Broken(err.strerror or "the other host is silent") from err
            if not got:
                msg = "the other host closed it"
                raise Broken(msg)
            at += got
        return result

    # -- the host that sends

    def do_dial(self, argv: list[str], files: dict[str, str], token: str) -> dict[str, Any]:
        """Connect to the other host with the key in `files`; in `argv` `HERE` stands for their folder."""
        folder = private_folder()
        try:
            if not _PLAIN.fullmatch(folder):
                return {"error": "its folder for temporary files has an odd name"}
            for name, content in files.items():
                fd = os.open(os.path.join(folder, os.path.basename(name)), os.O_WRONLY | os.O_CREAT, 0o600)
                with open(fd, "w", encoding="utf-8") as file:
                    file.write(content)
            self.outlet, far = socket.socketpair()
            with far:
                for end in (self.outlet, far):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
                try:
                    self.ssh = subprocess.Popen(
                        [word.replace(HERE, folder) for word in argv],
                        stdin=far.fileno(),
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                    )
                except FileNotFoundError:
                    return {"error": "it has no ssh"}
            why = _ready(self.ssh, b"\n" + token.encode() + b" ready\n")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return {"error": why} if why else {}

    def aside(self, handler: Callable[[memoryview], None], body: memoryview) -> None:
        """Handle a request and send its answer to the other host, or drop it if that fails."""
        self.flush()
        sink = self.sink
        null = -1
        try:
            if self.outlet is None:
                null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            self.sink = null if self.outlet is None else self.outlet.fileno()
            handler(body)
            self.flush()
        except OSError:  # the receiver detects and reports it
            self.out, self.waiting = [], 0
            if self.outlet is not None:
                self.outlet.close()
                self.outlet = None
        finally:
            self.sink = sink
            if null >= 0:
                os.close(null)


def _ready(ssh: subprocess.Popen[bytes], sign: bytes) -> str:
    """Wait for the other host's greeting; return why it does not come."""
    assert ssh.stdout is not None  # noqa: S101 - both are pipes
    assert ssh.stderr is not None  # noqa: S101
    errors: dict[int, bytes] = {ssh.stdout.fileno(): b"\n", ssh.stderr.fileno(): b""}
    out, err = errors
    still = set(errors)
    deadline = time.monotonic() + DIAL_S
    try:
        while still:
            left = deadline - time.monotonic()
            found = select.select(list(still), [], [], max(0.0, left))[0]
            if not found:
                return "it got no answer in %d s" % DIAL_S
            for fd in found:
                data = os.read(fd, 1 << 16)
                errors[fd] = (errors[fd] + data)[-(1 << 16) :]
                if not data:
                    still.discard(fd)
            if errors[out].endswith(sign):
                return ""
        lines = errors[err].decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:200] if lines else "the connection ended"
    finally:
        ssh.stdout.close()  # its output is not read any more
        ssh.stderr.close()


def main(argv: list[str]) -> int:
    """Run the key's command: ``direct FOLDER``, with the socket's name in SSH_ORIGINAL_COMMAND."""
    token = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    line = socket.socket(socket.AF_UNIX)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    try:
        line.connect(os.path.join(argv[0], token if _TOKEN.fullmatch(token) else "none"))
    except OSError:
        os.write(1, b"\n%s\n" % NO)
        return 3
    os.write(1, b"\n%s ready\n" % token.encode())
    buffer = memoryview(bytearray(1 << 18))
    with line, contextlib.suppress(OSError), open(0, "rb", buffering=0, closefd=False) as source:
        while True:
            got = source.readinto(buffer)
            if not got:
                break
            line.sendall(buffer[:got])
    return 0
