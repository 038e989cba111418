"""A host that lies in its listings, its links and its data can't write outside of the target."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest

from gpunb.errors import GpunbError, ProtocolError, SyncError, Unreachable
from gpunb.ssh import Connection, Endpoint, generate
from gpunb.ssh.channel import Channel
from gpunb.sync import rsync, sync
from gpunb.sync.local.safe_root import LocalRoot, umask
from gpunb.sync.planning.plan import Item
from gpunb.sync.sftp import protocol, side
from tests.support.trees import shape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

FILE, FOLDER, LINK = stat.S_IFREG | 0o4777, stat.S_IFDIR | 0o1777, stat.S_IFLNK | 0o777


class Liar(asyncssh.SFTPServer):
    """Lists what `tree` says, whatever that is; every file holds ``evil``."""

    tree: dict[bytes, list[tuple[bytes, int]]] = {}
    goals: dict[bytes, bytes] = {}
    extra = b""
    size = 4

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        for name, mode in self.tree.get(path, []):
            attrs = asyncssh.SFTPAttrs(permissions=mode, size=self.size, atime=1, mtime=1)
            yield asyncssh.SFTPName(name, b"", attrs)

    def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        return asyncssh.SFTPAttrs(permissions=FOLDER, size=0, atime=1, mtime=1)

    def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
        if path.endswith(b"/pyvenv.cfg"):
            raise asyncssh.SFTPNoSuchFile(path.decode())
        return self.stat(path)

    def realpath(self, path: bytes, *_: Any) -> bytes:
        return b"/home/x" if path == b"." else path

    def readlink(self, path: bytes) -> bytes:
        return self.goals[path]

    def open(self, path: bytes, pflags: int, attrs: Any) -> object:
        return path

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        return b"evil"[offset : offset + size] + self.extra

    def close(self, file_obj: object) -> None:
        pass


class _Accept(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


@pytest.fixture
def liar(tmp_path: Path) -> Iterator[tuple[type[Liar], Connection]]:
    """A lying host of one test's own, and a connection to it."""
    kind = type("Own", (Liar,), {"tree": {}, "goals": {}})
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    key = asyncssh.generate_private_key("ssh-ed25519")

    async def serve() -> asyncssh.SSHAcceptor:
        return await asyncssh.create_server(
            _Accept, "127.0.0.1", 0, server_host_keys=[key], sftp_factory=kind
        )

    server = asyncio.run_coroutine_threadsafe(serve(), loop).result(20)
    pair = generate(tmp_path / "session", comment="t")
    try:
        endpoint = Endpoint(
            host="127.0.0.1", port=server.get_port(), user="x", key=pair.private,
            known_hosts=tmp_path / "session/known_hosts", alias="gpunb-liar",
        )  # fmt: skip
        with Connection.open(endpoint) as line:
            yield kind, line
    finally:

        async def end() -> None:
            server.close()
            await server.wait_closed()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        asyncio.run_coroutine_threadsafe(end(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def _fetch(line: Connection, target: Path, **options: Any) -> Any:
    return sync(line, "/srv/out", str(target), direction="down", **options)


@pytest.mark.parametrize(
    "name",
    [
        b"../evil",
        b"/tmp/gpunb-evil",
        b"a/b",
        b"..",
        b".",
        b"",
        b"x\0y",
        b"n" * 256,
        b"n" * 70_000,
        b"../../evil",
    ],
)
def test_names_that_lead_out_are_left_out(
    liar: tuple[type[Liar], Connection], tmp_path: Path, name: bytes
) -> None:
    kind, line = liar
    for mode in (FILE, FOLDER, LINK):
        kind.tree = {b"/srv/out": [(name, mode), (b"good", FILE)]}
        target = tmp_path / f"deep/er/t{mode}"
        before = shape(tmp_path)
        report = _fetch(line, target)
        assert [i.path for i in report.plan.items] == ["good"]
        assert [p.name for p in target.rglob("*")] == ["good"]
        assert set(shape(tmp_path)) - set(before) <= {
            os.fsencode(os.path.relpath(p, tmp_path)) for p in (*target.parents, target, target / "good")
        } | {b"gpunb-home/locks"} | {k for k in shape(tmp_path) if k.startswith(b"gpunb-home")}
        assert not os.path.exists("/tmp/gpunb-evil")


def test_links_that_lead_out_are_left_out_and_not_followed(
    liar: tuple[type[Liar], Connection], tmp_path: Path
) -> None:
    kind, line = liar
    outside = tmp_path / "outside"
    outside.mkdir()
    kind.tree = {
        b"/srv/out": [(b"l", LINK), (b"l", FOLDER), (b"m", LINK), (b"n", LINK), (b"k", LINK)],
        b"/srv/out/l": [(b"evil", FILE)],
    }
    kind.goals = {
        b"/srv/out/l": os.fsencode(outside), b"/srv/out/m": b"../outside", b"/srv/out/n": b"k/../../outside",
        b"/srv/out/k": b"good",
    }  # fmt: skip
    report = _fetch(line, tmp_path / "t")
    assert list(outside.iterdir()) == []
    links = {p.name: os.readlink(p) for p in (tmp_path / "t").rglob("*") if p.is_symlink()}
    assert links == {"k": "good"}
    assert {out.path for out in report.plan.left_out} >= {"m", "n"}


def test_one_name_as_link_and_as_folder(liar: tuple[type[Liar], Connection], tmp_path: Path) -> None:
    kind, line = liar
    kind.tree = {
        b"/srv/out": [(b"d", FOLDER), (b"d", LINK)],
        b"/srv/out/d": [(b"evil", FILE), (b"sub", FOLDER)],
    }
    kind.goals = {b"/srv/out/d": b"e"}
    for _ in range(2):
        _fetch(line, tmp_path / "t")
        assert set(os.listdir(tmp_path / "t")) <= {"d"}
        assert not (tmp_path / "t/e").exists()


def test_a_link_that_is_here_already_is_not_written_through(
    liar: tuple[type[Liar], Connection], tmp_path: Path
) -> None:
    kind, line = liar
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    (tmp_path / "t").mkdir()
    (tmp_path / "t/d").symlink_to(outside)
    (tmp_path / "t/mine").symlink_to(outside / "mine")
    kind.tree = {b"/srv/out": [(b"d", FOLDER), (b"mine", FILE)], b"/srv/out/d": [(b"evil", FILE)]}
    report = _fetch(line, tmp_path / "t")
    assert dict(report.failed) == {"d": "a link stands in its place", "d/evil": "its folder can't be made"}
    assert [p.name for p in outside.iterdir()] == ["mine"]
    assert (outside / "mine").read_text() == "mine"
    assert not (tmp_path / "t/mine").is_symlink()
    assert (tmp_path / "t/mine").read_text() == "evil"


def test_special_files_and_odd_modes(liar: tuple[type[Liar], Connection], tmp_path: Path) -> None:
    kind, line = liar
    kind.tree = {
        b"/srv/out": [
            (b"dev", stat.S_IFBLK | 0o666), (b"chr", stat.S_IFCHR | 0o666), (b"pipe", stat.S_IFIFO | 0o666),
            (b"sock", stat.S_IFSOCK | 0o666), (b"suid", FILE), (b"none", 0o777), (b"sticky", FOLDER),
        ]
    }  # fmt: skip
    _fetch(line, tmp_path / "t")
    modes = {p.name: p.lstat().st_mode for p in (tmp_path / "t").iterdir()}
    assert modes == {"suid": stat.S_IFREG | 0o777 & ~umask(), "sticky": stat.S_IFDIR | 0o777 & ~umask()}


def test_a_hostile_ignore_file_hides_nothing(liar: tuple[type[Liar], Connection], tmp_path: Path) -> None:
    kind, line = liar
    kind.tree = {b"/srv/out": [(b".gitignore", FILE), (b"result.csv", FILE)]}
    (tmp_path / "t").mkdir()
    (tmp_path / "t/.gitignore").write_text("*\n")
    assert {i.path for i in _fetch(line, tmp_path / "t").plan.items} == {".gitignore", "result.csv"}


def test_more_data_than_asked_for_and_less(liar: tuple[type[Liar], Connection], tmp_path: Path) -> None:
    kind, line = liar
    kind.tree = {b"/srv/out": [(b"f", FILE)]}
    kind.extra = b"x" * 100
    with pytest.raises(ProtocolError, match="more, or less, than was asked for"):
        _fetch(line, tmp_path / "t")
    kind.extra, kind.size = b"", 100
    report = _fetch(line, tmp_path / "u")
    assert report.failed == [("f", "it changed while it was read")]
    assert list((tmp_path / "u").iterdir()) == []


def test_a_size_beyond_all_disks_is_refused_before(
    liar: tuple[type[Liar], Connection], tmp_path: Path
) -> None:
    kind, line = liar
    kind.size = 2**63
    kind.tree = {b"/srv/out": [(b"f", FILE)]}
    with pytest.raises(SyncError, match="free, the plan needs"):
        _fetch(line, tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_endless_depth_and_endless_breadth_end(
    liar: tuple[type[Liar], Connection], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, line = liar

    async def deeper(self: Liar, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        yield asyncssh.SFTPName(
            b"d" * 200, b"", asyncssh.SFTPAttrs(permissions=FOLDER, size=0, atime=1, mtime=1)
        )

    monkeypatch.setattr(kind, "scandir", deeper)
    report = _fetch(line, tmp_path / "t", dry_run=True)
    assert report.plan.left_out[0].rule == "name that is too long"

    async def wider(self: Liar, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        for number in range(10**9):
            attrs = asyncssh.SFTPAttrs(permissions=FILE, size=0, atime=1, mtime=1)
            yield asyncssh.SFTPName(b"%d" % number, b"", attrs)

    monkeypatch.setattr(kind, "scandir", wider)
    monkeypatch.setattr(side, "_MOST_ENTRIES", 5000)
    with pytest.raises(SyncError, match="more than 5000 files"):
        _fetch(line, tmp_path / "t", dry_run=True)


@pytest.mark.skipif((rsync.local_version() or (0,)) < (3, 4), reason="needs rsync 3.4")
def test_rsync_is_not_asked_of_a_host_without_it(liar: tuple[type[Liar], Connection], tmp_path: Path) -> None:
    _, line = liar
    assert not rsync.both_have(line, "down")


class _Wire:
    """A channel whose other end says what a test wants."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer, self._waiting = answer, b""

    def settimeout(self, seconds: float) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        while data:
            size = int.from_bytes(data[:4], "big")
            self._waiting += self._answer(data[4 : 4 + size])
            data = data[4 + size :]

    def recv(self, size: int) -> bytes:
        data, self._waiting = self._waiting[:7], self._waiting[7:]  # in awkward pieces
        return data

    def close(self) -> None:
        pass


def _channel(answer: Callable[[bytes], bytes]) -> Channel:
    where = Endpoint(host="127.0.0.1", port=22, user="u", key=Path("k"), known_hosts=Path("h"), alias="a")
    return Channel(_Wire(answer), where)  # type: ignore[arg-type]


def _packet(kind: int, body: bytes) -> bytes:
    return (len(body) + 1).to_bytes(4, "big") + bytes([kind]) + body


@pytest.mark.parametrize(
    ("says", "error"),
    [
        (lambda _id: b"\xff\xff\xff\xff", ProtocolError),
        (lambda _id: b"\0\0\0\0", ProtocolError),
        (lambda _id: _packet(102, b"\0"), ProtocolError),
        (lambda _id: _packet(102, b"\0\0\xff\xff" + b"\0\0\0\1x"), ProtocolError),
        (lambda number: _packet(102, number + b"\xff\xff\xff\xff"), ProtocolError),
        (lambda number: _packet(104, number + b"\xff\xff\xff\xff"), ProtocolError),
        (
            lambda number: _packet(
                104, number + b"\0\0\0\1" + b"\0\0\0\1a\0\0\0\0\x80\0\0\0\xff\xff\xff\xff"
            ),
            ProtocolError,
        ),
        (lambda number: _packet(99, number), ProtocolError),
        (lambda number: _packet(101, number), ProtocolError),
        (lambda _id: b"", Unreachable),
    ],
)
def test_bytes_that_are_no_sftp(says: Callable[[bytes], bytes], error: type[GpunbError]) -> None:
    def answer(packet: bytes) -> bytes:
        return _packet(2, b"\0\0\0\3") if packet[0] == 1 else says(packet[1:5])

    pump = protocol.Pump(_channel(answer))

    def task() -> protocol.Task:
        yield protocol.Request(protocol.OPENDIR, protocol.string(b"x"))

    with pytest.raises(error):
        pump.one(task())


@pytest.mark.parametrize(
    "first", [b"", _packet(2, b"\0\0\0\6"), _packet(101, b"\0\0\0\3"), b"Welcome to this host!\n"]
)
def test_a_server_that_does_not_begin_as_sftp(first: bytes) -> None:
    with pytest.raises(GpunbError):
        protocol.Pump(_channel(lambda _packet: first))


def test_a_folder_swapped_for_a_link_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "t/d").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    with LocalRoot(tmp_path / "t") as root:
        (tmp_path / "t/d").rmdir()
        (tmp_path / "t/d").symlink_to(tmp_path / "outside")
        item = Item("d/f", "file", 1, 1, 0o644)
        for action in (root.make_folder, root.set_mode, root.link, lambda i: root.open_part(i.path, 1)):
            with pytest.raises(OSError, match=r"."):
                action(item)
        with contextlib.suppress(OSError):
            root.delete("d/f", "file")
    assert list((tmp_path / "outside").iterdir()) == []
