"""The host's end of a file sync: ``files NONCE [FOLDER]``, on an SSH channel of its own.

Answers frames (see `file_frames`) until its standard input ends. Every path is
bytes, relative to the folder that was entered. A file is written beside its
name and takes it when it is whole. The client is the host's owner, so nothing
here guards against it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import signal
import stat
import struct
import sys
from typing import Any

from ..shared import file_content, file_listing
from ..shared import file_frames as wire
from ..shared.file_names import folds_case
from .host_to_host import Direct

PART = b".gpunb-part-"
FLUSH = 1 << 18
IDLE_S = 900
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}


def raw(text: str) -> bytes:
    """The bytes of a path that came as JSON."""
    return text.encode("utf-8", "surrogateescape")


def text(path: bytes) -> str:
    """A path's bytes for JSON."""
    return path.decode("utf-8", "surrogateescape")


def reason(err: OSError) -> str:
    """The words of an error, in the words that every engine has for it."""
    return {errno.ENOENT: "no such file", errno.EACCES: "permission denied"}.get(
        err.errno or 0, err.strerror or str(err)
    )


class Server(Direct):
    """Reads frames from the descriptor `source`, answers on `sink`."""

    def __init__(self, source: int = 0, sink: int = 1) -> None:
        self.source = io.BufferedReader(io.FileIO(source, "rb", closefd=False), 1 << 18)
        self.sink = sink
        self.out: list[bytes] = []
        self.waiting = 0
        self.unkept: dict[str, int] = {}
        self.umask = os.umask(0)  # each file gets the mode that it is sent with
        self.part = PART + b"%d-" % os.getpid() + os.urandom(4).hex().encode()
        self.handlers: dict[int, Any] = {
            ord("J"): self.call,
            ord("L"): self.listing,
            ord("T"): self.tree,
            ord("G"): self.get,
            ord("R"): self.range,
            ord("H"): self.digests,
            ord("W"): self.write,
            ord("D"): self.data,
            ord("Q"): self.number,
            **self.direct_handlers(),
        }

    def serve(self) -> int:
        """Until the client closes."""
        buffer = bytearray(wire.PIECE + (1 << 16))
        while True:
            signal.alarm(IDLE_S)  # ends us: the client keeps a line for a next sync that may not come
            head = self.source.read(wire.FRAME.size)
            if len(head) < wire.FRAME.size:
                return 0
            size, kind = wire.FRAME.unpack(head)
            if size > len(buffer):
                buffer = bytearray(size)
            view = memoryview(buffer)[:size]
            if self.source.readinto(view) < size:
                return 0
            signal.alarm(0)
            handler = self.handlers.get(kind)
            if handler is None:
                sys.stderr.write("an unknown request %r\n" % kind)
                return 2
            handler(view)
            if kind not in b"WD":
                self.flush()

    def send(self, kind: bytes, *body: Any) -> None:
        """Put a frame into the buffer."""
        size = sum(map(len, body))
        self.out.append(wire.FRAME.pack(size, kind[0]))
        self.out.extend(body)
        self.waiting += size + wire.FRAME.size
        if self.waiting > FLUSH:
            self.flush()

    def flush(self) -> None:
        """Send the buffer."""
        if self.out:
            view = memoryview(b"".join(self.out))
            self.out, self.waiting = [], 0
            while view:
                view = view[os.write(self.sink, view) :]

    def failed(self, number: int, index: int, why: str) -> None:
        """Say that something written without an answer failed."""
        self.send(b"X", json.dumps([number, index, why]).encode())

    # -- questions

    def call(self, body: memoryview) -> None:
        """Answer a JSON call."""
        asked = json.loads(bytes(body))
        try:
            answer = getattr(self, "do_" + asked.pop("op"))(**asked)
        except OSError as err:
            answer = {"error": reason(err), "errno": err.errno}
        self.send(b"J", json.dumps(answer).encode())

    def do_look(self, path: str) -> dict[str, Any]:
        """All that is asked of a path before a sync: of itself and of what is above it."""
        home = os.path.realpath(os.path.expanduser(b"~"))
        rest = raw(path)
        if rest.startswith(b"~"):
            rest = rest[1:].lstrip(b"/")
        full = os.path.normpath(os.path.join(home, rest)).replace(b"//", b"/")
        facts = {}
        for one in dict.fromkeys((full, os.path.realpath(full), os.path.dirname(full))):
            facts[text(one)] = {**self._facts(one), "real": text(os.path.realpath(one))}
        above = full
        while above != b"/" and not os.path.isdir(above):
            above = os.path.dirname(above)
        return {
            "home": text(home),
            "facts": facts,
            "free": self.do_free(text(above)),
            "folds": folds_case(above),
            "zstd": wire.zstd() is not None,
        }

    def _facts(self, path: bytes) -> dict[str, Any]:
        found: dict[str, Any] = {"stat": None, "lstat": None}
        for name, look in (("stat", os.stat), ("lstat", os.lstat)):
            with contextlib.suppress(OSError):
                facts = look(path)
                found[name] = [facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_ino]
        return found

    def do_facts(self, path: str) -> dict[str, Any]:
        """What is at a path."""
        return {**self._facts(raw(path)), "real": text(os.path.realpath(raw(path)))}

    def do_free(self, path: str) -> int | None:
        """Bytes free for us at an existing folder."""
        try:
            found = os.statvfs(raw(path))
        except OSError:
            return None
        return found.f_frsize * found.f_bavail

    def do_enter(self, path: str, make: bool = False) -> dict[str, Any]:
        """Later paths begin in this folder."""
        if make:
            os.umask(self.umask)
            try:
                os.makedirs(raw(path), exist_ok=True)
            finally:
                os.umask(0)
        os.chdir(raw(path))
        return {}

    def do_extents(self, path: str) -> dict[str, Any]:
        """Where a large file has data."""
        fd = os.open(raw(path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return {"extents": file_content.extents(fd, os.fstat(fd).st_size)}
        finally:
            os.close(fd)

    def do_hashes(self, paths: list[str]) -> dict[str, Any]:
        """The digest of each whole file; null for one that can't be read."""
        found: list[str | None] = []
        for path in paths:
            try:
                fd = os.open(raw(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    found.append(file_content.whole_digest(fd).hex())
                finally:
                    os.close(fd)
            except OSError:
                found.append(None)
        return {"hashes": found}

    def listing(self, body: memoryview) -> None:
        """List one folder: its path, then its entries or why not."""
        path = bytes(body)
        try:
            self._listed(path, file_listing.list_folder(path))
        except OSError as err:
            self._listed(path, [], reason(err), err.errno or 0)

    def _listed(self, path: bytes, entries: list[Any], why: str = "", code: int = 0) -> None:
        words = why.encode()
        head = struct.pack(">HHH", len(path), code, len(words))
        self.send(b"L", head, path, words, wire.pack_entries(entries))

    def tree(self, body: memoryview) -> None:
        """List all folders; those that the client would leave out are not entered."""
        asked = json.loads(bytes(body))
        names = {raw(name) for name in asked["names"]}
        patterns = [(re.compile(p, re.DOTALL), by_name) for p, by_name in asked["patterns"]]
        venvs = asked["venvs"]

        def goes(path: bytes, venv: bool) -> bool:
            name = path.rpartition(b"/")[2]
            if name in names or (venv and venvs):
                return False
            whole, last = text(path), text(name)
            return not any(p.fullmatch(last if by_name else whole) for p, by_name in patterns)

        for path, entries in file_listing.walk(
            goes,
            lambda path, err: self._listed(path, [], reason(err), err.errno or 1),
            follow=bool(asked.get("follow")),
        ):
            self._listed(path, entries)
        self.send(b"Z")

    # -- reading

    def get(self, body: memoryview) -> None:
        """Small files: the content of each, or why not."""
        codec, parts, at = body[0], [], 1
        room = wire.MOST_NEWER
        while at < len(body):
            named, size, seconds, nanos, inode = wire.WANT.unpack_from(body, at)
            mtime = seconds * wire.NS + nanos
            at += wire.WANT.size
            path = bytes(body[at : at + named])
            at += named
            why = wire.CHANGED
            found = None
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
                try:
                    found = file_content.read_as_listed(fd, size, mtime, inode)
                finally:
                    os.close(fd)
            except OSError as err:
                why = reason(err)
            if found is None:
                words = why.encode()
                parts += [wire.CONTENT.pack(wire.REFUSED, len(words), 0, 0), words]
                continue
            data, now = found
            if len(data) > size:
                room -= len(data) - size
                if room < 0:
                    data, now = data[:size], mtime
            listed = len(data) == size and now == mtime
            state = wire.AS_LISTED if listed else wire.NEWER
            parts += [wire.CONTENT.pack(state, len(data), now // wire.NS, now % wire.NS), data]
        self.send(b"S", wire.squeeze(b"".join(parts), codec))

    def range(self, body: memoryview) -> None:
        """A range of a large file in pieces, then an empty word or why it failed."""
        at, left, codec, named, size, seconds, nanos, inode = wire.RANGE.unpack_from(body)
        path = bytes(body[wire.RANGE.size : wire.RANGE.size + named])
        why = ""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                while left and not why:
                    want = min(left, wire.PIECE)
                    done = self._piece(fd, at, want, codec)
                    at += done
                    left -= done
                    if done < want:
                        why = wire.CHANGED
                if not file_content.as_listed(os.fstat(fd), size, seconds * wire.NS + nanos, inode):
                    why = wire.CHANGED
            finally:
                os.close(fd)
        except OSError as err:
            why = reason(err)
        self.send(b"R", why.encode())

    def _piece(self, fd: int, at: int, want: int, codec: int) -> int:
        """Send one piece; the bytes of it that were there."""
        if codec or not hasattr(os, "sendfile") or os.fstat(fd).st_size < at + want:
            data = os.pread(fd, want, at)
            if data:
                self.send(b"P", wire.squeeze(data, codec))
            return len(data)
        self.out.append(wire.FRAME.pack(want + 1, ord("P")) + b"\0")
        self.flush()
        end = at + want
        while at < end:  # straight from the file's pages
            done = os.sendfile(self.sink, fd, at, end - at)
            if done == 0:  # it was cut off just now: the frame must still be filled
                os.write(self.sink, b"\0")
                done = 1
            at += done
        return want

    def digests(self, body: memoryview) -> None:
        """Digests of a file's blocks; with a part, what the blocks hold is put there too."""
        asked = json.loads(bytes(body))
        path, part = raw(asked["path"]), asked["part"]
        why = ""
        found: list[bytes] = []

        def take(one: bytes) -> None:
            found.append(one)
            if len(found) == 64:
                self.send(b"H", *found)
                self.flush()
                found.clear()

        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_NOFOLLOW if part else 0))
            copy = -1
            try:
                size = min(asked["size"], os.fstat(fd).st_size)
                if part:
                    copy = os.open(raw(part), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                    file_content.based(fd, copy, size, take)
                else:
                    for one in file_content.blocks(fd, size):
                        take(one)
            finally:
                os.close(fd)
                if copy >= 0:
                    os.close(copy)
        except OSError as err:
            why = reason(err)
        if found:
            self.send(b"H", *found)
        self.send(b"Z", why.encode())

    # -- writing

    def write(self, body: memoryview) -> None:
        """Small files, each beside its name and then in its place."""
        (number,) = struct.unpack_from(">I", body)
        data = wire.unsqueeze(body[4:], 1 << 30)
        at = index = 0
        while at < len(data):
            named, mode, seconds, nanos, size = wire.GIVE.unpack_from(data, at)
            at += wire.GIVE.size
            path = bytes(data[at : at + named])
            at += named
            why = self.write_one(path, mode, seconds * wire.NS + nanos, data[at : at + size])
            if why:
                self.failed(number, index, why)
            at += size
            index += 1
        self.tell_unkept()

    def write_one(self, path: bytes, mode: int, mtime: int, data: Any) -> str:
        """A small file, beside its name and then in its place; why it could not be written, or nothing."""
        try:
            self._write_one(path, mode, mtime, data)
        except OSError as err:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(os.path.dirname(path), self.part))
            return reason(err)
        return ""

    def _write_one(self, path: bytes, mode: int, mtime: int, data: Any) -> None:
        folder = path.rpartition(b"/")[0]
        part = folder + b"/" + self.part if folder else self.part
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            while data:
                data = data[os.write(fd, data) :]
            self.stamped(file_content.stamp(fd, None, mtime))
        finally:
            os.close(fd)
        file_content.take_name(part, path)

    def stamped(self, why: str) -> None:
        """Note that a file is in place without its mode or time, if `why` says so."""
        if why:
            self.unkept[why] = self.unkept.get(why, 0) + 1

    def tell_unkept(self) -> None:
        """Say what was noted since the last time."""
        for why, count in self.unkept.items():
            self.send(b"K", json.dumps([why, count]).encode())
        self.unkept.clear()

    def do_begin(self, part: str, size: int) -> dict[str, Any]:
        """An empty part of a large file, of its full length."""
        fd = os.open(raw(part), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)
        return {}

    def data(self, body: memoryview) -> None:
        """A piece of a large file, into its part."""
        number, at, named = wire.DATA.unpack_from(body)
        start = wire.DATA.size
        path = bytes(body[start : start + named])
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                file_content.write_at(fd, wire.unsqueeze(body[start + named :], wire.PIECE), at)
            finally:
                os.close(fd)
        except OSError as err:
            self.failed(number, -1, reason(err))

    def do_finish(self, part: str, path: str, size: int, mode: int, mtime: int) -> dict[str, Any]:
        """A large file is whole: it takes its name."""
        fd = os.open(raw(part), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            why = file_content.stamp(fd, mode, mtime)
        finally:
            os.close(fd)
        with file_content.late_end(raw(path)):
            file_content.take_name(raw(part), raw(path))
        return {"unkept": why}

    def number(self, body: memoryview) -> None:
        """All before it is done."""
        self.send(b"Q", bytes(body))

    # -- folders, links, modes, the end of things

    def _each(self, jobs: list[Any], do: Any) -> dict[str, Any]:
        failed: list[Any] = []
        for index, job in enumerate(jobs):
            try:
                do(*job)
            except OSError as err:
                failed.append([index, reason(err)])
        return {"failed": failed}

    def do_folders(self, jobs: list[Any]) -> dict[str, Any]:
        """Make folders, parents first."""

        def make(path: str) -> None:
            with contextlib.suppress(FileExistsError):
                os.mkdir(raw(path), 0o700)

        return self._each(jobs, make)

    def do_links(self, jobs: list[Any]) -> dict[str, Any]:
        """Make links."""

        def link(path: str, goal: str) -> None:
            part = os.path.join(os.path.dirname(raw(path)), self.part)
            os.symlink(raw(goal), part)
            try:
                file_content.take_name(part, raw(path))
            except OSError:
                os.unlink(part)
                raise

        return self._each(jobs, link)

    def do_modes(self, jobs: list[Any]) -> dict[str, Any]:
        """Set permissions, and times where one is given."""
        unkept: dict[str, int] = {}

        def change(path: str, mode: int, mtime: int | None) -> None:
            why = file_content.stamp(raw(path), mode, mtime, own=False)
            if why:
                unkept[why] = unkept.get(why, 0) + 1

        return {**self._each(jobs, change), "unkept": unkept}

    def do_delete(self, jobs: list[Any]) -> dict[str, Any]:
        """Delete files, links and empty folders; what is gone already is fine."""

        def drop(path: str, folder: bool) -> None:
            with contextlib.suppress(FileNotFoundError):
                (os.rmdir if folder else os.unlink)(raw(path))

        return self._each(jobs, drop)


def main(argv: list[str]) -> int:
    """Say that we are there, then serve: ``NONCE [FOLDER]``, the folder to enter."""
    if len(argv) > 1:
        os.chdir(os.fsencode(argv[1]))
    os.write(1, b"\n%s ready\n" % argv[0].encode())
    server = Server()
    try:
        return server.serve()
    except BrokenPipeError:
        return 0
    finally:
        server.end_direct()
