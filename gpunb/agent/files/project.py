"""A project's folder: what changed in it since a client last asked, and small files in and out.

A client has a token and knows a folder by a number. The agent keeps in memory what it listed under that
number, so that its next answer is only what changed. With another number, as after a restart of the agent,
the answer is the whole listing.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
import zlib
from collections import OrderedDict
from typing import Any

from ..shared import file_content

KEPT = 8  # listings in memory, each of one client and folder
PART = ".gpunb-part-"
INLINE_EACH = 64 << 10
_KINDS = {stat.S_IFREG: "f", stat.S_IFLNK: "l"}
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class TooMany(Exception):
    """A folder holds more entries than the client takes."""


class Projects:
    """The listings that clients know. The methods may block: they are called in threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], tuple[int, dict[str, list[Any]]]] = OrderedDict()
        self._lock = threading.Lock()

    def changes(self, args: dict[str, Any]) -> dict[str, Any]:
        """List what changed in ``path`` since ``number``; small new files come with the answer."""
        top, token = _place(args["path"]), str(args.get("token"))
        with self._lock:
            number, before = self._known.get((token, top), (0, {}))
        whole = not number or number != args.get("number")
        if not os.path.isdir(top):
            return {"there": False}
        try:
            now = _listed(top, set(args.get("skip") or ()), int(args.get("most", 200_000)))
        except TooMany:
            return {"there": True, "many": True}
        old = {} if whole else before
        found = [[path, *about] for path, about in now.items() if old.get(path) != about]
        gone = [path for path in old if path not in now]
        number += 1
        with self._lock:
            self._known[token, top] = number, now
            self._known.move_to_end((token, top))
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        sent, contents = _inlined(top, found, int(args.get("inline", 0)))
        body = json.dumps({"changed": [entry[:5] for entry in found], "gone": gone, "inline": sent})
        answer = {"there": True, "number": number, "whole": whole}
        return dict(answer, parts=[zlib.compress(body.encode(), 1), *contents])

    def read(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return a range of each of ``files`` (path, start, length, size, mtime), or why not."""
        top = _place(args["path"])
        why, parts = [], []
        for path, start, length, size, mtime in args["files"]:
            data = b""
            try:
                fd = os.open(os.path.join(top, path), _FILE)
                try:
                    facts = os.fstat(fd)
                    same = stat.S_ISREG(facts.st_mode) and [facts.st_size, facts.st_mtime_ns] == [size, mtime]
                    data = os.pread(fd, length, start) if same else b""
                    why.append("" if same else "it changed while it was read")
                finally:
                    os.close(fd)
            except OSError as err:
                why.append(err.strerror or str(err))
            parts.append(data)
        return {"why": why, "parts": parts}

    def write(self, args: dict[str, Any]) -> dict[str, Any]:
        """Write ``files`` (path, mode, mtime, what the client knows of it), unless they are newer here.

        Files of ``gone`` (path, size, mtime) are deleted if they are still as the client knows them.
        """
        top, token = _place(args["path"]), str(args.get("token"))
        if not os.path.isdir(top):
            return {"there": False}
        for path in args.get("folders") or ():
            with contextlib.suppress(OSError):
                os.makedirs(os.path.join(top, path), exist_ok=True)
        done: list[Any] = []
        for about, content in zip(args.get("files") or (), args["parts"]):
            try:
                done.append(_write(top, *about, content=content))
            except OSError as err:
                done.append(err.strerror or str(err))
        for path, size, mtime in args.get("gone") or ():
            full = os.path.join(top, path)
            with contextlib.suppress(OSError):
                if _facts(full)[:3] == ["f", size, mtime]:
                    os.unlink(full)
        with self._lock:
            _, known_here = self._known.get((token, top), (0, {}))
            for (path, _, _, _), state in zip(args.get("files") or (), done):
                if isinstance(state, list):
                    with contextlib.suppress(OSError):
                        known_here[path] = _facts(os.path.join(top, path))
            for path, _, _ in args.get("gone") or ():
                if not os.path.lexists(os.path.join(top, path)):
                    known_here.pop(path, None)
        return {"there": True, "parts": [json.dumps(done).encode()]}


def _write(top: str, path: str, mode: int, mtime: int, known: Any, *, content: Any) -> Any:
    """Write one file; returns its size and mtime, or None if the one here is not the `known` one."""
    full = os.path.join(top, path)
    try:
        now = _facts(full)
    except FileNotFoundError:
        now = []
    if now and now[:3] != ["f", *(known or ())] and now[1:3] != [len(content), mtime]:
        return None
    part = os.path.join(os.path.dirname(full), "%s%x" % (PART, threading.get_ident()))
    os.makedirs(os.path.dirname(full), exist_ok=True)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        file_content.stamp(fd, mode, mtime)
    except OSError:
        os.unlink(part)
        raise
    finally:
        os.close(fd)
    os.replace(part, full)
    return _facts(full)[1:3]


def _place(path: str) -> str:
    return os.path.realpath(os.path.join(os.path.expanduser("~"), path))


def _facts(full: str) -> list[Any]:
    facts = os.lstat(full)
    kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "d" if stat.S_ISDIR(facts.st_mode) else "s")
    return [kind, facts.st_size, facts.st_mtime_ns, facts.st_mode & 0o777, facts.st_ino]


def _listed(top: str, skip: set[str], most: int) -> dict[str, list[Any]]:
    """List all that is no folder; folders of `skip` and environments are not entered, and git's is named."""
    result: dict[str, list[Any]] = {}
    todo = [""]
    while todo:
        folder = todo.pop()
        try:
            with os.scandir(os.path.join(top, folder) if folder else top) as listing:
                entries = list(listing)
        except OSError:
            continue
        for entry in entries:
            path = folder + "/" + entry.name if folder else entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name == ".git":
                        result[path] = ["d", 0, 0, 0, 0]
                    elif entry.name not in skip and not os.path.exists(
                        os.path.join(entry.path, "pyvenv.cfg")
                    ):
                        todo.append(path)
                elif not entry.name.startswith(PART):
                    facts = entry.stat(follow_symlinks=False)
                    kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "s")
                    result[path] = [
                        kind, facts.st_size, facts.st_mtime_ns, facts.st_mode & 0o777, facts.st_ino,
                    ]  # fmt: skip
            except OSError:
                continue
        if len(result) + len(todo) > most:
            raise TooMany
    return result


def _inlined(top: str, found: list[Any], room: int) -> tuple[list[int], list[bytes]]:
    """Read the small ones of the files `found` while there is room; returns their positions and contents."""
    sent, contents = [], []
    small = [n for n, entry in enumerate(found) if entry[1] == "f" and entry[2] <= INLINE_EACH]
    for n in sorted(small, key=lambda n: int(found[n][2])):
        path, _, size, mtime = found[n][:4]
        room -= size
        if room < 0:
            break
        with contextlib.suppress(OSError):
            fd = os.open(os.path.join(top, path), _FILE)
            try:
                read = file_content.read_as_listed(fd, size, mtime, found[n][5])
            finally:
                os.close(fd)
            if read is not None and len(read[0]) == size and read[1] == mtime:
                sent.append(n)
                contents.append(read[0])
    return sent, contents
