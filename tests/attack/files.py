"""A host that lies in its listings, links, sizes and data, and in what rsync reads: where files end up."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import stat
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import asyncssh

from gpunb.agent.shared import file_frames as wire
from gpunb.ssh import Connection
from gpunb.sync import rsync, sync
from gpunb.sync.planning.plan import Tree
from gpunb.sync.planning.rules import Rules
from gpunb.sync.sftp import host_tree, protocol, side
from gpunb.sync.stream.host_files import HostReader
from tests.attack.frame import Escaped, Place, case
from tests.attack.hostile.liars import Host, connected, endpoint
from tests.sync import test_hostile as sftp
from tests.sync import test_hostile_agent as agent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

FILE, FOLDER, LINK = sftp.FILE, sftp.FOLDER, sftp.LINK


class _Loop:
    """One asyncio loop for all lying SFTP servers of this process."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)


_loop: list[_Loop] = []


def close() -> None:
    for one in _loop:
        one.loop.call_soon_threadsafe(one.loop.stop)
        one.thread.join(5)


@contextlib.contextmanager
def liar(place: Place) -> Iterator[tuple[type[sftp.Liar], Connection]]:
    """A lying SFTP server of a case's own, and gpunb's connection to it."""
    if not _loop:
        _loop.append(_Loop())
    kind = type("Own", (sftp.Liar,), {"tree": {}, "goals": {}})
    key = asyncssh.generate_private_key("ssh-ed25519")

    async def serve() -> asyncssh.SSHAcceptor:
        return await asyncssh.create_server(
            sftp._Accept, "127.0.0.1", 0, server_host_keys=[key], sftp_factory=kind
        )

    server = _loop[0].do(serve())
    try:
        with Connection.open(endpoint(place, server.get_port()), timeout=15) as line:
            yield kind, line
    finally:

        async def end() -> None:
            server.close()
            await server.wait_closed()

        _loop[0].do(end())


def fetch(place: Place, tree: dict[bytes, Any], goals: dict[bytes, bytes] | None = None, **more: Any) -> str:
    """Bring a lying tree here; what gpunb reports, and whether all of it stayed in its folder."""
    target = place.mine / "a/b/target"
    outside = place.mine / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    options = {name: more.pop(name) for name in ("dry_run",) if name in more}
    with liar(place) as (kind, line):
        kind.tree, kind.goals = tree, goals or {}
        for name, value in more.items():
            setattr(kind, name, value)
        try:
            report = sync(line, "/srv/out", str(target), direction="down", **options)
        finally:
            here = {str(path.relative_to(place.mine)) for path in place.mine.rglob("*")}
            odd = {n for n in here if not n.startswith(("a/b/target", "session", "outside/mine"))}
            if odd - {"a", "a/b", "outside"}:
                raise Escaped(str(odd))
            if (outside / "mine").read_text() != "mine":
                raise Escaped("a file outside was changed")
            for path in (place.mine / "a").rglob("*"):
                kind_of = path.lstat().st_mode
                if not (stat.S_ISREG(kind_of) or stat.S_ISDIR(kind_of) or stat.S_ISLNK(kind_of)):
                    raise Escaped(f"{path} is a special file")
                if kind_of & (stat.S_ISUID | stat.S_ISGID) and stat.S_ISREG(kind_of):
                    raise Escaped(f"{path} has an s bit")
                if path.is_symlink() and not path.resolve().is_relative_to(target.resolve()):
                    raise Escaped(f"{path} leads out")
    left = sorted({out.rule for out in report.plan.left_out})
    failed = sorted({why for _, why in report.failed})
    return f"{report.sent_files} came; left out: {left}; failed: {failed}"


GOOD = (b"good", FILE)


@case("names with .. in them", "^1 came; left out: .'")
def _(place: Place) -> str:
    names = [b"../evil", b"../../evil", b"..", b"a/../../../evil", b"....//x"]
    return fetch(place, {b"/srv/out": [*[(name, FILE) for name in names], GOOD]})


@case("absolute names, and one with a NUL", "^1 came; left out: .'")
def _(place: Place) -> str:
    names = [os.fsencode(place.touched), b"/etc/passwd", b"x\0y", b"", b"."]
    return fetch(place, {b"/srv/out": [*[(name, FILE) for name in names], GOOD]})


@case("links that lead out, and files behind them", "came; left out: .'")
def _(place: Place) -> str:
    tree = {
        b"/srv/out": [(b"l", LINK), (b"l", FOLDER), (b"m", LINK), (b"n", LINK), GOOD],
        b"/srv/out/l": [(b"mine", FILE)],
    }
    outside = os.fsencode(place.mine / "outside")
    goals = {b"/srv/out/l": outside, b"/srv/out/m": b"../../../outside/mine", b"/srv/out/n": b"x/../../.."}
    return fetch(place, tree, goals)


@case("a link, then a file through it", "came; left out:|failed")
def _(place: Place) -> str:
    tree = {b"/srv/out": [(b"d", LINK), (b"d/mine", FILE), (b"d", FOLDER)], b"/srv/out/d": [(b"mine", FILE)]}
    return fetch(place, tree, {b"/srv/out/d": b"../../../outside"})


@case("block and character devices, pipes, sockets", "^1 came; left out: .'")
def _(place: Place) -> str:
    kinds = [stat.S_IFBLK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK, 0]
    return fetch(place, {b"/srv/out": [*[(b"s%d" % n, kind | 0o666) for n, kind in enumerate(kinds)], GOOD]})


@case("files with s bits and sticky folders", "^1 came")
def _(place: Place) -> str:
    return fetch(place, {b"/srv/out": [(b"suid", FILE), (b"sticky", FOLDER)]})


@case("names that collide, in case and as parts", "came; left out:")
def _(place: Place) -> str:
    names = [b"README", b"readme", b"ReadMe", b"README", b".gpunb-part", b".gpunb-x", b"con", b"aux"]
    return fetch(place, {b"/srv/out": [(name, FILE) for name in names]})


@case("names with escapes, line ends and 70,000 letters", "came; left out: .'")
def _(place: Place) -> str:
    names = [b"\x1b]0;x\x07", b"a\nb\rc", b"n" * 70_000, b"-rf", b"--delete", b"\xff\xfe", "\u202e".encode()]
    return fetch(place, {b"/srv/out": [*[(name, FILE) for name in names], GOOD]})


@case("a size beyond all disks", "free, the plan needs")
def _(place: Place) -> str:
    return fetch(place, {b"/srv/out": [GOOD]}, size=2**63)


@case("more data than asked for", "more, or less, than was asked for")
def _(place: Place) -> str:
    return fetch(place, {b"/srv/out": [GOOD]}, extra=b"x" * 1000)


@case("less data than announced", "it changed while it was read")
def _(place: Place) -> str:
    return fetch(place, {b"/srv/out": [GOOD]}, size=1000)


@case("folders in folders, without end", "name that is too long")
def _(place: Place) -> str:
    async def deeper(self: sftp.Liar, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        attrs = asyncssh.SFTPAttrs(permissions=FOLDER, size=0, atime=1, mtime=1)
        yield asyncssh.SFTPName(b"d" * 200, b"", attrs)

    return fetch(place, {}, scandir=deeper, dry_run=True)


@case("a listing without end", "more than 20000 files")
def _(place: Place) -> str:
    async def wider(self: sftp.Liar, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        for number in range(10**9):
            attrs = asyncssh.SFTPAttrs(permissions=FILE, size=0, atime=1, mtime=1)
            yield asyncssh.SFTPName(b"%d" % number, b"", attrs)

    before, side._MOST_ENTRIES = side._MOST_ENTRIES, 20_000
    try:
        return fetch(place, {}, scandir=wider, dry_run=True)
    finally:
        side._MOST_ENTRIES = before


@case("an ignore file that hides everything, from the host", "^2 came")
def _(place: Place) -> str:
    return fetch(place, {b"/srv/out": [(b".gitignore", FILE), (b"result.csv", FILE)]})


@case("bytes that are no SFTP, in ten ways", "^10 of 10 refused$")
def _(place: Place) -> str:
    from gpunb.errors import GpunbError

    answers: list[Any] = [
        lambda _: b"\xff\xff\xff\xff", lambda _: b"\0\0\0\0", lambda _: sftp._packet(102, b"\0"),
        lambda n: sftp._packet(102, n + b"\xff\xff\xff\xff"),
        lambda n: sftp._packet(104, n + b"\xff\xff\xff\xff"),
        lambda n: sftp._packet(99, n), lambda n: sftp._packet(101, n), lambda _: b"",
        lambda _: sftp._packet(102, b"\0\0\xff\xff" + b"\0\0\0\1x"),
        lambda _: b"\x7f\xff\xff\xff" + b"A" * 10**6,
    ]  # fmt: skip
    refused = 0
    for says in answers:

        def answer(packet: bytes, says: Any = says) -> bytes:
            return sftp._packet(2, b"\0\0\0\3") if packet[0] == 1 else bytes(says(packet[1:5]))

        def task() -> protocol.Task:
            yield protocol.Request(protocol.OPENDIR, protocol.string(b"x"))

        with contextlib.suppress(GpunbError):
            protocol.Pump(sftp._channel(answer)).one(task())
            continue
        refused += 1
    return f"{refused} of {len(answers)} refused"


# -- the agent's own stream of files


@case("a zlib bomb for a small file", "(sent|bytes|agreed|not|more)")
def _(place: Place) -> str:
    frame = agent.frame(b"S", wire.squeeze(b"\0" * 50_000_000, wire.ZLIB))
    return str(HostReader(agent.line(frame), {}, 0).small([agent.ITEM]))


@case("a bomb for a range of a large file", "(sent|bytes|agreed|not|more)")
def _(place: Place) -> str:
    frame = agent.frame(b"P", wire.squeeze(b"\0" * 50_000_000, wire.ZLIB))
    return str(list(HostReader(agent.line(frame), {}, 0).pieces(agent.ITEM, 0, 10)))


@case("a frame of files of 4 GB", "(sent|bytes|agreed|not|more|frame)")
def _(place: Place) -> str:
    return str(list(agent.side(b"\xff\xff\xff\xffL").folders(Rules(None), Tree())))


@case("listings of folders that nobody asked for, in ..", "^only: .'', 'd'.$")
def _(place: Place) -> str:
    folder = (b"d", wire.FOLDER, 0o755, 0, 5, b"", 0, 1)
    frames = [
        agent.listing(b"", folder, (b"../up", wire.FOLDER, 0o755, 0, 5, b"", 0, 1)),
        agent.listing(b"../up", agent.file(b"evil")), agent.listing(b"/etc", agent.file(b"evil")),
        agent.listing(b"d", agent.file(b"good")), agent.frame(b"Z"),
    ]  # fmt: skip
    return f"only: {sorted(dict(agent.side(*frames).folders(Rules(None), Tree())))}"


# -- rsync and other programs' words


@case("an rsync whose version is a novel", "^neither crashes nor counts: .False, False, True.$")
def _(place: Place) -> str:
    said = [
        b"rsync  version " + b"9" * 10**6 + b".1.1",
        b"\x1b[2J" * 10**5,
        b"rsync  version 3.4.1  protocol",
    ]
    found = []
    host = Host(place)
    host.on_exec = lambda channel, _: (
        channel.sendall(said.pop(0)),
        channel.send_exit_status(0),
        channel.close(),
    )
    with connected(place, host) as (line, _):
        found = [rsync.both_have(line, "up") for _ in range(3)]
    return f"neither crashes nor counts: {found}"


@case("rsync's listing with absurd sizes and no end of a line", "^3 files, 19 bytes, bounded$")
def _(place: Place) -> str:
    from gpunb.progress import SILENT

    lines = (
        b">f+++ 7\n>f+++ "
        + b"9" * 10**6
        + b"\n>f+++ -3\n>f+++ 12\n"
        + b"1" * 5000
        + b" 50%\n"
        + b"A" * 50 * 2**20
    )
    files, size = rsync._follow(io.BytesIO(lines), 100, SILENT)  # type: ignore[arg-type]
    return f"{files} files, {size} bytes, bounded"


@case("df that says 10**5000 kB are free", "^unknown: None$")
def _(place: Place) -> str:
    host = Host(place)
    text = b"Filesystem 1024-blocks Used Available Capacity Mounted\n/dev/x 1 1 " + b"9" * 5000 + b" 1% /\n"

    def answer(channel: Any, _: str) -> None:
        channel.sendall(text)
        channel.send_exit_status(0)
        channel.close()

    host.on_exec = answer
    with connected(place, host) as (line, _):
        slim = SimpleNamespace(connection=line, pump=SimpleNamespace(extensions={}))
        return f"unknown: {host_tree.Remote.free_bytes(slim, '/x')}"  # type: ignore[arg-type]
