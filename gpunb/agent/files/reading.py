"""Read operations of ``files``: attributes, listings, content, digests."""

from __future__ import annotations

import contextlib
import json
import os
import re
import struct
from typing import Any

from ..shared import file_content, file_listing
from ..shared import file_frames as wire
from ..shared.file_names import folds_case
from .answers import Answers, raw, reason, text


class Reading(Answers):
    """Read requests; they write nothing but a folder to enter and a partial file begun from an old file."""

    def do_look(self, path: str) -> dict[str, Any]:
        """Return all facts needed before a sync: of a path and of the folders above it."""
        home = os.path.realpath(os.path.expanduser(b"~"))
        rest = raw(path)
        if rest.startswith(b"~"):
            rest = rest[1:].lstrip(b"/")
        full = os.path.normpath(os.path.join(home, rest)).replace(b"//", b"/")
        facts = {}
        for fromkey in dict.fromkeys((full, os.path.realpath(full), os.path.dirname(full))):
            facts[text(fromkey)] = {**self._facts(fromkey), "real": text(os.path.realpath(fromkey))}
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
        result: dict[str, Any] = {"stat": None, "lstat": None}
        for name, look in (("stat", os.stat), ("lstat", os.lstat)):
            with contextlib.suppress(OSError):
                facts = look(path)
                result[name] = [facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_ino]
        return result

    def do_facts(self, path: str) -> dict[str, Any]:
        """Return the attributes of a path."""
        return {**self._facts(raw(path)), "real": text(os.path.realpath(raw(path)))}

    def do_free(self, path: str) -> int | None:
        """Return the bytes free for this user in an existing folder."""
        try:
            found = os.statvfs(raw(path))
        except OSError:
            return None
        return found.f_frsize * found.f_bavail

    def do_enter(self, path: str, make: bool = False) -> dict[str, Any]:
        """Enter a folder, which later paths are relative to."""
        if make:
            os.umask(self.umask)
            try:
                os.makedirs(raw(path), exist_ok=True)
            finally:
                os.umask(0)
        os.chdir(raw(path))
        return {}

    def do_extents(self, path: str) -> dict[str, Any]:
        """Return the ranges of a large file that hold data."""
        fd = os.open(raw(path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return {"extents": file_content.extents(fd, os.fstat(fd).st_size)}
        finally:
            os.close(fd)

    def do_hashes(self, paths: list[str]) -> dict[str, Any]:
        """Return the digest of each whole file; null for one that can't be read."""
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
        """List one folder: its path, then its entries or the error."""
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
        """Send the content of small files, or the error of each."""
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
        """Send a range of a large file in pieces, then "" or the error."""
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
        """Send one piece; return the number of bytes read."""
        if codec or not hasattr(os, "sendfile") or os.fstat(fd).st_size < at + want:
            data = os.pread(fd, want, at)
            if data:
                self.send(b"P", wire.squeeze(data, codec))
            return len(data)
        self.out.append(wire.FRAME.pack(want + 1, ord("P")) + b"\0")
        self.flush()
        end = at + want
        while at < end:  # without a copy through user space
            done = os.sendfile(self.sink, fd, at, end - at)
            if done == 0:  # the file was truncated just now: the frame must still be filled
                os.write(self.sink, b"\0")
                done = 1
            at += done
        return want

    def digests(self, body: memoryview) -> None:
        """Send digests of a file's blocks; with a part, also copy the blocks into it."""
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
                    for block in file_content.blocks(fd, size):
                        take(block)
            finally:
                os.close(fd)
                if copy >= 0:
                    os.close(copy)
        except OSError as err:
            why = reason(err)
        if found:
            self.send(b"H", *found)
        self.send(b"Z", why.encode())
