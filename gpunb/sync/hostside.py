"""The host's side of a sync through the agent: looked at, listed, read from and written to.

Nothing that the host says becomes a path here unless it is a file name, and
nothing is taken that was not asked for.
"""

from __future__ import annotations

import json
import struct
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from gpunb.agent import filewire as wire
from gpunb.errors import SyncError
from gpunb.sync.line import HostFault, Line, answer, bad
from gpunb.sync.plan import LeftOut, Tree, link_stays_inside
from gpunb.sync.remote import encode, name_problem
from gpunb.sync.rules import PART
from gpunb.sync.safe import part_name
from gpunb.sync.sftpwire import Attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpunb.remote import AgentClient
    from gpunb.sync.plan import Item
    from gpunb.sync.rules import Rules
    from gpunb.sync.scan import Entry

__all__ = ["HostReader", "HostSide", "HostWriter", "Refused"]

MOST_ENTRIES = 5_000_000
JOBS = 500
_LONGEST_GOAL = 4096


class Refused(Exception):
    """One file could not go; the words say why."""


class HostSide:
    """The first line to a host: what a plan is made of, and what is done once.

    Answers `attrs` and `real` as `gpunb.sync.remote.Remote` does.
    """

    local = False

    def __init__(self, client: AgentClient) -> None:
        self.client = client
        self.line = Line.first(client)
        self.root = ""
        self.alias: dict[str, str] = {}
        self.zstd = False
        self.folds = False
        self.free: int | None = None
        self.home = ""
        self._facts: dict[str, dict[str, Any]] = {}
        self._asked: deque[str] = deque()
        self._entering = False

    def close(self, *, keep: bool = False) -> None:
        """Close the line, or with `keep` leave it to the next sync: nothing is under way then."""
        interrupted = sys.exc_info()[0] is not None  # answers may still be on their way
        if keep and not interrupted and not self._asked and not self._entering:
            self.line.keep(self.client)
        else:
            self.line.close()

    # -- before the plan

    def look(self, path: str) -> None:
        """Learn in one round trip what the checks of a path will ask."""
        found = self.line.call("look", path=path)
        try:
            self.home = str(found["home"])
            self.zstd, self.folds = bool(found["zstd"]), bool(found["folds"])
            self.free = None if found["free"] is None else int(found["free"])
            self._facts = dict(found["facts"])
        except (KeyError, TypeError, ValueError) as err:
            words = "a look without its facts"
            raise bad(words) from err

    def attrs(self, path: str, *, follow: bool = True) -> Attrs | None:
        """What is at `path`; None if nothing is."""
        found = self._of(path).get("stat" if follow else "lstat")
        if found is None:
            return None
        try:
            mode, size, mtime = (int(number) for number in found)
        except (TypeError, ValueError) as err:
            words = f"no facts about {path!r}"
            raise bad(words) from err
        return Attrs(size, mode, mtime // 10**9, mtime % 10**9)

    def real(self, path: str) -> str:
        """The absolute path of `path`, links followed."""
        text = self.home if path == "." else self._of(path).get("real")
        if not isinstance(text, str) or not text.startswith("/") or "\0" in text:
            words = f"{text!r} as the real path of {path!r}"
            raise bad(words)
        return text

    def _of(self, path: str) -> dict[str, Any]:
        self.entered()
        if path not in self._facts:
            self._facts[path] = self.line.call("facts", path=path)
        found: Any = self._facts[path]  # what the host says may be anything
        return found if isinstance(found, dict) else {}

    def enter(self, path: str, *, make: bool = False) -> None:
        """Use `path` as the root from now on; `SyncError` names what is wrong with it."""
        try:
            self.line.call("enter", path=path, make=make)
        except HostFault as err:
            found = self.line.call("facts", path=path).get("stat")
            why = "is not a folder" if found else f"can't be made: {err.message}"
            msg = f"{path} on the host {why}" if found else f"the folder {path} on the host {why}"
            raise SyncError(msg) from err
        self.root = path

    def enter_soon(self, path: str) -> None:
        """As `enter` of a folder that is there, without waiting for the answer."""
        self.line.post("enter", path=path)
        self.root, self._entering = path, True

    def entered(self) -> None:
        """Take the answer that is still due."""
        if self._entering:
            self._entering = False
            answer(self.line.expect(b"J"))

    # -- as a source: all of it, from the top

    def folders(self, rules: Rules, tree: Tree) -> Iterator[tuple[str, list[Entry]]]:
        """Each folder that goes, with what goes of it; the rest is noted in `tree`."""
        self.line.send(b"T", json.dumps(rules.pruning()).encode())
        self.entered()
        due = {""}
        seen = 0
        while True:
            kind, body = self.line.receive()
            if kind == ord("Z"):
                return
            if kind != ord("L"):
                words = f"a frame of kind {kind} in a listing"
                raise bad(words)
            path, why, _, entries = _listing(body)
            if path not in due:
                continue  # left out here, or never heard of
            due.remove(path)
            seen += len(entries)
            if seen > MOST_ENTRIES:
                msg = f"the host lists more than {MOST_ENTRIES} files; sync a smaller folder"
                raise SyncError(msg)
            if why:
                tree.failed.append((path, why))
                continue
            kept = self._kept(path, entries, rules, tree)
            start = f"{path}/" if path else ""
            due.update(start + entry[0] for entry in kept if entry[1] == wire.FOLDER)
            yield path, kept

    def _kept(self, folder: str, entries: list[Entry], rules: Rules, tree: Tree) -> list[Entry]:
        kept = []
        start = f"{folder}/" if folder else ""
        names: set[str] = set()
        for entry in entries:
            name, kind = entry[0], entry[1]
            path = start + name
            problem = "name that is listed twice" if name in names else name_problem(name, path)
            names.add(name)
            if problem is not None:
                tree.left_out.append(LeftOut(path[:300], problem))
                continue
            inside = ("pyvenv.cfg",) if kind == wire.FOLDER and entry[3] else ()
            rule = rules.why_out(path, folder=kind == wire.FOLDER, names=inside)
            if rule is not None:
                if not name.startswith(PART):
                    tree.left_out.append(LeftOut(path, rule))
            elif kind == wire.LINK and not (
                link_stays_inside(path, entry[5]) and len(entry[5]) < _LONGEST_GOAL
            ):
                tree.left_out.append(LeftOut(path, f"link that leads out of the folder: {entry[5][:300]}"))
            elif kind in (wire.FILE, wire.FOLDER, wire.LINK):
                kept.append(entry)
            else:
                tree.left_out.append(LeftOut(path, "special file: not a file, folder or link"))
        return kept

    # -- as a target: folder by folder, asked ahead

    def ask(self, path: str) -> None:
        """Ask for one folder's listing; `take` gives it."""
        self._asked.append(path)
        self.line.hold(b"L", encode(path))

    def take(self) -> tuple[str, list[Entry], str]:
        """The listing that was asked for longest: path, entries, and why it could not be read.

        A folder that is not there has no entries and no reason.
        """
        self.entered()
        self.line.flush()
        path = self._asked.popleft()
        found, why, code, entries = _listing(self.line.expect(b"L"))
        if found != path:
            words = "the listing of another folder"
            raise bad(words)
        if code in (2, 20):  # not there, or not a folder
            return path, [], ""
        return path, entries, why

    def item(self, path: str, *, follow: bool) -> Entry | None:
        """What is at an absolute path."""
        found = self.attrs(path, follow=follow)
        if found is None:
            return None
        from stat import S_IFMT

        kinds = {0o100000: wire.FILE, 0o040000: wire.FOLDER, 0o120000: wire.LINK}
        mode = found.mode or 0
        mtime = (found.mtime or 0) * 10**9 + found.nanos
        return (
            path.rpartition("/")[2],
            kinds.get(S_IFMT(mode), wire.SPECIAL),
            mode & 0o777,
            found.size or 0,
            mtime,
            "",
        )

    # -- the ends of things

    def hashes(self, paths: Sequence[str]) -> list[str | None]:
        """The digest of each whole file; `hashes_begin` asked for them."""
        self.entered()
        found = answer(self.line.expect(b"J")).get("hashes")
        if not isinstance(found, list) or len(found) != len(paths):
            words = "other hashes than asked for"
            raise bad(words)
        return [one if isinstance(one, str) else None for one in found]

    def hashes_begin(self, paths: Sequence[str]) -> None:
        """Ask for the digests of whole files."""
        self.line.post("hashes", paths=[self.alias.get(path, path) for path in paths])

    def make_folders(self, items: Sequence[Item]) -> list[tuple[str, str]]:
        """Make folders, parents first; what failed."""
        return self._jobs("folders", [i.path for i in items], [[i.path] for i in items])

    def make_links(self, items: Sequence[Item]) -> list[tuple[str, str]]:
        """Make links; what failed."""
        return self._jobs("links", [i.path for i in items], [[i.path, i.goal] for i in items])

    def set_modes(self, items: Sequence[Item]) -> list[tuple[str, str]]:
        """Set permissions, and files' times; what failed."""
        jobs = [[i.path, i.mode, i.mtime_ns if i.kind == "file" else None] for i in items]
        return self._jobs("modes", [i.path for i in items], jobs)

    def delete(self, paths: Sequence[str], kinds: dict[str, str]) -> list[tuple[str, str]]:
        """Delete, in this order; what failed."""
        return self._jobs("delete", paths, [[path, kinds.get(path) == "dir"] for path in paths])

    def _jobs(self, op: str, paths: Sequence[str], jobs: list[Any]) -> list[tuple[str, str]]:
        self.entered()
        self.line.post(op, jobs=jobs)
        failed = answer(self.line.expect(b"J")).get("failed")
        try:
            return [(paths[int(index)], str(why)[:200]) for index, why in failed or ()]
        except (TypeError, ValueError, IndexError) as err:
            words = "failures of other things than asked for"
            raise bad(words) from err


class HostReader:
    """Takes files from the host, on one line; what is asked first comes first."""

    local = False
    SMALL, RANGE = b"G", b"R"

    def __init__(self, line: Line, alias: dict[str, str], codec: int) -> None:
        self.line, self.alias, self.codec = line, alias, codec

    def _want(self, item: Item) -> bytes:
        path = encode(self.alias.get(item.path, item.path))
        return wire.WANT.pack(len(path), item.size, item.mtime_ns) + path

    def ask_small(self, items: Sequence[Item]) -> None:
        """Ask for small files."""
        self.line.send(self.SMALL, bytes((self.codec,)), *map(self._want, items))

    def small(self, items: Sequence[Item]) -> list[Any]:
        """The content of each, or a `Refused`."""
        most = sum(item.size for item in items) + 300 * len(items)
        try:
            data = wire.unsqueeze(self.line.expect(b"S"), most)
            found: list[Any] = []
            at = 0
            for item in items:
                failed, size = wire.CONTENT.unpack_from(data, at)
                at += wire.CONTENT.size
                body = data[at : at + size]
                at += size
                if failed:
                    found.append(Refused(bytes(body).decode("utf-8", "replace")[:200]))
                elif len(body) != item.size:
                    words = "more, or less, of a file than was asked for"
                    raise bad(words)
                else:
                    found.append(body)
        except (ValueError, IndexError, struct.error) as err:
            words = "files in a form that can't be read"
            raise bad(words) from err
        if at != len(data):
            words = "more files than asked for"
            raise bad(words)
        return found

    def ask_range(self, item: Item, start: int, end: int) -> None:
        """Ask for a part of a large file."""
        path = encode(self.alias.get(item.path, item.path))
        head = wire.RANGE.pack(start, end - start, self.codec, len(path), item.size, item.mtime_ns)
        self.line.send(self.RANGE, head, path)

    def pieces(self, _item: Item, start: int, end: int) -> Iterator[tuple[int, Any]]:
        """Its pieces with their offsets; `Refused` where it ends badly."""
        at = start
        while True:
            kind, size = self.line.head()
            if kind == ord("R"):
                words = bytes(self.line.body(size)).decode("utf-8", "replace")[:200]
                if words:
                    raise Refused(words)
                if at != end:
                    words = "less of a file than was asked for"
                    raise bad(words)
                return
            if kind != ord("P") or not size:
                words = f"a frame of kind {kind} in a file"
                raise bad(words)
            for data in self._piece(size):
                if at + len(data) > end:
                    words = "more of a file than was asked for"
                    raise bad(words)
                yield at, data
                at += len(data)

    def _piece(self, size: int) -> Iterator[Any]:
        codec = self.line.body(1)
        if codec[0] == wire.PLAIN:
            yield from self.line.parts(size - 1)
            return
        try:
            yield wire.unsqueeze(bytes(codec) + bytes(self.line.body(size - 1)), wire.PIECE)
        except ValueError as err:
            raise bad(str(err)) from err

    def ask_base(self, item: Item, *, digests: bool) -> None:
        """Ask for a large file's digests, or where it has data."""
        path = self.alias.get(item.path, item.path)
        if digests:
            self.line.send(b"H", json.dumps({"path": path, "part": "", "size": item.size}).encode())
        else:
            self.line.post("extents", path=path)

    def digests(self, item: Item) -> list[bytes]:
        """The digests of its blocks."""
        return take_digests(self.line.receive, item.size)

    def extents(self, item: Item) -> list[tuple[int, int]]:
        """Where it has data, in order and within its size."""
        try:
            found = answer(self.line.expect(b"J")).get("extents")
        except HostFault as err:
            raise Refused(err.message) from err
        last, good = 0, []
        try:
            for start, end in found or ():
                if not last <= int(start) <= int(end):
                    words = "parts of a file out of order"
                    raise bad(words)
                last = int(end)
                good.append((min(int(start), item.size), min(last, item.size)))
        except (TypeError, ValueError) as err:
            words = "no parts of a file"
            raise bad(words) from err
        return good


def take_digests(receive: Callable[[], tuple[int, memoryview]], size: int) -> list[bytes]:
    """Digests up to the frame that ends them; `Refused` if the file can't be read."""
    found: list[bytes] = []
    while True:
        kind, body = receive()
        if kind == ord("Z"):
            if body:
                raise Refused(bytes(body).decode("utf-8", "replace")[:200])
            return found
        if kind != ord("H") or len(body) % wire.DIGEST or len(found) * wire.BLOCK > size:
            words = "digests that were not asked for"
            raise bad(words)
        data = bytes(body)
        found += [data[at : at + wire.DIGEST] for at in range(0, len(data), wire.DIGEST)]


class HostWriter:
    """Puts files onto the host, on one line: sends on without waiting, and learns later what failed."""

    local = False

    def __init__(self, line: Line, codec: int) -> None:
        self.line, self.codec = line, codec
        self._number = 0
        self._failures: dict[int, Callable[[int, str], None]] = {}
        self._due: deque[Callable[[memoryview], None]] = deque()

    def small(
        self, items: Sequence[Item], contents: Sequence[Any], done: Callable[[list[tuple[int, str]]], None]
    ) -> None:
        """Write small files; `done` gets the failures, with their places in `items`, once it is known."""
        self._number += 1
        heads = []
        for item, content in zip(items, contents, strict=True):
            path = encode(item.path)
            heads.append(wire.GIVE.pack(len(path), item.mode, item.mtime_ns, len(content)) + path)
        failed: list[tuple[int, str]] = []
        self._failures[self._number] = lambda index, why: failed.append((index, why))
        self._bundle(self._number.to_bytes(4, "big"), heads, contents)
        self._confirm(self._number, lambda: done(failed))

    def _bundle(self, number: bytes, heads: Sequence[bytes], contents: Sequence[Any]) -> None:
        """Send small files: what each is called, and what is in it."""
        body = b"".join(part for pair in zip(heads, contents, strict=True) for part in pair)
        self.line.send(b"W", number, wire.squeeze(body, self.codec))

    def begin(self, item: Item, done: Callable[[str], None]) -> None:
        """Make an empty part for a large file."""
        self.line.post("begin", part=_part(item), size=item.size)
        self._due.append(_told(done))

    def ask_base(self, item: Item) -> None:
        """Ask for the digests of what is there; an old file's blocks are put into the part on the way."""
        self.settle()  # what an answer leads to would be asked after the digests, and answered after them
        asked = {"path": _part(item) if item.part else item.path, "part": "" if item.part else _part(item)}
        self.line.send(b"H", json.dumps({**asked, "size": item.size}).encode())

    def base(self, item: Item) -> list[bytes]:
        """The digests that were asked for."""
        return take_digests(self.line.receive, item.size)

    @staticmethod
    def part_of(item: Item) -> str:
        """Where a large file is put together."""
        return _part(item)

    def piece(self, item: Item, at: int, data: Any, failed: Callable[[str], None]) -> None:
        """A piece of a large file."""
        self._number += 1
        self._failures[self._number] = lambda _index, why: failed(why)
        path = encode(_part(item))
        body = wire.squeeze(data, self.codec) if self.codec else data
        head = wire.DATA.pack(self._number, at, len(path)) + path + (b"" if self.codec else b"\0")
        self.line.send(b"D", head, body)

    def confirm(self, done: Callable[[], None]) -> None:
        """Call `done` when all before is written, or has failed."""
        self._confirm(self._number, done)

    def finish(self, item: Item, done: Callable[[str], None]) -> None:
        """A large file is whole: it takes its name."""
        where = {"part": _part(item), "path": item.path, "size": item.size}
        self.line.post("finish", **where, mode=item.mode, mtime=item.mtime_ns)
        self._due.append(_told(done))

    def drop(self, item: Item) -> None:
        """Remove the part of a large file that failed."""
        self.line.post("delete", jobs=[[_part(item), False]])
        self._due.append(lambda _body: None)

    def _confirm(self, number: int, done: Callable[[], None]) -> None:
        self.line.send(b"Q", number.to_bytes(4, "big"))

        def told(body: memoryview) -> None:
            if bytes(body) != number.to_bytes(4, "big"):
                words = "an answer out of turn"
                raise bad(words)
            for old in [one for one in self._failures if one <= number]:
                del self._failures[old]
            done()

        self._due.append(told)

    def poll(self) -> None:
        """Take the answers that are there."""
        while self._due and self.line.ready():
            self._one()

    def settle(self) -> None:
        """Wait for all answers."""
        while self._due:
            self._one()

    def _one(self) -> None:
        self._taken(*self.line.receive())

    def _taken(self, kind: int, body: memoryview) -> None:
        if kind == ord("X"):
            try:
                number, index, why = json.loads(bytes(body))
                self._failures[number](index, str(why)[:200])
            except (ValueError, KeyError, TypeError, IndexError) as err:
                words = "a failure of something that was not sent"
                raise bad(words) from err
        elif kind in (ord("J"), ord("Q")):
            self._due.popleft()(body)
        else:
            words = f"a frame of kind {kind} while it was written to"
            raise bad(words)


def _told(done: Callable[[str], None]) -> Callable[[memoryview], None]:
    def told(body: memoryview) -> None:
        try:
            answer(body)
        except HostFault as err:
            done(err.message)
        else:
            done("")

    return told


def _part(item: Item) -> str:
    above, _, name = item.path.rpartition("/")
    return f"{above}/{part_name(name)}" if above else part_name(name)


def _listing(body: memoryview) -> tuple[str, str, int, list[Entry]]:
    """Path, reason, errno and entries of a listing frame."""
    data = bytes(body)
    try:
        named, code, said = struct.unpack_from(">HHH", data)
        middle, start = 6 + named, 6 + named + said
        entries = [
            (name.decode("utf-8", "surrogateescape"), kind, mode, size, mtime,
             goal.decode("utf-8", "surrogateescape"))
            for name, kind, mode, size, mtime, goal in wire.unpack_entries(data[start:])
        ]  # fmt: skip
    except (ValueError, struct.error) as err:
        words = "a listing that can't be read"
        raise bad(words) from err
    path = data[6:middle].decode("utf-8", "surrogateescape")
    why = data[middle:start].decode("utf-8", "replace")
    return path, why, code, entries
