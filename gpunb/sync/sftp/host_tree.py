"""The host's side of a sync over SFTP: attributes, listings, free space, making folders.

All names that the host lists are checked before they become paths: see `name_problem`.
"""

from __future__ import annotations

import collections
import contextlib
import os
import stat
import threading
from typing import TYPE_CHECKING, Any

from gpunb.errors import HostError, ProtocolError, SyncError
from gpunb.sync.planning.plan import Item, LeftOut, Tree, link_stays_inside, why_link_stays
from gpunb.sync.planning.rules import PART
from gpunb.sync.sftp import protocol as wire
from gpunb.sync.sftp.protocol import Attrs, Fault, Pump, Request, Stream, Task, string

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from gpunb.ssh.connection import Connection
    from gpunb.sync.planning.rules import Rules

__all__ = ["Remote", "encode", "name_problem"]

_MOST_ENTRIES = 5_000_000
_LONGEST_PATH = 4096


def encode(path: str) -> bytes:
    """Encode `path` as the host's bytes."""
    return path.encode("utf-8", "surrogateescape")


class Remote:
    """SFTP channels to one host, opened as needed. A context manager."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.stop = threading.Event()
        self._pumps: list[Pump] = []

    def __enter__(self) -> Remote:  # noqa: PYI034 - final in practice, and the name reads better
        return self

    def __exit__(self, *_: object) -> None:
        for pump in self._pumps:
            pump.close()

    @property
    def pump(self) -> Pump:
        """The first channel."""
        return self.pumps(1)[0]

    def pumps(self, count: int) -> list[Pump]:
        """Up to `count` channels; fewer if the host allows no more (``MaxSessions``)."""
        while len(self._pumps) < count:
            try:
                self._pumps.append(Pump(self.connection.subsystem("sftp", more=not self._pumps), self.stop))
            except HostError:  # noqa: PERF203 - ends the loop
                if not self._pumps or not self.connection.alive():
                    raise
                break
        return self._pumps[:count]

    # -- single requests

    def ask(self, kind: int, *parts: bytes) -> Any:
        """Send one request and return its answer; raises `Fault`."""
        answer: list[Any] = []

        def task() -> Task:
            answer.append((yield Request(kind, b"".join(parts))))

        self.pump.one(task())
        return answer[0]

    def real(self, path: str) -> str:
        """Return the absolute path of `path`, links followed where the server does so."""
        names = self.ask(wire.REALPATH, string(encode(path)))
        if not isinstance(names, list) or len(names) != 1:
            msg = "the host's SFTP server gave no real path"
            raise ProtocolError(msg)
        text: str = names[0][0].decode("utf-8", "surrogateescape")
        if not text.startswith("/") or "\0" in text:
            msg = f"the host's SFTP server says that {path!r} is {text!r}"
            raise ProtocolError(msg)
        return text

    def attrs(self, path: str, *, follow: bool = True) -> Attrs | None:
        """Return the attributes of `path`; None if nothing is there."""
        try:
            found = self.ask(wire.STAT if follow else wire.LSTAT, string(encode(path)))
        except Fault as fault:
            if fault.code == wire.NO_SUCH_FILE:
                return None
            raise
        if not isinstance(found, Attrs) or found.mode is None:
            msg = f"the host's SFTP server does not say what {path!r} is"
            raise ProtocolError(msg)
        return found

    def free_bytes(self, path: str) -> int | None:
        """Bytes free for this user in the existing folder `path`; None if the host does not tell."""
        if b"statvfs@openssh.com" in self.pump.extensions:
            with contextlib.suppress(Fault):
                body = self.ask(wire.EXTENDED, string(b"statvfs@openssh.com"), string(encode(path)))
                if isinstance(body, bytes) and len(body) >= 40:
                    numbers = [int.from_bytes(body[i : i + 8], "big") for i in range(0, 40, 8)]
                    return (numbers[1] or numbers[0]) * numbers[4]  # frsize, bavail
        from gpunb.ssh.quoting import quote

        with contextlib.suppress(HostError):
            done = self.connection.run(quote(["df", "-Pk", "--", path]), timeout=20)
            fields = done.out.decode("utf-8", "replace").strip().rpartition("\n")[2].split()
            if done.code == 0 and len(fields) >= 4 and fields[3].isdecimal() and len(fields[3]) < 20:
                return int(fields[3]) * 1024
        return None

    # -- the tree

    def scan(self, root: str, rules: Rules, *, target: bool = False, follow: bool = False) -> Tree:
        """List the folder `root`; an absent one is an empty tree. Options as in `gpunb.sync.local.scan`.

        Raises
        ------
        SyncError
            More entries than any honest tree has (5 million).
        """
        lister = _Lister(root, rules, target=target, follow=follow)
        self.pump.run(lister.next_task)
        lister.tree.items.sort(key=lambda item: item.path)
        return lister.tree

    def make_folders(self, root: str) -> None:
        """Make `root` and its parents as needed; raises `SyncError` naming what stands in the way."""
        found = self.attrs(root)
        if found is not None and stat.S_ISDIR(found.mode or 0):
            return
        path = ""
        for name in root.strip("/").split("/"):
            path = f"{path}/{name}"
            found = self.attrs(path)
            if found is None:
                try:
                    self.ask(wire.MKDIR, string(encode(path)), Attrs().pack())
                except Fault as fault:
                    msg = f"the folder {path} can't be made on the host: {fault.message}"
                    raise SyncError(msg) from fault
            elif not stat.S_ISDIR(found.mode or 0):
                msg = f"{path} on the host is not a folder"
                raise SyncError(msg)

    def each(
        self, items: Iterable[Any], make: Callable[[Any], Task], failed: Callable[[Any, str], None]
    ) -> None:
        """Run `make(item)` for each item on the first channel; a `Fault` goes to `failed`."""
        queue = iter(items)

        def guarded(item: Any) -> Task:
            try:
                yield from make(item)
            except Fault as fault:
                failed(item, fault.message)

        def source() -> Task | None:
            for item in queue:
                return guarded(item)
            return None

        self.pump.run(source)


class _Lister:
    """Lists a tree folder by folder, many at once."""

    def __init__(self, root: str, rules: Rules, *, target: bool, follow: bool = False) -> None:
        self.tree = Tree()
        self._follow = follow
        self._reals: dict[str, str] = {}
        self._target = target
        self._root, self._rules = root, rules
        self._todo: collections.deque[Item] = collections.deque([Item("", "dir")])
        self._seen = 0
        self.too_many = False

    def next_task(self) -> Task | None:
        """Return the task that lists the next folder; None if there is none."""
        if self.too_many:
            msg = f"the host lists more than {_MOST_ENTRIES} files; sync a smaller folder"
            raise SyncError(msg)
        return self._list(self._todo.popleft()) if self._todo else None

    def _list(self, folder: Item) -> Task:
        full = f"{self._root}/{folder.path}" if folder.path else self._root
        try:
            entries = yield from self._read(string(encode(full)))
        except Fault as fault:
            if folder.path or fault.code != wire.NO_SUCH_FILE:
                self.tree.failed.append((folder.path, fault.message))
                if folder.path:
                    self.tree.items.append(folder)
            return
        if folder.path:
            rule = self._rules.why_out(folder.path, folder=True, names={name for name, _ in entries})
            if rule is not None:
                self.tree.left_out.append(LeftOut(folder.path, rule))
                return
            self.tree.items.append(folder)
        links = []
        seen: set[str] = set()
        for name, attrs in entries:
            path = f"{folder.path}/{name}" if folder.path else name
            problem = "name that is listed twice" if name in seen else name_problem(name, path)
            seen.add(name)
            if problem is not None:
                self.tree.left_out.append(LeftOut(path[:300], problem, cant_go=True))
            elif self._take(path, attrs):
                links.append(path)
        yield from self._read_links(links)

    def _read(self, name: bytes) -> Generator[Request | Stream, Any, list[tuple[str, Attrs]]]:
        handle = yield Request(wire.OPENDIR, name)
        entries: list[tuple[str, Attrs]] = []
        ask = Request(wire.READDIR, string(_bytes(handle)))

        def take(_tag: int, batch: Any) -> None:
            if not isinstance(batch, list) or not batch:
                msg = "the host's SFTP server sent an empty listing"
                raise ProtocolError(msg)
            self._seen += len(batch)
            if self._seen > _MOST_ENTRIES:
                self.too_many = True
                raise Fault(wire.EOF, "")
            entries.extend(
                (n.decode("utf-8", "surrogateescape"), a) for n, a in batch if n not in (b".", b"..")
            )

        ahead = 1  # a large folder comes in answers of 100 names
        while True:
            try:
                yield Stream(iter([(0, ask)] * ahead), take)
            except Fault as fault:
                if fault.code != wire.EOF:
                    raise
                break
            ahead = min(16, ahead * 4)
        yield Request(wire.CLOSE, string(_bytes(handle)))
        return entries

    def _take(self, path: str, attrs: Attrs) -> bool:
        """Record one entry; return whether it is a link that still has to be read."""
        mode = attrs.mode or 0
        item = Item(path, "file", attrs.size or 0, attrs.mtime or 0, mode & 0o777)
        if stat.S_ISDIR(mode):
            item.kind, item.size = "dir", 0
            rule = self._rules.why_out(path, folder=True)
            if rule is None:
                self._todo.append(item)
                return False
        else:
            rule = self._rules.why_out(path, folder=False)
        if rule is not None:
            if path.rpartition("/")[2].startswith(PART):
                self.tree.leftovers.append(path)
            else:
                self.tree.left_out.append(LeftOut(path, rule))
        elif stat.S_ISLNK(mode):
            return True
        elif stat.S_ISREG(mode):
            self.tree.items.append(item)
        elif self._target:
            item.kind, item.size = "special", 0
            self.tree.items.append(item)
        else:
            why = "special file: not a file, folder or link"
            self.tree.left_out.append(LeftOut(path, why, cant_go=True))
        return False

    def _read_links(self, paths: list[str]) -> Task:
        for path in paths:
            try:
                names = yield Request(wire.READLINK, string(encode(f"{self._root}/{path}")))
            except Fault as fault:
                self.tree.failed.append((path, fault.message))
                continue
            goal = names[0][0].decode("utf-8", "surrogateescape") if isinstance(names, list) and names else ""
            if self._target or (link_stays_inside(path, goal) and len(goal) < _LONGEST_PATH):
                self.tree.items.append(Item(path, "link", goal=goal))
            elif self._follow and (yield from self._led_to(path)):
                continue
            else:
                self.tree.left_out.append(LeftOut(path, why_link_stays(goal), cant_go=True))

    def _led_to(self, path: str) -> Generator[Request | Stream, Any, bool]:
        """Replace a link by its target; false if it has none, or leads to a folder that contains it."""
        full = string(encode(f"{self._root}/{path}"))
        try:
            found = yield Request(wire.STAT, full)
            real = yield from self._real(path)
            if isinstance(found, Attrs) and stat.S_ISDIR(found.mode or 0):
                above = path
                while above:
                    above = above.rpartition("/")[0]
                    if ((yield from self._real(above)) + "/").startswith(real.rstrip("/") + "/"):
                        return False
        except Fault:
            return False
        if not isinstance(found, Attrs) or not (stat.S_ISDIR(mode := found.mode or 0) or stat.S_ISREG(mode)):
            return False
        if real.startswith(("/proc/", "/sys/", "/dev/")):
            return False
        self._take(path, found)
        return True

    def _real(self, path: str) -> Generator[Request | Stream, Any, str]:
        if path not in self._reals:
            full = string(encode(f"{self._root}/{path}" if path else self._root))
            names = yield Request(wire.REALPATH, full)
            text = names[0][0].decode("utf-8", "surrogateescape") if isinstance(names, list) and names else ""
            if not text.startswith("/"):
                msg = "the host's SFTP server gave no real path"
                raise ProtocolError(msg)
            self._reals[path] = text
        return self._reals[path]


def name_problem(name: str, path: str) -> str | None:
    """Return why a listed name is not a valid path, or None.

    A hostile host may list ``../x`` or ``/etc/passwd`` to make us write there.
    """
    raw = encode(name)
    if not raw or b"/" in raw or b"\0" in raw or name in (os.curdir, os.pardir):
        return "name that is not a file name"
    if len(raw) > 255 or len(path) > _LONGEST_PATH:
        return "name that is too long"
    return None


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes) or len(value) > 256:
        msg = "the host's SFTP server sent no handle"
        raise ProtocolError(msg)
    return value
